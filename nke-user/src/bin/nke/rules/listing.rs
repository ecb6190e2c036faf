//! The rules in force, as a table or as JSON.

use nke::filter::{Dialect, GoneInterface, Hits, Listing};
use serde_json::{Value, json};

use super::{Found, target::Target};
use crate::output;

/// Prints rule sets, each under its place.
pub(super) fn print<T: Target>(all: &[(Found, Listing)], json: bool) -> anyhow::Result<()> {
    if json {
        let (name, value): (_, fn(&Found, &Listing) -> Value) = match T::DIALECT {
            Dialect::Packets => ("filters", filter),
            Dialect::Calls => ("guards", guard),
        };
        let all: Vec<_> = all
            .iter()
            .map(|(found, listing)| value(found, listing))
            .collect();
        return output::print_json(&json!({ name: all }));
    }
    if all.is_empty() {
        output::line(format_args!("{}", T::NONE));
    }
    for (nth, (found, listing)) in all.iter().enumerate() {
        if nth > 0 {
            output::line(format_args!(""));
        }
        match T::DIALECT {
            Dialect::Packets => {
                output::line(format_args!("{found}, attachment {}", found.id));
                print_filter(listing);
            }
            Dialect::Calls => {
                output::line(format_args!("{found}"));
                print_guard(listing);
            }
        }
    }
    Ok(())
}

pub(super) fn print_filter(listing: &Listing) {
    let Listing {
        default,
        rules,
        default_hits,
        known_hits,
        obscured_hits,
        evicted_sources,
        gone_interfaces,
    } = listing;
    let mut table = output::table(["#", "PACKETS", "BYTES", "RULE"]);
    let mut row = |number: String, hits: &Hits, rule: String| {
        table.add_row([
            number,
            output::packets(hits.packets),
            output::bytes(hits.bytes),
            rule,
        ]);
    };
    for (number, (rule, hits)) in (1..).zip(rules) {
        row(number.to_string(), hits, rule.to_string());
    }
    if known_hits.packets > 0 {
        let flows = "pass: flows of other rules' state".to_owned();
        row("-".to_owned(), known_hits, flows);
    }
    row("-".to_owned(), default_hits, format!("default {default}"));
    // Almost nobody ever sees one.
    if obscured_hits.packets > 0 {
        row(
            "-".to_owned(),
            obscured_hits,
            "drop: too many IPv6 extension headers".to_owned(),
        );
    }
    output::right(&mut table, &[0, 1, 2]);
    output::print_table(&table);
    if *evicted_sources > 0 {
        let forgotten = "sources of limits were forgotten too early, for want of room";
        output::line(format_args!("{evicted_sources} {forgotten}"));
    }
    for GoneInterface {
        rule,
        name,
        made_again,
    } in gone_interfaces
    {
        if *made_again {
            let other = "has been made since; load the rules again, or apply";
            output::line(format_args!("rule {rule}: {name} {other}"));
        } else {
            output::line(format_args!(
                "rule {rule}: there is no interface {name} now"
            ));
        }
    }
}

fn print_guard(listing: &Listing) {
    let Listing {
        default,
        rules,
        default_hits,
        known_hits: _,
        obscured_hits: _,
        evicted_sources: _,
        gone_interfaces: _,
    } = listing;
    let mut table = output::table(["#", "CALLS", "RULE"]);
    let mut row = |number: String, hits: &Hits, rule: String| {
        table.add_row([number, output::packets(hits.packets), rule]);
    };
    for (number, (rule, hits)) in (1..).zip(rules) {
        row(number.to_string(), hits, rule.to_string());
    }
    row("-".to_owned(), default_hits, format!("default {default}"));
    output::right(&mut table, &[0, 1]);
    output::print_table(&table);
}

fn filter(found: &Found, listing: &Listing) -> Value {
    let Found {
        hooks,
        interface,
        netns,
        id,
        ..
    } = found;
    let mut value = json!({
        "hook": hooks.first(),
        "interface": interface,
        "netns": netns,
        "attachment": id,
    });
    if let (Some(value), Value::Object(rules)) = (value.as_object_mut(), rules(listing)) {
        value.extend(rules);
    }
    value
}

/// The rules and their hits.
pub(super) fn rules(listing: &Listing) -> Value {
    let Listing {
        default,
        rules,
        default_hits,
        known_hits,
        obscured_hits,
        evicted_sources,
        gone_interfaces,
    } = listing;
    let rules: Vec<_> = (1..)
        .zip(rules)
        .map(|(number, (rule, Hits { packets, bytes })): (usize, _)| {
            json!({
                "number": number,
                "rule": rule.to_string(),
                "packets": packets,
                "bytes": bytes,
            })
        })
        .collect();
    let gone = |it: &GoneInterface| {
        let GoneInterface {
            rule,
            name,
            made_again,
        } = it;
        json!({ "rule": rule, "interface": name.as_str(), "made_again": made_again })
    };
    let gone: Vec<_> = gone_interfaces.iter().map(gone).collect();
    let hits = |hits: &Hits| json!({ "packets": hits.packets, "bytes": hits.bytes });
    json!({
        "default": default.to_string(),
        "default_hits": hits(default_hits),
        "known_hits": hits(known_hits),
        "obscured_hits": hits(obscured_hits),
        "evicted_sources": evicted_sources,
        "gone_interfaces": gone,
        "rules": rules,
    })
}

fn guard(found: &Found, listing: &Listing) -> Value {
    let Found { hooks, cgroup, .. } = found;
    let Listing {
        default,
        rules,
        default_hits,
        known_hits: _,
        obscured_hits: _,
        evicted_sources: _,
        gone_interfaces: _,
    } = listing;
    let rules: Vec<_> = (1..)
        .zip(rules)
        .map(|(number, (rule, hits)): (usize, _)| {
            json!({ "number": number, "rule": rule.to_string(), "calls": hits.packets })
        })
        .collect();
    json!({
        "cgroup": cgroup,
        "hooks": hooks,
        "default": default.to_string(),
        "default_calls": default_hits.packets,
        "rules": rules,
    })
}
