//! `nke chain --way`: the ways of packets as one table, a line for each thing that one meets.

use std::fmt;

use comfy_table::Table;
use nke::{
    control::{ChainStatus, HookStatus, WayStatus},
    hook::{Family, Way},
};
use serde_json::json;

use crate::output;

pub(crate) fn print(ways: &[WayStatus], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::print_json(&json!({ "ways": ways }));
    }
    let mut table = output::table(["HOOK", "#", "ID", "PRIO", "WHAT", "GO-ON", "DROPPED"]);
    for way in ways.iter().filter(|way| !way.hooks.is_empty()) {
        what(&mut table, heading(way.way), "");
        let family = |one: &HookStatus| Family::of(one.hook);
        for hooks in way.hooks.chunk_by(|one, next| family(one) == family(next)) {
            rows(&mut table, hooks);
        }
    }
    output::right(&mut table, &[1, 2, 3, 5, 6]);
    output::print_table(&table);
    Ok(())
}

const fn heading(way: Way) -> &'static str {
    match way {
        Way::In => "in",
        Way::Forward => "forward",
        Way::Out => "out",
        Way::Call => "call",
    }
}

/// The lines of a family's hooks: one for all of them when there is nothing at any.
fn rows(table: &mut Table, hooks: &[HookStatus]) {
    if let [first, _, ..] = hooks
        && hooks.iter().all(|hook| hook.chains.is_empty())
    {
        what(table, &indented(Family::of(first.hook)), "-");
        return;
    }
    for hook in hooks {
        if hook.chains.is_empty() {
            what(table, &indented(hook.hook), "-");
        }
        for chain in &hook.chains {
            self::chain(table, chain);
        }
    }
}

fn indented(hook: impl fmt::Display) -> String {
    format!("  {hook}")
}

/// A line without a node.
fn what(table: &mut Table, hook: &str, text: &str) {
    table.add_row([hook, "", "", "", text, "", ""]);
}

fn chain(table: &mut Table, chain: &ChainStatus) {
    // There is one namespace, and it is the one that was asked for.
    let cgroup = chain.cgroup.as_ref().map(|path| path.display().to_string());
    let place = chain.interface.clone().or(cgroup);
    let manner = output::manner(chain).unwrap_or_else(|| "no chain of nke's".to_owned());
    let text = place.map_or_else(|| manner.clone(), |place| format!("{place}, {manner}"));
    what(table, &indented(chain.hook), &text);
    let others = |table: &mut Table, before: bool| {
        let others = chain.foreign.iter().filter(|other| other.before == before);
        others.for_each(|other| what(table, "", &output::stranger(other)));
    };
    others(table, true);
    for node in &chain.nodes {
        let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), output::packets);
        table.add_row([
            String::new(),
            node.position.to_string(),
            node.id.to_string(),
            node.priority.to_string(),
            output::extension(node),
            count(node.packets.map(|packets| packets.go_on)),
            count(node.packets.map(|packets| packets.dropped)),
        ]);
    }
    others(table, false);
}
