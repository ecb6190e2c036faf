//! The table is sound, and `docs/errors.md` says the same.

use std::collections::BTreeSet;

use super::*;

const PAGE: &str = include_str!("../../../../docs/errors.md");

#[test]
fn no_name_is_given_twice() {
    let names: BTreeSet<_> = all().map(|code| code.name).collect();
    assert_eq!(names.len(), all().count());
    for name in names {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(
            !name.is_empty() && name.chars().all(plain),
            "{name:?} is no name"
        );
    }
}

/// The cells of the page's rows that begin with a number.
fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    let cells = |line: &'static str| line.split('|').map(str::trim).collect::<Vec<_>>();
    let is_row = |cells: &Vec<&str>| cells.get(1).is_some_and(|cell| cell.parse::<u8>().is_ok());
    PAGE.lines().map(cells).filter(is_row)
}

#[test]
fn the_page_lists_the_table_and_nothing_else() {
    let listed: BTreeSet<_> = rows()
        .map(|row| format!("{} {}", row[1], row[2].trim_matches('`')))
        .collect();
    let ours: BTreeSet<_> = all()
        .map(|code| format!("{} {}", code.number, code.name))
        .collect();
    let missing: Vec<_> = ours.difference(&listed).collect();
    assert!(missing.is_empty(), "docs/errors.md lacks {missing:?}");
    let gone: Vec<_> = listed.difference(&ours).collect();
    assert!(gone.is_empty(), "no error is {gone:?} of docs/errors.md");
    assert_eq!(rows().count(), listed.len(), "a row is there twice");
}

#[test]
fn each_row_says_what_it_means_and_what_to_do() {
    for row in rows() {
        let [_, _, _, meaning, remedy, _] = row.as_slice() else {
            unreachable!("{row:?} has not four cells");
        };
        assert!(!meaning.is_empty() && !remedy.is_empty(), "{row:?}");
    }
}

#[test]
fn an_error_knows_its_code() {
    let error = Error::NotLoaded {
        name: "counter".into(),
        stage: "unload",
    };
    assert_eq!((error.exit_code(), error.name()), (31, "not-loaded"));
    let error = filter::Error::ForeignRule { number: 1 };
    assert_eq!((error.exit_code(), error.name()), (63, "foreign-rule"));
}
