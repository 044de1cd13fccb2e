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

/// Something could not be decided or run.
const FAILED: u8 = 2;

/// As cargo's own when it cannot build.
const BUILD_FAILED: u8 = 101;

fn main() -> ExitCode {
    // Started as `cargo live`, the first argument is the name of the subcommand.
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == "live") {
        arguments.remove(1);
    }
    let args = args::Args::parse_from(arguments);
    let is_json = args.command.is_json();
    match commands::run(args) {
        Ok(code) => code,
        Err(error) => {
            if is_json {
                writeln!(io::stdout(), "{}", report::error_json(&error)).unwrap_or(());
            }
            let causes = std::iter::successors(error.source(), |&cause| cause.source());
            let causes: String = causes.map(|cause| format!("\n  caused by: {cause}")).collect();
            let text = format!("error: {error}{causes}");
            // There is nowhere to say that nothing can be said.
            writeln!(io::stderr(), "{text}").unwrap_or(());
            ExitCode::from(if error.is_failed_build() { BUILD_FAILED } else { FAILED })
        }
    }
}
