//! What the kernel refuses on a sealed host: for each LSM hook a list of rules, of which the first
//! that fits gives the answer; where none does, the hook lets it be.
//!
//! Level 1 keeps two things safe beside new code: the bpffs that holds nke's state, in which the seal
//! itself is pinned, and the command `nke`, which may go on loading what is loaded already. Level 2 lets
//! no program be loaded, attached, replaced or detached, by anybody.
//!
//! Rules are data, and say nothing of instructions: [`super::program`] makes those. This module must do
//! no I/O.
//!
//! ```ignore
//! let rule = deny(vec![Is(argument("cmd"), BPF_PROG_LOAD)]);
//! ```

use super::Level;

/// A value that the kernel has at hand when it asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub(super) from: From,
    /// From there on: the structure that is pointed to, and its member. All but the last point on.
    pub(super) steps: &'static [(&'static str, &'static str)],
}

/// Where a [`Value`] starts.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    /// An argument of the hook.
    Argument(&'static str),
    /// The calling task.
    Task,
}

/// What a rule wants.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// The value is this.
    Is(Value, u64),
    /// The value is one of these.
    Among(Value, Vec<u64>),
    /// The value has one of these bits.
    Has(Value, u32),
    /// The mount that the address is of belongs to the caller's mount namespace: it is no copy that
    /// nobody has attached yet.
    AttachedMount(Value),
    /// The netlink messages ask for one of these: see [`super::netlink`].
    ChangesTraffic,
}

/// An answer, if all conditions hold.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) when: Vec<Condition>,
    /// 0 lets it be; else a negative errno.
    pub(super) answer: i32,
}

/// The rules of one LSM hook.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    pub(super) name: &'static str,
    pub(super) rules: Vec<Rule>,
}

/// What is sealed, in the kernel's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The bpffs of the state: the kernel's `dev_t`.
    pub(super) state_device: u64,
    /// The state directory's inode.
    pub(super) state_inode: u64,
    /// The mount namespace that it is mounted in.
    pub(super) namespace: u64,
    /// The file systems whose mounts carry the state's mount and the command.
    pub(super) beneath: Vec<u64>,
    /// The command's file system and inode.
    pub(super) command: (u64, u64),
}

/// What a sealed kernel answers to a question, where others say `EINVAL`.
pub(super) const YES: i32 = 1001;
/// The questions: numbers of bpf(2) that are no commands. Is it sealed at this level?
pub(super) const fn is_sealed(level: Level) -> u32 {
    0x6e6b_6500 + level as u32
}
/// Is it this state that is sealed? The device and the inode are the first two words.
pub(super) const IS_STATE: u32 = 0x6e6b_6510;
/// May I do what others may not?
pub(super) const AM_I_TRUSTED: u32 = 0x6e6b_6511;

const EPERM: i32 = -libc::EPERM;

/// `enum bpf_cmd`, uapi/linux/bpf.h.
const BPF_PROG_LOAD: u64 = 5;
const BPF_PROG_ATTACH: u64 = 8;
const BPF_PROG_DETACH: u64 = 9;
const BPF_RAW_TRACEPOINT_OPEN: u64 = 17;
const BPF_LINK_CREATE: u64 = 28;
const BPF_LINK_UPDATE: u64 = 29;
const BPF_LINK_DETACH: u64 = 34;
/// uapi/linux/mount.h
const MS_MOVE: u32 = 8192;
/// include/linux/mount.h: what happens to this mount happens to its peers.
const MNT_SHARED: u32 = 0x1000;
/// include/linux/ptrace.h
const PTRACE_MODE_ATTACH: u32 = 2;
/// include/linux/fs.h
const FMODE_WRITE: u32 = 2;
/// uapi/linux/prctl.h
const PR_SET_MM: u64 = 35;

const DEVICE: (&str, &str) = ("super_block", "s_dev");
const NUMBER: (&str, &str) = ("inode", "i_ino");
const SUPER: (&str, &str) = ("inode", "i_sb");
const INODE: (&str, &str) = ("file", "f_inode");
const EXECUTABLE: (&str, &str) = ("mm_struct", "exe_file");
const MEMORY: (&str, &str) = ("task_struct", "mm");

