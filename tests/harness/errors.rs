//! The errors that docs/errors.md promises: the page is what scripts go by, and so do tests.

use crate::fail;

const PAGE: &str = include_str!("../../docs/errors.md");

/// Exit codes and names, as the page lists them.
fn listed() -> impl Iterator<Item = (i32, &'static str)> {
    PAGE.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let code = cells.next()?.parse().ok()?;
        Some((code, cells.next()?.trim_matches('`')))
    })
}

/// The exit code of an error.
#[track_caller]
pub(crate) fn code(name: &str) -> i32 {
    let found = listed().find(|(_, listed)| *listed == name);
    found.map_or_else(
        || fail(format!("docs/errors.md has no error {name:?}")),
        |(code, _)| code,
    )
}

/// The error that an exit code stands for.
pub(crate) fn name(code: i32) -> Option<&'static str> {
    listed()
        .find(|(listed, _)| *listed == code)
        .map(|(_, name)| name)
}
