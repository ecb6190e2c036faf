//! `nke set` and `nke get`: the settings of loaded extensions.

use std::str::FromStr;

use clap::Args;
use nke::{
    control::{Control, Origin, Scope, SettingStatus},
    error::Error,
    order::Selector,
};
use serde_json::json;

use crate::{
    arguments::{Format, Place},
    output,
};

/// A setting and its value, as they are typed: `NAME=VALUE`.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    name: String,
    value: String,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("write it as SETTING=VALUE".to_owned()),
        }
    }
}

/// Names and values, as the library takes them.
pub(crate) fn pairs(assignments: &[Assignment]) -> Vec<(String, String)> {
    let pairs = assignments
        .iter()
        .map(|Assignment { name, value }| (name.clone(), value.clone()));
    pairs.collect()
}

#[derive(Args, Debug)]
pub(crate) struct Set {
    /// The extension's name, its kmid, or an attachment's id
    which: Selector,
    /// Settings and their values; `nke get` shows which there are
    #[arg(required = true, value_name = "SETTING=VALUE")]
    settings: Vec<Assignment>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

impl Set {
    pub(crate) fn run(&self, control: &mut Control) -> anyhow::Result<()> {
        let scope = Scope::from(&self.place);
        let done = control.set(&self.which, &scope, &pairs(&self.settings))?;
        if self.format.json {
            return output::print_json(&json!({ "settings": done }));
        }
        for SettingStatus { name, value, .. } in &done {
            output::line(format_args!("set {name} = {value}"));
        }
        Ok(())
    }
}

#[derive(Args, Debug)]
pub(crate) struct Get {
    /// The extension's name, its kmid, or an attachment's id
    which: Selector,
    /// Only these settings
    #[arg(value_name = "SETTING")]
    names: Vec<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

impl Get {
    pub(crate) fn run(&self, control: &Control) -> anyhow::Result<()> {
        let Self {
            which,
            names,
            place,
            format,
        } = self;
        let mut settings = control.settings(which, &Scope::from(place))?;
        let is_there = |name: &&String| settings.iter().any(|setting| setting.name == **name);
        if let Some(missing) = names.iter().find(|name| !is_there(name)) {
            return Err(Error::NoSetting {
                extension: which.to_string(),
                stage: "get",
                setting: missing.clone(),
                has: settings.into_iter().map(|setting| setting.name).collect(),
            }
            .into());
        }
        settings.retain(|setting| names.is_empty() || names.contains(&setting.name));
        if format.json {
            return output::print_json(&json!({ "settings": settings }));
        }
        print(&settings);
        Ok(())
    }
}

fn print(settings: &[SettingStatus]) {
    if settings.is_empty() {
        output::line(format_args!("no setting"));
        return;
    }
    let mut table = output::table(["SETTING", "VALUE", "DEFAULT", "SOURCE", "TYPE", "WHAT"]);
    for setting in settings {
        let bound =
            |bound: &Option<_>| bound.as_ref().map_or_else(String::new, ToString::to_string);
        let bounds = match (&setting.minimum, &setting.maximum) {
            (None, None) => String::new(),
            (low, high) => format!(" {}..{}", bound(low), bound(high)),
        };
        let source = match setting.source {
            Origin::Default => "default",
            Origin::Set => "set",
        };
        let fixed = if setting.live { "" } else { " (at load)" };
        table.add_row([
            output::escaped(&setting.name),
            setting.value.to_string(),
            setting.default.to_string(),
            source.to_owned(),
            format!("{}{bounds}{fixed}", output::escaped(&setting.kind)),
            setting.description.clone(),
        ]);
    }
    output::print_table(&table);
}
