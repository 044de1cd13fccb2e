//! Says whether the program of the package in a folder is fresh, and builds it if it is not:
//! `cargo run --example verdict -- [FOLDER]`

use std::{env, error::Error};

use auto_update::{AutoUpdater, BuildEvent, Freshness, Selection};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::current_dir()?.join(env::args().nth(1).unwrap_or_default());
    let program = AutoUpdater::select(&Selection::default(), &folder)?;
    match program.check()? {
        Freshness::Fresh(artifact) => {
            say(&format!("fresh: {}", artifact.hash));
            return Ok(());
        }
        Freshness::Stale(reasons) => reasons.iter().for_each(|reason| say(&reason.to_string())),
        Freshness::Unknown(doubt) => say(&format!("only cargo can tell: {doubt}")),
    }
    let artifact = program.ensure_built_with(|event| {
        if let BuildEvent::Line(line) = event {
            say(&line);
        }
    })?;
    say(&format!("built: {}", artifact.hash));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn say(line: &str) {
    println!("{line}");
}
