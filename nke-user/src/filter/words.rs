//! A line of the language, cut into words that know where they stood.

/// A word, a brace or a comma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<'a> {
    /// What it says.
    pub text: &'a str,
    /// Where in its line it begins, in bytes.
    pub from: usize,
}

impl Word<'_> {
    /// Its first character in its line, counted from 1.
    pub(super) fn column(&self, line: &str) -> usize {
        let before = line.get(..self.from).unwrap_or_default();
        before.chars().count() + 1
    }

    /// How many characters it has.
    pub(super) fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Most lines have so many words at most.
pub(super) const USUAL: usize = 16;

/// The words of a line, up to a comment.
pub(super) fn words(line: &str) -> Vec<Word<'_>> {
    let mut words = Vec::with_capacity(USUAL);
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next().filter(|first| *first != '#') {
        let length = match first {
            '{' | '}' | ',' => 1,
            '\'' | '"' => {
                // What it encloses is of the word, whatever it is.
                let quoted = rest[1..].find(first).map_or(rest.len(), |end| end + 2);
                quoted + length(&rest[quoted..])
            }
            _ => length(rest),
        };
        let (text, behind) = rest.split_at(length);
        let from = line.len() - rest.len();
        words.push(Word { text, from });
        rest = behind.trim_start();
    }
    words
}

/// How many bytes there are up to what ends a word.
fn length(text: &str) -> usize {
    let ends = |it: char| matches!(it, '{' | '}' | ',' | '#') || it.is_whitespace();
    text.find(ends).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::words;

    fn check(line: &str, expected: &[(usize, &str)]) {
        let found: Vec<_> = words(line)
            .iter()
            .map(|word| (word.column(line), word.text))
            .collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn words_know_their_columns() {
        check("", &[]);
        check("  # nothing", &[]);
        check("drop in", &[(1, "drop"), (6, "in")]);
        check(
            "\tport{22,80}#",
            &[
                (2, "port"),
                (6, "{"),
                (7, "22"),
                (9, ","),
                (10, "80"),
                (12, "}"),
            ],
        );
        check(
            "drop expr 'a # {b}' # c",
            &[(1, "drop"), (6, "expr"), (11, "'a # {b}'")],
        );
        check("a'b c \"d e", &[(1, "a'b"), (5, "c"), (7, "\"d e")]);
        check("é ü", &[(1, "é"), (3, "ü")]);
        check("''a '", &[(1, "''a"), (5, "'")]);
        check("pass#all", &[(1, "pass")]);
    }
}
