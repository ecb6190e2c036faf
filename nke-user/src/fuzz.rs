//! All that reads what others have written: rules, packets and sets in words, declarations, saved
//! rules of other filters, captures.
//!
//! [`read_by_all`] hands an input to every one of them. None may panic, or run on; and what is printed
//! of what was read must be read as the same. The fuzz target `nke-user/fuzz` calls it with inputs that
//! libFuzzer makes, and the test below with each file of `tests/corpus`: an input that broke something
//! belongs there.
//!
//! No ordinary build has this module. It must never open a file or ask the kernel.

use std::fmt::{Debug, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::declare::{self, Declaration};
use crate::filter::import::{self, Wanted};
use crate::filter::{
    Capture, Dialect, Direction, InterfaceName, Mac, Member, ParseError, Problem, RuleSet, SetKind,
    SetName, SetText, Source, Sources, StatedSet, Way, dissect, span_word, text_of, time,
};
use crate::hook::Family;
use crate::mode::Mode;
use crate::netfilter::Priority;
use crate::order::Selector;
use crate::so_nke::Descriptor;
use crate::trust::{PublicKey, Signature};
use crate::value::Literal;

/// A list of lists makes more rules than there is time to compare.
const MOST_COMPARED: usize = 100;

/// Hands an input to every parser.
///
/// # Panics
///
/// If one of them does, or reads what it has printed as something else.
pub fn read_by_all(bytes: &[u8]) {
    packets(bytes);
    if let Err(mistake) = text_of(bytes.to_vec()) {
        is_told(&mistake);
    }
    let text = String::from_utf8_lossy(bytes);
    imported(&text);
    members(&text);
    words(&text);
    // Compiling an expression is another program's work, and takes that long.
    let text = text.replace("expr", "exp");
    for dialect in [Dialect::Packets, Dialect::Calls] {
        rules(dialect, &text);
        packet_in_words(dialect, text.lines().next().unwrap_or_default());
    }
    declaration(&text);
    keys(bytes);
}

/// A capture, and the bytes as a packet.
fn packets(bytes: &[u8]) {
    let said = |bytes: &[u8]| {
        for direction in [Direction::In, Direction::Out] {
            if let Ok(packet) = dissect(bytes, direction) {
                let words = packet.to_string();
                let again = Dialect::Packets.packet(&words, Way::In);
                assert_eq!(again.map(|packet| packet.to_string()), Ok(words));
            }
        }
    };
    said(bytes);
    if let Ok(mut capture) = Capture::new(bytes) {
        while let Ok(Some(packet)) = capture.next_packet() {
            said(&packet.bytes);
        }
    }
}

/// What can be said of every mistake.
fn is_told(mistake: &ParseError) {
    assert!(mistake.line >= 1 && mistake.column >= 1 && mistake.width >= 1);
    assert!(!mistake.marked().is_empty() && !mistake.to_string().is_empty());
}

/// A file of rules and sets, on a host that has addresses.
fn rules(dialect: Dialect, text: &str) {
    let own = [
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    let (source, mistakes) = dialect.look_through(text, &own);
    if !mistakes.is_empty() {
        mistakes.iter().for_each(is_told);
        return;
    }
    let Source { rules, lines, sets } = source;
    assert_eq!(lines.len(), rules.rules.len());
    let printed = rules.to_string();
    assert_eq!(dialect.rule_set(&printed).as_ref(), Ok(&rules), "{printed}");
    let printed: String = sets.iter().map(ToString::to_string).collect();
    let sets: Vec<_> = sets.into_iter().map(unplaced).collect();
    let again = dialect.source(&printed).map(|source| source.sets);
    let again = again.map(|sets| sets.into_iter().map(unplaced).collect());
    assert_eq!(again, Ok(sets), "{printed}");
    if rules.rules.len() < MOST_COMPARED {
        let _: Vec<_> = rules.findings();
    }
}

/// A set wherever it stands.
fn unplaced(set: StatedSet) -> StatedSet {
    StatedSet { line: 0, ..set }
}

fn packet_in_words(dialect: Dialect, line: &str) {
    // What words do not say is as a command has it.
    let way = match dialect {
        Dialect::Packets => Way::In,
        Dialect::Calls => Way::Connect,
    };
    if let Ok(packet) = dialect.packet(line, way) {
        assert_eq!(dialect.packet(&packet.to_string(), Way::Bind), Ok(packet));
    }
}

/// What another filter prints.
fn imported(text: &str) {
    let Ok(imported) = import::from_text(text, &Wanted::default()) else {
        return;
    };
    let printed = imported.text();
    // More than fits into a filter may come of it, and nothing else that is wrong.
    if let Err(error) = printed.parse::<RuleSet>() {
        let many = matches!(error.problem, Problem::TooMany { .. });
        assert!(many, "{error}\n{printed}");
    }
}

/// A file of a set's members.
fn members(text: &str) {
    for kind in [SetKind::Addresses, SetKind::Ports, SetKind::Pairs] {
        let set = SetText {
            kind,
            timeout: None,
            now: 0,
        };
        match set.read(text) {
            Ok(members) => {
                for member in members {
                    let printed = member.member.to_string();
                    assert_eq!(Member::read(kind, &printed), Some(member.member));
                }
            }
            Err(mistake) => {
                assert!(mistake.line >= 1 && mistake.column >= 1);
                assert!(!mistake.marked().is_empty() && !mistake.to_string().is_empty());
            }
        }
    }
}

/// A file of `nke apply`.
fn declaration(text: &str) {
    match Declaration::parse("fuzz.toml", text) {
        Ok(read) => {
            let printed = declare::text(&read);
            let again = Declaration::parse("fuzz.toml", &printed);
            let again = again.map(|again| declare::text(&again));
            assert_eq!(again.ok().as_ref(), Some(&printed));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A file of a public key, or of a signature.
fn keys(bytes: &[u8]) {
    if let Ok(key) = PublicKey::parse(bytes) {
        assert_eq!(PublicKey::parse(key.text().as_bytes()), Ok(key));
    }
    if let Ok(signature) = Signature::parse(bytes) {
        assert_eq!(Signature::parse(signature.text().as_bytes()), Ok(signature));
    }
}

/// The first word, as each of those that stand for themselves.
fn words(text: &str) {
    let word = text.split_whitespace().next().unwrap_or_default();
    printed_alike::<Descriptor>(word);
    printed_alike::<Family>(word);
    printed_alike::<InterfaceName>(word);
    printed_alike::<Literal>(text);
    printed_alike::<Mode>(word);
    printed_alike::<Priority>(word);
    printed_alike::<Selector>(word);
    printed_alike::<SetName>(word);
    let _: (Option<Mac>, Option<Sources>) = (Mac::parse(word), Sources::parse(word));
    if let Some(span) = time(word) {
        assert_eq!(time(&span_word(span)), Some(span));
    }
}

/// Whether what is printed of it is read as the same.
fn printed_alike<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(read) = text.parse::<T>() {
        assert_eq!(read.to_string().parse().ok(), Some(read));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};
    use std::{env, fs};

    use super::*;

    /// No input may take longer: the slowest are a few milliseconds.
    const LONGEST: Duration = Duration::from_secs(5);

    #[test]
    fn what_once_broke_a_parser_does_not() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
        let files: Vec<_> = fs::read_dir(directory).unwrap().collect();
        assert!(!files.is_empty());
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            let started = Instant::now();
            read_by_all(&fs::read(&path).unwrap());
            let took = started.elapsed();
            assert!(took <= LONGEST, "{}: {took:?}", path.display());
        }
    }
}
