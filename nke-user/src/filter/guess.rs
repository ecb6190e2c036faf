//! What a line may have been meant to be: the words of other languages, and usual slips, put right.
//!
//! ```text
//! pass in tcp dport 22           pass in proto tcp to any port 22
//! drop from 10.0.0.1-10.0.0.3    drop from { 10.0.0.1, 10.0.0.2/31 }
//! ```
//!
//! What comes out is only said where it is a rule.

use std::mem;
use std::net::{IpAddr, SocketAddr};

use super::dialect::Dialect;
use super::hint::Meant;
use super::options::letters;
use super::set::SetName;
use super::words::Word;
use super::{import, names};

/// A range of addresses is written out in so many prefixes.
const MOST_PREFIXES: usize = 12;

/// A line is not shown that has more characters.
const LONGEST: usize = 160;

/// The line of these words, put right; with what was wrong with the one that could not stand where it stands.
pub(super) fn guessed(words: &[Word<'_>], wrong: usize, dialect: Dialect) -> Option<Meant> {
    let mut right = Right {
        dialect,
        words: Vec::new(),
        moved: false,
    };
    let (asked, keeps) = without_states(words)?;
    let asked = in_braces(&asked);
    let mut because = match asked.iter().any(|(nth, _)| *nth == wrong) {
        true => "",
        false => "a rule keeps the state of what it passes",
    };
    for (at, (nth, word)) in asked.iter().enumerate() {
        let next = asked.get(at + 1).map_or("", |(_, word)| *word);
        let why = match (*word, words.get(*nth)) {
            // It has been put there.
            ("{" | "}", Some(written)) if written.text != *word => {
                right.add(&[*word]);
                "a list stands in braces"
            }
            _ => right.put(word, next)?,
        };
        if *nth == wrong && because.is_empty() {
            because = why;
        }
    }
    if keeps {
        right.add(&["keep", "state"]);
    }
    let written: Vec<_> = words.iter().map(|word| word.text).collect();
    // What has been written already helps nobody.
    let is_other = right.words != written;
    let line = right.words.join(" ").replace(" ,", ",");
    (is_other && line.chars().count() <= LONGEST).then_some(Meant { because, line })
}

/// The words of a line, each with its place in that, but for those of nft and iptables that ask for the state of a connection; and
/// whether they ask for its beginning, so that the rule is to keep state. Nothing if they ask for what goes on, which no rule does.
fn without_states<'w>(words: &[Word<'w>]) -> Option<(Vec<(usize, &'w str)>, bool)> {
    let text = |at: usize| words.get(at).map_or("", |word| word.text);
    let (mut left, mut keeps) = (Vec::new(), false);
    let mut at = 0;
    while at < words.len() {
        let state = at + usize::from(text(at) == "ct");
        if matches!(text(state), "state" | "--state" | "--ctstate")
            && (at == 0 || text(at - 1) != "keep")
        {
            // A list of states is of what goes on as well.
            if !text(state + 1).eq_ignore_ascii_case("new") || text(state + 2) == "," {
                return None;
            }
            keeps = true;
            at = state + 2;
        } else {
            left.push((at, text(at)));
            at += 1;
        }
    }
    Some((left, keeps))
}

/// The same, with braces around what commas are between: they have the place of the first of these commas.
fn in_braces<'w>(words: &[(usize, &'w str)]) -> Vec<(usize, &'w str)> {
    let is_comma = |at: usize| words.get(at).is_some_and(|(_, word)| *word == ",");
    let (mut braced, mut depth, mut open) = (Vec::new(), 0, None);
    for (at, (nth, word)) in words.iter().enumerate() {
        match *word {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," => {}
            _ if depth > 0 => {}
            _ if open.is_none() && is_comma(at + 1) => {
                open = Some(words[at + 1].0);
                braced.extend(open.map(|nth| (nth, "{")));
            }
            _ => {}
        }
        braced.push((*nth, *word));
        if *word != "," && !is_comma(at + 1) {
            braced.extend(open.take().map(|nth| (nth, "}")));
        }
    }
    braced
}

/// The words that have been put right.
struct Right {
    dialect: Dialect,
    words: Vec<String>,
    /// Whether the next word stands in front of the last one already.
    moved: bool,
}

