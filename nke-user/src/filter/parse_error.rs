//! What is wrong with a line of rules, where, and what to do.
//!
//! ```
//! use nke::filter::{ParseError, Rule};
//!
//! let error: ParseError = "drop in proto tpc".parse::<Rule>().unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "line 1, column 15: expected `not`, `{` or a protocol, by name or number, found `tpc`; \
//!      did you mean `tcp`?"
//! );
//! assert_eq!(error.marked(), "drop in proto tpc\n              ^^^");
//! ```

use std::fmt;

use super::excerpt;
use super::expression::Refused;
use super::hint::Hint;
use super::interface_name::NoInterfaceName;
use super::rule::Protocol;
use super::set::MemberProblem;

/// A line that is no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line, counted from 1.
    pub line: usize,
    /// The first character that is wrong, counted from 1.
    pub column: usize,
    /// How many characters are wrong.
    pub width: usize,
    /// The line itself.
    pub text: String,
    /// What is wrong.
    pub problem: Problem,
    /// What to do instead, where that can be guessed.
    pub hint: Option<Hint>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Something else had to stand here.
    #[error("expected {}, found {found}", Alternatives(expected))]
    Unexpected {
        /// What could have stood here.
        expected: Vec<Expected>,
        /// What stands here.
        found: Found,
    },
    /// The number behind the slash.
    #[error("the length of this prefix must be a number from 0 to {longest}")]
    PrefixLength {
        /// The highest that it may be.
        longest: u8,
    },
    /// A port beyond 65535.
    #[error("a port is a number from 0 to 65535")]
    PortTooHigh,
    /// A range that ends before it begins.
    #[error("the range ends before it begins: {last} is lower than {first}")]
    PortsReversed {
        /// Where it begins.
        first: u16,
        /// Where it ends.
        last: u16,
    },
    /// A protocol beyond 255.
    #[error("a protocol is a number from 0 to 255")]
    ProtocolTooHigh,
    /// IPv4 and IPv6 in one rule.
    #[error("no packet is both IPv4 and IPv6: this address is not of the family given before it")]
    MixedFamilies,
    /// Ports of a protocol that has none.
    #[error("{protocol} has no ports: they need proto tcp, udp, sctp, dccp or udplite, or none")]
    NoPorts {
        /// The protocol.
        protocol: Protocol,
    },
    /// A field of another protocol.
    #[error("{field}: only {protocol} has that: write `proto {protocol}`, or leave `proto` out")]
    OnlyOf {
        /// What was asked for.
        field: &'static str,
        /// The protocol that has it.
        protocol: Protocol,
    },
    /// What only the first fragment of a datagram has, of another.
    #[error("a later fragment has no ports, no flags and no type: they went with the first one")]
    LaterFragment,
    /// A rule keeps state that passes nothing.
    #[error("what is not passed has no answers to let in: only `pass` keeps state")]
    OnlyPassKeepsState,
    /// Flags that no segment has.
    #[error("no segment is so: a flag that must be set has to be looked at, and one must be")]
    FlagsNever,
    /// A type or a code of ICMP beyond 255.
    #[error("types and codes of ICMP are numbers from 0 to 255")]
    IcmpTooHigh,
    /// A code point beyond 63.
    #[error("a DSCP is a number from 0 to 63")]
    DscpTooHigh,
    /// What is no name of a set.
    #[error("{}", super::set::NoSetName)]
    SetName,
    /// A VLAN beyond 4095.
    #[error("a VLAN's number is from 0 to 4095")]
    VlanTooHigh,
    /// A length that no packet has.
    #[error("a length is a number of bytes from 0 to 4294967295")]
    LengthTooHigh,
    /// A range of lengths that ends before it begins.
    #[error("the range ends before it begins: {last} is lower than {first}")]
    LengthsReversed {
        /// Where it begins.
        first: u32,
        /// Where it ends.
        last: u32,
    },
    /// A mark that no packet has.
    #[error("a mark is a number of 32 bits: 0 to 4294967295, or 0x0 to 0xffffffff")]
    MarkTooHigh,
    /// A mask without ones.
    #[error("no bit of the mark is looked at: leave `mark` out")]
    MarkOfNothing,
    /// No name of an interface.
    #[error(transparent)]
    Interface(NoInterfaceName),
    /// A rate that cannot be counted.
    #[error(
        "a rate, and what it takes at once, must be at least one, and not more than is counted; bytes at least 4/s or 240/m"
    )]
    NoLimit,
    /// None of how many packets are logged.
    #[error("a sample is one of so many, from 1 to 4294967295")]
    NoSample,
    /// A rule that decides nothing, and would log.
    #[error("`count` and `mark` go on to the rules behind: give `log` to one that decides")]
    LogGoesOn,
    /// Every tag and none, and not any of them.
    #[error("no packet is left: it has a tag or none")]
    NoVlanLeft,
    /// All addresses, and not any of them.
    #[error("no address is left: every one is named here")]
    NoAddressLeft,
    /// More is asked than a rule has room for.
    #[error("this rule asks {tests} further things, and can ask {most} at most: use a named set, or rules with the other action in front", most = nke_ebpf::abi::TESTS)]
    TooManyTests {
        /// How many they are.
        tests: usize,
    },
    /// All ports, and not any of them.
    #[error("no port is left: every one is named here")]
    NoPortLeft,
    /// `self`, where there is no host to ask, or none of its addresses will do.
    #[error("`self`: no address of this host is known that could be meant: write the address")]
    NoSelf,
    /// Lists in braces where one rule was wanted.
    #[error("this is {rules} rules, and one is wanted")]
    Several {
        /// How many they stand for.
        rules: usize,
    },
    /// Lists in braces that stand for more rules than a line can.
    #[error("this line stands for {rules} rules, and can for {most} at most: use a named set, or several lines", most = super::parse::MOST)]
    TooMany {
        /// How many they stand for.
        rules: usize,
    },
    /// An expression that has no program.
    #[error(transparent)]
    Expression(Refused),
    /// What is no member of a set.
    #[error("{0}")]
    Member(MemberProblem),
    /// A set that the file states, as what it is not.
    #[error("the members of this set are {is}, and here it is asked for {wanted}")]
    SetTaken {
        /// What its members are.
        is: &'static str,
        /// What the rule takes them for.
        wanted: &'static str,
    },
    /// Bytes that are no text.
    #[error("the byte 0x{byte:02x} is none of a text in UTF-8: save the file as UTF-8")]
    NotText {
        /// The first of them.
        byte: u8,
    },
    /// Text in another form.
    #[error("this is text in UTF-16: save the file as UTF-8")]
    Utf16,
    /// Two sets of one name.
    #[error("there is a set of this name already, on line {earlier}")]
    SecondSet {
        /// The line where the first one begins.
        earlier: usize,
    },
    /// A set without an end.
    #[error("the set never ends: a `}}` is missing")]
    SetOpen,
    /// A set where only rules can stand.
    #[error(
        "a set cannot be stated here: `nke filter load` takes them, `nke filter set create` makes one"
    )]
    NoSetHere,
    /// Two defaults.
    #[error("there is a default already, on line {earlier}")]
    SecondDefault {
        /// The line of the first one.
        earlier: usize,
    },
}

