//! xdp-filter, of xdp-tools. It says no more than: drop this port, this address or this Ethernet address.
//!
//! It keeps its maps in the bpffs of the host. Here it gets one in a mount namespace of its own, which goes
//! with the command; the program stays on the interface, with its maps.

use anyhow::{Context as _, Result};
use nke::sys::program;
use serde_json::Value;

use super::Laid;
use crate::bench::stage::{Stage, run};

/// What the one rule drops: UDP to this port.
pub(in crate::bench::filter) const PORT: u16 = 53;

/// With these features of its own: `udp` alone is the least that the rule needs, `all` is what it takes by itself.
pub(in crate::bench::filter) fn lay(stage: &mut Stage<'_>, features: &str) -> Result<Laid> {
    const SCRIPT: &str = "mount -t bpf bpf /sys/fs/bpf \
        && xdp-filter load -m native -p allow -f \"$1\" \"$2\" >&2 \
        && xdp-filter port -p udp -m dst \"$3\" >&2";
    let cable = stage.cable()?;
    let port = PORT.to_string();
    let arguments = ["-c", SCRIPT, "sh", features, &cable.inside, &port];
    let command = ["--mount", "sh"].into_iter().chain(arguments);
    run("unshare", &command.collect::<Vec<_>>())?;
    let output = run("ip", &["-json", "link", "show", "dev", &cable.inside])?;
    let described: Value = serde_json::from_slice(&output.stdout).context("`ip` speaks no JSON")?;
    let id = described[0]["xdp"]["prog"]["id"].as_u64();
    let id = id.context("xdp-filter has attached no program")?;
    Ok(Laid {
        cable,
        root: Some(program::open(id as u32).context("cannot open xdp-filter's program")?),
        counts: None,
        link: None,
    })
}
