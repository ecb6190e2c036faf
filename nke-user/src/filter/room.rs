//! Whether there is room for a rule set at all, told without the kernel.
//!
//! ```
//! use nke::filter::{RuleSet, refuse_what_has_no_room};
//!
//! let alike: String = (0..700).map(|length| format!("drop length {length}\n")).collect();
//! let rules: RuleSet = alike.parse()?;
//! assert!(refuse_what_has_no_room(&rules).is_err());
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! This never says that there is none where there may be.

use nke_ebpf::abi::{ROOTS, RUN};

use super::error::Error;
use super::expression::page::Page;
use super::rule::RuleSet;
use super::{encode, tree};

/// Refuses rules for which no map has room, however it is made.
///
/// # Errors
///
/// [`Error::ExpressionsFull`], [`Error::Full`].
pub fn refuse_what_has_no_room(rules: &RuleSet) -> Result<(), Error> {
    let all = &rules.rules;
    let page = Page::of(all.iter().filter_map(|rule| rule.expression.as_ref()));
    if page.words().is_none() {
        return Err(Error::ExpressionsFull {
            wanted: page.count(),
        });
    }
    let (mut encoded, mut tests) = encode::encode_all(all, &page);
    // With more processors there is less room.
    let built = tree::build(&mut encoded, &mut tests, encode::default_outcome(rules), 1);
    built.map(drop).ok_or(Error::Full {
        wanted: all.len(),
        limit: RUN * ROOTS,
    })
}
