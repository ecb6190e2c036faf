//! What the kernel and the plain reading have once differed about, a file each:
//!
//! ```text
//! # why it was so
//! hook interface/xdp
//! packet 020000000002020000000001…
//! set few addresses { 10.0.0.0/8 }
//! default drop
//! pass proto 6 from @few flags S/SA
//! ```

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use nke::filter::{Dialect, RuleSet, StatedSet};

/// A packet, and the rules by which it was judged wrongly.
pub(super) struct Found<H> {
    /// Where it was found.
    pub(super) hook: H,
    pub(super) packet: Vec<u8>,
    pub(super) rules: RuleSet,
    /// What is in the sets that they ask for.
    pub(super) sets: Vec<StatedSet>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packet_filter/fuzz/found")
}

/// All there are, in the order of their names.
pub(super) fn all() -> Vec<(PathBuf, Found<String>)> {
    let files = fs::read_dir(directory()).expect("the directory is there");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "txt"));
    paths.sort();
    let read = |path: PathBuf| {
        let found = Found::read(&fs::read_to_string(&path).expect("text"));
        (path, found)
    };
    paths.into_iter().map(read).collect()
}

impl Found<String> {
    fn read(text: &str) -> Self {
        let mut found = Self {
            hook: String::new(),
            packet: Vec::new(),
            rules: RuleSet::default(),
            sets: Vec::new(),
        };
        let mut rules = String::new();
        for line in text.lines() {
            if let Some(hook) = line.strip_prefix("hook ") {
                hook.clone_into(&mut found.hook);
            } else if let Some(packet) = line.strip_prefix("packet ") {
                found.packet = bytes(packet);
            } else {
                rules += line;
                rules.push('\n');
            }
        }
        let source = Dialect::Packets.source(&rules);
        let source = source.expect("the rules are right");
        (found.rules, found.sets) = (source.rules, source.sets);
        found
    }
}

impl Found<&str> {
    /// Writes it where the tests will find it, and says where.
    pub(super) fn write(&self) -> PathBuf {
        let Self {
            hook,
            packet,
            rules,
            sets,
        } = self;
        let sets: String = sets.iter().map(ToString::to_string).collect();
        let digits: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("hook {hook}\npacket {digits}\n{sets}{rules}");
        let mut hash = DefaultHasher::new();
        text.hash(&mut hash);
        let path = directory().join(format!("{:016x}.txt", hash.finish()));
        fs::write(&path, text).expect("the directory can be written to");
        path
    }
}

/// Bytes from their digits.
pub(super) fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(|pair| byte(pair).expect("two digits")).collect()
}

#[test]
fn what_is_written_is_read_again() {
    let text = "# why\nhook ip/in\npacket 0aff00\ndefault drop\npass proto 6\n";
    let found = Found::read(text);
    assert_eq!(
        (found.hook.as_str(), &found.packet[..]),
        ("ip/in", &[10, 255, 0][..])
    );
    assert_eq!(found.rules.to_string(), "default drop\npass proto tcp\n");
}
