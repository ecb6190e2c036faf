//! The demonstration: the main job on real packets, from an empty stage to an empty stage.
//!
//! It shows every command as a user would type it, with its output, and checks after each what
//! became of the packets. Anything unexpected ends it with an error. It never touches an
//! interface that it did not make, and leaves nothing behind, whether it ends well, fails or is
//! interrupted.

mod ids;
mod kernel;
mod shell;
mod stage;
mod traffic;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::kernel::Objects;
use self::shell::{Shell, say};
use self::stage::{STATE, Stage};
use self::traffic::{FLOWS, Traffic};
use crate::workspace::Workspace;

/// The first rule: one flow is unwanted.
const FIRST_RULE: &str = "drop in proto udp from any to any port 5001";
/// The rules that replace it, in one go.
const OTHER_RULES: &str = "\
pass in proto udp from any to any port 5001
drop in proto udp from 10.77.0.0/24 to any port 5002
";

/// Plays the demonstration.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .context("cannot listen to signals")?;
    }
    let began = Instant::now();
    let mut shell = Shell::new(&workspace.root);
    let binaries = workspace.target.join("release");
    shell.export(
        "PATH",
        &format!("{}:$PATH", binaries.display()),
        with_path(&binaries)?,
    );
    shell.export("NKE_STATE", STATE, STATE.into());

    let before = Objects::of_the_machine()?;
    shell.chapter("Two namespaces and a cable");
    let scratch = workspace.target.join("demo");
    let stage = Stage::build(&shell, &scratch)?;
    let traffic = Traffic::start(&interrupted)?;
    let ports = FLOWS.map(|flow| format!("{} {}", flow.name, flow.port));
    shell.finding(&format!(
        "traffic flows from left to right: UDP to {}; a TCP connection to 22",
        ports.join(", ")
    ));
    let play = Play {
        shell: &shell,
        stage: &stage,
        scratch: quoted(workspace.short(&scratch))?,
        traffic,
    };
    play.steady("no extension yet", &[])?;
    play.packet_filter()?;
    play.change_rules(&scratch)?;
    let objects = play.join()?;
    play.leave()?;
    play.end(&before, &objects)?;
    say(&format!(
        "\nAll as expected, in {:.1} s.",
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The play: what is shown, and what was seen so far.
struct Play<'a> {
    shell: &'a Shell<'a>,
    stage: &'a Stage<'a>,
    scratch: String,
    traffic: Traffic,
}

impl Play<'_> {
    /// Shows and runs a command.
    fn run(&self, line: &str) -> Result<()> {
        self.traffic.check()?;
        self.shell.run(line)?;
        self.traffic.check()
    }

    /// Lets the traffic flow, and demands that exactly the flows named are dropped.
    fn steady(&self, when: &str, dropped: &[&str]) -> Result<()> {
        let act = self.traffic.steady()?;
        let tally = self.traffic.tally([act]);
        let mut shown = Vec::new();
        for (flow, (sent, arrived)) in FLOWS.iter().zip(tally) {
            shown.push(format!("{} {arrived}/{sent}", flow.name));
            let wanted = if dropped.contains(&flow.name) {
                0
            } else {
                sent
            };
            ensure!(
                arrived == wanted,
                "{when}: of {sent} datagrams of `{}` {arrived} arrived, but {wanted} should have",
                flow.name
            );
        }
        self.shell
            .finding(&format!("arrived: {}", shown.join(", ")));
        Ok(())
    }

    fn packet_filter(&self) -> Result<()> {
        self.shell
            .chapter("The packet filter joins the live interface");
        self.run(&format!("nke attach packet-filter {TARGET}"))?;
        self.steady("a filter without rules", &[])?;
        self.run(&format!("nke filter add {TARGET} '{FIRST_RULE}'"))?;
        self.steady("a rule against video", &["video"])?;
        self.run(&format!("nke filter list {TARGET}"))
    }

    fn change_rules(&self, scratch: &Path) -> Result<()> {
        self.shell
            .chapter("The rules change under traffic, all at once");
        let file = scratch.join("evening.rules");
        fs::write(&file, OTHER_RULES)
            .with_context(|| format!("cannot write {}", file.display()))?;
        self.run(&format!("cat {}/evening.rules", self.scratch))?;
        self.run(&format!(
            "nke filter load {TARGET} {}/evening.rules",
            self.scratch
        ))?;
        self.steady("rules against game", &["game"])?;
        self.run(&format!("nke filter list {TARGET}"))
    }

    fn join(&self) -> Result<Objects> {
        self.shell
            .chapter("A counter, and a stranger that clang compiled, join before it");
        let scratch = self.scratch.clone();
        let include = format!("/usr/include/{}-linux-gnu", env::consts::ARCH);
        self.run(&format!(
            "nke attach counter {TARGET} --before packet-filter"
        ))?;
        self.run(&format!(
            "clang-16 -g -O2 -target bpf -I {include} -c xtask/src/demo/port-guard.c -o {scratch}/port-guard.o"
        ))?;
        self.run(&format!(
            "nke attach {scratch}/port-guard.o {TARGET} --before packet-filter"
        ))?;
        self.steady("the stranger guards backup", &["game", "backup"])?;
        self.run("nke list")?;
        self.run(&format!("nke chain {TARGET}"))?;
        self.expect_chain(&["counter", "port-guard", "packet-filter"])?;
        self.expect_counts()?;
        let objects = Objects::pinned(self.shell, &self.stage.pins()?)?;
        ensure!(!objects.is_empty(), "nothing is pinned below {STATE}");
        self.shell
            .finding(&format!("in the kernel for all this: {}", objects.count()));
        Ok(objects)
    }

    fn leave(&self) -> Result<()> {
        self.shell.chapter("Everything leaves again");
        self.run(&format!("nke detach packet-filter {TARGET}"))?;
        self.steady("the filter has left", &["backup"])?;
        self.run(&format!("nke detach port-guard {TARGET}"))?;
        self.run(&format!("nke detach counter {TARGET}"))?;
        self.steady("all have left", &[])?;
        self.run("nke list")?;
        self.run("nke chain")?;
        self.expect_chain(&[])
    }

    fn end(self, before: &Objects, objects: &Objects) -> Result<()> {
        self.shell.chapter("Nothing is left");
        let left = self.stage.remains()?;
        ensure!(left.is_empty(), "still there: {left:?}");
        let table = self.table();
        self.traffic.stop()?;
        self.stage.strike()?;
        self.stage.is_gone()?;
        let time = objects.wait_until_gone()?.as_millis();
        self.shell.finding(&format!(
            "no program, map or link of it ({time} ms later), no pin, mount or namespace"
        ));
        let news = before.news()?;
        self.shell.finding(&match news.is_empty() {
            true => "the kernel has the BPF objects that it had before, and no other".to_owned(),
            false => format!("others have since loaded {}", news.count()),
        });
        self.shell.chapter("What was sent, passed and dropped");
        say(&table);
        Ok(())
    }

    /// The nodes of our chain, as the command tells them to programs.
    fn nodes(&self) -> Result<Vec<Value>> {
        let answer = self.shell.ask(&format!("nke chain {TARGET} --json"))?;
        let chains = answer["chains"]
            .as_array()
            .context("`nke chain` tells no chains")?;
        let nodes = chains.iter().filter_map(|chain| chain["nodes"].as_array());
        Ok(nodes.flatten().cloned().collect())
    }

    fn expect_chain(&self, wanted: &[&str]) -> Result<()> {
        let nodes = self.nodes()?;
        let names: Vec<&str> = nodes
            .iter()
            .filter_map(|node| node["extension"].as_str())
            .collect();
        ensure!(
            names == wanted,
            "the chain is {names:?}, but should be {wanted:?}"
        );
        Ok(())
    }

    /// What the chain counted as dropped must be what did not arrive. The traffic goes on
    /// meanwhile, so the truth lies between what was lost before asking and after.
    fn expect_counts(&self) -> Result<()> {
        self.traffic.fence()?;
        let least = self.lost();
        let nodes = self.nodes()?;
        self.traffic.fence()?;
        let most = self.lost();
        let dropped = nodes.iter().map(|node| &node["packets"]["dropped"]);
        let counted: u64 = dropped.filter_map(Value::as_u64).sum();
        ensure!(
            (least..=most).contains(&counted),
            "the chain says that it dropped {counted}, but it was {least} to {most}"
        );
        self.shell.finding(&format!(
            "dropped, as the chain counts: {counted}; not arrived: {least} before asking, {most} after"
        ));
        Ok(())
    }

    /// How many datagrams did not arrive, in all acts that are over.
    fn lost(&self) -> u64 {
        let tally = self.traffic.tally(0..self.traffic.act());
        tally.iter().map(|(sent, arrived)| sent - arrived).sum()
    }

    fn table(&self) -> String {
        let tally = self.traffic.tally(0..self.traffic.act());
        let mut table = format!(
            "{:<8} {:>8} {:>9} {:>9} {:>9}",
            "flow", "port", "sent", "passed", "dropped"
        );
        let mut row = |name, port, sent: u64, passed: u64| {
            let dropped = sent - passed;
            table.push_str(&format!(
                "\n{name:<8} {port:>8} {sent:>9} {passed:>9} {dropped:>9}"
            ));
        };
        for (flow, (sent, arrived)) in FLOWS.iter().zip(tally) {
            row(flow.name, format!("udp {}", flow.port), sent, arrived);
        }
        let answers = self.traffic.answers();
        row("ssh", "tcp 22".to_owned(), answers, answers);
        table
    }
}

/// Where everything is attached.
const TARGET: &str = "-i right0 --netns nke-right";

fn with_path(directory: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_path_buf()).chain(env::split_paths(&path));
    env::join_paths(all).context("the target directory cannot be in a PATH")
}

/// A path as one word of a command line.
fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().context("the target directory is not UTF-8")?;
    ensure!(
        !text.contains(['\'', ' ']),
        "the target directory must not hold a space or a quote"
    );
    Ok(text.to_owned())
}
