//! The little of BTF (Documentation/bpf/btf.rst) that nke edits itself, because aya-obj keeps
//! its types private: one more FUNC, of static linkage, for a body that becomes a subprogram.
//!
//! The verifier checks a *global* function on its own, by its BTF argument types, which for a
//! main function need not make sense; a *static* one is checked as part of its caller.

use std::ops::Range;

const KIND_FUNC: u32 = 12;

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Where a type's record ends, by its kind.
fn end_of(bytes: &[u8], at: usize) -> Option<usize> {
    let info = u32_at(bytes, at + 4)?;
    let (kind, members) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
    let extra = match kind {
        1 | 14 | 17 => 4,                // INT, VAR, DECL_TAG
        3 => 12,                         // ARRAY
        4 | 5 | 15 | 19 => 12 * members, // STRUCT, UNION, DATASEC, ENUM64
        6 | 13 => 8 * members,           // ENUM, FUNC_PROTO
        _ => 0,
    };
    Some(at + 12 + extra)
}

fn types(bytes: &[u8]) -> Option<Range<usize>> {
    let header = u32_at(bytes, 4)? as usize;
    let start = header + u32_at(bytes, 8)? as usize;
    Some(start..start + u32_at(bytes, 12)? as usize)
}

/// Appends a copy of FUNC `id` with static linkage; its id is the result. `None` if there is no
/// such FUNC, or the BTF is malformed.
pub(super) fn add_static_copy(btf: &mut Vec<u8>, id: u32) -> Option<u32> {
    let range = types(btf)?;
    let mut at = range.start;
    let mut next = 1;
    let mut copy = None;
    while at < range.end {
        if next == id && (u32_at(btf, at + 4)? >> 24) & 0x1f == KIND_FUNC {
            copy = Some([u32_at(btf, at)?, KIND_FUNC << 24, u32_at(btf, at + 8)?]);
        }
        at = end_of(btf, at)?;
        next += 1;
    }
    let record: Vec<u8> = copy?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let grow = u32::try_from(record.len()).ok()?;
    btf.splice(range.end..range.end, record);
    // The strings follow the types (that is how aya-obj writes them): they move.
    for field in [12, 16] {
        let value = u32_at(btf, field)? + grow;
        btf.get_mut(field..field + 4)?
            .copy_from_slice(&value.to_ne_bytes());
    }
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_copy_goes_behind_the_types() {
        let words = |words: &[u32]| {
            words
                .iter()
                .flat_map(|w| w.to_ne_bytes())
                .collect::<Vec<_>>()
        };
        let header = [0x0001_eb9f, 24, 0, 24, 24, 4];
        // 1: FUNC_PROTO without parameters; 2: FUNC of global linkage; then the strings.
        let types = [0, 13 << 24, 0, 1, 12 << 24 | 1, 1];
        let mut btf = words(&[&header[..], &types, &[0]].concat());
        assert_eq!(add_static_copy(&mut btf, 2), Some(3));
        let grown = [0x0001_eb9f, 24, 0, 36, 36, 4];
        assert_eq!(
            btf,
            words(&[&grown[..], &types, &[1, 12 << 24, 1], &[0]].concat())
        );
        assert_eq!(add_static_copy(&mut btf, 1), None);
    }
}
