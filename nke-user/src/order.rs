//! Where in a chain a node goes: a pure decision over priorities.
//!
//! Ascending priority, in both directions of the packet path; of equal priorities, the one that
//! was attached first.

use std::{convert::Infallible, fmt, str::FromStr};

/// The priority of an attachment that says nothing else.
pub const DEFAULT_PRIORITY: i32 = 50;

/// Where an attachment is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// Behind all of this or a lower priority.
    Priority(i32),
    /// Just before another, with its priority.
    Before(Selector),
    /// Just behind another, with its priority.
    After(Selector),
}

impl Default for Position {
    fn default() -> Self {
        Self::Priority(DEFAULT_PRIORITY)
    }
}

/// How an attachment is named: by its id, or by its extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The attachment's id.
    Id(u32),
    /// The extension's name.
    Name(String),
}

impl Selector {
    /// Whether it means the attachment of this id and extension.
    pub fn is(&self, id: u32, extension: &str) -> bool {
        match self {
            Self::Id(wanted) => *wanted == id,
            Self::Name(wanted) => wanted == extension,
        }
    }
}

impl FromStr for Selector {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text
            .parse()
            .map_or_else(|_| Self::Name(text.to_owned()), Self::Id))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// One attachment of a chain, as far as order goes.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    /// The attachment's id.
    pub id: u32,
    /// The extension's name.
    pub extension: &'a str,
    /// Its priority.
    pub priority: i32,
}

/// The index at which to insert into `slots`, and the priority to have there. `None` if the
/// position speaks of an attachment that is not in this chain. Of several attachments of one
/// extension, "before" means the first and "after" the last.
///
/// ```
/// use nke::order::{Position, Slot, insert};
///
/// let chain = [Slot { id: 7, extension: "counter", priority: 50 }];
/// assert_eq!(insert(&chain, &Position::Priority(50)), Some((1, 50)));
/// assert_eq!(insert(&chain, &Position::Before("counter".parse().unwrap())), Some((0, 50)));
/// ```
pub fn insert(slots: &[Slot<'_>], position: &Position) -> Option<(usize, i32)> {
    let is = |selector: &Selector, slot: &Slot<'_>| selector.is(slot.id, slot.extension);
    match position {
        Position::Priority(priority) => Some((
            slots.partition_point(|slot| slot.priority <= *priority),
            *priority,
        )),
        Position::Before(other) => {
            let index = slots.iter().position(|slot| is(other, slot))?;
            Some((index, slots[index].priority))
        }
        Position::After(other) => {
            let index = slots.iter().rposition(|slot| is(other, slot))?;
            Some((index + 1, slots[index].priority))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserts_keep_the_order() {
        let slot = |id, extension, priority| Slot {
            id,
            extension,
            priority,
        };
        let chain = [
            slot(1, "a", 10),
            slot(2, "b", 50),
            slot(3, "a", 50),
            slot(4, "c", 90),
        ];
        let check = |position, expected| assert_eq!(insert(&chain, &position), expected);
        check(Position::Priority(50), Some((3, 50)));
        check(Position::Priority(5), Some((0, 5)));
        check(Position::Priority(100), Some((4, 100)));
        check(Position::Before(Selector::Name("a".into())), Some((0, 10)));
        check(Position::After(Selector::Name("a".into())), Some((3, 50)));
        check(Position::After(Selector::Id(4)), Some((4, 90)));
        check(Position::Before(Selector::Id(9)), None);
    }
}
