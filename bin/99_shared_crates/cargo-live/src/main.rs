//! `cargo live`: `cargo run` that starts no cargo while nothing changed, and says what did.

mod args; // the command line
mod report; // verdicts as text and as JSON
mod commands; // what each verb does
mod watch; // the verb that goes on

use std::{
    error::Error as _,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;

/// Something could not be decided, built or run.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    // Started as `cargo live`, the first argument is the name of the subcommand.
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == "live") {
        arguments.remove(1);
    }
    match commands::run(args::Args::parse_from(arguments)) {
        Ok(code) => code,
        Err(error) => {
            let causes = std::iter::successors(error.source(), |&cause| cause.source());
            let causes: String = causes.map(|cause| format!("\n  caused by: {cause}")).collect();
            let text = format!("error: {error}{causes}");
            // There is nowhere to say that nothing can be said.
            writeln!(io::stderr(), "{text}").unwrap_or(());
            ExitCode::from(FAILED)
        }
    }
}
