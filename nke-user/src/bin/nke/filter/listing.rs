//! The rules in force, as a table or as JSON.

use nke::filter::{Hits, Listing};
use serde_json::{Value, json};

use super::Found;
use crate::output;

/// Prints filters, each under its place.
pub(super) fn print(filters: &[(Found, Listing)], json: bool) -> anyhow::Result<()> {
    if json {
        let filters: Vec<_> = filters
            .iter()
            .map(|(found, listing)| value(found, listing))
            .collect();
        return output::print_json(&json!({ "filters": filters }));
    }
    if filters.is_empty() {
        output::line(format_args!("no packet filter is attached"));
    }
    for (nth, (found, listing)) in filters.iter().enumerate() {
        if nth > 0 {
            output::line(format_args!(""));
        }
        output::line(format_args!("{found}, attachment {}", found.id));
        print_one(listing);
    }
    Ok(())
}

fn print_one(listing: &Listing) {
    let Listing {
        default,
        rules,
        default_hits,
        obscured_hits,
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
}

fn value(found: &Found, listing: &Listing) -> Value {
    let Found {
        hook,
        interface,
        netns,
        id,
        table: _,
    } = found;
    let Listing {
        default,
        rules,
        default_hits,
        obscured_hits,
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
    let hits = |hits: &Hits| json!({ "packets": hits.packets, "bytes": hits.bytes });
    json!({
        "hook": hook,
        "interface": interface,
        "netns": netns,
        "attachment": id,
        "default": default.to_string(),
        "default_hits": hits(default_hits),
        "obscured_hits": hits(obscured_hits),
        "rules": rules,
    })
}
