//! All that is printed: lines, tables, JSON. Tables are 80 columns wide on a terminal; elsewhere each row is one line.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    sync::OnceLock,
};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use nke::{
    control::{Attached, ChainStatus, Counts, ExtensionStatus, Holder, NodeStatus},
    find::{Wanted, overlooked},
    foreign::{Foreign, How},
    hook::Hook,
};
use serde_json::json;

/// Columns of a table.
const WIDTH: u16 = 80;

/// Why not all was printed, if it was not.
static UNPRINTED: OnceLock<io::Error> = OnceLock::new();

/// Prints a line. A reader that has gone away is no mistake; a full disk is told at the end.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    if let Err(error) = writeln!(io::stdout(), "{text}") {
        UNPRINTED.get_or_init(|| error);
    }
}

/// Prints a part of what comes.
pub(crate) fn part(text: fmt::Arguments<'_>) {
    if let Err(error) = write!(io::stdout(), "{text}") {
        UNPRINTED.get_or_init(|| error);
    }
}

/// Prints a remark, apart from what was asked for.
pub(crate) fn note(text: fmt::Arguments<'_>) {
    complain(format_args!("nke: {text}"));
}

/// Whether there is still any use in printing.
pub(crate) fn is_read() -> bool {
    UNPRINTED.get().is_none()
}

/// Whether all was printed that anybody wanted to read; if not, it is told why.
pub(crate) fn was_printed() -> bool {
    let unprinted = UNPRINTED.get();
    let Some(error) = unprinted.filter(|error| error.kind() != io::ErrorKind::BrokenPipe) else {
        return true;
    };
    complain(format_args!(
        "nke: standard output: write: {error}; what was asked for is done, and not all of the \
         answer was printed"
    ));
    false
}

/// Prints a line for those who look for mistakes, if anybody does.
pub(crate) fn complain(text: fmt::Arguments<'_>) {
    let _: io::Result<()> = writeln!(io::stderr(), "{text}");
}

/// Text without what would move a terminal's cursor.
pub(crate) fn escaped(text: &str) -> String {
    let characters = text.chars().map(|c| match c {
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    });
    characters.collect()
}

pub(crate) fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    line(format_args!("{}", serde_json::to_string_pretty(value)?));
    Ok(())
}

pub(crate) fn table<'a>(headings: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    let arrangement = match io::stdout().is_terminal() {
        true => ContentArrangement::Dynamic,
        false => ContentArrangement::Disabled,
    };
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(arrangement)
        .set_width(WIDTH)
        .set_header(headings);
    table
}

/// Numbers stand to the right, each in one piece; what is too long for the table is elsewhere.
pub(crate) fn right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

/// No cell is broken into lines, however wide the table gets.
pub(crate) fn whole(table: &mut Table) {
    table.set_content_arrangement(ContentArrangement::Disabled);
}

pub(crate) fn print_table(table: &Table) {
    for row in table.lines() {
        line(format_args!("{}", row.trim_end()));
    }
}

/// So many of something, in words.
pub(crate) fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// Prints which file an extension is from, and what else might be thought to be it.
pub(crate) fn loaded(wanted: &Wanted, counted: bool, extension: &ExtensionStatus) {
    let ExtensionStatus {
        name,
        kmid,
        path,
        loads,
        ..
    } = extension;
    let done = if counted { "loaded" } else { "found" };
    let path = path.display();
    line(format_args!(
        "{done} {name} {kmid} from {path}, load count {loads}"
    ));
    if let Some(other) = overlooked(wanted, &extension.path) {
        let other = escaped(&other.display().to_string());
        complain(format_args!(
            "nke: note: {other} is not meant by {wanted}, which is {path}; write {other} to have it"
        ));
    }
}

/// Prints what has become of an attachment.
pub(crate) fn attached(done: &str, attached: &Attached) {
    let NodeStatus { extension, id, .. } = &attached.node;
    line(format_args!(
        "{done} {extension} {id} to {}",
        place(attached)
    ));
}

/// Prints what an extension has replaced.
pub(crate) fn replaced(was: &str, attached: &Attached) {
    let NodeStatus { extension, id, .. } = &attached.node;
    line(format_args!(
        "replaced {was} {id} with {extension} at {}",
        place(attached)
    ));
}

