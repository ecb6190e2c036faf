//! What a user may have meant: the way out that an error shows.
//!
//! Most who write a rule wrongly write it rightly in another language; so the words of pf, nft and
//! iptables are known here.

use std::fmt;

use super::dialect::Dialect;
use super::{guess, names};

/// A way out of a [`ParseError`](super::ParseError).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// It looks like a misspelling of this word.
    DidYouMean(&'static str),
    /// The same thing has another name here.
    Called(&'static str),
    /// The word adds nothing, because the first match always decides.
    FirstMatchDecides,
    /// The interface is not part of a rule.
    InterfaceIsAnOption,
    /// The cgroup is not part of a rule.
    CgroupIsAnOption,
    /// Calls come from programs of this host.
    NoSender,
    /// Calls are not logged.
    NoLog,
    /// The word is of rules about calls.
    GuardsWord,
    /// The word exists, and stands elsewhere.
    Order(Dialect),
    /// There is no `!`.
    NoNegation,
    /// `not` stands in front of what is not to be, and not of all that is said of it.
    NotBehind,
    /// A default is none of the actions that only rules have.
    NoSuchDefault,
    /// Rules about calls have no `not` but of addresses and ports.
    NoNotOfCalls,
    /// There are no comparisons.
    WriteARange,
    /// Names of hosts are not looked up.
    NoHostNames,
    /// IPv4 addresses have four numbers, whatever the prefix.
    FourNumbers,
    /// Segments of TCP are reset where nothing else is said.
    ResetsTcp,
    /// A default is a line of a file, or a command of its own.
    DefaultIsNoRule,
    /// A port stands behind an address.
    AddressInFront,
    /// There are no variables.
    NoVariables,
    /// There are no ranges of addresses.
    NoAddressRanges,
    /// Flags are those that are set, of those that are looked at.
    FlagsAmong,
    /// No rule asks for the state of a connection.
    KeepState,
    /// The whole line, as it may have been meant.
    Write(Box<Meant>),
}

/// A line as it may have been meant: a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meant {
    /// What was wrong, where that is worth a word; else nothing.
    pub because: &'static str,
    /// The line.
    pub line: String,
}

impl Hint {
    /// Whether a whole line, where one can be guessed, says more.
    pub(super) const fn is_vague(&self) -> bool {
        matches!(
            self,
            Self::Order(_)
                | Self::Called(_)
                | Self::NoHostNames
                | Self::NoNegation
                | Self::NotBehind
                | Self::WriteARange
                | Self::AddressInFront
                | Self::NoVariables
                | Self::NoAddressRanges
                | Self::FlagsAmong
                | Self::KeepState
        )
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DidYouMean(word) => return write!(f, "did you mean `{word}`?"),
            Self::Write(meant) => return meant.fmt(f),
            Self::Called(word) => return write!(f, "it is called `{word}` here"),
            Self::FirstMatchDecides => "leave it out: the first rule that matches always decides",
            Self::InterfaceIsAnOption => {
                "leave it out: a rule belongs to the interface given by -i"
            }
            Self::CgroupIsAnOption => {
                "leave it out: a rule belongs to the cgroup given by --cgroup"
            }
            Self::NoSender => {
                "leave it out: the programs of the cgroup call, and `to` is the address they give"
            }
            Self::NoLog => "leave it out: calls are counted, and not logged",
            Self::GuardsWord => "calls of sockets are the connection guard's: use `nke guard`",
            Self::Order(dialect) => return write!(f, "the order is: {}", dialect.order()),
            Self::NoNegation => "there is no `!`: write `not`, as in `from not 10.0.0.0/8` or `port not 22`",
            Self::NotBehind => "`not` stands behind the word, as in `from not 10.0.0.0/8` or `port not 22`",
            Self::NoSuchDefault => "only a rule does that: add one that matches all, as the last",
            Self::NoNotOfCalls => "rules about calls have `not` of addresses and ports only: put a rule with the other action in front",
            Self::WriteARange => "there are no comparisons: write a range, as in `port 1024-65535`",
            Self::NoHostNames => "names of hosts are not looked up: write the address",
            Self::FourNumbers => "write all four numbers, as in `10.0.0.0/8`",
            Self::ResetsTcp => "`reject` alone answers TCP by a RST, and all else by port-unreachable",
            Self::AddressInFront => "an address stands in front of the port, as in `to any port 22`",
            Self::NoVariables => "there are no variables: write the address, or ask for a named set, as in `from @office`",
            Self::NoAddressRanges => "there are no ranges of addresses: write prefixes, as in `{ 10.0.0.1, 10.0.0.2/31 }`",
            Self::FlagsAmong => "it must be said which flags are looked at, as in `flags S/SA`",
            Self::KeepState => "no rule asks for what goes on: write `keep state` at the end of the rules that pass what begins a connection",
            Self::DefaultIsNoRule => "use `default` in the place of `add`, or a file and `load`",
        })
    }
}

impl fmt::Display for Meant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { because, line } = self;
        match *because {
            "" => write!(f, "did you mean `{line}`?"),
            because => write!(f, "{because}: write `{line}`"),
        }
    }
}

