//! When one version of an extension will do for another that needs it: a pure decision.
//!
//! A range has two bounds, and both count. Above the upper one, a provider can say how far back
//! it still is what it was: its compatible-since version.

use semver::{BuildMetadata, Version, VersionReq};

/// Whether a provider of `version`, which is compatible since `compatible_since`, will do for one
/// that needs the range: if its version is in the range, or if it is newer than the range allows
/// and some version from `compatible_since` on to its own is in it.
///
/// A version before a release (`1.2.0-rc.1`) is in a range only if the range names one of the
/// same release, as Cargo has it.
///
/// ```
/// use nke::object::satisfies;
///
/// let check = |version: &str, since: &str, range: &str| {
///     satisfies(&version.parse().unwrap(), &since.parse().unwrap(), &range.parse().unwrap())
/// };
/// assert!(check("1.4.0", "1.4.0", "^1.2"));
/// assert!(check("3.0.0", "1.5.0", "^1.2")); // it still is what 1.5.0 was
/// assert!(!check("3.0.0", "2.0.0", "^1.2"));
/// assert!(!check("1.1.0", "1.0.0", "^1.2")); // too old
/// ```
pub fn satisfies(version: &Version, compatible_since: &Version, range: &VersionReq) -> bool {
    if range.matches(version) {
        return true;
    }
    // What is not in the range but has an older version in it, is newer than the range allows.
    let compatible = |candidate: &Version| {
        *compatible_since <= *candidate && candidate <= version && range.matches(candidate)
    };
    candidates(compatible_since, range).any(|candidate| compatible(&candidate))
}

/// The lowest version in a range that is not lower than another is one of these: that one, where
/// a bound of the range begins, or the next release after either.
fn candidates<'a>(since: &'a Version, range: &'a VersionReq) -> impl Iterator<Item = Version> + 'a {
    let bounds = range.comparators.iter().map(|bound| Version {
        major: bound.major,
        minor: bound.minor.unwrap_or_default(),
        patch: bound.patch.unwrap_or_default(),
        pre: bound.pre.clone(),
        build: BuildMetadata::EMPTY,
    });
    bounds.chain([since.clone()]).flat_map(|from| {
        let release = |major, minor, patch| Version::new(major, minor, patch);
        let Version {
            major,
            minor,
            patch,
            ..
        } = from;
        let next = [
            release(major, minor, patch),
            release(major, minor, patch.saturating_add(1)),
            release(major, minor.saturating_add(1), 0),
            release(major.saturating_add(1), 0, 0),
        ];
        [from].into_iter().chain(next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: &str, since: &str, range: &str) -> bool {
        satisfies(
            &version.parse().unwrap(),
            &since.parse().unwrap(),
            &range.parse().unwrap(),
        )
    }

    #[test]
    fn both_bounds_count() {
        for (version, since, range, expected) in [
            ("1.2.0", "1.2.0", "^1.2", true),
            ("1.9.9", "1.9.9", "^1.2", true),
            ("1.1.9", "1.0.0", "^1.2", false),
            ("1.1.9", "0.1.0", ">=1.2", false),
            ("2.0.0", "2.0.0", "^1.2", false),
            ("2.0.0", "1.9.9", "^1.2", true),
            ("2.0.0", "1.0.0", "^1.2", true),
            ("3.0.0", "1.0.0", ">=1.0, <3", true),
            ("3.0.0", "2.99.0", ">=1.0, <3", true),
            ("3.0.0", "3.0.0", ">=1.0, <3", false),
            ("2.0.0", "1.0.0", "=1.2.3", true),
            ("2.0.0", "1.2.4", "=1.2.3", false),
            ("1.2.2", "1.0.0", "=1.2.3", false),
            ("2.0.0", "1.0.0", "~1.2", true),
            ("2.0.0", "1.3.0", "~1.2", false),
            ("2.0.0", "1.0.0", ">1, <2", false),
            ("3.0.0", "1.0.0", ">1, <3", true),
            ("2.0.0", "1.0.0", ">1.2.3, <1.2.4", false),
            ("2.0.0", "1.0.0", ">1.2.3, <1.2.5", true),
            ("0.0.0", "0.0.0", "*", true),
            ("9.0.0", "9.0.0", "*", true),
            ("5.0.0", "1.0.0", ">=3, <2", false),
        ] {
            assert_eq!(
                check(version, since, range),
                expected,
                "{version} since {since} for {range}"
            );
        }
    }

    #[test]
    fn versions_before_a_release_are_asked_for_by_name() {
        assert!(!check("1.3.0-rc.1", "1.3.0-rc.1", "^1.2"));
        assert!(check("1.3.0-rc.1", "1.2.5", "^1.2"));
        assert!(check("1.3.0", "1.3.0-rc.1", "=1.3.0-rc.1"));
        assert!(check("1.3.0-rc.2", "1.3.0-rc.2", ">=1.3.0-rc.1"));
        assert!(check("2.0.0", "1.5.0-rc.1", "^1.2"));
        assert!(!check("2.0.0", "2.0.0-rc.1", "^1.2"));
    }

    #[test]
    fn the_largest_numbers_do_no_harm() {
        let last = format!("{0}.{0}.{0}", u64::MAX);
        assert!(check(&last, &last, "*"));
        assert!(!check(&last, &last, "<1"));
        assert!(check(&last, "0.0.0", &format!("<={last}")));
    }

    #[test]
    fn whatever_some_version_answers_is_found() {
        // All versions of numbers up to 3, by trying each between the two.
        let all: Vec<Version> = (0..64)
            .map(|n| Version::new(n / 16, n / 4 % 4, n % 4))
            .collect();
        let bounds = [
            "=1.2.1", ">1.2", ">=1.0.3", "<2", "<=2.1", "~1.1", "^0.3", "^0.0.2", ">2", "1.*",
        ];
        for one in bounds {
            for other in bounds {
                let range: VersionReq = format!("{one}, {other}").parse().unwrap();
                for since in &all {
                    for version in all.iter().filter(|version| *version >= since) {
                        let mut between = all.iter().filter(|v| (since..=version).contains(v));
                        let found = between.any(|version| range.matches(version));
                        let answer = satisfies(version, since, &range);
                        // A release between two of these can be one of larger numbers.
                        assert!(answer || !found, "{version} since {since} for {range}");
                    }
                }
            }
        }
    }
}