/// Where an attachment is.
fn place(attached: &Attached) -> String {
    let Attached { node, chain } = attached;
    let mode = how(chain).map_or_else(String::new, |how| format!(" ({how})"));
    let place = chain.interface.clone().unwrap_or_else(|| chain.place());
    let (position, length) = (node.position, chain.nodes.len());
    format!(
        "{} of {place}{mode}, position {position} of {length}",
        chain.hook
    )
}

/// One attachment is an object, those of a family are an array.
pub(crate) fn attached_json(all: &[Attached]) -> anyhow::Result<()> {
    let object = |Attached { node, chain }: &Attached| {
        let mut value = serde_json::to_value(node)?;
        value["hook"] = json!(chain.hook);
        value["interface"] = json!(chain.interface);
        value["netns"] = json!(chain.netns);
        value["cgroup"] = json!(chain.cgroup);
        value["mode"] = json!(chain.mode);
        value["netfilter"] = json!(chain.netfilter);
        anyhow::Ok(value)
    };
    match all {
        [one] => print_json(&object(one)?),
        several => {
            let objects = several
                .iter()
                .map(object)
                .collect::<anyhow::Result<Vec<_>>>()?;
            print_json(&json!(objects))
        }
    }
}

/// A count of packets: exact as long as it is short, `show` and `--json` have it whole.
pub(crate) fn packets(count: u64) -> String {
    const SHORT: u64 = 1_000_000_000;
    if count < SHORT {
        return count.to_string();
    }
    let mut units = ["G", "T", "P", "E"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    let mut thousandths = count / 1_000_000;
    for larger in units {
        if thousandths >= 1_000_000 {
            (thousandths, unit) = (thousandths / 1000, larger);
        }
    }
    match (thousandths / 1000, thousandths % 1000 / 100) {
        (whole @ 100.., _) => format!("{whole}{unit}"),
        (whole, tenths) => format!("{whole}.{tenths}{unit}"),
    }
}

/// A count of bytes, in the largest unit that leaves a digit before the point.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scaled = count;
    let mut rest = 0;
    let mut unit = 0;
    while scaled >= 1024 && unit + 1 < UNITS.len() {
        (scaled, rest, unit) = (scaled / 1024, scaled % 1024, unit + 1);
    }
    if unit == 0 || scaled >= 100 {
        format!("{scaled} {}", UNITS[unit])
    } else {
        format!("{scaled}.{} {}", rest * 10 / 1024, UNITS[unit])
    }
}

pub(crate) fn list(extensions: &[ExtensionStatus]) {
    if extensions.is_empty() {
        line(format_args!("no extension is loaded"));
        return;
    }
    let needy = extensions
        .iter()
        .any(|extension| !extension.needs.is_empty());
    let mut head = vec![
        "KMID", "LOADS", "USES", "SIZE", "NAME", "VERSION", "HELD BY", "HOOKS",
    ];
    if needy {
        head.insert(7, "NEEDS");
    }
    let mut table = table(head);
    for extension in extensions {
        let mut row = vec![
            extension.kmid.to_string(),
            extension.loads.to_string(),
            extension.uses.to_string(),
            bytes(extension.size.into()),
            if extension.uses > 0 && extension.opt_in == extension.uses {
                opted(&extension.name)
            } else {
                extension.name.clone()
            },
            extension.version.to_string(),
            held_by(&extension.holders),
            by_layer(&extension.hooks),
        ];
        if needy {
            let needs: Vec<_> = extension
                .needs
                .iter()
                .map(|need| need.name.as_str())
                .collect();
            row.insert(7, needs.join(" "));
        }
        table.add_row(row);
    }
    right(&mut table, &[0, 1, 2, 3]);
    print_table(&table);
}

