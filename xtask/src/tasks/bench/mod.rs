//! `./rbee bench NAME`: measurements of this checkout, each with what it is compared with in the
//! same run.

mod apart; // measurements that are programs of their own
mod llama_server; // what the worker is compared with
mod start; // what ./rbee costs before the keeper runs

use std::ffi::OsString;

use anyhow::bail;

use crate::Workspace;

/// A measurement.
struct Bench {
    name: &'static str,
    about: &'static str,
    /// Gets the checkout and the arguments, and prints its figures to stdout.
    run: fn(&Workspace, &[OsString]) -> anyhow::Result<()>,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "start",
        about: "./rbee with everything fresh, against the keeper started by hand",
        run: start::run,
    },
    Bench {
        name: "freshness",
        about: "a verdict, against a bare loop over the same files, cargo and git",
        run: apart::freshness,
    },
    Bench {
        name: "fresh-run",
        about: "cargo live run with nothing changed, against cargo run",
        run: apart::fresh_run,
    },
    Bench {
        name: "crowd",
        about: "a thousand streams at once through queen and hive, against the worker's own socket",
        run: apart::crowd,
    },
    Bench {
        name: "film",
        about: "the README's moving picture: an edit, and a stream that goes on over it",
        run: apart::film,
    },
    Bench {
        name: "follow",
        about: "from an edit of a shared crate to every level answering, against cargo build",
        run: apart::follow,
    },
    Bench {
        name: "live",
        about: "an axum program edited under load, through cargo live watch and through others",
        run: apart::live,
    },
    Bench {
        name: "replace",
        about: "requests and streams while queen and hive are replaced, against restarts",
        run: apart::replace,
    },
    Bench {
        name: "serve",
        about: "tokens and first tokens of worker and chain, against llama.cpp's own server",
        run: apart::serve,
    },
    Bench {
        name: "carry",
        about: "a conversation whose worker was replaced, carried over, against read again",
        run: apart::carry,
    },
    Bench {
        name: "tokens-under-build",
        about: "a worker while the chain rebuilds, against the same undisturbed",
        run: apart::tokens_under_build,
    },
];

/// Runs the measurement of that name, or lists them all.
pub fn run(workspace: &Workspace, name: Option<&str>, args: &[OsString]) -> anyhow::Result<()> {
    let Some(name) = name else {
        for bench in BENCHES {
            println!("{:<20} {}", bench.name, bench.about);
        }
        return Ok(());
    };
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        let names: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
        bail!("there is no measurement `{name}`; there are: {}", names.join(", "));
    };
    (bench.run)(workspace, args)
}
