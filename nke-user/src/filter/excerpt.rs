//! What is shown of a line that has a mistake: the mark below it, and of what is long the part that tells.
//!
//! ```ignore
//! assert_eq!(excerpt::marked("drop in proto tpc", 15, 3), "drop in proto tpc\n              ^^^");
//! ```
//!
//! Never what a terminal would obey: the line comes from a file.

/// So many characters of a line are shown.
const SHOWN: usize = 160;

/// And of a longer one so many in front of what is wrong.
const IN_FRONT: usize = 60;

/// So many characters of a word are named.
const NAMED: usize = 60;

/// A word as a message has it.
pub(super) fn named(word: &str) -> String {
    match word.char_indices().nth(NAMED) {
        Some((end, _)) => format!("`{}…`", word.get(..end).unwrap_or_default()),
        None => format!("`{word}`"),
    }
}

/// The line with a mark below what is wrong: from this character on, counted from 1, so many. Of a long line, what is around that.
pub(super) fn marked(text: &str, column: usize, width: usize) -> String {
    let length = text.chars().count();
    let wrong = column.saturating_sub(1);
    let first = if length > SHOWN {
        wrong.saturating_sub(IN_FRONT)
    } else {
        0
    };
    let behind = (first + SHOWN).min(length);
    // What the terminal would obey is not shown, and takes one place.
    let plain = |character: char| match character {
        '\t' => '\t',
        other if other.is_control() => '\u{fffd}',
        other => other,
    };
    let shown = text.chars().map(plain).take(behind).skip(first);
    let (before, after) = (first > 0, behind < length);
    let mut line = String::from(if before { "…" } else { "" });
    line.extend(shown.clone());
    line.push_str(if after { "…" } else { "" });
    // A tab stays one, so that the mark stands below its word however wide tabs are.
    let indent = shown.chain(std::iter::repeat(' ')).take(wrong - first);
    let indent = indent.map(|character| if character == '\t' { '\t' } else { ' ' });
    let mut mark = String::from(if before { " " } else { "" });
    mark.extend(indent);
    let room = (behind.max(wrong + 1) - wrong).max(1);
    mark.push_str(&"^".repeat(width.min(room)));
    format!("{line}\n{mark}")
}
