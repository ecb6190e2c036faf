//! `nke path`: where extensions are searched for, and which file a name means.

use clap::Args;
use nke::{
    error::Error,
    find::{Candidate, Directory, Why, candidates, reasons, search_path},
};
use serde_json::{Value, json};

use crate::{
    arguments::Format,
    failure::{self, Manner, Told},
    output,
};

#[derive(Args, Debug)]
pub(crate) struct Path {
    /// Names or identifiers to look up
    names: Vec<String>,
    #[command(flatten)]
    format: Format,
}

impl Path {
    pub(crate) fn run(&self, manner: Manner) -> anyhow::Result<()> {
        let Self { names, format } = self;
        if names.is_empty() {
            return directories(format.json);
        }
        let found = names.iter().map(|name| (name, candidates(name)));
        let found: Vec<_> = found.collect();
        if format.json {
            let of = |(name, all): &(&String, Vec<Candidate>)| {
                let rows: Vec<_> = reasons(all).into_iter().zip(all).map(row_json).collect();
                json!({ "name": name, "path": all.first().map(|it| &it.path), "candidates": rows })
            };
            let all: Vec<_> = found.iter().map(of).collect();
            output::print_json(&json!({ "names": all }))?;
        } else {
            found.iter().for_each(|(name, all)| table(name, all));
        }
        let mut failed = None;
        for (name, _) in found.iter().filter(|(_, all)| all.is_empty()) {
            let searched = search_path().into_iter();
            let error = Error::NoExtension {
                name: (*name).clone(),
                searched: searched.map(|at| at.path.display().to_string()).collect(),
            };
            failed.get_or_insert(failure::tell(&error.into(), manner));
        }
        failed.map_or(Ok(()), |code| Err(Told(code).into()))
    }
}

fn directories(as_json: bool) -> anyhow::Result<()> {
    let path = search_path();
    if as_json {
        let of = |Directory { path, origin }: &Directory| json!({ "path": path, "origin": origin.to_string(), "exists": path.is_dir() });
        let all: Vec<_> = path.iter().map(of).collect();
        return output::print_json(&json!({ "directories": all }));
    }
    let mut table = output::table(["ORIGIN", "EXISTS", "DIRECTORY"]);
    for Directory { path, origin } in &path {
        let exists = if path.is_dir() { "yes" } else { "no" };
        let path = path.display().to_string();
        table.add_row([
            origin.to_string(),
            exists.to_owned(),
            output::escaped(&path),
        ]);
    }
    output::print_table(&table);
    Ok(())
}

fn row_json((why, candidate): (Why, &Candidate)) -> Value {
    let Candidate {
        path,
        directory: _,
        identity,
    } = candidate;
    let known = identity.as_ref().ok();
    json!({
        "path": path,
        "version": known.map(|it| it.version.to_string()),
        "identifier": known.and_then(|it| it.identifier.as_ref()),
        "why": why.to_string(),
        "error": identity.as_ref().err(),
    })
}

/// One line a file, the one that is taken first.
fn table(name: &str, all: &[Candidate]) {
    let taken = |first: &Candidate| format!("{name} is {}", first.path.display());
    let Some(first) = all.first().map(taken) else {
        return;
    };
    output::line(format_args!("{}", output::escaped(&first)));
    for (why, candidate) in reasons(all).into_iter().zip(all) {
        let Candidate {
            path,
            directory: _,
            identity,
        } = candidate;
        let path = output::escaped(&path.display().to_string());
        match identity {
            Ok(it) => output::line(format_args!(
                "  {:<10} {path}: {why}",
                it.version.to_string()
            )),
            Err(error) => {
                let error = output::escaped(error);
                output::line(format_args!("  {:<10} {path}: {why}: {error}", "?"));
            }
        }
    }
}
