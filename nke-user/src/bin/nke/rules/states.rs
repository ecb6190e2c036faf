//! `nke filter states`: the flows that `keep state` knows.

use std::path::Path;

use clap::Args;
use nke::filter::{Direction, FlowState, KnownFlows, LARGEST_LIMIT, Numbers};
use nke::hook::Hook;
use serde_json::{Value, json};

use super::{
    FilterTarget, Found, find, not_attached,
    target::{Filters, Target as _},
};
use crate::{
    arguments::Format,
    open,
    output::{self, line},
};

/// List the flows that rules with `keep state` have let through, or forget them
///
/// All attachments to an interface know the same flows, and all to a namespace's IP layer. Two counts,
/// as of packets, are of the end that began and of the other.
#[derive(Args, Debug)]
pub(crate) struct States {
    #[command(flatten)]
    place: Filters,
    /// Forget all flows, and what was counted of them
    #[arg(long)]
    flush: bool,
    /// Have room for so many flows from now on; forgets those that there are
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(16..=i64::from(LARGEST_LIMIT)))]
    limit: Option<u32>,
    /// Even if your own SSH connection lives by a flow that is forgotten
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    format: Format,
}

impl States {
    pub(super) fn run(&self, state: &Path) -> anyhow::Result<()> {
        let target = FilterTarget::everywhere(&self.place);
        let changes = self.flush || self.limit.is_some();
        // Held until the table is changed: nobody else makes one in between.
        let control = if changes {
            open::open(state)?
        } else {
            open::look(state)?
        };
        let mut tables: Vec<(u32, Found, Makers)> = Vec::new();
        for found in find::<FilterTarget>(&control, &target.scope())? {
            if changes && !self.force {
                found.refuse_to_forget()?;
            }
            let id = found.table.states()?.id()?;
            let maker = (found.hooks.first().copied(), found.table.numbers()?);
            match tables.iter_mut().find(|(other, ..)| *other == id) {
                Some((_, same, makers)) => {
                    same.hooks.extend(found.hooks);
                    makers.push(maker);
                }
                None => tables.push((id, found, vec![maker])),
            }
        }
        if tables.is_empty() && (changes || target.is_named()) {
            return Err(not_attached(&target).into());
        }
        let mut all = Vec::new();
        for (_, mut found, makers) in tables {
            if changes {
                found.table.states_mut()?.flush(self.limit)?;
            }
            let known = found.table.states()?.read()?;
            all.push((found, known, makers));
        }
        if self.format.json {
            let all: Vec<_> = all
                .iter()
                .map(|(found, known, makers)| told(found, known, makers))
                .collect();
            return output::print_json(&json!({ "states": all }));
        }
        for (found, known, makers) in &all {
            print(found, known, makers);
        }
        Ok(())
    }
}

/// The rules that may have let flows through, by the hook where they are.
type Makers = Vec<(Option<Hook>, Numbers)>;

/// Where the rule is that let a flow through, and its place in the list; nothing if it is gone.
fn rule(flow: &FlowState, makers: &Makers) -> Option<(Hook, usize)> {
    let mut found = makers.iter();
    found.find_map(|(hook, numbers)| Some(((*hook)?, numbers.place(flow)?)))
}

fn print(found: &Found, known: &Option<KnownFlows>, makers: &Makers) {
    let Some(known) = known else {
        line(format_args!("{found}: no rule keeps state"));
        return;
    };
    let KnownFlows {
        limit,
        made,
        expired,
        evicted,
        refused,
        flows,
    } = known;
    line(format_args!(
        "{found}: {} of {limit}; {made} made, {expired} expired, {evicted} evicted, {refused} refused",
        output::count(flows.len(), "flow")
    ));
    if flows.is_empty() {
        return;
    }
    let mut table = output::table([
        "PROTO", "WAY", "FROM", "TO", "STATE", "AGE", "EXPIRES", "PACKETS", "BYTES", "RULE",
    ]);
    for flow in flows {
        let [there, back] = flow.packets.map(output::packets);
        let [bytes_there, bytes_back] = flow.bytes.map(output::bytes);
        table.add_row([
            flow.protocol.to_string(),
            way(flow).to_owned(),
            end(&flow.from),
            end(&flow.to),
            flow.phase.to_owned(),
            format!("{} s", flow.age),
            format!("{} s", flow.expires),
            format!("{there} / {back}"),
            format!("{bytes_there} / {bytes_back}"),
            rule(flow, makers)
                .map_or_else(|| "-".to_owned(), |(hook, place)| format!("{hook} {place}")),
        ]);
    }
    output::right(&mut table, &[5, 6, 7, 8, 9]);
    // Broken addresses are none.
    output::whole(&mut table);
    output::print_table(&table);
}

const fn way(flow: &FlowState) -> &'static str {
    match flow.direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

fn end((address, port): &(std::net::IpAddr, u16)) -> String {
    match port {
        0 => address.to_string(),
        port => std::net::SocketAddr::new(*address, *port).to_string(),
    }
}

fn told(found: &Found, known: &Option<KnownFlows>, makers: &Makers) -> Value {
    let flows = known.iter().flat_map(|known| &known.flows).map(|flow| {
        let rule = rule(flow, makers);
        json!({
            "protocol": flow.protocol.to_string(),
            "direction": way(flow),
            "from": flow.from.0,
            "from_port": flow.from.1,
            "to": flow.to.0,
            "to_port": flow.to.1,
            "state": flow.phase,
            "age": flow.age,
            "idle": flow.idle,
            "expires": flow.expires,
            "packets": flow.packets,
            "bytes": flow.bytes,
            "rule": rule.map(|(_, place)| place),
            "rule_hook": rule.map(|(hook, _)| hook),
        })
    });
    json!({
        "hooks": found.hooks,
        "interface": found.interface,
        "netns": found.netns,
        "limit": known.as_ref().map(|known| known.limit),
        "made": known.as_ref().map(|known| known.made),
        "expired": known.as_ref().map(|known| known.expired),
        "evicted": known.as_ref().map(|known| known.evicted),
        "refused": known.as_ref().map(|known| known.refused),
        "flows": flows.collect::<Vec<_>>(),
    })
}
