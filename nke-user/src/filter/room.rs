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

use nke_ebpf::abi::{ROOTS, RUN, Test};

use super::error::Error;
use super::expression::page::Page;
use super::rule::RuleSet;
use super::{encode, tree};

/// Refuses rules for which no map has room, however it is made.
///
/// # Errors
///
/// [`Error::ExpressionsFull`], [`Error::LimitsFull`], [`Error::Full`].
pub fn refuse_what_has_no_room(rules: &RuleSet) -> Result<(), Error> {
    let all = &rules.rules;
    let page = Page::of(all.iter().filter_map(|rule| rule.expression.as_ref()));
    if page.words().is_none() {
        return Err(Error::ExpressionsFull {
            wanted: page.count(),
        });
    }
    let (mut encoded, mut tests) = encode::encode_all(all, &page);
    refuse_many_limits(&tests)?;
    // With more processors there is less room.
    let built = tree::build(&mut encoded, &mut tests, encode::default_outcome(rules), 1);
    built.map(drop).ok_or(Error::Full {
        wanted: all.len(),
        limit: RUN * ROOTS,
    })
}

/// Refuses tests among which there are more limits than have a place.
pub(super) fn refuse_many_limits(tests: &[Test]) -> Result<(), Error> {
    let (wanted, limit) = (tree::limits(tests), tree::LIMITS);
    if wanted > limit {
        return Err(Error::LimitsFull { wanted, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_room_up_to_their_number() {
        let limited = |count: usize, per: &str| -> RuleSet {
            let line = |it| {
                format!(
                    "drop in from 10.0.{}.{} limit over 5/s{per}\n",
                    it / 256,
                    it % 256
                )
            };
            let text: String = (0..count).map(line).collect();
            text.parse().expect("rules")
        };
        assert!(refuse_what_has_no_room(&limited(4096, "")).is_ok());
        assert!(refuse_what_has_no_room(&limited(4097, " per source")).is_ok());
        let error = refuse_what_has_no_room(&limited(4097, "")).unwrap_err();
        let said = "4097 of them have a limit, and there can be 4096 rules with limits";
        assert!(error.to_string().contains(said), "{error}");
    }
}
