//! The resolver on sets of extensions that are made up: what is chosen, in which order, and what is
//! refused. No file is read.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn check(wanted: &[(&str, &str)], pool: &[Candidate]) -> Result<Vec<String>, String> {
    let wanted = Candidate::new("wanted", "t.wanted", "1.0.0", wanted);
    match resolve(&wanted, pool) {
        Ok(plan) => Ok(plan.order.iter().map(|at| pool[*at].name.clone()).collect()),
        Err(unmet) => Err(unmet.to_string()),
    }
}

fn loaded(candidate: Candidate) -> Candidate {
    Candidate {
        loaded: Some(7),
        ..candidate
    }
}

fn since(candidate: Candidate, since: &str) -> Candidate {
    Candidate {
        compatible_since: since.parse().unwrap(),
        ..candidate
    }
}

#[test]
fn providers_come_before_those_that_need_them() {
    let pool = [
        Candidate::new(
            "top",
            "t.top",
            "1.0.0",
            &[("t.left", "*"), ("t.right", "*")],
        ),
        Candidate::new("left", "t.left", "1.0.0", &[("t.base", "^1")]),
        Candidate::new(
            "right",
            "t.right",
            "1.0.0",
            &[("t.base", ">=1.1"), ("t.left", "*")],
        ),
        Candidate::new("base", "t.base", "1.2.0", &[]),
        Candidate::new("other", "t.other", "1.0.0", &[]),
    ];
    let order = check(&[("t.right", "*"), ("t.top", "*")], &pool).unwrap();
    assert_eq!(order, ["base", "left", "right", "top"]);
    assert_eq!(check(&[], &pool).unwrap(), [""; 0]);
}

#[test]
fn the_highest_version_that_will_do_is_taken() {
    let pool = ["1.0.0", "1.10.0", "1.9.0", "2.0.0"]
        .map(|version| Candidate::new(version, "t.base", version, &[]));
    let check = |range, expected: &str| {
        assert_eq!(
            check(&[("t.base", range)], &pool).unwrap(),
            [expected],
            "{range}"
        );
    };
    check("^1", "1.10.0");
    check("*", "2.0.0");
    check("<1.10", "1.9.0");
    check("=1.0.0", "1.0.0");
}

#[test]
fn of_equal_versions_the_first_on_the_path_is_taken() {
    let pool = ["first", "second"].map(|name| Candidate::new(name, "t.base", "1.0.0", &[]));
    assert_eq!(check(&[("t.base", "*")], &pool).unwrap(), ["first"]);
}

#[test]
fn a_newer_one_can_stand_in_for_what_it_still_is() {
    let newer = Candidate::new("newer", "t.base", "3.0.0", &[]);
    let still = [since(newer.clone(), "1.5.0")];
    assert_eq!(check(&[("t.base", "^1.2")], &still).unwrap(), ["newer"]);
    let error = check(&[("t.base", "^1.2")], &[since(newer, "2.0.0")]).unwrap_err();
    assert_eq!(
        error,
        "t.base: wanted needs ^1.2, and there is 3.0.0 (compatible since 2.0.0) in newer.o; put one \
         that will do on the search path"
    );
}

#[test]
fn the_lower_bound_counts() {
    let old = [Candidate::new("old", "t.base", "1.1.0", &[])];
    let error = check(&[("t.base", "^1.2")], &old).unwrap_err();
    assert!(
        error.starts_with("t.base: wanted needs ^1.2, and there is 1.1.0 in old.o"),
        "{error}"
    );
}

#[test]
fn what_is_loaded_is_taken_and_nothing_else() {
    let pool = [
        Candidate::new("newer", "t.base", "1.9.0", &[]),
        loaded(Candidate::new(
            "base",
            "t.base",
            "1.2.0",
            &[("t.gone", "*")],
        )),
    ];
    let wanted = Candidate::new("wanted", "t.wanted", "1.0.0", &[("t.base", "^1")]);
    let plan = resolve(&wanted, &pool).unwrap();
    assert_eq!(plan.order, [0; 0]);
    assert_eq!(
        plan.providers["t.base".parse::<Identifier>().as_ref().unwrap()],
        1
    );
    assert_eq!(
        check(&[("t.base", "^1.5")], &pool).unwrap_err(),
        "t.base: wanted needs ^1.5, and base 1.2.0 is loaded; upgrade or unload it first"
    );
}

