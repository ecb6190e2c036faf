//! What the language means: a packet goes down the rules, and the first that matches decides.
//!
//! This is so plain that it can be believed. It is what the kernel side is tested against, and it
//! never runs in the way of a packet.

use super::conditions::{Conditions, Fragment, Vlan};
use super::dissect::{Ends, Obscured, Packet};
use super::further::Mark;
use super::known::KnownSets;
use super::rule::{Action, Addresses, Rule, RuleSet, Transport};

/// What becomes of a packet, and by which word of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What becomes of it.
    pub action: Action,
    /// Who says so.
    pub by: Decider,
}

/// Who decides about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decider {
    /// The rule at this index.
    Rule(usize),
    /// The default.
    Default,
    /// Nobody: the packet could not be judged, and is dropped.
    Obscured,
}

impl RuleSet {
    /// What becomes of a packet, where no named set is known.
    #[must_use]
    pub fn judge(&self, packet: &Result<Packet, Obscured>) -> Judgement {
        self.judge_with(packet, &KnownSets::default())
    }

    /// What becomes of a packet.
    #[must_use]
    pub fn judge_with(&self, packet: &Result<Packet, Obscured>, known: &KnownSets) -> Judgement {
        let Ok(packet) = packet else {
            return Judgement {
                action: Action::Drop,
                by: Decider::Obscured,
            };
        };
        let mut packet = packet.clone();
        for (index, rule) in self.rules.iter().enumerate() {
            if !rule.matches_with(&packet, known) {
                continue;
            }
            match rule.action {
                Action::Pass | Action::Drop | Action::Reject(_) | Action::Redirect(_) => {
                    return Judgement {
                        action: rule.action,
                        by: Decider::Rule(index),
                    };
                }
                Action::Count | Action::Mark(_) => rule.go_on(&mut packet),
            }
        }
        Judgement {
            action: self.default,
            by: Decider::Default,
        }
    }

    /// The rules that count a packet and go on to the one that decides, by their indices, and what is known of the
    /// mark that it has in the end, where no named set is known.
    #[must_use]
    pub fn going_on(&self, packet: &Packet) -> (Vec<usize>, Option<Mark>) {
        self.going_on_with(packet, &KnownSets::default())
    }

    /// The rules that count a packet and go on to the one that decides, by their indices; and what is known of the
    /// mark that it has in the end.
    #[must_use]
    pub fn going_on_with(&self, packet: &Packet, known: &KnownSets) -> (Vec<usize>, Option<Mark>) {
        let mut packet = packet.clone();
        let mut all = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            if !rule.matches_with(&packet, known) {
                continue;
            }
            match rule.action {
                Action::Pass | Action::Drop | Action::Reject(_) | Action::Redirect(_) => break,
                Action::Count | Action::Mark(_) => rule.go_on(&mut packet),
            }
            all.push(index);
        }
        (all, packet.mark)
    }
}

impl Rule {
    /// Has a packet that this rule is about be as the rules behind see it.
    pub fn go_on(&self, packet: &mut Packet) {
        if let Action::Mark(mark) = self.action {
            packet.mark = Some(packet.mark.map_or(mark, |before| mark.put_into(before)));
        }
    }

    /// Whether this rule is about a packet, where no named set is known.
    #[must_use]
    pub fn matches(&self, packet: &Packet) -> bool {
        self.matches_with(packet, &KnownSets::default())
    }

    /// Whether this rule is about a packet.
    #[must_use]
    pub fn matches_with(&self, packet: &Packet, known: &KnownSets) -> bool {
        let Self {
            action: _,
            way: _,
            log: _,
            sample: _,
            addresses,
            transport,
            conditions,
            tests,
            expression,
            keep_state: _,
        } = self;
        self.applies(packet.way)
            && addresses.matches(packet)
            && transport.matches(packet)
            && conditions.match_packet(packet)
            && tests.iter().all(|test| test.holds(packet, known))
            && expression.as_ref().is_none_or(|it| it.matches(packet))
    }
}

impl Conditions {
    fn match_packet(&self, packet: &Packet) -> bool {
        let Self {
            fragment,
            dscp,
            vlan,
        } = self;
        let fragment = fragment.is_none_or(|wanted| match wanted {
            Fragment::Any => packet.fragment.is_some(),
            Fragment::None => packet.fragment.is_none(),
            Fragment::First | Fragment::Later => packet.fragment == Some(wanted),
        });
        let vlan = vlan.is_none_or(|wanted| match wanted {
            Vlan::Tagged => packet.vlan.is_some(),
            Vlan::Untagged => packet.vlan.is_none(),
            Vlan::Id(id) => packet.vlan == Some(id),
        });
        fragment && vlan && dscp.is_none_or(|wanted| packet.dscp == Some(wanted))
    }
}

impl Addresses {
    fn matches(&self, packet: &Packet) -> bool {
        match (self, packet.ends) {
            (Self::Any, _) => true,
            (Self::Arp, _) => packet.arp,
            (
                Self::V4 {
                    source,
                    destination,
                },
                Some(Ends::V4(from, to)),
            ) => source.contains(from) && destination.contains(to),
            (
                Self::V6 {
                    source,
                    destination,
                },
                Some(Ends::V6(from, to)),
            ) => source.contains(from) && destination.contains(to),
            (Self::V4 { .. }, Some(Ends::V6(..)) | None)
            | (Self::V6 { .. }, Some(Ends::V4(..)) | None) => false,
        }
    }
}

impl Transport {
    fn matches(&self, packet: &Packet) -> bool {
        match self {
            Self::Any => true,
            Self::Protocol(protocol) => packet.protocol == Some(*protocol),
            Self::Ports {
                protocol,
                source,
                destination,
            } => {
                let carried = protocol.is_none_or(|it| packet.protocol == Some(it.protocol()));
                let ports = packet
                    .ports
                    .is_some_and(|(from, to)| source.contains(from) && destination.contains(to));
                carried && ports
            }
            Self::Tcp {
                source,
                destination,
                flags,
            } => {
                let ports = packet
                    .ports
                    .is_some_and(|(from, to)| source.contains(from) && destination.contains(to));
                ports && packet.tcp_flags.is_some_and(|found| flags.hold(found))
            }
            Self::Icmp(wanted) => {
                packet.protocol == Some(wanted.protocol())
                    && packet
                        .icmp
                        .is_some_and(|(kind, code)| wanted.is(kind, code))
            }
        }
    }
}
