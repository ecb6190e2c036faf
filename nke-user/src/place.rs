//! The rewrite that gives a program its place in a chain.
//!
//! An extension's program knows nothing of others: its main function ends with a verdict. Placed,
//! each end of main goes to an epilogue, which asks the next node when the verdict means go on:
//!
//! ```text
//! entry     keep r1, the context, in its home
//!           [no mark on its socket: next node]
//! body      the author's instructions; each `exit` of main is now a jump to the epilogue
//! epilogue  [count the verdict]
//!           go on: r1 = context; r2 = NEXT; r3 = 0; tail_call; r0 = verdict
//!           exit
//! ```
//!
//! Where a body cannot be opened up like that, a [stub](Form::Stub) calls it whole. Everything
//! here is a pure function over instructions: nothing is loaded, no map is made. Which forms are
//! worth a try is a guess ([`forms`]); whether one is right is the verifier's to say, which
//! refuses a context that the body overwrote. A form must never change a verdict that the body
//! alone would have given.
//!
//! ```
//! use nke::place::{self, Body, Length, Maps, Rule};
//!
//! // r0 = XDP_PASS; exit: by itself a program that lets everything through.
//! let pass = place::constant(2);
//! let body = Body::of(&pass);
//! let rule = Rule { go_on: &[2], dropped: &[0, 1], length: Length::XdpLinear, preemptible: false, bits: None };
//! let maps = Maps { next: 3, counters: None, guard: None };
//!
//! let form = place::forms(&body).next().expect("this body takes every form");
//! let placed = place::place(&body, &rule, form, &maps)?;
//! assert_eq!(form.name(), "inline");
//! assert!(placed.instructions.len() > pass.len());
//! # Ok::<(), place::PlaceError>(())
//! ```

pub(crate) mod asm;
mod claim;
mod epilogue;
mod guard;
mod own;
mod scan;
mod stub;
#[cfg(test)]
mod tests;

pub use claim::claim;
pub use own::{constant, holding, join, root};
pub use stub::plain_btf;

use std::os::fd::RawFd;

use aya_obj::generated::{bpf_func_info, bpf_insn, bpf_line_info};

use asm::{Code, FP, R1, Reg, SAVED};
use epilogue::Epilogue;

/// How far down the frame a deeper slot is tried below the one that the scan found.
const DEEPER: [i16; 3] = [0, 64, 256];

/// A program as its author wrote it: main, with the subprograms that it calls appended behind it.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    /// All instructions, calls and maps relocated.
    pub instructions: &'a [bpf_insn],
    /// How many of them are main's, in front.
    pub main_len: usize,
    /// BTF's word on where each function starts; may be empty.
    pub func_info: &'a [bpf_func_info],
    /// BTF's word on the source lines; may be empty.
    pub line_info: &'a [bpf_line_info],
    /// The BTF id of a function like main but static. A stub takes main's own id and calls the
    /// body by this one, so a stub with `func_info` needs it; and without, if the body tail-calls
    /// for itself: see [`plain_btf`].
    pub static_main: Option<u32>,
}

impl<'a> Body<'a> {
    /// A body that is all main, without BTF.
    pub fn of(instructions: &'a [bpf_insn]) -> Self {
        Self {
            instructions,
            main_len: instructions.len(),
            func_info: &[],
            line_info: &[],
            static_main: None,
        }
    }

    fn main(&self) -> &'a [bpf_insn] {
        self.instructions
            .get(..self.main_len)
            .unwrap_or(self.instructions)
    }
}

/// What a hook's verdicts mean. They are compared as 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The next node is asked. With none here, it always is.
    pub go_on: &'static [i32],
    /// The packet ends here. What is in neither list is another end: sent, redirected, accepted.
    pub dropped: &'static [i32],
    /// How long a packet is.
    pub length: Length,
    /// Whether one run can come between the instructions of another on the same CPU, which counting must
    /// then heed. It cannot where bottom halves are off.
    pub preemptible: bool,
    /// The bits that verdicts are made of, where the verifier refuses a program that may answer
    /// another (`check_return_code`, kernel/bpf/verifier.c).
    pub bits: Option<i32>,
}

