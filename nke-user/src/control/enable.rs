//! `enable` and `disable`: whether an attachment's program runs.
//!
//! A disabled attachment keeps its place: a node that only goes on stands there, with the
//! attachment's id, priority, counters and maps. Each change is one pointer write, under traffic: a
//! packet meets the program or goes past it, and meets all others either way. This module must
//! never take an attachment out of its chain.
//!
//! ```no_run
//! # let mut control = nke::control::Control::open("/run/nke".as_ref())?;
//! let Ok(counter) = "counter".parse();
//! control.enable(&counter, &nke::control::Scope::default(), false)?;
//! # Ok::<(), nke::error::Error>(())
//! ```

use super::{Control, Scope, keep_all};
use crate::{
    chain::{Change, Fresh, Ground},
    error::Result,
    hook::Hook,
    order::Selector,
    target::Target,
};

impl Control {
    /// Has the program of an attachment run or not, or those of all of an extension's at the hooks of a
    /// family: all of them change, or none. One that is as it should be is left alone. Returns them
    /// in words.
    ///
    /// # Errors
    ///
    /// As [`Control::detach`], and those of loading a program.
    pub fn enable(
        &mut self,
        selector: &Selector,
        scope: &Scope,
        enabled: bool,
    ) -> Result<Vec<String>> {
        let stage = if enabled { "enable" } else { "disable" };
        let found = self.attachments(selector, scope, stage)?;
        let mut words = Vec::new();
        let mut changing = Vec::new();
        for (at, position) in found {
            let chain = &self.chains[at];
            let node = &chain.nodes[position];
            words.push(self.describe(chain, node));
            if node.record.enabled != enabled {
                changing.push((chain.hook, chain.target, position));
            }
        }
        for (nth, (hook, target, position)) in changing.iter().enumerate() {
            if let Err(error) = self.set_enabled(*hook, *target, *position, enabled) {
                for (hook, target, position) in changing[..nth].iter().rev() {
                    self.set_enabled(*hook, *target, *position, !enabled)?;
                }
                return Err(error);
            }
        }
        Ok(words)
    }

    fn set_enabled(
        &mut self,
        hook: Hook,
        target: Target,
        position: usize,
        enabled: bool,
    ) -> Result<()> {
        let Some(chain) = self.chain(hook, target) else {
            return Ok(());
        };
        let mut wanted = keep_all(chain);
        wanted[position] = Change::New(Fresh {
            enabled,
            ..Fresh::copy(position, &chain.nodes[position].record)
        });
        self.commit(Ground::Chain(chain), &wanted)?;
        self.reread(hook, target).map(drop)
    }
}
