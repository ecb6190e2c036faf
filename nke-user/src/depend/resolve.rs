//! The choice of providers: backtracking over versions, highest first.

use std::collections::{BTreeMap, BTreeSet};

use super::{Candidate, Demand, Need, Unmet};
use crate::object::Identifier;

/// Providers that are tried before the search is given up: ranges by hostile hands can have it take
/// for ever.
const MOST_TRIES: usize = 10_000;

/// Providers that one extension can have, directly or not.
const MOST_PROVIDERS: usize = 256;

/// What is to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Those of the pool that are not loaded yet, each behind all that it needs.
    pub order: Vec<usize>,
    /// The provider of each identifier that is needed, directly or not, in the pool.
    pub providers: BTreeMap<Identifier, usize>,
}

/// Chooses what an extension needs out of the pool, which has what is loaded and what is on the
/// search path, in its order.
///
/// # Errors
///
/// What is in the way of the choice that would be the best.
pub fn resolve(wanted: &Candidate, pool: &[Candidate]) -> Result<Plan, Box<Unmet>> {
    let mut search = Search {
        wanted,
        pool,
        providers: BTreeMap::new(),
        order: Vec::new(),
        first: None,
        tries: 0,
    };
    if search.solve() {
        return Ok(Plan {
            order: search.order,
            providers: search.providers,
        });
    }
    Err(Box::new(search.first.unwrap_or(Unmet::TooMany)))
}

struct Search<'a> {
    wanted: &'a Candidate,
    pool: &'a [Candidate],
    providers: BTreeMap<Identifier, usize>,
    order: Vec<usize>,
    /// What was in the way first: it says most, since the best is tried first.
    first: Option<Unmet>,
    tries: usize,
}

impl<'a> Search<'a> {
    /// Those whose dependencies count: what is loaded has all that it needs.
    fn dependants(&self) -> impl Iterator<Item = &'a Candidate> + use<'a> {
        let (wanted, pool) = (self.wanted, self.pool);
        let chosen: Vec<_> = self.providers.values().copied().collect();
        let chosen = chosen.into_iter().map(move |at| &pool[at]);
        let fresh = chosen.filter(|candidate| candidate.loaded.is_none());
        [wanted].into_iter().chain(fresh)
    }

    fn is_wanted(&self, identifier: &Identifier) -> bool {
        self.wanted.identifier.as_ref() == Some(identifier)
    }

    /// All that is asked of an identifier by those that are chosen.
    fn demands(&self, identifier: &Identifier) -> Vec<Demand> {
        let mut demands = Vec::new();
        for dependant in self.dependants() {
            let asked = |need: &&Need| need.identifier == *identifier;
            demands.extend(dependant.needs.iter().filter(asked).map(|need| Demand {
                by: dependant.name.clone(),
                range: need.range.clone(),
            }));
        }
        demands
    }