/// How a packet's bytes are measured from its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// `data_end - data` of an `xdp_md`.
    XdpLinear,
    /// By helper: an `xdp_md` whose packet may lie in fragments (Linux 5.18).
    XdpFrags,
    /// `len` of a `__sk_buff`.
    SkbLen,
    /// `size` of a `sk_msg_md` (Linux 5.0).
    MsgSize,
    /// `len` of the `sk_buff` of a `bpf_nf_ctx`, at this offset of the kernel's.
    NetfilterLen(i16),
    /// There is no length to count.
    None,
}

/// Where a placed program keeps the context while its body runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// A register kept over calls (6 to 9) that main does not use.
    Register(u8),
    /// 8 bytes of the stack at this offset, which main does not use.
    Slot(i16),
}

/// One way to place a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The body's own ends lead to the epilogue.
    Inline(Home),
    /// The body is called whole, as a subprogram.
    Stub,
}

impl Form {
    /// The word by which people are told: `inline` or `stub`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inline(_) => "inline",
            Self::Stub => "stub",
        }
    }
}

/// The maps of one node, by their descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maps {
    /// The program array of one entry that holds the next node.
    pub next: RawFd,
    /// Where verdicts are counted.
    pub counters: Option<Counters>,
    /// Whose packets and calls the body sees, if not everybody's.
    pub guard: Option<Guard>,
}

/// Only sockets with a mark meet the body; for others the next node is asked at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// The `BPF_MAP_TYPE_SK_STORAGE` that holds the marks.
    pub marks: RawFd,
    /// Where a context has its socket.
    pub socket: Socket,
    /// The verdict where nobody is left to ask.
    pub pass: i32,
}

/// Where a context has its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// The context is the socket: a `bpf_sock`.
    Context,
    /// A pointer at this offset, which may be none.
    At(i16),
}

/// The array of one value in which a node counts, with two lines of the cache for each CPU, the second
/// for runs that come between at the first. A line is `[u64; 6]`, packets gone on, dropped, other, then
/// bytes likewise, and a word for placement's own use. Whatever is in no CPU's lines stays zero, so that
/// the sum over all lines of the value is the node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// The array.
    pub map: RawFd,
    /// Bytes of its value before the first CPU's row.
    pub first_row: i32,
    /// How many rows there are: a power of two, no fewer than CPUs.
    pub rows: u32,
}

impl Counters {
    /// Bytes of a line of the cache.
    pub const LINE: u32 = 64;
    /// Bytes of a CPU's row.
    pub const ROW: u32 = 2 * Self::LINE;

    /// Bytes from the first row to the last.
    fn last_row(self) -> i32 {
        ((self.rows - 1) * Self::ROW) as i32
    }
}

/// A program ready to be loaded.
#[derive(Debug, Clone)]
pub struct Placed {
    /// What the kernel runs.
    pub instructions: Vec<bpf_insn>,
    /// Empty when the body's was.
    pub func_info: Vec<bpf_func_info>,
    /// Empty when the body's was.
    pub line_info: Vec<bpf_line_info>,
}

/// Why a body cannot take a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// There is no main function to place.
    #[error("the main function has {main_len} instructions in a program of {len}")]
    NoMain {
        /// As the body has it.
        main_len: usize,
        /// Of the whole program.
        len: usize,
    },
    /// An end of main is further from the epilogue than a jump reaches.
    #[error("the main function is too long for jumps to its end ({main_len} instructions)")]
    TooLong {
        /// As the body has it.
        main_len: usize,
    },
    /// The context cannot be kept there.
    #[error("no place for the context: {home:?}")]
    Home {
        /// What was asked for.
        home: Home,
    },
    /// The stub needs a function type for the body.
    #[error("a stub around a body with function info needs the id of a static function type")]
    NoStaticType,
}

/// The forms worth a try, best first.
///
/// The first has the context in a register where main leaves one, else in the stack slot below the
/// deepest that main is seen to use. Deeper slots follow should the scan have missed a use, and
/// last the stub. A body that tail-calls for itself takes only the stub, where the verdict of
/// whatever it called comes back.
pub fn forms(body: &Body<'_>) -> impl Iterator<Item = Form> + use<> {
    let main = body.main();
    let inline = !scan::tail_calls(main) && main.len() <= LONGEST_MAIN;
    let register = scan::unused_registers(main).next();
    // Down to the next multiple of 8, and one slot further.
    let slot = (scan::stack_depth(main) & !7) - 8;
    let slots = DEEPER
        .into_iter()
        .filter_map(move |deeper| i16::try_from(slot - i32::from(deeper)).ok())
        .filter(|slot| *slot >= scan::STACK_BOTTOM);
    let homes = register
        .map(|Reg(register)| Home::Register(register))
        .into_iter();
    let homes = homes.chain(slots.map(Home::Slot)).filter(move |_| inline);
    homes.map(Form::Inline).chain([Form::Stub])
}

