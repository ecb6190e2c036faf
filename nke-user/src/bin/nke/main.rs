//! The `nke` command: parses what was typed into a request, has the library carry it out, and
//! prints the answer. It never touches the kernel itself.

mod apply;
mod arguments;
mod check;
mod confirm;
mod enable;
mod failure;
mod info;
mod libs;
mod load;
mod log;
mod map;
mod open;
mod output;
mod path;
mod query;
mod rules;
mod seal;
mod set;
mod sign;
mod unload;
mod upgrade;
mod verbs;
mod way;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

fn main() -> ExitCode {
    let matches = arguments::Arguments::command().get_matches();
    let arguments =
        arguments::Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let manner = failure::Manner {
        verbose: arguments.verbose,
        json: wants_json(&matches),
    };
    match verbs::run(&arguments, manner) {
        Ok(code) if output::was_printed() => code,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => failure::tell(&error, manner),
    }
}

/// Whether a verb that can print JSON was asked to.
fn wants_json(matches: &ArgMatches) -> bool {
    let asked = matches.try_get_one::<bool>("json").ok().flatten() == Some(&true);
    let verb = matches.subcommand();
    asked || verb.is_some_and(|(_, matches)| wants_json(matches))
}