const fn argument(name: &'static str) -> Value {
    behind(name, &[])
}

const fn behind(name: &'static str, steps: &'static [(&'static str, &'static str)]) -> Value {
    let from = From::Argument(name);
    Value { from, steps }
}

const fn task(steps: &'static [(&'static str, &'static str)]) -> Value {
    let from = From::Task;
    Value { from, steps }
}

fn deny(when: Vec<Condition>) -> Rule {
    let answer = EPERM;
    Rule { when, answer }
}

use Condition::{Among, AttachedMount, ChangesTraffic, Has, Is};

impl Facts {
    /// The hooks that a level adds to those below it. The hook that gives the answers is the last.
    pub(super) fn hooks(&self, level: Level) -> Vec<Hook> {
        match level {
            Level::Open => Vec::new(),
            Level::NoNewCode => {
                [self.state(), self.mounts(), self.command(), self.new_code()].concat()
            }
            Level::NoChange => Self::change(),
        }
    }

    /// Lets the command itself do it, as long as nobody answers its system calls for it: a seccomp
    /// filter can.
    fn trusted(&self) -> Rule {
        let (device, inode) = self.command;
        let number = task(&[MEMORY, EXECUTABLE, INODE, NUMBER]);
        let on = task(&[MEMORY, EXECUTABLE, INODE, SUPER, DEVICE]);
        let filtered = task(&[("task_struct", "seccomp.mode")]);
        let when = vec![Is(number, inode), Is(on, device), Is(filtered, 0)];
        Rule { when, answer: 0 }
    }

    /// Nobody but the command changes the tree of the state.
    fn state(&self) -> Vec<Hook> {
        let within = |name, directory: Value| {
            let denied = deny(vec![Is(directory, self.state_device)]);
            let rules = vec![self.trusted(), denied];
            Hook { name, rules }
        };
        let directory = behind("dir", &[SUPER, DEVICE]);
        let old = behind("old_dir", &[SUPER, DEVICE]);
        let mut hooks: Vec<_> = [
            "inode_create",
            "inode_link",
            "inode_mkdir",
            "inode_mknod",
            "inode_rmdir",
            "inode_symlink",
            "inode_unlink",
        ]
        .map(|name| within(name, directory))
        .into();
        hooks.push(within("inode_rename", old));
        // The command keeps its inode: a number is given again once its file is gone.
        let (device, inode) = self.command;
        for (name, entry) in [("inode_unlink", "dentry"), ("inode_rename", "new_dentry")] {
            let number = behind(entry, &[("dentry", "d_inode"), NUMBER]);
            let on = behind(entry, &[("dentry", "d_inode"), SUPER, DEVICE]);
            let found = hooks.iter_mut().filter(|hook| hook.name == name);
            // In front: the command itself does not do it either.
            found.for_each(|hook| {
                hook.rules
                    .insert(0, deny(vec![Is(number, inode), Is(on, device)]))
            });
        }
        hooks
    }

    /// Nobody takes the state's mount away, hides something in it, or moves what carries it.
    fn mounts(&self) -> Vec<Hook> {
        let here = || {
            let number = task(&[
                ("task_struct", "nsproxy"),
                ("nsproxy", "mnt_ns"),
                ("mnt_namespace", "ns.inum"),
            ]);
            Is(number, self.namespace)
        };
        let on = |name| behind(name, &[("path", "dentry"), ("dentry", "d_sb"), DEVICE]);
        let of = behind("mnt", &[("vfsmount", "mnt_sb"), DEVICE]);
        let flags = behind("mnt", &[("vfsmount", "mnt_flags")]);
        let beneath = || Among(of, self.beneath.clone());
        let hook = |name, rules| Hook { name, rules };
        vec![
            hook(
                "sb_umount",
                vec![
                    deny(vec![Is(of, self.state_device)]),
                    deny(vec![here(), beneath()]),
                    deny(vec![Has(flags, MNT_SHARED), beneath()]),
                ],
            ),
            hook(
                "sb_mount",
                vec![
                    deny(vec![Is(on("path"), self.state_device)]),
                    deny(vec![here(), Has(argument("flags"), MS_MOVE)]),
                ],
            ),
            hook(
                "move_mount",
                vec![
                    deny(vec![Is(on("to_path"), self.state_device)]),
                    deny(vec![
                        here(),
                        AttachedMount(behind("from_path", &[("path", "mnt")])),
                    ]),
                ],
            ),
            hook("sb_pivotroot", vec![deny(vec![here()])]),
        ]
    }