/// What to say of a word that stands where none of these was expected.
pub(super) fn for_word(found: &str, expected: &[&'static str], dialect: Dialect) -> Option<Hint> {
    // Inside of a list there is nothing to guess.
    if expected.contains(&",") {
        return None;
    }
    let word = found;
    let found = found.to_ascii_lowercase();
    // Capitals are all that is wrong with it.
    let same = expected.iter().find(|word| **word == found);
    if let Some(same) = same.filter(|_| word != found) {
        return Some(Hint::DidYouMean(same));
    }
    let called = |word: &'static str| expected.contains(&word).then_some(Hint::Called(word));
    if found.starts_with('!') {
        return Some(Hint::NoNegation);
    }
    if found == "not" {
        return Some(Hint::NotBehind);
    }
    if found.starts_with(['<', '>', '=']) {
        return Some(Hint::WriteARange);
    }
    let of_dialect = of_dialect(&found, expected, dialect);
    if of_dialect.is_some() {
        return of_dialect;
    }
    // Who writes a word of the language means that one, however near others are.
    if is_out_of_place(&found, expected, dialect) {
        return Some(Hint::Order(dialect));
    }
    let foreign = match found.as_str() {
        "accept" | "allow" | "permit" => called("pass"),
        "block" | "deny" | "discard" => called("drop"),
        "fwd" | "route-to" | "mirred" => called("redirect"),
        "reject" | "return" => called("reject").or(called("drop")),
        "tcp" | "tcp-reset" | "reset" if expected.contains(&"no-route") => Some(Hint::ResetsTcp),
        "quick" => Some(Hint::FirstMatchDecides),
        "iif" | "oif" | "iifname" | "oifname" | "-i" | "-o" => {
            called("on").or(Some(Hint::InterfaceIsAnOption))
        }
        "input" | "ingress" | "incoming" => called("in"),
        "output" | "egress" | "outgoing" => called("out"),
        "ip" | "ip4" | "ipv4" => called("inet"),
        "ip6" | "ipv6" => called("inet6"),
        "protocol" | "-p" => called("proto"),
        "src" | "saddr" | "source" | "-s" => called("from"),
        "dst" | "daddr" | "destination" | "-d" => called("to"),
        "sport" | "dport" | "--sport" | "--dport" => Some(Hint::Order(dialect)),
        "modulate" => called("keep"),
        "tos" | "ds" => called("dscp"),
        "syn" | "--syn" | "tcp-flags" | "--tcp-flags" => called("flags"),
        "type" | "icmp" if expected.contains(&"icmp-type") => called("icmp-type"),
        "frag" | "fragments" | "-f" => called("fragment"),
        "len" | "size" => called("length"),
        "meta" | "fwmark" | "--mark" => called("mark"),
        "mac" | "--mac-source" => called("ether"),
        "default" => Some(Hint::DefaultIsNoRule),
        _ => None,
    };
    foreign.or_else(|| nearest(&found, expected.iter().copied()).map(Hint::DidYouMean))
}

/// What to say of a word that is of one of the languages alone.
fn of_dialect(found: &str, expected: &[&'static str], dialect: Dialect) -> Option<Hint> {
    let called = |word: &'static str| expected.contains(&word).then_some(Hint::Called(word));
    match (dialect, found) {
        (Dialect::Packets, "connect" | "bind" | "sendmsg") => Some(Hint::GuardsWord),
        (Dialect::Packets, "reject" | "redirect" | "count" | "mark") if is_default(expected) => {
            Some(Hint::NoSuchDefault)
        }
        (Dialect::Packets, "ct" | "conntrack" | "state" | "established" | "related")
            if expected.contains(&"keep") || expected.contains(&"set") =>
        {
            Some(Hint::KeepState)
        }
        (Dialect::Packets, _) => None,
        (Dialect::Calls, "listen" | "in" | "input" | "incoming") => called("bind"),
        (Dialect::Calls, "sendto" | "send" | "sendmmsg") => called("sendmsg"),
        (Dialect::Calls, "from" | "src" | "saddr" | "source") => Some(Hint::NoSender),
        (Dialect::Calls, "log") => Some(Hint::NoLog),
        (Dialect::Calls, "on" | "cgroup" | "--cgroup") => Some(Hint::CgroupIsAnOption),
        (Dialect::Calls, _) => None,
    }
}

/// What to say of a word that is no flags.
pub(super) fn for_flags(found: &str) -> Option<Hint> {
    let letters = found.bytes().all(|byte| byte.is_ascii_alphabetic());
    letters.then_some(Hint::FlagsAmong)
}

/// What to say of a word that is no protocol.
pub(super) fn for_protocol(found: &str) -> Option<Hint> {
    if found == "not" {
        return Some(Hint::NoNotOfCalls);
    }
    nearest(&found.to_ascii_lowercase(), names::protocols()).map(Hint::DidYouMean)
}

/// What to say of a word that is no port.
pub(super) fn for_port(found: &str) -> Option<Hint> {
    match found.chars().next() {
        Some('<' | '>' | '=') => Some(Hint::WriteARange),
        Some('!') => Some(Hint::Called("not")),
        _ => nearest(&found.to_ascii_lowercase(), names::ports()).map(Hint::DidYouMean),
    }
}

/// What to say of a word that is no address.
pub(super) fn for_address(found: &str) -> Option<Hint> {
    if found.starts_with('!') {
        return Some(Hint::NoNegation);
    }
    if found == "port" {
        return Some(Hint::AddressInFront);
    }
    if found.starts_with(['$', '<']) {
        return Some(Hint::NoVariables);
    }
    if guess::range(found).is_some() {
        return Some(Hint::NoAddressRanges);
    }
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let front = found.split('/').next().unwrap_or(found);
    let numbers = front.trim_end_matches('.').split('.');
    if numbers.clone().all(digits) && numbers.count() < 4 {
        return Some(Hint::FourNumbers);
    }
    if let Some(word) = nearest(found, ["any"]) {
        return Some(Hint::DidYouMean(word));
    }
    let is_name = front.bytes().any(|byte| byte.is_ascii_alphabetic()) && !front.contains(':');
    is_name.then_some(Hint::NoHostNames)
}

/// Whether it is packets' default that could have been said: a rule can do more.
fn is_default(expected: &[&str]) -> bool {
    expected.contains(&"drop") && !expected.contains(&"reject")
}

/// A word or a protocol that the language has, but not here.
fn is_out_of_place(found: &str, expected: &[&str], dialect: Dialect) -> bool {
    (dialect.keywords().contains(&found) && !expected.contains(&found))
        || names::protocol(found).is_some()
}

/// The word that takes the fewest letters to get to, if they are few.
pub(crate) fn nearest(
    found: &str,
    known: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    nearest_of(found, known)
}

/// The same among words that come and go.
pub(super) fn nearest_of<'a>(
    found: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (distance(found, word), word))
        .filter(|&(distance, word)| distance <= 2 && distance * 2 <= word.len())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, word)| word)
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > 2 {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_letters() {
        for (one, other, expected) in [
            ("tcp", "tcp", 0),
            ("tpc", "tcp", 1),
            ("frm", "from", 1),
            ("inett", "inet", 1),
            ("", "in", 2),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
        assert_eq!(distance("a", "abcdef"), usize::MAX);
    }

    #[test]
    fn hints_know_other_languages() {
        let hint = |found, expected: &[_]| for_word(found, expected, Dialect::Packets);
        assert_eq!(
            hint("accept", &["pass", "drop"]),
            Some(Hint::Called("pass"))
        );
        assert_eq!(hint("BLOCK", &["pass", "drop"]), Some(Hint::Called("drop")));
        assert_eq!(hint("quick", &["proto"]), Some(Hint::FirstMatchDecides));
        assert_eq!(
            hint("tcp", &["pass", "drop"]),
            Some(Hint::Order(Dialect::Packets))
        );
        assert_eq!(
            hint("port", &["from", "to"]),
            Some(Hint::Order(Dialect::Packets))
        );
        for behind in ["in", "on"] {
            let hint = hint(behind, &["proto", "keep", "or"]);
            assert_eq!(hint, Some(Hint::Order(Dialect::Packets)), "{behind}");
        }
        assert_eq!(hint("not", &["from", "to"]), Some(Hint::NotBehind));
        assert_eq!(hint("reject", &["pass", "drop"]), Some(Hint::NoSuchDefault));
        assert_eq!(hint("ct", &["keep"]), Some(Hint::KeepState));
        assert_eq!(hint("iif", &["on"]), Some(Hint::Called("on")));
        assert_eq!(
            hint("form", &["from", "to"]),
            Some(Hint::DidYouMean("from"))
        );
        assert_eq!(hint("zzz", &["from", "to"]), None);
        assert_eq!(hint("bind", &["in", "out"]), Some(Hint::GuardsWord));
        let hint = |found, expected: &[_]| for_word(found, expected, Dialect::Calls);
        assert_eq!(hint("listen", &["bind"]), Some(Hint::Called("bind")));
        assert_eq!(hint("from", &["to"]), Some(Hint::NoSender));
        assert_eq!(hint("log", &["to"]), Some(Hint::NoLog));
        assert_eq!(
            hint("conect", &["connect"]),
            Some(Hint::DidYouMean("connect"))
        );
    }

    #[test]
    fn hints_for_addresses_and_ports() {
        assert_eq!(for_address("10/8"), Some(Hint::FourNumbers));
        assert_eq!(for_address("example.org"), Some(Hint::NoHostNames));
        assert_eq!(for_address("!10.0.0.1"), Some(Hint::NoNegation));
        assert_eq!(for_address("ayn"), Some(Hint::DidYouMean("any")));
        assert_eq!(for_address("fe80:::1"), None);
        assert_eq!(for_port("htps"), Some(Hint::DidYouMean("https")));
        assert_eq!(for_port(">1023"), Some(Hint::WriteARange));
        assert_eq!(for_protocol("tpc"), Some(Hint::DidYouMean("tcp")));
    }
}