#[test]
fn a_lower_version_is_taken_for_the_sake_of_another() {
    let pool = [
        Candidate::new("base-2", "t.base", "2.0.0", &[]),
        Candidate::new("base-1", "t.base", "1.0.0", &[]),
        Candidate::new("mid", "t.mid", "1.0.0", &[("t.base", "<2")]),
    ];
    let order = check(&[("t.base", "*"), ("t.mid", "*")], &pool).unwrap();
    assert_eq!(order, ["base-1", "mid"]);
}

#[test]
fn a_lower_version_is_taken_where_the_highest_lacks_something() {
    let pool = [
        Candidate::new("base-2", "t.base", "2.0.0", &[("t.gone", "*")]),
        Candidate::new("base-1", "t.base", "1.0.0", &[]),
    ];
    assert_eq!(check(&[("t.base", "*")], &pool).unwrap(), ["base-1"]);
}

#[test]
fn conflicts_are_named() {
    let pool = [
        Candidate::new("base-1", "t.base", "1.0.0", &[]),
        Candidate::new("base-2", "t.base", "2.0.0", &[]),
        Candidate::new("mid", "t.mid", "1.0.0", &[("t.base", "<2")]),
    ];
    assert_eq!(
        check(&[("t.mid", "*"), ("t.base", ">=2")], &pool).unwrap_err(),
        "t.base: wanted needs >=2, mid needs <2, and no one version will do for all: there is 2.0.0 \
         in base-2.o, 1.0.0 in base-1.o; put one that will on the search path"
    );
}

#[test]
fn what_is_not_there_is_named() {
    assert_eq!(
        check(&[("t.base", "^1")], &[]).unwrap_err(),
        "t.base: wanted needs ^1, and none is loaded, and none on the search path; put one that will \
         do on the search path"
    );
}

#[test]
fn cycles_are_named() {
    let pool = [
        Candidate::new("a", "t.a", "1.0.0", &[("t.b", "*")]),
        Candidate::new("b", "t.b", "1.0.0", &[("t.c", "*")]),
        Candidate::new("c", "t.c", "1.0.0", &[("t.b", "*")]),
        Candidate::new("d", "t.d", "1.0.0", &[("t.wanted", "*")]),
    ];
    let error = check(&[("t.a", "*")], &pool).unwrap_err();
    assert!(error.starts_with("b -> c -> b need each other"), "{error}");
    let error = check(&[("t.d", "*")], &pool).unwrap_err();
    assert!(
        error.starts_with("wanted -> d -> wanted need each other"),
        "{error}"
    );
    let error = check(&[("t.wanted", "*")], &pool).unwrap_err();
    assert!(
        error.starts_with("wanted -> wanted need each other"),
        "{error}"
    );
}

#[test]
fn the_search_comes_to_an_end() {
    // Every choice of versions of 20 extensions fails only at the last.
    let mut pool = Vec::new();
    for nth in 0..20 {
        for version in ["1.0.0", "2.0.0", "3.0.0"] {
            let next = format!("t.x{}", nth + 1);
            pool.push(Candidate::new(
                "x",
                &format!("t.x{nth}"),
                version,
                &[(&next, "*")],
            ));
        }
    }
    let error = check(&[("t.x0", "*")], &pool).unwrap_err();
    assert!(
        error.starts_with("t.x20: x needs *, and none is loaded"),
        "{error}"
    );
    // A chain of any length does not exhaust the stack.
    let long: Vec<_> = (0..5000)
        .map(|nth| {
            let next = format!("t.x{}", nth + 1);
            Candidate::new("x", &format!("t.x{nth}"), "1.0.0", &[(&next, "*")])
        })
        .collect();
    assert!(
        check(&[("t.x0", "*")], &long)
            .unwrap_err()
            .contains("too many ways")
    );
}

