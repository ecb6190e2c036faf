//! The stub: a main function that calls the body whole, and then goes on as any epilogue does.
//!
//! ```text
//! stub   r6 = context; [no mark on its socket: next node]; call body
//!        [r7 = verdict; call count; r0 = verdict]
//!        epilogue, without counters
//! body   as its author wrote it, with its subprograms
//! count  one packet more in its class
//! ```
//!
//! The body may need the whole stack, and the frames of a call chain share its 512 bytes, so the
//! stub must never use any: it keeps everything in registers, and counts in a function beside the
//! body instead of above it.

use aya_obj::generated::{bpf_func_info, bpf_line_info};

use super::asm::{self, Code, R0, R1, R2, SAVED};
use super::epilogue::{self, Epilogue};
use super::{Body, Home, Maps, PlaceError, Placed, Rule, function_at, guard, line_at, scan};

pub(super) fn place(body: &Body<'_>, rule: &Rule, maps: &Maps) -> Result<Placed, PlaceError> {
    let [context, verdict, ..] = SAVED;
    let home = Home::Register(context.0);
    let spare = Some(verdict);
    let next = maps.next;
    let epilogue = Epilogue {
        home,
        spare,
        rule,
        next,
        counters: None,
    }
    .write();
    let counting = maps
        .counters
        .map(|counters| epilogue::counting_function(rule, counters));

    let body_len = body.instructions.len();
    let mut front = Code::default();
    front.push(asm::mov(context, R1));
    if let Some(guard) = &maps.guard {
        guard::write(&mut front, guard, next, guard::restore(home));
    }
    let mut instructions = front.finish();
    let counting_len = if counting.is_some() { 5 } else { 0 };
    // The verifier does not know what a body answers that a tail call has replaced: as its author
    // wrote it, it looked at that program alone.
    let bits = rule.bits.filter(|_| scan::tail_calls(body.instructions));
    let bits_len = usize::from(bits.is_some());
    let between = bits_len + counting_len + epilogue.len();
    instructions.push(asm::call_subprogram(between as i32));
    instructions.extend(bits.map(|bits| asm::and_imm(R0, bits)));
    if counting.is_some() {
        instructions.push(asm::mov(verdict, R0));
        instructions.push(asm::mov(R1, context));
        instructions.push(asm::mov(R2, R0));
        // What remains between this call and the counting: one move, the epilogue, the body.
        instructions.push(asm::call_subprogram((1 + epilogue.len() + body_len) as i32));
        instructions.push(asm::mov(R0, verdict));
    }
    instructions.extend(epilogue);
    let stub_len = instructions.len();
    // Calls within the body are distances, and the body moves as one.
    instructions.extend_from_slice(body.instructions);
    let count_at = counting.is_some().then_some(instructions.len() as u32);
    instructions.extend(counting.into_iter().flatten());

    Ok(Placed {
        instructions,
        func_info: func_info(body, stub_len as u32, count_at)?,
        line_info: line_info(body, stub_len as u32, count_at),
    })
}

/// Main's own type goes to the stub; the body and the counting, which only the stub calls, are
/// static functions.
fn func_info(
    body: &Body<'_>,
    stub_len: u32,
    count_at: Option<u32>,
) -> Result<Vec<bpf_func_info>, PlaceError> {
    let Some(type_id) = body.static_main else {
        let empty = body.func_info.is_empty();
        return if empty {
            Ok(Vec::new())
        } else {
            Err(PlaceError::NoStaticType)
        };
    };
    let function = |insn_off| bpf_func_info { insn_off, type_id };
    let mut infos = Vec::new();
    let moved = |at| at + stub_len;
    if let [main, subprograms @ ..] = body.func_info {
        infos.extend([*main, function(stub_len)]);
        infos.extend(subprograms.iter().map(|info| function_at(info, moved)));
    } else {
        infos.push(function(0));
        let starts = scan::function_starts(body.instructions).into_iter();
        infos.extend(starts.map(|start| function(moved(start))));
    }
    infos.extend(count_at.map(function));
    Ok(infos)
}

/// The stub and the counting are said to come from where the body begins.
fn line_info(body: &Body<'_>, stub_len: u32, count_at: Option<u32>) -> Vec<bpf_line_info> {
    let Some(first) = body.line_info.first() else {
        return Vec::new();
    };
    let mut lines = vec![line_at(first, |_| 0)];
    lines.extend(
        body.line_info
            .iter()
            .map(|line| line_at(line, |at| at + stub_len)),
    );
    lines.extend(count_at.map(|count_at| line_at(first, |_| count_at)));
    lines
}

/// BTF with a single function type, static and without parameters, and that type's id: a
/// [`Body::static_main`] for a body that has no BTF.
///
/// The kernel lets a subprogram tail-call, or load packet bytes in the old way of classic BPF, only
/// if BTF says that it returns a number (`check_abnormal_return`, kernel/bpf/verifier.c).
pub fn plain_btf() -> (Vec<u8>, u32) {
    const HEADER: u32 = 24;
    const STRINGS: &[u8] = b"\0int\0body\0";
    const NAME_INT: u32 = 1;
    const NAME_BODY: u32 = 5;
    let kind = |kind: u32| kind << 24;
    #[rustfmt::skip]
    let types = [
        // 1: INT, 4 bytes, signed, 32 bits.
        NAME_INT, kind(1), 4, 1 << 24 | 32,
        // 2: FUNC_PROTO without parameters, which returns 1.
        0, kind(13), 1,
        // 3: FUNC, static, of 2.
        NAME_BODY, kind(12), 2,
    ];
    let types_len = 4 * types.len() as u32;
    // Magic with version 1; the header's length; the types' offset and length; the strings'.
    let header = [
        0x0001_eb9f,
        HEADER,
        0,
        types_len,
        types_len,
        STRINGS.len() as u32,
    ];
    let words = header.into_iter().chain(types).flat_map(u32::to_ne_bytes);
    (words.chain(STRINGS.iter().copied()).collect(), 3)
}
