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
mod progress;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Command;

    use super::*;

    /// Notes what each letter means at a verb and at those below it; what means something else.
    fn contradictions(verb: &Command, known: &mut BTreeMap<char, String>) -> Vec<String> {
        let mut found = Vec::new();
        for option in verb.get_arguments() {
            let (Some(letter), Some(long)) = (option.get_short(), option.get_long()) else {
                continue;
            };
            let meaning = known.entry(letter).or_insert_with(|| long.to_owned());
            if meaning != long {
                found.push(format!(
                    "{}: -{letter} is --{long} and --{meaning}",
                    verb.get_name()
                ));
            }
        }
        for below in verb.get_subcommands() {
            found.extend(contradictions(below, known));
        }
        found
    }

    #[test]
    fn a_letter_means_one_option() {
        let mut command = arguments::Arguments::command();
        command.build();
        let mut known = BTreeMap::new();
        assert_eq!(contradictions(&command, &mut known), [""; 0]);
        assert_eq!(known.get(&'i').map(String::as_str), Some("interface"));
        let wrong = Command::new("wrong").arg(clap::Arg::new("id").short('i').long("id"));
        assert_eq!(contradictions(&wrong, &mut known).len(), 1);
    }
}
