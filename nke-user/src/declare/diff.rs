//! A plan as people read changes: a unified diff from what runs to what is declared.
//!
//! ```text
//! --- running
//! +++ declared
//! @@ interface/in of eth0 @@
//!      10 packet-filter (filter)
//! -    50 counter (count)
//! +    60 counter (count)
//!  policy pass
//! ```

use std::fmt::Write as _;

use super::plan::{ChainPlan, Plan};
use crate::value::Literal;

/// The plan's changes as a unified diff; empty if there are none. What has to wait is told in lines
/// that begin with `#`.
pub fn unified(plan: &Plan) -> String {
    let Plan {
        upgrades,
        load,
        release,
        chains,
        sets,
        settings,
        waiting,
    } = plan;
    let mut text = String::new();
    let mut section = |title: &str, old: &[String], new: &[String]| {
        if text.is_empty() {
            text += "--- running\n+++ declared\n";
        }
        // A text takes what is written.
        let _: std::fmt::Result = writeln!(text, "@@ {title} @@");
        for (sign, line) in compared(old, new) {
            let _: std::fmt::Result = writeln!(text, "{sign}{line}");
        }
    };
    for upgrading in upgrades {
        let [old, new] = upgrading.lines().map(|line| vec![line]);
        section("versions", &old, &new);
    }
    if !load.is_empty() || !release.is_empty() {
        section("loaded", release, load);
    }
    for chain in chains.iter().filter(|chain| chain.changes()) {
        let ChainPlan { hook, place, .. } = chain;
        let (old, new) = (chain.running.lines(), chain.wanted.lines());
        // An upgrade is told above.
        if old != new {
            section(&format!("{hook} of {place}"), &old, &new);
        }
    }
    for set in sets {
        let [old, new] = set.lines();
        let title = format!("set {} of {}", set.about.name, set.extension);
        section(&title, &old, &new);
    }
    for of_one in settings.chunk_by(|one, other| one.extension == other.extension) {
        let line = |name: &str, value: &Literal| format!("{name} = {value}");
        let old = of_one.iter().map(|s| line(&s.setting, &s.running));
        let new = of_one.iter().map(|s| line(&s.setting, &s.wanted));
        let title = format!("settings of {}", of_one[0].extension);
        section(&title, &old.collect::<Vec<_>>(), &new.collect::<Vec<_>>());
    }
    for wait in waiting {
        let _: std::fmt::Result = writeln!(
            text,
            "# waiting for {}: {} ({})",
            wait.place, wait.what, wait.origin
        );
    }
    text
}

/// Lines with their signs: a longest common subsequence stays.
fn compared<'a>(old: &'a [String], new: &'a [String]) -> Vec<(char, &'a str)> {
    // common[i][j]: how many lines old[i..] and new[j..] have in common.
    let mut common = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i].as_str()));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            lines.push(('-', old[i].as_str()));
            i += 1;
        } else {
            lines.push(('+', new[j].as_str()));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_have_stays() {
        let check = |old: &str, new: &str, expected: &str| {
            let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
            let (old, new) = (words(old), words(new));
            let lines = compared(&old, &new);
            let lines = lines.iter().map(|(sign, line)| format!("{sign}{line}"));
            assert_eq!(lines.collect::<String>(), expected);
        };
        check("a b c", "a b c", " a b c");
        check("a b c", "a x c", " a-b+x c");
        check("a b c d", "a c b d", " a-b c+b d");
    }
}