/// A few extensions in a few versions, of which some are loaded.
fn pools() -> impl Strategy<Value = Vec<Candidate>> {
    let range = prop_oneof![
        Just("*"),
        Just("^1"),
        Just(">=2"),
        Just("<3"),
        Just("=2.0.0")
    ];
    let need = (0..4u8, range).prop_map(|(who, range)| Need {
        identifier: format!("t.x{who}").parse().unwrap(),
        range: range.parse().unwrap(),
    });
    let candidate = (0..4u8, 1..4u64, prop::collection::vec(need, 0..3), 0..8u8);
    let candidate = candidate.prop_map(|(who, version, needs, loaded)| Candidate {
        needs,
        loaded: (loaded == 0).then_some(9),
        ..Candidate::new(
            &format!("x{who}-{version}"),
            &format!("t.x{who}"),
            &format!("{version}.0.0"),
            &[],
        )
    });
    prop::collection::vec(candidate, 0..8)
}

/// The providers that one can reach, if each is what is needed of it and none needs another in turn.
fn reachable(needs: &[Need], pool: &[Candidate], chosen: &[usize]) -> Option<BTreeSet<usize>> {
    fn walk(
        needs: &[Need],
        pool: &[Candidate],
        chosen: &[usize],
        way: &mut Vec<usize>,
        found: &mut BTreeSet<usize>,
    ) -> Option<()> {
        for need in needs {
            let mut fitting = chosen.iter().filter(|at| {
                pool[**at].identifier.as_ref() == Some(&need.identifier)
                    && pool[**at].satisfies(&need.range)
            });
            let at = *fitting.next()?;
            if way.contains(&at) {
                return None;
            }
            found.insert(at);
            if pool[at].loaded.is_none() {
                way.push(at);
                walk(&pool[at].needs, pool, chosen, way, found)?;
                way.pop();
            }
        }
        Some(())
    }
    let mut found = BTreeSet::new();
    walk(needs, pool, chosen, &mut Vec::new(), &mut found)?;
    Some(found)
}

/// Whether a choice has one provider of each identifier, and the loaded one where there is one.
fn is_choice(pool: &[Candidate], chosen: &[usize]) -> bool {
    let identifiers: BTreeSet<_> = chosen.iter().map(|at| &pool[*at].identifier).collect();
    let shadowed = |at: &usize| {
        let same = |c: &Candidate| c.loaded.is_some() && c.identifier == pool[*at].identifier;
        pool[*at].loaded.is_none() && pool.iter().any(same)
    };
    identifiers.len() == chosen.len() && !chosen.iter().any(shadowed)
}

proptest! {
    #[test]
    fn there_is_a_plan_where_some_choice_will_do(pool in pools()) {
        let wanted = Candidate::new("wanted", "t.wanted", "1.0.0", &[("t.x0", "*"), ("t.x1", "<3")]);
        let choices = (0u32..1 << pool.len()).map(|bits| {
            (0..pool.len()).filter(|at| bits >> at & 1 == 1).collect::<Vec<_>>()
        });
        let mut choices = choices.filter(|chosen| is_choice(&pool, chosen));
        let possible = choices.any(|chosen| reachable(&wanted.needs, &pool, &chosen).is_some());
        match resolve(&wanted, &pool) {
            Err(unmet) => prop_assert!(!possible, "{unmet}"),
            Ok(Plan { order, providers }) => {
                let chosen: Vec<_> = providers.values().copied().collect();
                prop_assert!(is_choice(&pool, &chosen));
                // Each is needed, and none needs one that comes later.
                let found = reachable(&wanted.needs, &pool, &chosen);
                prop_assert_eq!(found, Some(chosen.iter().copied().collect()));
                let fresh = |at: &usize| pool[*at].loaded.is_none();
                let fresh: BTreeSet<_> = chosen.iter().copied().filter(fresh).collect();
                prop_assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), fresh);
                for (nth, at) in order.iter().enumerate() {
                    for need in &pool[*at].needs {
                        let provider = providers[&need.identifier];
                        let before = pool[provider].loaded.is_some() || order[..nth].contains(&provider);
                        prop_assert!(before, "{} before {}", provider, at);
                    }
                }
            }
        }
    }
}
