//! Who drops packets: nke and those that it is compared with, each with a cable, or a namespace, of its own.
//!
//! Every tool gets the same rules, in its own words, and counts what each of them drops.

pub(super) mod bare;
pub(super) mod compiled;
pub(super) mod ipset;
pub(super) mod iptables;
pub(super) mod nft_set;
pub(super) mod nftables;
pub(super) mod nke;
pub(super) mod nke_set;
pub(super) mod xdp_filter;

use std::os::fd::OwnedFd;

use ::nke::filter::shapes::Drawn;
use anyhow::Result;

use self::iptables::Flavour;
use self::nftables::Hook;
use crate::bench::stage::{Cable, Stage};

/// A tool, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    Nke,
    Nftables(Hook),
    Iptables(Flavour),
}

/// Rules in force.
pub(super) struct Laid {
    pub(super) cable: Cable,
    /// What the kernel runs, if that can be run by itself.
    pub(super) root: Option<OwnedFd>,
    /// Where hits are counted, if that can be read.
    pub(super) counts: Option<Counts>,
    /// What keeps it in force.
    pub(super) link: Option<OwnedFd>,
}

/// Where hits are counted.
pub(super) enum Counts {
    Nke(nke::Filter),
    Nftables(nftables::Rules),
    Iptables(iptables::Rules),
}

impl Tool {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [
        Self::Nke,
        Self::Nftables(Hook::Ingress),
        Self::Nftables(Hook::Prerouting),
        Self::Iptables(Flavour::Legacy),
        Self::Iptables(Flavour::Nft),
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nke => "nke",
            Self::Nftables(hook) => hook.title(),
            Self::Iptables(flavour) => flavour.title(),
        }
    }

    /// Puts rules in force.
    pub(super) fn lay(self, stage: &mut Stage<'_>, rules: &[Drawn]) -> Result<Laid> {
        match self {
            Self::Nke => nke::lay(stage, rules),
            Self::Nftables(hook) => nftables::lay(stage, hook, rules),
            Self::Iptables(flavour) => iptables::lay(stage, flavour, rules),
        }
    }

    /// By how much fewer packets are sent than to others, where a packet takes microseconds.
    pub(super) const fn patience(self, rules: usize) -> u32 {
        match (self, rules) {
            (Self::Nke, _) | (_, 0..=1) => 1,
            (_, 2..=100) => 4,
            (_, 101..=1000) => 40,
            _ => 200,
        }
    }
}

impl Counts {
    /// Packets that rules have matched.
    pub(super) fn read(&self, stage: &Stage<'_>) -> Result<u64> {
        match self {
            Self::Nke(filter) => filter.hits(),
            Self::Nftables(rules) => rules.hits(stage),
            Self::Iptables(rules) => rules.hits(stage),
        }
    }
}

/// A prefix as most tools write it; nothing where it is the whole internet.
fn prefix((first, length): (u128, u8)) -> Option<String> {
    let address = std::net::Ipv4Addr::from_bits(first as u32);
    (length > 0).then(|| format!("{address}/{length}"))
}

/// The ports of a rule, by the word for which end they are of; nothing where any will do.
fn ports(rule: &Drawn) -> impl Iterator<Item = (&'static str, u16, u16)> {
    let ends = [
        ("sport", rule.source_ports),
        ("dport", rule.destination_ports),
    ];
    let told = ends
        .into_iter()
        .filter(|(_, range)| *range != (0, u16::MAX));
    told.map(|(word, (first, last))| (word, first, last))
}

/// The numbers that follow a word in a text, added up.
fn sum_behind(text: &str, word: &str) -> u64 {
    let numbers = text.split(word).skip(1).filter_map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse::<u64>().ok()
    });
    numbers.sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_are_added_up() {
        let text = "counter packets 12 bytes 3 drop\n counter packets 30 bytes 1 drop";
        assert_eq!(super::sum_behind(text, "packets "), 42);
    }
}
