//! From the tree of a random program to its instructions.
//!
//! What cannot be said in a function, such as reading the packet in one without a context, is left
//! out, so that any tree makes a program.

use aya_obj::generated::bpf_insn;

use super::programs::{
    Access, Answer, Context, Function, If, Number, Program, STRANGER_MAP, Statement,
};

/// Instructions, and how many of them are main's.
#[derive(Debug, Clone)]
pub(crate) struct Assembled {
    pub(crate) instructions: Vec<bpf_insn>,
    pub(crate) main_len: usize,
}

impl Program {
    pub(crate) fn assemble(&self, context: Context) -> Assembled {
        let mut writer = Writer {
            context,
            instructions: Vec::new(),
            calls: Vec::new(),
        };
        writer.function(&self.main, Some(self.subprograms.len()));
        let main_len = writer.instructions.len();
        // A subprogram that nobody calls would be dead code, which the verifier refuses.
        let calls = std::mem::take(&mut writer.calls);
        for (index, subprogram) in self.subprograms.iter().enumerate() {
            let start = writer.instructions.len();
            let callers: Vec<_> = calls
                .iter()
                .filter(|(_, callee)| *callee == index)
                .collect();
            for (at, _) in &callers {
                writer.instructions[*at].imm = (start - at - 1) as i32;
            }
            if !callers.is_empty() {
                writer.function(subprogram, None);
            }
        }
        Assembled {
            instructions: writer.instructions,
            main_len,
        }
    }
}

pub(crate) fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> bpf_insn {
    let _bitfield_1 = bpf_insn::new_bitfield_1(dst, src);
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1,
        off,
        imm,
    }
}

struct Writer {
    context: Context,
    instructions: Vec<bpf_insn>,
    /// Calls whose distance is not known yet, and whom they call.
    calls: Vec<(usize, usize)>,
}

/// What a statement may refer to.
struct Scope<'a> {
    variables: &'a [u8],
    slots: &'a [i16],
    /// How many subprograms may be called.
    subprograms: usize,
    context: Option<Kept>,
}

/// Where main keeps its context over calls.
#[derive(Clone, Copy)]
enum Kept {
    Register(u8),
    Slot(i16),
}

impl Scope<'_> {
    fn variable(&self, number: u8) -> u8 {
        self.variables[usize::from(number) % self.variables.len()]
    }

    fn slot(&self, number: u8) -> Option<i16> {
        (!self.slots.is_empty()).then(|| self.slots[usize::from(number) % self.slots.len()])
    }
}

/// Whether the next instruction can be reached.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    Goes,
    Ends,
}

impl Writer {
    fn push(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) -> usize {
        self.instructions.push(insn(code, dst, src, off, imm));
        self.instructions.len() - 1
    }

    /// The jump at `at` goes to the next instruction.
    fn land(&mut self, at: usize) {
        self.instructions[at].off = (self.instructions.len() - at - 1) as i16;
    }

    /// `subprograms` is how many main may call, and nothing for a subprogram, which has no context.
    fn function(&mut self, function: &Function, subprograms: Option<usize>) {
        let mut variables = function.variables.as_slice();
        let mut context = None;
        if subprograms.is_some() {
            // The author's own place for the context, if there is one left.
            let slot = function.slots.iter().copied().min().unwrap_or(0) - 8;
            context = (slot >= -512).then_some(Kept::Slot(slot));
            if let (true, [others @ .., register]) = (function.context_in_register, variables) {
                variables = others;
                context = Some(Kept::Register(*register));
            }
        }
        match context {
            Some(Kept::Register(register)) => self.push(0xbf, register, 1, 0, 0),
            Some(Kept::Slot(slot)) => self.push(0x7b, 10, 1, slot, 0),
            None => self.push(0xbf, variables[0], 1, 0, 0),
        };
        let parameter = usize::from(subprograms.is_none());
        for variable in &variables[parameter..] {
            self.push(0xb7, *variable, 0, 0, i32::from(*variable));
        }
        if subprograms.is_some() && context.is_none() {
            self.push(0xb7, variables[0], 0, 0, 1);
        }
        for slot in &function.slots {
            self.push(0x7a, 10, 0, *slot, i32::from(*slot));
        }
        let subprograms = subprograms.unwrap_or(0);
        let scope = Scope {
            variables,
            slots: &function.slots,
            subprograms,
            context,
        };
        if self.block(&function.statements, &scope) == Flow::Goes {
            self.answer(&function.answer, &scope);
        }
    }

    fn block(&mut self, statements: &[Statement], scope: &Scope<'_>) -> Flow {
        // What follows an end is dead code, which the verifier refuses.
        let ends = |statement| self.statement(statement, scope) == Flow::Ends;
        if statements.iter().any(ends) {
            Flow::Ends
        } else {
            Flow::Goes
        }
    }

