//! `nke filter test`: the packets of a capture, through the filter's own program in the kernel.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use nke::{
    control::Scope,
    error,
    filter::{
        self, Action, Asked, Capture, Captured, Decider, Dialect, Error, Followed, InterfaceName,
        Judgement, KnownSets, Listing, Packet, RuleSet, Trial, Tried, Unreadable, added_by_load,
        as_met_at, dissect, refuse_what_never_matches,
    },
    hook::Hook,
};
use serde_json::{Value, json};

use super::{FilterTarget, found::tell_added, listing::print_filter, sets, target::Target as _};
use crate::{
    arguments::Format,
    failure::Manner,
    output::{count, line, note, print_json},
};

/// Run the packets of a capture through rules, and touch no interface
///
/// Each packet goes through the packet filter's own program, in the kernel, which is loaded for this
/// and attached to nothing (BPF_PROG_TEST_RUN). Rules, packets and bytes are listed as `list` does;
/// with -v, first what becomes of each packet, and by which rule.
#[derive(Args, Debug)]
pub(crate) struct Test {
    /// The rules: a file as `load` takes it
    rules: PathBuf,
    /// The packets: a file of pcap or pcapng; - for standard input
    capture: PathBuf,
    /// As at this hook
    #[arg(long, default_value = "interface/xdp")]
    hook: Hook,
    /// As by this interface, which need not be there; without it, by that which the capture names for each packet (pcapng), or lo
    #[arg(short, long, value_name = "IFACE")]
    interface: Option<InterfaceName>,
    /// As `load --force` would: without the rules for ARP and neighbour discovery that it puts behind the others where
    /// the default would drop these
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    format: Format,
}

/// What became of all packets.
#[derive(Default)]
struct Report {
    packets: Vec<Value>,
    /// How many have been judged.
    judged: usize,
    /// Packets that the hook never sees.
    not_there: usize,
    /// Packets that the kernel cannot be asked about.
    refused: usize,
    /// Packets that the rules cannot be asked about by their beginning, which is all that the kernel takes.
    too_long: usize,
    /// Packets that have been judged by their beginning: the capture has no more, or the kernel takes no more.
    cut: usize,
}

impl Test {
    pub(super) fn run(&self, state: &Path, manner: Manner) -> anyhow::Result<()> {
        let stated = sets::Stated::read(Dialect::Packets, &self.rules, &Scope::default())?;
        let place = format!("{} at {}", self.rules.display(), self.hook);
        let rules = &stated.source.rules.rules;
        refuse_what_never_matches(rules, &[self.hook], &place, FilterTarget::EXTENSION)?;
        let input = open(&self.capture)?;
        let mut capture = Capture::new(input).map_err(|problem| self.unreadable(problem))?;
        let mut trial = Trial::load(self.hook)?;
        let lo = trial.interface();
        let known = sets::lend(state, &trial, &stated)?;
        let rules = &self.as_loaded(stated.source.rules, &known);
        let met = &*as_met_at(self.hook, rules);
        let mut table = trial.table()?;
        table.write(rules)?;
        trial.hasten()?;
        let ask = |is: fn(&Asked) -> bool| {
            let mut tests = rules.rules.iter().flat_map(|rule| &rule.tests);
            tests.any(|test| is(&test.what))
        };
        // What the clock decides cannot be foretold.
        let limited = ask(|it| matches!(it, Asked::Limit(_)));
        let on = ask(|it| matches!(it, Asked::On(_)));
        let followed = Followed::default();
        let mut report = Report::default();
        while let Some(packet) = capture
            .next_packet()
            .map_err(|problem| self.unreadable(problem))?
        {
            let by = self.interface.or(packet.interface).or(lo);
            if let Some(interface) = by.filter(|_| by != trial.interface()) {
                trial.come_by(interface);
                table.try_on(interface);
                if on {
                    table.write(rules)?;
                }
            }
            let bytes = &packet.bytes;
            let (tried, expected) = if trial.is_told_by_beginning(met, &known, bytes) {
                let tried = trial.run(bytes)?;
                (tried, trial.expected(met, &known, &followed, bytes))
            } else {
                let judgement = met.judge_with(&trial.dissect(bytes), &known);
                (Tried::TooLong, judgement)
            };
            if !tried.is(expected.action) && !limited {
                return Err(Error::Disagreement {
                    origin: self.capture.display().to_string(),
                    packet: packet.number,
                }
                .into());
            }
            report.add(&packet, tried);
            if !manner.verbose {
                continue;
            }
            if self.format.json {
                report.packets.push(told(&packet, tried, &expected));
            } else {
                print(&packet, tried, &expected);
            }
        }
        self.print(report, &table.read()?)
    }

