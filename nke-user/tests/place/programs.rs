//! Random small programs that the verifier accepts: branches, several ends, subprograms, stack,
//! packet reads and writes, a tail call of their own.
//!
//! A [`Program`] is a tree that proptest can shrink; `Program::assemble` makes instructions of
//! it. It must only ever write what any 5.10 verifier accepts, so that a refusal is placement's
//! fault: every register and slot is set before it is read, and every loop is finite.

use proptest::collection::vec;
use proptest::prelude::*;

/// Stands for the descriptor of a program array that the body tail-calls by itself: what lies at
/// 0 answers [`STRANGER_ANSWER`], and at 1 lies nothing.
pub(crate) const STRANGER_MAP: i32 = 0x57a;
/// The verdict of the program that a body calls by itself.
pub(crate) const STRANGER_ANSWER: i32 = 2;

/// Where a context holds what the programs read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) data: i16,
    pub(crate) data_end: i16,
    /// Some other number of 32 bits: the packet's length, or 0.
    pub(crate) number: i16,
    pub(crate) number_is_length: bool,
}

pub(crate) const XDP_MD: Context = Context {
    data: 0,
    data_end: 4,
    number: 16,
    number_is_length: false,
};
pub(crate) const SK_BUFF: Context = Context {
    data: 76,
    data_end: 80,
    number: 0,
    number_is_length: true,
};

#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(super) main: Function,
    pub(super) subprograms: Vec<Function>,
}

#[derive(Debug, Clone)]
pub(super) struct Function {
    /// The registers that hold numbers, all different, from r0 and r6 to r9.
    pub(super) variables: Vec<u8>,
    /// The stack offsets in use, multiples of 8.
    pub(super) slots: Vec<i16>,
    /// Whether the context is kept in a register of its own or on the stack.
    pub(super) context_in_register: bool,
    pub(super) statements: Vec<Statement>,
    pub(super) answer: Answer,
}

/// Numbers named here are taken modulo what there is: variables, slots, subprograms.
#[derive(Debug, Clone)]
pub(super) enum Statement {
    Number {
        variable: u8,
        number: Number,
    },
    Slot {
        slot: u8,
        variable: u8,
        access: Access,
    },
    ReadContext {
        variable: u8,
    },
    ReadPacket {
        at: u8,
        variable: u8,
    },
    WritePacket {
        at: u8,
        value: u8,
    },
    Helper,
    Spin {
        times: u8,
    },
    Call {
        subprogram: u8,
        variable: u8,
    },
    TailCall {
        hit: bool,
    },
    If(If),
    End(Answer),
}

/// What becomes of a variable.
#[derive(Debug, Clone)]
pub(super) enum Number {
    Set(i32),
    SetWide(u64),
    Compute { operation: u8, other: u8 },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Access {
    Store,
    StoreByAddress,
    Load,
}

#[derive(Debug, Clone)]
pub(super) struct If {
    pub(super) variable: u8,
    pub(super) comparison: u8,
    pub(super) value: i32,
    pub(super) then: Vec<Statement>,
    pub(super) other: Vec<Statement>,
}

#[derive(Debug, Clone)]
pub(super) enum Answer {
    Verdict(i32),
    /// A verdict under 32 bits of something else.
    HighBits(i32),
    Computed {
        variable: u8,
    },
    Raw {
        variable: u8,
    },
}

/// Programs of all kinds; main's stack may be as deep as the frame is.
pub(crate) fn program() -> impl Strategy<Value = Program> {
    let deep = prop_oneof![4 => Just(8u8), 2 => Just(40), 1 => Just(63), 1 => Just(64)];
    (vec(function(4), 0..3), deep).prop_flat_map(|(subprograms, deepest)| {
        // The frames along a call chain share the 512 bytes, and the kernel rounds each up.
        let deepest = if subprograms.is_empty() {
            deepest
        } else {
            deepest.min(40)
        };
        function(deepest).prop_map(move |main| Program {
            main,
            subprograms: subprograms.clone(),
        })
    })
}

fn function(deepest: u8) -> impl Strategy<Value = Function> {
    let variables = prop::sample::subsequence(vec![0u8, 6, 7, 8, 9], 1..=5);
    let slots = vec((1..=deepest).prop_map(|slot| -8 * i16::from(slot)), 0..4);
    (variables, slots, any::<bool>(), block(), answer()).prop_map(
        |(variables, slots, in_register, statements, answer)| Function {
            context_in_register: in_register && variables.len() > 1,
            variables,
            slots,
            statements,
            answer,
        },
    )
}

fn block() -> impl Strategy<Value = Vec<Statement>> {
    let number = prop_oneof![
        value().prop_map(Number::Set),
        wide().prop_map(Number::SetWide),
        any::<(u8, u8)>().prop_map(|(operation, other)| Number::Compute { operation, other }),
    ];
    let access = prop::sample::select(vec![Access::Store, Access::StoreByAddress, Access::Load]);
    let leaf = prop_oneof![
        6 => (any::<u8>(), number)
            .prop_map(|(variable, number)| Statement::Number { variable, number }),
        5 => (any::<u8>(), any::<u8>(), access)
            .prop_map(|(slot, variable, access)| Statement::Slot { slot, variable, access }),
        1 => any::<u8>().prop_map(|variable| Statement::ReadContext { variable }),
        3 => (0..20u8, any::<u8>())
            .prop_map(|(at, variable)| Statement::ReadPacket { at, variable }),
        1 => (0..20u8, any::<u8>()).prop_map(|(at, value)| Statement::WritePacket { at, value }),
        1 => Just(Statement::Helper),
        1 => (1..4u8).prop_map(|times| Statement::Spin { times }),
        2 => any::<(u8, u8)>()
            .prop_map(|(subprogram, variable)| Statement::Call { subprogram, variable }),
    ];
    let rare = prop_oneof![
        8 => answer().prop_map(Statement::End),
        1 => any::<bool>().prop_map(|hit| Statement::TailCall { hit }),
    ];
    let statement = prop_oneof![8 => leaf, 1 => rare].prop_recursive(3, 24, 4, |inner| {
        let blocks = (vec(inner.clone(), 0..4), vec(inner, 0..3));
        (any::<u8>(), any::<u8>(), value(), blocks).prop_map(
            |(variable, comparison, value, (then, other))| {
                Statement::If(If {
                    variable,
                    comparison,
                    value,
                    then,
                    other,
                })
            },
        )
    });
    vec(statement, 0..8)
}

fn value() -> impl Strategy<Value = i32> {
    prop_oneof![-2..6i32, any::<i32>(), Just(0x95)]
}

fn wide() -> impl Strategy<Value = u64> {
    // Each half also as it would look were it an `exit`.
    prop_oneof![any::<u64>(), Just(0x95), Just(0x95 << 32)]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        6 => (-1..6i32).prop_map(Answer::Verdict),
        4 => Just(Answer::Verdict(2)),
        1 => (-1..6i32).prop_map(Answer::HighBits),
        3 => any::<u8>().prop_map(|variable| Answer::Computed { variable }),
        1 => any::<u8>().prop_map(|variable| Answer::Raw { variable }),
    ]
}
