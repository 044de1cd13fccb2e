//! `./rbee bench NAME`: measurements of this checkout, each with what it is compared with in the
//! same run.

mod start; // what ./rbee costs before the keeper runs

use std::{ffi::OsString, path::Path};

use anyhow::bail;

/// A measurement.
struct Bench {
    name: &'static str,
    about: &'static str,
    /// Gets the checkout and the arguments, and prints its figures to stdout.
    run: fn(&Path, &[OsString]) -> anyhow::Result<()>,
}

const BENCHES: &[Bench] = &[Bench {
    name: "start",
    about: "./rbee with everything fresh, against the keeper started by hand",
    run: start::run,
}];

/// Runs the measurement of that name, or lists them all.
pub fn run(root: &Path, name: Option<&str>, args: &[OsString]) -> anyhow::Result<()> {
    let Some(name) = name else {
        for bench in BENCHES {
            println!("{:<12} {}", bench.name, bench.about);
        }
        return Ok(());
    };
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        let names: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
        bail!("there is no measurement `{name}`; there are: {}", names.join(", "));
    };
    (bench.run)(root, args)
}
