//! `nke enable` and `nke disable`: whether an attachment's program runs.

use nke::control::{Control, Scope};

use crate::{arguments::Which, output};

pub(crate) fn run(control: &mut Control, which: &Which, enabled: bool) -> anyhow::Result<()> {
    let scope = Scope::from(&which.place);
    let done = if enabled { "enabled" } else { "disabled" };
    for words in control.enable(&which.attachment, &scope, enabled)? {
        output::line(format_args!("{done} {words}"));
    }
    Ok(())
}