/// The body in its place: what to load, and what BTF says of it.
///
/// # Errors
///
/// When the body has no main function or cannot take this form.
pub fn place(body: &Body<'_>, rule: &Rule, form: Form, maps: &Maps) -> Result<Placed, PlaceError> {
    if body.main_len == 0 || body.main_len > body.instructions.len() {
        let len = body.instructions.len();
        return Err(PlaceError::NoMain {
            main_len: body.main_len,
            len,
        });
    }
    match form {
        Form::Inline(home) => inline(body, rule, home, maps),
        Form::Stub => stub::place(body, rule, maps),
    }
}

/// Main's ends can all jump to the epilogue up to this length.
const LONGEST_MAIN: usize = 1 << 15;

fn inline(body: &Body<'_>, rule: &Rule, home: Home, maps: &Maps) -> Result<Placed, PlaceError> {
    let entry = match home {
        Home::Register(register) if SAVED.contains(&Reg(register)) => asm::mov(Reg(register), R1),
        Home::Slot(slot) if (scan::STACK_BOTTOM..0).contains(&slot) && slot % 8 == 0 => {
            asm::store64(FP, slot, R1)
        }
        Home::Register(_) | Home::Slot(_) => return Err(PlaceError::Home { home }),
    };
    let Maps {
        next,
        counters,
        guard,
    } = *maps;
    let mut front = Code::default();
    front.push(entry);
    if let Some(guard) = guard {
        guard::write(&mut front, &guard, next, guard::restore(home));
    }
    let front = front.finish();
    let epilogue = Epilogue {
        home,
        spare: None,
        rule,
        next,
        counters,
    }
    .write();
    let main_len = body.main_len;
    // The entry stands in front of main, the epilogue between main and its subprograms.
    let before = front.len();
    let behind = before + epilogue.len();
    let moved = |at: usize| at + if at < main_len { before } else { behind };

    let mut instructions = Vec::with_capacity(moved(body.instructions.len()));
    instructions.extend(front);
    instructions.extend_from_slice(body.instructions);
    for (at, instruction) in scan::instructions(body.instructions) {
        let new = &mut instructions[at + before];
        if asm::is_exit(instruction) && at < main_len {
            let distance = main_len - at - 1;
            let distance = distance
                .try_into()
                .map_err(|_| PlaceError::TooLong { main_len })?;
            *new = asm::jump(distance);
        } else if asm::is_code_reference(instruction) {
            new.imm = moved_distance(at, instruction.imm, moved);
        }
    }
    instructions.splice(before + main_len..before + main_len, epilogue);

    // Main starts with the entry now, and its first line covers that too.
    let offset = |at: u32| {
        if at == 0 {
            0
        } else {
            moved(at as usize) as u32
        }
    };
    Ok(Placed {
        instructions,
        func_info: body
            .func_info
            .iter()
            .map(|info| function_at(info, offset))
            .collect(),
        line_info: body
            .line_info
            .iter()
            .map(|line| line_at(line, offset))
            .collect(),
    })
}

/// The distance from `at` to its target once both have moved.
fn moved_distance(at: usize, distance: i32, moved: impl Fn(usize) -> usize) -> i32 {
    let target = at.wrapping_add_signed(distance as isize).wrapping_add(1);
    // The instructions of a program are counted in fewer bits than these.
    moved(target).wrapping_sub(moved(at)).wrapping_sub(1) as i32
}

fn function_at(info: &bpf_func_info, offset: impl Fn(u32) -> u32) -> bpf_func_info {
    bpf_func_info {
        insn_off: offset(info.insn_off),
        ..*info
    }
}

fn line_at(line: &bpf_line_info, offset: impl Fn(u32) -> u32) -> bpf_line_info {
    bpf_line_info {
        insn_off: offset(line.insn_off),
        ..*line
    }
}