    /// Nobody writes to the command's file, or gets into a process that runs it, or passes for one.
    fn command(&self) -> Vec<Hook> {
        let (device, inode) = self.command;
        let is_command = |number, on| vec![Is(number, inode), Is(on, device)];
        let mut written = is_command(
            behind("file", &[INODE, NUMBER]),
            behind("file", &[INODE, SUPER, DEVICE]),
        );
        written.push(Has(behind("file", &[("file", "f_mode")]), FMODE_WRITE));
        let mut entered = is_command(
            behind("child", &[MEMORY, EXECUTABLE, INODE, NUMBER]),
            behind("child", &[MEMORY, EXECUTABLE, INODE, SUPER, DEVICE]),
        );
        entered.push(Has(argument("mode"), PTRACE_MODE_ATTACH));
        let mut started = is_command(
            behind("bprm", &[("linux_binprm", "file"), INODE, NUMBER]),
            behind("bprm", &[("linux_binprm", "file"), INODE, SUPER, DEVICE]),
        );
        // Whoever traces it already needs not ask again.
        started.push(Has(task(&[("task_struct", "ptrace")]), u32::MAX >> 1));
        let hook = |name, when| Hook {
            name,
            rules: vec![deny(when)],
        };
        vec![
            hook("file_open", written),
            hook("ptrace_access_check", entered),
            hook("bprm_check_security", started),
            // Another file can be made a process's executable.
            hook("task_prctl", vec![Is(argument("option"), PR_SET_MM)]),
        ]
    }

    /// Nobody but the command loads programs.
    fn new_code(&self) -> Vec<Hook> {
        let mut rules = vec![
            yes(is_sealed(Level::NoNewCode), vec![]),
            yes(
                IS_STATE,
                vec![
                    Is(
                        behind("attr", &[("bpf_attr", "map_type")]),
                        self.state_device,
                    ),
                    Is(
                        behind("attr", &[("bpf_attr", "key_size")]),
                        self.state_inode,
                    ),
                ],
            ),
        ];
        let trusted = self.trusted();
        rules.push(yes(AM_I_TRUSTED, trusted.when.clone()));
        rules.push(trusted);
        rules.push(deny(vec![Is(argument("cmd"), BPF_PROG_LOAD)]));
        vec![Hook { name: "bpf", rules }]
    }

    /// Nobody at all changes what programs run.
    fn change() -> Vec<Hook> {
        let commands = vec![
            BPF_PROG_LOAD,
            BPF_PROG_ATTACH,
            BPF_PROG_DETACH,
            BPF_RAW_TRACEPOINT_OPEN,
            BPF_LINK_CREATE,
            BPF_LINK_UPDATE,
            BPF_LINK_DETACH,
        ];
        let rules = vec![
            yes(is_sealed(Level::NoChange), vec![]),
            deny(vec![Among(argument("cmd"), commands)]),
        ];
        let traffic = vec![deny(vec![ChangesTraffic])];
        vec![
            Hook {
                name: "netlink_send",
                rules: traffic,
            },
            Hook { name: "bpf", rules },
        ]
    }
}

/// Says yes to a question, if it is so.
fn yes(question: u32, so: Vec<Condition>) -> Rule {
    let mut when = vec![Is(argument("cmd"), question.into())];
    when.extend(so);
    let answer = -YES;
    Rule { when, answer }
}
