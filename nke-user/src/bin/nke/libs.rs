//! `nke libs`: what an object needs, and which extensions provide it.

use std::process::ExitCode;

use clap::Args;
use nke::{
    control::{Control, Lib, LibKind, Libs, Outcome, Provider},
    find::Wanted,
};

use crate::{arguments::Format, failure::Told, output};

#[derive(Args, Debug)]
pub(crate) struct LibsOf {
    /// A name to search for, or a path (what holds a '/')
    extension: Wanted,
    #[command(flatten)]
    format: Format,
}

impl LibsOf {
    pub(crate) fn run(&self, control: &Control) -> anyhow::Result<()> {
        let Self { extension, format } = self;
        let libs = control.libs(extension)?;
        if format.json {
            output::print_json(&serde_json::to_value(&libs)?)?;
        } else {
            print(&libs);
        }
        let code = match libs.outcome() {
            Outcome::Found => return Ok(()),
            Outcome::Undefined => 1,
            Outcome::Several => 2,
        };
        Err(Told(ExitCode::from(code)).into())
    }
}

fn print(libs: &Libs) {
    let Libs { path, needs, lines } = libs;
    output::line(format_args!("{}", path.display()));
    for lib in needs {
        let Lib {
            kind,
            name,
            range,
            declared,
            providers,
        } = lib;
        let kind = match kind {
            LibKind::Extension => "extension",
            LibKind::Map => "map",
            LibKind::Kernel => "kernel symbol",
        };
        let range = match (range, kind) {
            (Some(range), "extension") => format!(" {range}"),
            _ => String::new(),
        };
        let by: Vec<_> = providers.iter().map(provider).collect();
        let by = match by.as_slice() {
            [] => "nobody".to_owned(),
            several => several.join(", "),
        };
        let undeclared = if kind == "map" && !declared {
            ", not declared"
        } else {
            ""
        };
        output::line(format_args!("  {kind} {name}{range}{undeclared}: {by}"));
    }
    if !lines.is_empty() {
        output::line(format_args!("[dependencies]"));
    }
    for line in lines {
        output::line(format_args!("{line}"));
    }
}

fn provider(provider: &Provider) -> String {
    let Provider {
        name,
        identifier,
        version,
        kmid,
        path,
    } = provider;
    let Some(path) = path else {
        return name.clone();
    };
    let who = identifier
        .as_ref()
        .map_or_else(|| name.clone(), ToString::to_string);
    let version = version
        .as_ref()
        .map_or_else(String::new, |version| format!(" {version}"));
    let loaded = kmid.map_or_else(String::new, |kmid| format!(", loaded as {name} {kmid}"));
    format!("{who}{version} ({}{loaded})", path.display())
}
