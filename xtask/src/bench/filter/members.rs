//! Members of large sets, drawn from a seed: IPv4 addresses, or prefixes none of which lies in another.

use std::collections::HashSet;
use std::fmt;
use std::net::Ipv4Addr;

use nke::filter::shapes::Dice;

/// What a set is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Addresses,
    /// Most are /24, as with routes on the Internet; others are /20 to /32.
    Prefixes,
}

/// A member: the first address, and how many bits are fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Member {
    first: u32,
    length: u32,
}

/// Prefixes have a network of this length each to themselves.
const APART: u32 = 20;

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Addresses, Self::Prefixes];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Prefixes => "prefixes",
        }
    }

    /// So many members, no two alike.
    pub(super) fn draw(self, dice: &mut Dice, count: usize) -> Vec<Member> {
        let mut seen = HashSet::with_capacity(count);
        let mut members = Vec::with_capacity(count);
        while members.len() < count {
            let bits = dice.roll() as u32;
            let length = match self {
                Self::Addresses => 32,
                Self::Prefixes if dice.percent(60) => 24,
                Self::Prefixes => APART + dice.below(13) as u32,
            };
            let first = bits & (!0 << (32 - length));
            let own = match self {
                Self::Addresses => first,
                Self::Prefixes => first >> (32 - APART),
            };
            if seen.insert(own) {
                members.push(Member { first, length });
            }
        }
        members
    }
}

impl Member {
    /// An address of it.
    pub(super) const fn address(self, dice: &mut Dice) -> u32 {
        let rest = (1u64 << (32 - self.length)) - 1;
        self.first | (dice.roll() & rest) as u32
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv4Addr::from_bits(self.first);
        match self.length {
            32 => write!(f, "{address}"),
            length => write!(f, "{address}/{length}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_member_lies_in_another() {
        let mut dice = Dice::new(1);
        let mut members = Kind::Prefixes.draw(&mut dice, 10_000);
        members.sort_by_key(|member| member.first);
        for pair in members.windows(2) {
            let end = u64::from(pair[0].first) + (1 << (32 - pair[0].length));
            assert!(end <= u64::from(pair[1].first), "{} {}", pair[0], pair[1]);
        }
        let address = members[7].address(&mut dice);
        assert_eq!(address & (!0 << (32 - members[7].length)), members[7].first);
    }
}
