//! Chains of rules made one list: what a rule goes to is put in its place, each of its rules
//! narrowed down to what that rule matches.

use nke_ebpf::Refusal;

use super::super::rule::Action;
use super::line::{Line, Matches};
use super::{Foreign, Imported, MANY_LIMITS, MOST_RULES, Text, Untranslated, Wanted};

/// Chains that go to chains; the kernel allows about as many.
const DEEPEST: usize = 32;

/// A chain as it was read.
#[derive(Debug)]
pub(super) struct Chain {
    pub name: String,
    /// Of a chain that the kernel calls; nothing of one that only rules go to.
    pub policy: Option<Action>,
    pub rules: Vec<Rule>,
}

/// A rule as it was read.
#[derive(Debug)]
pub(super) struct Rule {
    pub place: String,
    pub text: String,
    /// Or what of it cannot be said.
    pub read: Result<Read, String>,
}

/// What a rule says.
#[derive(Debug)]
pub(super) enum Read {
    /// What of packets that it matches.
    Rule {
        matches: Box<Matches>,
        log: bool,
        target: Target,
    },
    /// Nothing about packets of the interface that is wanted.
    Elsewhere,
}

/// What becomes of a packet that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Ends(Action),
    /// It is dropped, and its sender is told.
    Rejects(Refusal),
    Logs,
    Returns,
    GoesTo(String),
    /// To count is all that it does.
    None,
}

/// The rules of a chain and of those that it goes to, for what `base` matches. `only_ip` says that
/// nothing else ever comes by them. Senders can be told where the rules are wanted for an interface.
pub(super) fn flattened(
    chains: &[Chain],
    chain: &Chain,
    base: Matches,
    (only_ip, wanted): (bool, &Wanted),
) -> Result<Imported, Foreign> {
    let mut flattening = Flattening {
        chains,
        only_ip,
        tells: wanted.interface.is_some(),
        rules: 0,
        imported: Imported::new(&chain.name),
    };
    flattening.chain(chain, &base, 0)?;
    if chain.policy == Some(Action::Drop) {
        flattening.line(Line {
            action: Action::Drop,
            log: false,
            matches: base,
        });
    }
    Ok(flattening.imported)
}

struct Flattening<'a> {
    chains: &'a [Chain],
    only_ip: bool,
    /// Whether senders can be told.
    tells: bool,
    /// How many have been gone through. Chains that call each other several times each grow
    /// beyond any memory.
    rules: usize,
    imported: Imported,
}

/// A rule that only logs, and what it matches.
type Logged<'a> = Option<(&'a Rule, Matches)>;

impl Flattening<'_> {
    fn chain(&mut self, chain: &Chain, base: &Matches, depth: usize) -> Result<(), Foreign> {
        let mut logged: Logged<'_> = None;
        for (index, rule) in chain.rules.iter().enumerate() {
            self.rules += 1;
            if self.rules > MOST_RULES || depth > DEEPEST {
                let chain = chain.name.clone();
                return Err(Foreign::TooMany { chain });
            }
            let (matches, log, target) = match &rule.read {
                Ok(Read::Elsewhere) => continue,
                Ok(Read::Rule {
                    matches,
                    log,
                    target,
                }) => (matches, *log, target),
                Err(reason) => {
                    self.only_logged(logged.take());
                    self.leave_out(rule, reason);
                    continue;
                }
            };
            // What no packet of this chain is.
            let Some(matches) = base.narrowed(matches) else {
                continue;
            };
            if let Some(reason) = self.is_beyond_a_line(&matches, target) {
                self.only_logged(logged.take());
                self.leave_out(rule, reason);
                continue;
            }
            let ends = matches!(target, Target::Ends(_) | Target::Rejects(_));
            let log = match logged.take() {
                Some((_, of)) if ends && of == matches => true,
                other => {
                    self.only_logged(other);
                    log
                }
            };
            let last = index + 1 == chain.rules.len();
            match target {
                Target::Ends(action) => self.line(Line {
                    action: *action,
                    log,
                    matches,
                }),
                Target::Rejects(refusal) if self.tells => self.line(Line {
                    action: Action::Reject(*refusal),
                    log,
                    matches,
                }),
                Target::Rejects(_) => {
                    let place = &rule.place;
                    let comment = format_args!("{place} rejects: at the IP layer nobody is told");
                    self.imported.comment(comment);
                    self.line(Line {
                        action: Action::Drop,
                        log,
                        matches,
                    });
                }
                Target::Logs => logged = Some((rule, matches)),
                // At the end of a chain it does nothing.
                Target::Returns if last && depth > 0 => {}
                Target::Returns => self.leave_out(rule, "there is nothing to return to"),
                Target::None => {}
                Target::GoesTo(name) => self.goes_to(rule, name, &matches, depth)?,
            }
        }
        self.only_logged(logged);
        Ok(())
    }

    /// Why lines cannot say what a rule matches.
    fn is_beyond_a_line(&self, matches: &Matches, target: &Target) -> Option<&'static str> {
        let goes_to = matches!(target, Target::GoesTo(_));
        if matches.is_crowded() || goes_to && matches.limit().is_some() {
            return Some("this together is more than one rule can say");
        }
        // At the IP layer one line is for both families.
        let both_families = self.only_ip && self.tells && !matches.only_ip();
        matches.shares_limit(both_families).then_some(MANY_LIMITS)
    }

    fn goes_to(
        &mut self,
        rule: &Rule,
        name: &str,
        matches: &Matches,
        depth: usize,
    ) -> Result<(), Foreign> {
        let Some(chain) = self.chains.iter().find(|chain| chain.name == name) else {
            self.leave_out(rule, &format!("nothing here is like {name}"));
            return Ok(());
        };
        self.chain(chain, matches, depth + 1)
    }

    fn line(&mut self, line: Line) {
        let lines = &mut self.imported.lines;
        let limited = line.matches.limit().is_some();
        if !self.only_ip || line.matches.only_ip() || limited && !self.tells {
            lines.push(Text::Rule(line));
            return;
        }
        for v6 in [false, true] {
            let mut line = line.clone();
            line.matches.v6 = Some(v6);
            lines.push(Text::Rule(line));
        }
    }

    fn only_logged(&mut self, logged: Logged<'_>) {
        if let Some((rule, _)) = logged {
            self.leave_out(rule, "only a rule that decides can log");
        }
    }

    fn leave_out(&mut self, rule: &Rule, reason: &str) {
        let Rule {
            place,
            text,
            read: _,
        } = rule;
        self.imported.leave_out(Untranslated {
            place: place.clone(),
            rule: text.clone(),
            reason: reason.to_owned(),
        });
    }
}
