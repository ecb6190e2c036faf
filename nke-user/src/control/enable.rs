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

use std::collections::BTreeMap;

use super::{Control, Scope, keep_all};
use crate::{
    chain::{Change, Fresh},
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
        let mut changes: BTreeMap<(Hook, Target), Vec<Change>> = BTreeMap::new();
        for (at, position) in found {
            let chain = &self.chains[at];
            let node = &chain.nodes[position];
            words.push(self.describe(chain, node));
            if node.record.enabled != enabled {
                let wanted = changes
                    .entry((chain.hook, chain.target))
                    .or_insert_with(|| keep_all(chain));
                wanted[position] = Change::New(Fresh {
                    enabled,
                    ..Fresh::copy(position, &node.record)
                });
            }
        }
        let changes: Vec<_> = changes
            .into_iter()
            .map(|((hook, target), wanted)| (hook, target, wanted))
            .collect();
        self.change(&changes)?;
        Ok(words)
    }
}
