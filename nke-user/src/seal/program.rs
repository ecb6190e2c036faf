//! From the rules of a hook to a BPF program of type LSM, for the structures of the running kernel.
//!
//! ```text
//! rule 1    walk to a value: argument or task, one load a step; an address that is none: next rule
//!           compare; not so: next rule
//!           all so: r0 = answer; exit
//! rule 2    …
//! end       r0 = 0; exit
//! ```
//!
//! Only numbers and addresses of the kernel are read, with the verifier's types (BTF). This module must
//! load nothing.
//!
//! ```ignore
//! let made = program::make(&hook)?;
//! ```

use aya_obj::generated::{bpf_func_id, bpf_insn};

use super::{
    netlink,
    policy::{Condition, From, Hook, Value},
};
use crate::{
    object::{Function, Place, function, place},
    place::asm::{self, Code, Compare, FP, Jump, R0, R1, R2, R3, Reg, SAVED},
};

/// Where the arguments are.
const CONTEXT: Reg = SAVED[0];
/// Where a walk is.
const HERE: Reg = SAVED[1];
/// Where something is kept from one walk to the next.
const KEPT: Reg = SAVED[2];

/// The caller's mount namespace.
const OWN_MOUNTS: Value = Value {
    from: From::Task,
    steps: &[("task_struct", "nsproxy"), ("nsproxy", "mnt_ns")],
};

/// A program, and the function of the kernel that it is for.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) function: u32,
    pub(super) instructions: Vec<bpf_insn>,
}

/// What this kernel lacks: the name of a hook, an argument or a member.
#[derive(Debug)]
pub(super) struct Lacks(pub(super) String);

/// Makes a hook's program.
pub(super) fn make(hook: &Hook) -> Result<Made, Lacks> {
    let name = format!("bpf_lsm_{}", hook.name);
    let function = function(&name).ok_or(Lacks(name))?;
    let mut code = Code::default();
    code.push(asm::mov(CONTEXT, R1));
    for rule in &hook.rules {
        let mut maker = Maker {
            hook,
            function: &function,
            code: &mut code,
            missed: Vec::new(),
        };
        for condition in &rule.when {
            maker.want(condition)?;
        }
        let missed = maker.missed;
        code.push(asm::mov_imm(R0, rule.answer));
        code.push(asm::exit());
        for jump in missed {
            code.land(jump);
        }
    }
    code.push(asm::mov_imm(R0, 0));
    code.push(asm::exit());
    Ok(Made {
        function: function.id,
        instructions: code.finish(),
    })
}

/// Writes one rule's conditions.
struct Maker<'a> {
    hook: &'a Hook,
    function: &'a Function,
    code: &'a mut Code,
    /// Jumps to the next rule.
    missed: Vec<Jump>,
}

impl Maker<'_> {
    fn want(&mut self, condition: &Condition) -> Result<(), Lacks> {
        match condition {
            Condition::Is(value, number) => {
                self.walk(value)?;
                self.code.extend(asm::mov_imm64(R2, *number));
                let other = self.code.jump_if_different(HERE, R2);
                self.missed.push(other);
            }
            Condition::Among(value, numbers) => {
                self.walk(value)?;
                let mut found = Vec::new();
                for number in numbers {
                    self.code.extend(asm::mov_imm64(R2, *number));
                    found.push(self.code.jump_if_equal(HERE, R2));
                }
                let none = self.code.jump();
                self.missed.push(none);
                found.into_iter().for_each(|jump| self.code.land(jump));
            }
            Condition::Has(value, bits) => {
                self.walk(value)?;
                self.code.push(asm::and_imm(HERE, bits.cast_signed()));
                let none = self.code.jump_if(Compare::Equal, HERE, 0);
                self.missed.push(none);
            }
            Condition::AttachedMount(mount) => self.attached(mount)?,
            Condition::ChangesTraffic => {
                self.walk(&netlink::DATA)?;
                self.code.push(asm::mov(KEPT, HERE));
                self.walk(&netlink::PROTOCOL)?;
                let protocol = asm::mov_imm64(R2, netlink::ROUTE);
                self.code.extend(protocol);
                let other = self.code.jump_if_different(HERE, R2);
                self.missed.push(other);
                self.walk(&netlink::LENGTH)?;
                let benign = netlink::look(self.code, KEPT, HERE);
                self.missed.extend(benign);
            }
        }
        Ok(())
    }

    /// Leaves a value in [`HERE`].
    fn walk(&mut self, value: &Value) -> Result<(), Lacks> {
        match value.from {
            From::Argument(name) => {
                let (at, size) = self.function.parameter(name).ok_or_else(|| {
                    Lacks(format!("argument {name} of bpf_lsm_{}", self.hook.name))
                })?;
                // At most six arguments.
                self.code.push(asm::load64(HERE, CONTEXT, 8 * at as i16));
                if size == 4 {
                    self.code.push(asm::mov32(HERE, HERE));
                }
            }
            From::Task => {
                let task = asm::call(bpf_func_id::BPF_FUNC_get_current_task_btf);
                self.code.push(task);
                self.code.push(asm::mov(HERE, R0));
            }
        }
        for (structure, member) in value.steps {
            let none = self.code.jump_if(Compare::Equal, HERE, 0);
            self.missed.push(none);
            let at = find(structure, member)?;
            let offset = offset(structure, at)?;
            self.code.push(match at.size {
                1 => asm::load8(HERE, HERE, offset),
                2 => asm::load16(HERE, HERE, offset),
                4 => asm::load32(HERE, HERE, offset),
                _ => asm::load64(HERE, HERE, offset),
            });
        }
        Ok(())
    }

    /// The address of a `struct vfsmount` is that of a member of a `struct mount`.
    fn attached(&mut self, mount: &Value) -> Result<(), Lacks> {
        const SLOT: i16 = -8;
        let within = find("mount", "mnt")?;
        let namespace = find("mount", "mnt_ns")?;
        let distance = i64::from(namespace.offset) - i64::from(within.offset);
        let distance = i32::try_from(distance).map_err(|_| Lacks("struct mount".to_owned()))?;
        self.walk(mount)?;
        self.code.push(asm::mov(R3, HERE));
        self.code.push(asm::add_imm(R3, distance));
        self.code.push(asm::mov_imm(R2, 8));
        self.code.push(asm::mov(R1, FP));
        self.code.push(asm::add_imm(R1, SLOT.into()));
        self.code.push(asm::store64_imm(FP, SLOT, 0));
        let read = asm::call(bpf_func_id::BPF_FUNC_probe_read_kernel);
        self.code.push(read);
        self.code.push(asm::load64(KEPT, FP, SLOT));
        self.walk(&OWN_MOUNTS)?;
        let other = self.code.jump_if_different(HERE, KEPT);
        self.missed.push(other);
        Ok(())
    }
}

fn find(structure: &str, member: &str) -> Result<Place, Lacks> {
    place(structure, member).ok_or_else(|| Lacks(format!("member {member} of struct {structure}")))
}

fn offset(structure: &str, at: Place) -> Result<i16, Lacks> {
    i16::try_from(at.offset).map_err(|_| Lacks(format!("struct {structure} of so few bytes")))
}
