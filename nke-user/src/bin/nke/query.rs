//! `nke query`: whether an extension is loaded, for scripts.

use clap::Args;
use nke::{
    control::{Control, ExtensionStatus},
    order::Selector,
};
use serde_json::json;

use crate::{arguments::Format, output};

#[derive(Args, Debug)]
pub(crate) struct Query {
    /// The extension's name, or its kmid
    which: Selector,
    #[command(flatten)]
    format: Format,
}

impl Query {
    pub(crate) fn run(&self, control: &Control) -> anyhow::Result<()> {
        let Self { which, format } = self;
        let ExtensionStatus {
            kmid,
            name,
            loads,
            uses,
            ..
        } = control.query(which)?;
        if format.json {
            return output::print_json(
                &json!({ "kmid": kmid, "name": name, "loads": loads, "uses": uses }),
            );
        }
        output::line(format_args!("{kmid}"));
        Ok(())
    }
}