    fn statement(&mut self, statement: &Statement, scope: &Scope<'_>) -> Flow {
        match statement {
            Statement::Number { variable, number } => {
                self.number(scope.variable(*variable), number, scope);
            }
            Statement::Slot {
                slot,
                variable,
                access,
            } => {
                if let Some(slot) = scope.slot(*slot) {
                    self.slot(slot, scope.variable(*variable), *access);
                }
            }
            Statement::ReadContext { variable } => {
                if self.reload_context(scope) {
                    self.push(0x61, scope.variable(*variable), 1, self.context.number, 0);
                }
            }
            Statement::ReadPacket { at, variable } => {
                if let Some(outside) = self.packet(*at, scope) {
                    self.push(0x71, scope.variable(*variable), 1, (*at).into(), 0);
                    self.land(outside);
                }
            }
            Statement::WritePacket { at, value } => {
                if let Some(outside) = self.packet(*at, scope) {
                    self.push(0x72, 1, 0, (*at).into(), (*value).into());
                    self.land(outside);
                }
            }
            Statement::Helper => {
                // bpf_get_smp_processor_id, for what a call does to the registers.
                self.push(0x85, 0, 0, 0, 8);
                self.push(0xb7, 0, 0, 0, 1);
            }
            Statement::Spin { times } => {
                self.push(0xb7, 5, 0, 0, (*times).into());
                self.push(0x17, 5, 0, 0, 1);
                self.push(0x55, 5, 0, -2, 0);
            }
            Statement::Call {
                subprogram,
                variable,
            } => {
                if scope.subprograms > 0 {
                    self.push(0xbf, 1, scope.variable(*variable), 0, 0);
                    let at = self.push(0x85, 0, 1, 0, 0);
                    let callee = usize::from(*subprogram) % scope.subprograms;
                    self.calls.push((at, callee));
                }
            }
            Statement::TailCall { hit } => {
                if self.reload_context(scope) {
                    self.push(0x18, 2, 1, 0, STRANGER_MAP);
                    self.push(0, 0, 0, 0, 0);
                    self.push(0xb7, 3, 0, 0, i32::from(!hit));
                    self.push(0x85, 0, 0, 0, 12);
                    self.push(0xb7, 0, 0, 0, 1);
                }
            }
            Statement::If(branch) => return self.branch(branch, scope),
            Statement::End(answer) => {
                self.answer(answer, scope);
                return Flow::Ends;
            }
        }
        Flow::Goes
    }

    fn number(&mut self, variable: u8, number: &Number, scope: &Scope<'_>) {
        match number {
            Number::Set(value) => {
                self.push(0xb7, variable, 0, 0, *value);
            }
            Number::SetWide(value) => {
                self.push(0x18, variable, 0, 0, *value as i32);
                self.push(0, 0, 0, 0, (*value >> 32) as i32);
            }
            Number::Compute { operation, other } => {
                // add, sub, mul, div, or, and, mod, xor in 64 bits; add, sub, or, mov in 32.
                let codes = [
                    0x0f, 0x1f, 0x2f, 0x3f, 0x4f, 0x5f, 0x9f, 0xaf, 0x0c, 0x1c, 0x4c, 0xbc,
                ];
                let code = codes[usize::from(*operation) % codes.len()];
                self.push(code, variable, scope.variable(*other), 0, 0);
            }
        }
    }

    fn slot(&mut self, slot: i16, variable: u8, access: Access) {
        match access {
            Access::Store => {
                self.push(0x7b, 10, variable, slot, 0);
            }
            Access::StoreByAddress => {
                self.push(0xbf, 2, 10, 0, 0);
                self.push(0x07, 2, 0, 0, slot.into());
                self.push(0x7b, 2, variable, 0, 0);
            }
            Access::Load => {
                self.push(0x79, variable, 10, slot, 0);
            }
        }
    }

    fn branch(&mut self, branch: &If, scope: &Scope<'_>) -> Flow {
        let If {
            variable,
            comparison,
            value,
            then,
            other,
        } = branch;
        // ==, !=, >, <, &, signed >, signed < in 64 bits; ==, !=, >, signed > in 32.
        let codes = [
            0x15, 0x55, 0x25, 0xa5, 0x45, 0x65, 0xc5, 0x16, 0x56, 0x26, 0x66,
        ];
        let code = codes[usize::from(*comparison) % codes.len()];
        let holds = self.push(code, scope.variable(*variable), 0, 0, *value);
        if self.block(other, scope) == Flow::Ends {
            self.land(holds);
            return self.block(then, scope);
        }
        let behind = self.push(0x05, 0, 0, 0, 0);
        self.land(holds);
        // This may end, but the way around it goes on.
        let _: Flow = self.block(then, scope);
        self.land(behind);
        Flow::Goes
    }

    /// r1 holds the context, if this function has it.
    fn reload_context(&mut self, scope: &Scope<'_>) -> bool {
        match scope.context {
            Some(Kept::Register(register)) => self.push(0xbf, 1, register, 0, 0),
            Some(Kept::Slot(slot)) => self.push(0x79, 1, 10, slot, 0),
            None => return false,
        };
        true
    }

    /// r1 holds the packet, and the jump is taken unless it has a byte at `at`.
    fn packet(&mut self, at: u8, scope: &Scope<'_>) -> Option<usize> {
        if !self.reload_context(scope) {
            return None;
        }
        self.push(0x61, 2, 1, self.context.data_end, 0);
        self.push(0x61, 1, 1, self.context.data, 0);
        self.push(0xbf, 3, 1, 0, 0);
        self.push(0x07, 3, 0, 0, i32::from(at) + 1);
        Some(self.push(0x2d, 3, 2, 0, 0))
    }

    fn answer(&mut self, answer: &Answer, scope: &Scope<'_>) {
        match answer {
            Answer::Verdict(verdict) => {
                self.push(0xb7, 0, 0, 0, *verdict);
            }
            Answer::HighBits(verdict) => {
                self.push(0x18, 0, 0, 0, *verdict);
                self.push(0, 0, 0, 0, 0x7eba_5eed);
            }
            Answer::Computed { variable } => {
                self.push(0xbf, 0, scope.variable(*variable), 0, 0);
                self.push(0x57, 0, 0, 0, 3);
            }
            Answer::Raw { variable } => {
                self.push(0xbf, 0, scope.variable(*variable), 0, 0);
            }
        }
        self.push(0x95, 0, 0, 0, 0);
    }
}
