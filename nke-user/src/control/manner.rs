//! How an attachment is made: what is asked of it beyond its extension and its place, on the command
//! line and in declarations alike.
//!
//! ```
//! use nke::{control::Manner, mode::Mode};
//!
//! let asked = Manner { mode: Some(Mode::Generic), ..Manner::default() };
//! assert!(asked.counters && !asked.opt_in);
//! ```

use crate::{
    chain::Chain,
    error::{Error, Result},
    hook::Hook,
    mode::Mode,
    netfilter::{Netfilter, Priority, Request},
    target::Spot,
};

/// What is asked of an attachment, and of the chain that it is in.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How the chain is to be called; without one as it is, or native XDP, or else generic.
    pub mode: Option<Mode>,
    /// At the ip hooks, where in netfilter the chain is to be called.
    pub netfilter: Request,
    /// Whether to count packets and bytes by verdict.
    pub counters: bool,
    /// Whether only sockets that opt in are to meet it: see [`crate::so_nke`].
    pub opt_in: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            mode: None,
            netfilter: Request::default(),
            counters: true,
            opt_in: false,
        }
    }
}

impl Manner {
    /// Whether a hook, and the chain that it has, are what is asked for.
    pub(super) fn fits(&self, hook: Hook, spot: &Spot, present: Option<&Chain>) -> Result<()> {
        if let Some(mode) = self.mode.filter(|mode| !hook.row().modes.contains(mode)) {
            return Err(Error::NoMode { hook, mode });
        }
        if !hook.row().modes.contains(&Mode::Netfilter)
            && let Some(option) = self.netfilter.given()
        {
            return Err(Error::NotNetfilter { hook, option });
        }
        let Some(chain) = present else {
            let Netfilter { priority, defrag } = self.netfilter.resolve();
            return if defrag && priority <= Priority::DEFRAG {
                Err(Error::DefragTooEarly { hook, priority })
            } else {
                Ok(())
            };
        };
        let running = chain.anchor.mode;
        if self.mode.is_some_and(|asked| asked != running) {
            return Err(Error::ModeMismatch {
                hook,
                interface: spot.to_string(),
                running,
            });
        }
        match chain.anchor.netfilter {
            Some(running) if !self.netfilter.is_met_by(running) => Err(Error::NetfilterMismatch {
                hook,
                place: spot.to_string(),
                running,
            }),
            _ => Ok(()),
        }
    }
}