/// Hooks by layer, each layer named once: `interface/xdp in`; or `ip/*` if it has all of them.
fn by_layer(hooks: &[Hook]) -> String {
    let layer_of = |hook: &Hook| hook.row().name.split_once('/');
    let mut layers: Vec<(&str, Vec<&str>)> = Vec::new();
    for (layer, name) in hooks.iter().filter_map(layer_of) {
        match layers.iter_mut().find(|(known, _)| *known == layer) {
            Some((_, names)) => names.push(name),
            None => layers.push((layer, vec![name])),
        }
    }
    let words = layers.iter().map(|(layer, names)| {
        let all = Hook::all().filter_map(|hook| layer_of(&hook));
        if all.filter(|(of, _)| of == layer).count() == names.len() {
            format!("{layer}/*")
        } else {
            format!("{layer}/{}", names.join(" "))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The first of those who hold an extension, in short: attachments by their ids.
fn held_by(holders: &[Holder]) -> String {
    const MOST: usize = 3;
    let short = |holder: &Holder| match holder {
        Holder::User { name, .. } => name.clone(),
        Holder::Attachment { id, .. } => id.to_string(),
        Holder::Dependant { name, .. } => name.clone(),
        Holder::Exit { .. } => "exit".to_owned(),
    };
    let mut names: Vec<_> = holders.iter().take(MOST).map(short).collect();
    if holders.len() > MOST {
        names.push("…".to_owned());
    }
    names.join(" ")
}

/// How a chain is called, if it is nke's.
fn how(chain: &ChainStatus) -> Option<String> {
    let mode = chain.mode.map(|mode| mode.to_string());
    chain.netfilter.map(|at| at.to_string()).or(mode)
}

/// A chain's heading: where it is, and what holds for all of it.
fn heading(chain: &ChainStatus) -> String {
    match manner(chain) {
        Some(manner) => format!("{} of {}, {manner}", chain.hook, chain.place()),
        None => format!("{} of {}: no chain of nke's", chain.hook, chain.place()),
    }
}

/// What holds for all of a chain of nke's.
pub(crate) fn manner(chain: &ChainStatus) -> Option<String> {
    let how = how(chain)?;
    Some(format!("{how}, policy {}", chain.policy))
}

pub(crate) fn chains(chains: &[ChainStatus], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return print_json(&json!({ "chains": chains }));
    }
    if chains.is_empty() {
        line(format_args!("no chain"));
    }
    for (nth, chain) in chains.iter().enumerate() {
        if nth > 0 {
            line(format_args!(""));
        }
        line(format_args!("{}", heading(chain)));
        foreign(chain, true);
        if !chain.nodes.is_empty() {
            print_table(&nodes(chain));
        }
        if !chain.claims.is_empty() {
            let names = chain.claims.join(", ");
            line(format_args!("    sockets opt in here for {names}"));
        }
        foreign(chain, false);
    }
    Ok(())
}

/// An extension that is there only for sockets that opt in.
fn opted(name: &str) -> String {
    format!("{name} (opt-in)")
}

/// An attachment's extension, and what is not as usual with it.
pub(crate) fn extension(node: &NodeStatus) -> String {
    let name = match node.opt_in {
        true => opted(&node.extension),
        false => node.extension.clone(),
    };
    if node.enabled {
        name
    } else {
        format!("{name} (disabled)")
    }
}

/// Others' programs, those before nke's chain or those behind it.
fn foreign(chain: &ChainStatus, before: bool) {
    for foreign in chain
        .foreign
        .iter()
        .filter(|foreign| foreign.before == before)
    {
        line(format_args!("    {}, not nke's", stranger(foreign)));
    }
}

/// What is not nke's, in words.
pub(crate) fn stranger(foreign: &Foreign) -> String {
    let Foreign {
        program_id,
        name,
        how,
        priority,
        above,
        before: _,
    } = foreign;
    let what = match (how, program_id) {
        (_, Some(id)) => format!("{how} program {id} ({name})"),
        (How::Iptables, None) => format!("{name} table"),
        (_, None) => format!("{how} chain {}", escaped(name)),
    };
    let priority = priority.map_or_else(String::new, |priority| format!(", priority {priority}"));
    let above = above
        .as_ref()
        .map_or_else(String::new, |path| format!(" of {}", path.display()));
    format!("{what}{priority}{above}")
}

fn nodes(chain: &ChainStatus) -> Table {
    let mut table = table([
        "#",
        "ID",
        "PRIO",
        "EXTENSION",
        "GO-ON",
        "DROPPED",
        "OTHER",
        "BYTES",
    ]);
    for node in &chain.nodes {
        let packets = |pick: fn(&Counts) -> u64| {
            node.packets
                .as_ref()
                .map_or_else(|| "-".to_owned(), |counts| packets(pick(counts)))
        };
        let total = node.bytes.map_or_else(
            || "-".to_owned(),
            |counts| {
                let Counts {
                    go_on,
                    dropped,
                    other,
                } = counts;
                bytes(go_on.saturating_add(dropped).saturating_add(other))
            },
        );
        table.add_row([
            node.position.to_string(),
            node.id.to_string(),
            node.priority.to_string(),
            extension(node),
            packets(|counts| counts.go_on),
            packets(|counts| counts.dropped),
            packets(|counts| counts.other),
            total,
        ]);
    }
    right(&mut table, &[0, 1, 2, 4, 5, 6, 7]);
    table
}

pub(crate) fn show(
    extensions: &[ExtensionStatus],
    signers: &[Option<String>],
    chains: &[ChainStatus],
) {
    for (extension, signer) in extensions.iter().zip(signers) {
        let hooks: Vec<_> = extension.hooks.iter().map(|hook| hook.row().name).collect();
        line(format_args!("extension {}", extension.name));
        field("kmid", extension.kmid);
        if let Some(identifier) = &extension.identifier {
            field("identifier", identifier);
        }
        field("version", &extension.version);
        if !extension.description.is_empty() {
            field("description", &extension.description);
        }
        field("file", extension.path.display());
        if let Some(signer) = signer {
            field("signed by", signer);
        }
        field("size", bytes(extension.size.into()));
        field("load count", extension.loads);
        field("use count", extension.uses);
        for holder in &extension.holders {
            field("held by", holder);
        }
        for need in &extension.needs {
            field("needs", need);
        }
        for (name, routine) in [("init", &extension.init), ("exit", &extension.exit)] {
            if let Some(routine) = routine {
                field(name, routine);
            }
        }
        field("hooks", hooks.join(" "));
    }
    for chain in chains {
        for node in &chain.nodes {
            attachment(chain, node);
        }
    }
}

pub(crate) fn field(name: &str, value: impl fmt::Display) {
    line(format_args!("  {name:<12} {value}"));
}

fn attachment(chain: &ChainStatus, node: &NodeStatus) {
    line(format_args!("attachment {}", node.id));
    field(
        "extension",
        format_args!("{} (kmid {})", node.extension, node.kmid),
    );
    field(
        "program",
        format_args!("{} (kernel id {})", node.program, node.program_id),
    );
    if let Some(fast) = node.fast_path_id {
        field("fast path", format_args!("kernel id {fast}"));
    }
    field("chain", heading(chain));
    field("position", node.position);
    field("priority", node.priority);
    let form = serde_json::to_value(node.form).unwrap_or_default();
    field("form", form.as_str().unwrap_or_default());
    if !node.enabled {
        field("disabled", "its program does not run");
    }
    if node.opt_in {
        field("sockets", "only those that opt in");
    }
    if let (Some(packets), Some(octets)) = (node.packets, node.bytes) {
        let count = |packets: u64, octets| format!("{packets} packets, {}", bytes(octets));
        field("go on", count(packets.go_on, octets.go_on));
        field("dropped", count(packets.dropped, octets.dropped));
        field("other", count(packets.other, octets.other));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_until_they_are_long() {
        let check = |count, text| assert_eq!(packets(count), text);
        check(0, "0");
        check(999_999_999, "999999999");
        check(1_000_000_000, "1.0G");
        check(19_753_086_420, "19.7G");
        check(999_999_999_999, "999G");
        check(1_000_000_000_000, "1.0T");
        check(u64::MAX, "18.4E");
    }

    #[test]
    fn a_layer_is_named_once() {
        let hooks: Vec<Hook> = ["interface/xdp", "ip/prerouting", "ip/out", "interface/out"]
            .iter()
            .map(|name| name.parse().unwrap())
            .collect();
        assert_eq!(by_layer(&hooks), "interface/xdp out ip/prerouting out");
        assert!(by_layer(&Hook::all().collect::<Vec<_>>()).starts_with("interface/* ip/*"));
        assert_eq!(by_layer(&[]), "");
    }

    #[test]
    fn bytes_have_the_largest_unit_that_fits() {
        let check = |count, text| assert_eq!(bytes(count), text);
        check(1023, "1023 B");
        check(1024, "1.0 KiB");
        check(102_400, "100 KiB");
        check(u64::MAX, "15.9 EiB");
    }
}
