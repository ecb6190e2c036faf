//! Why a text is no value of a type.

use std::fmt;

/// Why a text is no value of a type, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ValueError {
    /// The members and elements that lead there, the innermost first; empty for the whole value.
    pub(super) path: Vec<String>,
    /// Why.
    pub cause: Cause,
}

/// Why a text is no value of a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// It is no text of a value at all.
    #[error("at character {at} there is no {wanted}")]
    Syntax {
        /// Counted from 1.
        at: usize,
        /// What is missing.
        wanted: &'static str,
    },
    /// It is of another form.
    #[error("{found} is no {wanted}")]
    NotA {
        /// As given.
        found: String,
        /// The type.
        wanted: String,
    },
    /// The number is too large, or too small.
    #[error("{number} does not fit {wanted}")]
    Range {
        /// As given.
        number: String,
        /// The type.
        wanted: String,
    },
    /// The type has no such member.
    #[error("{of} has no member {name}; it has {}", .has.join(", "))]
    NoMember {
        /// As given.
        name: String,
        /// The type.
        of: String,
        /// Those that there are.
        has: Vec<String>,
    },
    /// More than there is room for.
    #[error("{found} are more than {of} has room for")]
    TooMany {
        /// How many were given.
        found: usize,
        /// The type.
        of: String,
    },
    /// What a manifest's declaration does not allow.
    #[error("{problem}")]
    Declared {
        /// In words.
        problem: String,
    },
    /// Members that share bytes were given values that differ.
    #[error("it shares bytes with another member, and they differ; give one of them")]
    Disagree,
}

impl ValueError {
    /// One of a whole value.
    pub(crate) const fn of(cause: Cause) -> Self {
        Self::new(cause)
    }

    pub(super) const fn new(cause: Cause) -> Self {
        Self {
            path: Vec::new(),
            cause,
        }
    }

    /// The same, seen from outside of a member or element.
    pub(super) fn within(mut self, step: String) -> Self {
        self.path.push(step);
        self
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, cause } = self;
        for (nth, step) in path.iter().rev().enumerate() {
            let dot = if nth > 0 && !step.starts_with('[') {
                "."
            } else {
                ""
            };
            write!(f, "{dot}{step}")?;
        }
        if !path.is_empty() {
            f.write_str(": ")?;
        }
        cause.fmt(f)
    }
}