    /// The rules with those that `load` would put behind them.
    fn as_loaded(&self, mut rules: RuleSet, known: &KnownSets) -> RuleSet {
        if !self.force {
            let added = added_by_load(&rules, &[self.hook], known);
            tell_added(&self.hook, &added);
            rules.rules.extend(added);
        }
        rules
    }

    fn print(&self, report: Report, listing: &Listing) -> anyhow::Result<()> {
        let Report {
            packets,
            judged,
            not_there,
            refused,
            too_long,
            cut,
        } = report;
        if self.format.json {
            let mut value = super::listing::rules(listing);
            value["hook"] = json!(self.hook);
            value["packets"] = json!(judged);
            value["not_seen"] = json!(not_there);
            value["not_run"] = json!(refused + too_long);
            value["too_long"] = json!(too_long);
            value["cut"] = json!(cut);
            value["verdicts"] = Value::Array(packets);
            return print_json(&value);
        }
        print_filter(listing);
        let hook = self.hook;
        line(format_args!(
            "{} judged as at {hook}",
            count(judged, "packet")
        ));
        if not_there > 0 {
            note(format_args!(
                "{} not IP: such never come by {hook}",
                count(not_there, "packet")
            ));
        }
        if refused > 0 {
            note(format_args!(
                "{} not run: the kernel takes no such packet for a test",
                count(refused, "packet")
            ));
        }
        let longest = Trial::LONGEST;
        if too_long > 0 {
            note(format_args!(
                "{} not run: of a packet {longest} bytes are taken for a test, and by those the rules say otherwise \
                 than by the whole",
                count(too_long, "packet")
            ));
        }
        if cut > 0 {
            note(format_args!(
                "{} captured in part, or longer than {longest} bytes: run and counted by the beginning",
                count(cut, "packet")
            ));
        }
        Ok(())
    }

    fn unreadable(&self, problem: Unreadable) -> Error {
        Error::Capture {
            origin: self.capture.display().to_string(),
            problem,
        }
    }
}

fn open(path: &Path) -> Result<Box<dyn Read + Send>, error::Error> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(source) => Err(error::Error::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

impl Report {
    const fn add(&mut self, packet: &Captured, tried: Tried) {
        match tried {
            Tried::Judged(_) | Tried::Sent => self.judged += 1,
            Tried::NotThere => self.not_there += 1,
            Tried::Refused => self.refused += 1,
            Tried::TooLong => self.too_long += 1,
        }
        let in_part = packet.cut || packet.bytes.len() > Trial::LONGEST;
        let judged = matches!(tried, Tried::Judged(_) | Tried::Sent);
        self.cut += (judged && in_part) as usize;
    }
}

/// What becomes of it, in a word.
fn fate(tried: Tried, expected: &Judgement) -> String {
    match tried {
        Tried::Sent => match expected.action {
            Action::Redirect(_) => "redirect".to_owned(),
            Action::Pass | Action::Drop | Action::Reject(_) | Action::Count | Action::Mark(_) => {
                "reject".to_owned()
            }
        },
        Tried::Judged(action) => action.to_string(),
        Tried::NotThere => "not seen".to_owned(),
        Tried::Refused | Tried::TooLong => "not run".to_owned(),
    }
}

/// The number of the rule that decides.
const fn rule(tried: Tried, judgement: &Judgement) -> Option<usize> {
    match (tried, judgement.by) {
        (Tried::Judged(_) | Tried::Sent, Decider::Rule(index)) => Some(index + 1),
        (Tried::Judged(_) | Tried::Sent, Decider::Default | Decider::Obscured)
        | (Tried::NotThere | Tried::Refused | Tried::TooLong, _) => None,
    }
}

fn described(packet: &Captured) -> String {
    match dissect(&packet.bytes, filter::Direction::In) {
        // The way is the hook's, and the same for all; the length stands beside.
        Ok(packet) => Packet {
            length: None,
            mark: None,
            ether: None,
            ..packet
        }
        .to_string()
        .split_off("in ".len()),
        Err(_) => "hidden behind extension headers".to_owned(),
    }
}

fn print(packet: &Captured, tried: Tried, judgement: &Judgement) {
    let by = match (rule(tried, judgement), tried) {
        (Some(number), _) => format!("rule {number}"),
        (None, Tried::Judged(_) | Tried::Sent) => "default".to_owned(),
        (None, _) => "-".to_owned(),
    };
    let number = packet.number;
    let length = packet.bytes.len();
    let fate = fate(tried, judgement);
    let what = described(packet);
    line(format_args!(
        "{number:>6} {fate:<8} {by:<10} {length:>5} bytes, {what}"
    ));
}

fn told(packet: &Captured, tried: Tried, judgement: &Judgement) -> Value {
    json!({
        "number": packet.number,
        "verdict": fate(tried, judgement),
        "rule": rule(tried, judgement),
        "bytes": packet.bytes.len(),
        "packet": described(packet),
    })
}
