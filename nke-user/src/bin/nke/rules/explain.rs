//! `nke filter explain`: which rule decides about a packet, and why none before it does.

use std::path::Path;

use clap::Args;
use nke::filter::{Action, Decider, Miss, Packet, Rule, Way};
use serde_json::{Value, json};

use super::{
    asked::{Asked, Looked},
    malformed,
    target::Target,
};
use crate::{
    arguments::Format,
    failure::Manner,
    output::{line, print_json},
};

/// Say which rule decides about a packet, or about a call
///
/// PACKET is: [in|out] PROTOCOL SOURCE > DESTINATION, as in `tcp 10.1.2.3:999 > 10.0.0.1:22`, `icmp6
/// fd00::1 > fd00::2` or `udp fragment 10.0.0.1 > 10.0.0.2`; or `not-ip`. A call is: connect|sendmsg
/// |bind PROTOCOL ADDRESS, as in `connect tcp 192.0.2.1:443`. With -v, each rule before the one that
/// decides is listed with what the packet has otherwise.
#[derive(Args, Debug)]
pub(crate) struct Explain<T: Target> {
    #[command(flatten)]
    asked: Asked<T>,
    /// The packet or call, in one word or several
    #[arg(required = true)]
    packet: Vec<String>,
    #[command(flatten)]
    format: Format,
}

impl<T: Target> Explain<T> {
    pub(super) fn run(&self, state: &Path, manner: Manner) -> anyhow::Result<()> {
        let text = self.packet.join(" ");
        let packet = |way: Way| {
            let packet = T::DIALECT.packet(&text, way);
            packet.map_err(|error| malformed("packet", error))
        };
        // A mistake costs nobody the lock.
        packet(Way::In)?;
        let mut explanations = Vec::new();
        for looked in self.asked.look_as_loaded(state)? {
            let Some(first) = looked.ways.first() else {
                continue;
            };
            let mut packet = packet(*first)?;
            packet.interface = packet.interface.or(looked.interface);
            if looked.ways.contains(&packet.way) {
                explanations.push((looked, packet));
            }
        }
        if self.format.json {
            let all = explanations
                .iter()
                .map(|(looked, packet)| explained(looked, packet));
            return print_json(&json!({ "explanations": all.collect::<Vec<_>>() }));
        }
        if explanations.is_empty() {
            line(format_args!("nothing that goes this way comes by there"));
        }
        for (looked, packet) in &explanations {
            print(looked, packet, manner);
        }
        Ok(())
    }
}

/// The rules that come before the one that decides, each with what the packet has otherwise: as it is when it comes to the rule.
fn before<'a>(looked: &'a Looked, packet: &Packet, by: &Decider) -> Vec<(&'a Rule, Vec<Miss>)> {
    let rules = &looked.rules.rules;
    let before = match by {
        Decider::Rule(index) => &rules[..*index],
        Decider::Default | Decider::Obscured => rules,
    };
    let met = looked.met();
    let mut packet = packet.clone();
    let misses = before.iter().zip(&met.rules).enumerate();
    let misses = misses.map(|(index, (rule, met))| {
        let mut gone = looked.gone_of(index);
        if let Some(gone) = gone.find(|gone| gone.is_asked_by(rule)) {
            return (rule, vec![gone.miss(&packet)]);
        }
        let misses = met.misses_with(&packet, &looked.known);
        if misses.is_empty() {
            rule.go_on(&mut packet);
        }
        (rule, misses)
    });
    misses.collect()
}

fn print(looked: &Looked, packet: &Packet, manner: Manner) {
    let judgement = looked.met().judge_with(&Ok(packet.clone()), &looked.known);
    if manner.verbose {
        let before = before(looked, packet, &judgement.by).into_iter();
        for (index, (rule, misses)) in before.enumerate() {
            line(format_args!("{}: {rule}", looked.name(index)));
            for miss in misses {
                line(format_args!("    {miss}"));
            }
        }
    }
    let title = &looked.title;
    let action = judgement.action;
    match judgement.by {
        Decider::Rule(index) => {
            let rule = &looked.rules.rules[index];
            let name = looked.name(index);
            line(format_args!("{title}: {action} by {name}: {rule}"));
            for found in rule.found_in(packet) {
                line(format_args!("    {found}"));
            }
            if matches!(rule.action, Action::Redirect(_)) {
                for gone in looked.gone_of(index).filter(|gone| !gone.is_asked_by(rule)) {
                    line(format_args!(
                        "    there is no {} now that it means: the packet is dropped",
                        gone.name
                    ));
                }
            }
        }
        Decider::Default | Decider::Obscured => {
            line(format_args!(
                "{title}: {action} by default: no rule matches"
            ));
        }
    }
}

fn explained(looked: &Looked, packet: &Packet) -> Value {
    let judgement = looked.met().judge_with(&Ok(packet.clone()), &looked.known);
    let rule = match judgement.by {
        Decider::Rule(index) => Some(index),
        Decider::Default | Decider::Obscured => None,
    };
    let before = before(looked, packet, &judgement.by).into_iter();
    let before: Vec<_> = (before.enumerate())
        .map(|(index, (rule, misses))| {
            let misses: Vec<_> = misses.iter().map(ToString::to_string).collect();
            json!({
                "number": index + 1,
                "line": looked.line(index),
                "rule": rule.to_string(),
                "misses": misses,
            })
        })
        .collect();
    looked.json(&json!({
        "packet": packet.to_string(),
        "action": judgement.action.to_string(),
        "number": rule.map(|index| index + 1),
        "line": rule.and_then(|index| looked.line(index)),
        "rule": rule.map(|index| looked.rules.rules[index].to_string()),
        "before": before,
    }))
}
