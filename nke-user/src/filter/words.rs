//! A line of the language, cut into words that know where they stood.

/// A word, a brace or a comma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<'a> {
    /// What it says.
    pub text: &'a str,
    /// Its first character, counted from 1.
    pub column: usize,
}

impl Word<'_> {
    /// How many characters it has.
    pub(super) fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// The words of a line, up to a comment.
pub(super) fn words(line: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut start = None;
    // The quote that a word began with, until it comes again.
    let mut quote = None;
    // One character more than there is, to end the last word.
    let ends = line.char_indices().chain([(line.len(), ' ')]);
    for (column, (index, character)) in (1..).zip(ends) {
        if let Some(closing) = quote
            && index < line.len()
        {
            if character == closing {
                quote = None;
            }
            continue;
        }
        if start.is_none() && matches!(character, '\'' | '"') {
            quote = Some(character);
        }
        let alone = matches!(character, '{' | '}' | ',');
        let ended = alone || character == '#' || character.is_whitespace();
        if !ended {
            start.get_or_insert((index, column));
            continue;
        }
        if let Some((from, column)) = start.take() {
            words.push(Word {
                text: &line[from..index],
                column,
            });
        }
        if alone {
            words.push(Word {
                text: &line[index..=index],
                column,
            });
        }
        if character == '#' {
            break;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    fn check(line: &str, expected: &[(usize, &str)]) {
        let found: Vec<_> = words(line)
            .iter()
            .map(|word| (word.column, word.text))
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
        check("pass#all", &[(1, "pass")]);
    }
}
