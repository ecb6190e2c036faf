//! The rules of the house that no other tool knows.
//!
//! Each rule is one function from a file to complaints, so a rule is read in one place and
//! tested without a repository.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Where `unsafe` may stand: files, or directories with a slash behind.
const UNSAFE: &[&str] = &[
    "nke-user/src/sys/",
    "nke-ebpf/src/",
    "tests/harness/sys/",
    "xtask/src/demo/ids.rs",
];
/// Modules that only compute: no files, no processes, no system calls.
const PURE: &[&str] = &[
    "nke-user/src/place.rs",
    "nke-user/src/place/",
    "nke-user/src/words/",
];
/// A file that long should have been two.
const LONG: usize = 600;

/// One text file of the repository.
struct Page<'a> {
    path: &'a str,
    text: &'a str,
}

/// Checks every file that git knows, or would.
pub(crate) fn check(root: &Path) -> Result<()> {
    let listing = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    ensure!(listing.status.success(), "git cannot list the files");
    let listing = String::from_utf8(listing.stdout).context("a file name is not UTF-8")?;
    let mut complaints = Vec::new();
    for path in listing.split_terminator('\0') {
        // Neither a deleted file nor a picture has lines to look at.
        let Ok(text) = fs::read_to_string(root.join(path)) else {
            continue;
        };
        let page = Page { path, text: &text };
        complaints.extend(complain(&page));
        if let Some(warning) = long(&page) {
            eprintln!("warning: {warning}");
        }
    }
    ensure!(
        complaints.is_empty(),
        "the rules of the house:\n  {}",
        complaints.join("\n  ")
    );
    Ok(())
}

fn complain(page: &Page<'_>) -> Vec<String> {
    let mut complaints = Vec::new();
    complaints.extend(unsafe_elsewhere(page));
    complaints.extend(impure(page));
    complaints.extend(no_module_doc(page));
    complaints.extend(someones_home(page));
    complaints.extend(untidy_end(page));
    complaints
}

fn is_rust(page: &Page<'_>) -> bool {
    page.path.ends_with(".rs")
}

fn is_below(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| match place.strip_suffix('/') {
        Some(_) => path.starts_with(place),
        None => path == *place,
    })
}

/// Numbered lines without their comments. A `//` in a string cuts it short, which hides
/// nothing that these rules look for.
fn code<'a>(page: &Page<'a>) -> impl Iterator<Item = (usize, &'a str)> {
    let bare = |line: &'a str| line.split("//").next().unwrap_or_default();
    page.text
        .lines()
        .enumerate()
        .map(move |(n, line)| (n + 1, bare(line)))
}

fn unsafe_elsewhere(page: &Page<'_>) -> Option<String> {
    // In two parts, or this file would complain of itself.
    let words = [
        concat!("unsafe", " {"),
        concat!("unsafe", " fn"),
        concat!("unsafe", " impl"),
        concat!("allow(unsafe", "_code"),
        concat!("expect(unsafe", "_code"),
    ];
    if !is_rust(page) || is_below(page.path, UNSAFE) {
        return None;
    }
    let (n, _) = code(page).find(|(_, line)| words.iter().any(|word| line.contains(word)))?;
    Some(format!(
        "{}:{n}: unsafe belongs in {}",
        page.path,
        UNSAFE.join(", ")
    ))
}

fn impure(page: &Page<'_>) -> Option<String> {
    const IMPURE: &[&str] = &[
        "std::fs",
        "std::process",
        "std::net",
        "crate::sys",
        "rustix::",
    ];
    if !is_rust(page) || !is_below(page.path, PURE) || page.path.ends_with("tests.rs") {
        return None;
    }
    // What a test does is its own affair.
    let (n, _) = code(page)
        .take_while(|(_, line)| !line.contains("#[cfg(test)]"))
        .find(|(_, line)| IMPURE.iter().any(|word| line.contains(word)))?;
    Some(format!("{}:{n}: this module only computes", page.path))
}

fn no_module_doc(page: &Page<'_>) -> Option<String> {
    let documented = page.text.starts_with("//!");
    (is_rust(page) && !documented).then(|| {
        format!(
            "{}:1: begin with `//!`: what this is, what it must never do",
            page.path
        )
    })
}

/// A path that exists on one machine only.
fn someones_home(page: &Page<'_>) -> Option<String> {
    let homes = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/tm", "p/w/"),
    ];
    let found = |line: &str| homes.iter().any(|home| line.contains(home));
    let n = page.text.lines().position(found)? + 1;
    Some(format!("{}:{n}: a path of somebody's machine", page.path))
}

fn untidy_end(page: &Page<'_>) -> Option<String> {
    let trailing = page
        .text
        .lines()
        .position(|line| line.ends_with([' ', '\t']));
    match trailing {
        Some(n) => Some(format!(
            "{}:{}: space at the end of a line",
            page.path,
            n + 1
        )),
        None if page.text.is_empty() || page.text.ends_with('\n') => None,
        None => Some(format!("{}: the last line has no end", page.path)),
    }
}

fn long(page: &Page<'_>) -> Option<String> {
    let lines = page.text.lines().count();
    (is_rust(page) && lines > LONG)
        .then(|| format!("{}: {lines} lines; make it two files", page.path))
}

#[cfg(test)]
mod tests {
    use super::{Page, check, complain};
    use std::path::Path;

    fn complaints(path: &str, text: &str) -> usize {
        complain(&Page { path, text }).len()
    }

    #[test]
    fn this_repository_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        check(&root).unwrap();
    }

    #[test]
    fn unsafe_may_stand_in_some_places_only() {
        let text = concat!("//! Doc.\nfn f() { unsa", "fe { g() } }\n");
        assert_eq!(complaints("nke-user/src/sys/call.rs", text), 0);
        assert_eq!(complaints("nke-user/src/chain.rs", text), 1);
        assert_eq!(
            complaints("nke-user/src/chain.rs", "//! unsafe { in words }\n"),
            0
        );
    }

    #[test]
    fn pure_modules_do_no_work() {
        let text = "//! Doc.\nuse std::fs;\n";
        assert_eq!(complaints("nke-user/src/place/mod.rs", text), 1);
        assert_eq!(complaints("nke-user/src/chain/mod.rs", text), 0);
        let tested = "//! Doc.\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert_eq!(complaints("nke-user/src/place/mod.rs", tested), 0);
    }

    #[test]
    fn every_file_says_what_it_is_and_ends_well() {
        assert_eq!(complaints("a.rs", "fn f() {}\n"), 1);
        assert_eq!(complaints("a.md", "words \n"), 1);
        assert_eq!(complaints("a.md", "words"), 1);
        assert_eq!(complaints("a.md", concat!("see /ho", "me/me\n")), 1);
    }
}
