//! Opens the state for a verb: the library's lock, and beside it what only a command can see to.
//!
//! Each verb that takes the lock takes it here, so that a timer that was killed is started again by
//! the next command, whichever it is.

use std::path::Path;

use nke::{control::Control, error::Result};

use crate::{confirm, output};

/// Opens it to look: see [`Control::look`].
pub(crate) fn look(state: &Path) -> Result<Control> {
    Control::look(state).map(|control| rearmed(control, state))
}

/// Opens it to change something: see [`Control::open`].
pub(crate) fn open(state: &Path) -> Result<Control> {
    Control::open(state).map(|control| rearmed(control, state))
}

/// What waits for its confirmation goes back in time again, whatever has become of its timer.
fn rearmed(mut control: Control, state: &Path) -> Control {
    if let Err(error) = control.rearm(&|id| confirm::start(state, id)) {
        // The verb can do without, and so can the change: the command after its time goes back.
        output::note(format_args!("note: {error}"));
    }
    control
}