/// Something that could have stood in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This word.
    Keyword(&'static str),
    /// Something of this kind.
    Thing(&'static str),
}

impl Expected {
    /// The word, if it is one.
    pub(super) const fn keyword(&self) -> Option<&'static str> {
        match self {
            Self::Keyword(word) => Some(word),
            Self::Thing(_) => None,
        }
    }
}

/// What stands in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A word.
    Word(String),
    /// Nothing more.
    End,
}

impl ParseError {
    /// The line with a mark below what is wrong. Of a long line, what is around that.
    #[must_use]
    pub fn marked(&self) -> String {
        let Self {
            column,
            width,
            text,
            line: _,
            problem: _,
            hint: _,
        } = self;
        excerpt::marked(text, *column, *width)
    }
}

impl std::error::Error for ParseError {}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            problem,
            hint,
            width: _,
            text: _,
        } = self;
        write!(f, "line {line}, column {column}: {problem}")?;
        match hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyword(word) => write!(f, "`{word}`"),
            Self::Thing(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(&excerpt::named(word)),
            Self::End => f.write_str("the end of the line"),
        }
    }
}

/// "a, b or c"
struct Alternatives<'a>(&'a [Expected]);

impl fmt::Display for Alternatives<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(all) = self;
        for (index, one) in all.iter().enumerate() {
            let between = match index {
                0 => "",
                index if index + 1 == all.len() => " or ",
                _ => ", ",
            };
            write!(f, "{between}{one}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::parse_rules;

    /// What is above the mark, in a line of which only a part is shown.
    #[track_caller]
    fn marked(line: &str) -> (String, String) {
        let marked = parse_rules(line).unwrap_err().marked();
        let (shown, mark) = marked.split_once('\n').unwrap();
        let above = shown
            .chars()
            .zip(mark.chars().chain(std::iter::repeat(' ')));
        let above = above
            .filter(|(_, mark)| *mark == '^')
            .map(|(shown, _)| shown);
        (shown.to_owned(), above.collect())
    }

    #[test]
    fn of_a_long_line_the_spot_is_shown() {
        let ports: Vec<_> = (1..400).map(|port| port.to_string()).collect();
        let list = |end: &str| format!("drop to any port {{ {} }}{end}", ports.join(", "));
        let (shown, above) = marked(&list(" frm any"));
        assert!(
            shown.starts_with('…') && shown.ends_with("399 } frm any"),
            "{shown}"
        );
        assert!(shown.chars().count() < 165, "{shown}");
        assert_eq!(above, "frm");
        let (shown, above) = marked(&list("").replacen("drop", "drp", 1));
        assert!(
            shown.starts_with("drp to any port") && shown.ends_with('…'),
            "{shown}"
        );
        assert_eq!(above, "drp");
        let (shown, above) = marked(&list("").replacen(" 200,", " 2oo,", 1));
        assert!(shown.starts_with('…') && shown.ends_with('…'), "{shown}");
        assert_eq!(above, "2oo");
        let (shown, above) = marked(&format!("drop {}", "é".repeat(1000)));
        assert!(shown.chars().count() < 165, "{shown}");
        assert!(
            above.chars().count() < 165 && above.starts_with('é'),
            "{above}"
        );
        let error = parse_rules(&"x".repeat(9999)).unwrap_err().to_string();
        assert!(error.contains("xxx…`") && error.len() < 300, "{error}");
        // What is missing at its end.
        let (shown, above) = marked(&format!("{} port", list("")));
        assert!(shown.ends_with("port"), "{shown}");
        assert_eq!(above, "port");
        let error = parse_rules(&list("").replace(" }", "")).unwrap_err();
        assert!(error.marked().ends_with(" ^"), "{}", error.marked());
        assert_eq!(marked("dr\u{1b}p\tin").0, "dr\u{fffd}p\tin");
    }
}