impl Right {
    /// Adds a word, or what is meant by it; why it is not itself. Nothing if there is no guessing.
    fn put(&mut self, word: &str, next: &str) -> Option<&'static str> {
        if mem::take(&mut self.moved) {
            return Some("");
        }
        let small = word.to_ascii_lowercase();
        let before = self.words.last().cloned().unwrap_or_default();
        let before = before.as_str();
        let calls = self.dialect == Dialect::Calls;
        match small.as_str() {
            // What is in quotation marks is another language.
            _ if word.starts_with(['\'', '"']) => return None,
            "port" if matches!(before, "from" | "to") => {
                self.add(&["any", "port"]);
                return Some("an address stands in front of the port");
            }
            "port" if !calls && !is_host(before) => {
                self.add(&["to", "any", "port"]);
                return Some("a port is that of one end");
            }
            "not" | "!" if matches!(next, "from" | "to" | "proto" | "on" | "flags") => {
                self.add(&[next, "not"]);
                self.moved = true;
            }
            _ if self.words == ["redirect"] && small != "to" => self.add(&["to", word]),
            "dport" if calls => self.add(&["port"]),
            "dport" => self.add(&["to", "any", "port"]),
            "sport" => self.add(&["from", "any", "port"]),
            "saddr" | "src" => self.add(&["from"]),
            "daddr" | "dst" => self.add(&["to"]),
            "ip" | "ip6" if matches!(next, "saddr" | "daddr" | "src" | "dst") => {}
            "=" | "==" | "eq" if before == "port" => {}
            // As nft has it: `limit rate over 10/second burst 5 packets`.
            "rate" if before == "limit" => return Some("a rate stands behind `limit`"),
            "packets" if self.is_at(1, "burst") => {}
            "!=" | "!" => self.add(&["not"]),
            _ if self.dialect.keywords().contains(&small.as_str()) && before != "on" => {
                self.add(&[&small]);
            }
            _ if is_bare_protocol(&small, before) => self.add(&["proto", &small]),
            _ if names::protocol(&small).is_some() => self.add(&[&small]),
            _ => return self.put_other(word, before),
        }
        Some("")
    }

    /// The same of what is no keyword.
    fn put_other(&mut self, word: &str, before: &str) -> Option<&'static str> {
        let of_flags = before == "flags" || before == "not" && self.is_at(1, "flags");
        let big = word.to_ascii_uppercase();
        if of_flags && letters(&big).is_some_and(|flags| flags != 0) {
            // To begin a connection is what is meant most often.
            let among = if big == "S" { "SA" } else { &big };
            self.add(&[&format!("{big}/{among}")]);
            return Some("it must be said which flags are looked at");
        }
        if let Some(rest) = word.strip_prefix('!').filter(|rest| !rest.is_empty()) {
            self.add(&["not", rest]);
            return Some("");
        }
        if let Some(name) = named(word) {
            self.add(&[&format!("@{name}")]);
            return Some("there are named sets, and no variables or tables");
        }
        if let Ok(end) = word.parse::<SocketAddr>() {
            self.add(&[&end.ip().to_string(), "port", &end.port().to_string()]);
            return Some("a port stands behind the word `port`");
        }
        if let Some((first, last)) = range(word) {
            let all = import::prefixes(first, last);
            let all = all.filter(|all| all.len() <= MOST_PREFIXES)?.join(", ");
            let is_alone = !all.contains(',') || matches!(before, "{" | ",");
            self.add(&[&if is_alone {
                all
            } else {
                format!("{{ {all} }}")
            }]);
            return Some("there are no ranges of addresses");
        }
        self.add(&[word]);
        Some("")
    }

    fn add(&mut self, words: &[&str]) {
        self.words
            .extend(words.iter().map(|word| (*word).to_owned()));
    }

    /// Whether this is the word so many in front of the last one.
    fn is_at(&self, back: usize, word: &str) -> bool {
        let mut back = self.words.iter().rev().skip(back);
        back.next().is_some_and(|found| found == word)
    }
}

/// Whether a word can end what is said of one end but its port.
fn is_host(word: &str) -> bool {
    let word = word.rsplit(' ').next().unwrap_or_default();
    let address = word.split('/').next().unwrap_or_default();
    matches!(word, "any" | "self" | "}")
        || word.starts_with('@')
        || address.parse::<IpAddr>().is_ok()
}

/// Whether a word is a protocol's name, where it must be said that it is one.
fn is_bare_protocol(word: &str, before: &str) -> bool {
    let named = matches!(
        before,
        "proto" | "not" | "{" | "," | "port" | "with" | "from" | "to" | "on" | "-"
    );
    names::protocol(word).is_some() && !named
}

/// The name of a variable, or of a table of pf.
fn named(word: &str) -> Option<SetName> {
    let table = word.strip_prefix('<').and_then(|it| it.strip_suffix('>'));
    let name = table.or_else(|| word.strip_prefix('$'))?;
    name.parse().ok()
}

/// As `10.0.0.1-10.0.0.9`.
pub(super) fn range(word: &str) -> Option<(IpAddr, IpAddr)> {
    let (first, last) = word.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}
