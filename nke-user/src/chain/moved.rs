//! Interfaces that have moved to another network namespace: their links stay on them, and their
//! chains are found where they are now.
//!
//! The state knows a chain by its interface's namespace and index. What has that index in that
//! namespace now may be another interface, so the kernel is asked whether it calls the root.

use super::Chain;
use crate::{
    error::Result,
    foreign,
    interface::Namespace,
    state::State,
    target::{Spot, Target},
};

/// Where the state has a chain's directory, after moving it to where its interface is. One whose
/// interface is in no namespace that can be entered stays where it is.
pub(super) fn follow(state: &State, chain: &Chain) -> Result<Target> {
    let runs = |spot: &Spot| foreign::runs(chain.hook, spot, chain.anchor.root());
    let stays = Ok(chain.target);
    let Some(index) = chain.anchor.ifindex() else {
        return stays;
    };
    if Spot::find(chain.target).is_some_and(|spot| runs(&spot)) {
        return stays;
    }
    let found = Namespace::all().find_map(|namespace| {
        let name = namespace.interface(index)?;
        let spot = Spot::Interface {
            namespace,
            name,
            index,
        };
        runs(&spot).then(|| spot.target())
    });
    match found {
        // Left-overs in its way are swept by this command, and it is moved by the next.
        Some(target) if !state.chain(chain.hook, target).exists() => {
            state.rename_chain(chain.hook, chain.target, target)?;
            Ok(target)
        }
        Some(_) | None => stays,
    }
}
