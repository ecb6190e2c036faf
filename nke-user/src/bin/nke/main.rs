//! The `nke` command: parses what was typed into a request, has the library carry it out, and
//! prints the answer. It never touches the kernel itself.

mod arguments;
mod log;
mod output;
mod rules;
mod verbs;
mod way;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    match verbs::run(&arguments) {
        Ok(()) if output::was_printed() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            output::error(&error, arguments.verbose);
            ExitCode::FAILURE
        }
    }
}
