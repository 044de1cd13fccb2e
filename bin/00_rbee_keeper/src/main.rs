//! The keeper: one run of the command line.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use rbee_keeper::{Cli, Paint};

/// The one place that turns an error into text.
fn main() -> ExitCode {
    if rbee_keeper::complete() {
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::of_this_process() {
        Ok(cli) => cli,
        Err(error) => {
            // Help that nobody reads any more is no failure.
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match rbee_keeper::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut stderr = io::stderr().lock();
            for line in failure.lines(Paint::of_stderr()) {
                writeln!(stderr, "{line}").ok();
            }
            failure.kind.into()
        }
    }
}