    /// The first that is needed and has no provider yet.
    fn open(&self) -> Option<&'a Identifier> {
        let mut needs = self.dependants().flat_map(|dependant| &dependant.needs);
        needs.find_map(|Need { identifier, .. }| {
            let settled = self.providers.contains_key(identifier) || self.is_wanted(identifier);
            (!settled).then_some(identifier)
        })
    }

    /// Those that have an identifier, the best first: what is loaded, alone, or else the highest
    /// version, and of equal ones the first on the search path.
    fn seen(&self, identifier: &Identifier) -> Vec<usize> {
        let has = |at: &usize| self.pool[*at].identifier.as_ref() == Some(identifier);
        let mut seen: Vec<_> = (0..self.pool.len()).filter(has).collect();
        if seen.iter().any(|at| self.pool[*at].loaded.is_some()) {
            seen.retain(|at| self.pool[*at].loaded.is_some());
        } else {
            seen.sort_by(|a, b| self.pool[*b].version.cmp(&self.pool[*a].version));
        }
        seen
    }

    /// Finds providers for all that is needed and has none; false if there is no way.
    fn solve(&mut self) -> bool {
        let Some(identifier) = self.open() else {
            return self.arrange();
        };
        let demands = self.demands(identifier);
        let seen = self.seen(identifier);
        let fits = |at: &usize| demands.iter().all(|d| self.pool[*at].satisfies(&d.range));
        let fitting: Vec<_> = seen.iter().copied().filter(fits).collect();
        if fitting.is_empty() {
            let unmet = self.unmet(identifier, demands, &seen);
            self.first.get_or_insert(unmet);
            return false;
        }
        for at in fitting {
            self.tries += 1;
            if self.tries > MOST_TRIES || self.providers.len() >= MOST_PROVIDERS {
                self.first.get_or_insert(Unmet::TooMany);
                return false;
            }
            self.providers.insert(identifier.clone(), at);
            if self.agrees(at) && self.solve() {
                return true;
            }
            self.providers.remove(identifier);
        }
        false
    }

    /// Whether those chosen before a provider will do for it.
    fn agrees(&mut self, at: usize) -> bool {
        let chosen = &self.pool[at];
        if chosen.loaded.is_some() {
            return true;
        }
        let refused = chosen.needs.iter().find(|need| {
            let provider = self.providers.get(&need.identifier);
            provider.is_some_and(|at| !self.pool[*at].satisfies(&need.range))
        });
        let Some(Need { identifier, .. }) = refused else {
            return true;
        };
        let (demands, seen) = (self.demands(identifier), self.seen(identifier));
        let unmet = self.unmet(identifier, demands, &seen);
        self.first.get_or_insert(unmet);
        false
    }

    /// Why none of those seen will do.
    fn unmet(&self, identifier: &Identifier, demands: Vec<Demand>, seen: &[usize]) -> Unmet {
        let identifier = identifier.clone();
        let seen: Vec<_> = seen.iter().map(|at| self.pool[*at].clone()).collect();
        let alone = |demand: &Demand| !seen.iter().any(|c| c.satisfies(&demand.range));
        let hopeless = demands.iter().find(|demand| alone(demand)).cloned();
        let loaded = seen.iter().find(|candidate| candidate.loaded.is_some());
        match (hopeless, loaded) {
            (Some(demand), Some(provider)) => Unmet::Loaded {
                identifier,
                demand,
                provider: provider.clone(),
            },
            (Some(demand), None) => Unmet::Missing {
                identifier,
                demand,
                seen,
            },
            (None, _) => Unmet::Conflict {
                identifier,
                demands,
                seen,
            },
        }
    }

    /// Puts those chosen in order; false if they need each other.
    fn arrange(&mut self) -> bool {
        self.order.clear();
        let mut way = Vec::new();
        let mut done = BTreeSet::new();
        match self.visit(None, &mut way, &mut done) {
            Ok(()) => true,
            Err(names) => {
                self.first.get_or_insert(Unmet::Cycle(names));
                false
            }
        }
    }

    /// Puts all that one needs into the order, and then itself; `None` is the one that is wanted.
    /// The error is a cycle.
    fn visit(
        &mut self,
        at: Option<usize>,
        way: &mut Vec<Option<usize>>,
        done: &mut BTreeSet<Option<usize>>,
    ) -> Result<(), Vec<String>> {
        if done.contains(&at) {
            return Ok(());
        }
        let pool = self.pool;
        let (wanted, name) = (self.wanted, |at: Option<usize>| {
            at.map_or(&self.wanted.name, |at| &pool[at].name).clone()
        });
        if let Some(start) = way.iter().position(|other| *other == at) {
            return Err(way[start..].iter().map(|at| name(*at)).collect());
        }
        let dependant = at.map_or(wanted, |at| &pool[at]);
        way.push(at);
        if dependant.loaded.is_none() {
            for Need { identifier, .. } in &dependant.needs {
                let next = if self.is_wanted(identifier) {
                    None
                } else {
                    self.providers.get(identifier).copied()
                };
                self.visit(next, way, done)?;
            }
        }
        way.pop();
        done.insert(at);
        self.order.extend(at.filter(|_| dependant.loaded.is_none()));
        Ok(())
    }
}
