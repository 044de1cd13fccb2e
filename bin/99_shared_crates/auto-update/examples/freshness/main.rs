//! Measures what a verdict costs, against the least that looking at the same files can cost, and
//! against cargo and git, on workspaces that it makes. Prints one JSON object; `--svg FILE` draws
//! it; further arguments are numbers of inputs.
//!
//! `cargo run --release -p auto-update --example freshness -- --svg freshness.svg 100 1000`

mod plot; // the figures as a picture
mod workspace; // a workspace of a given size

use std::{
    error::Error,
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use auto_update::{AutoUpdater, BuildEnvironment};
use rustix::fs::{AtFlags, CWD, statat};
use serde::Serialize;

const SIZES: [usize; 4] = [100, 1_000, 10_000, 50_000];
/// Each figure is the median of so many takes.
const TAKES: usize = 21;
/// And of no more than this long.
const LONGEST: Duration = Duration::from_secs(8);

/// Microseconds, but for the number of inputs.
#[derive(Debug, Clone, Serialize)]
struct Figures {
    inputs: usize,
    check: f64,
    bare_stat_loop: f64,
    watched: f64,
    cargo_build_no_op: f64,
    git_status: f64,
    /// Whole processes that end in running the program.
    cargo_fresh_run: Option<f64>,
    cargo_run: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut sizes = Vec::new();
    let mut svg = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--svg" => svg = Some(PathBuf::from(arguments.next().ok_or("--svg needs a file")?)),
            size => sizes.push(size.parse()?),
        }
    }
    if sizes.is_empty() {
        sizes.extend(SIZES);
    }
    let mut all = Vec::new();
    for size in sizes {
        let figures = measure(size)?;
        writeln!(io::stderr(), "{figures:?}")?;
        all.push(figures);
    }
    if let Some(path) = svg {
        fs::write(path, plot::svg(&all))?;
    }
    writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&all)?)?;
    Ok(())
}

fn measure(size: usize) -> Result<Figures, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    workspace::make(dir.path(), size)?;
    let environment =
        BuildEnvironment::capture().set("CARGO_INCREMENTAL", "0").set("CARGO_NET_OFFLINE", "true");
    let updater = AutoUpdater::new("app", dir.path().join("app"))?.environment(environment.clone());
    updater.ensure_built_with(|_| {})?;

    let program = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(name);
        command.args(arguments).current_dir(dir.path());
        command.env_clear().envs(environment.vars());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    for arguments in [
        &["init", "-q"][..],
        &["add", "-A"],
        &["-c", "user.name=b", "-c", "user.email=b", "commit", "-qm", "b"],
    ] {
        run(&mut program("git", arguments))?;
    }
    let paths: Vec<PathBuf> = updater.inputs()?.into_iter().map(|input| input.path).collect();
    let watcher = updater.watch();
    if !watcher.check()?.is_fresh() || !updater.check()?.is_fresh() {
        return Err("what was just built is not fresh".into());
    }

    // In turn, so that whatever else the machine does falls on all of them.
    let check = median(|| updater.check().map(|verdict| assert!(verdict.is_fresh())))?;
    let bare_stat_loop = median(|| {
        for path in &paths {
            // What is absent is part of the question.
            std::hint::black_box(statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok());
        }
        Ok::<_, io::Error>(())
    })?;
    let watched = median(|| watcher.check().map(|verdict| assert!(verdict.is_fresh())))?;
    let cargo_build_no_op =
        median(|| run(&mut program("cargo", &["build", "-p", "app", "--bin", "app"])))?;
    let git_status = median(|| run(&mut program("git", &["status", "--porcelain"])))?;
    let cargo_run =
        median(|| run(&mut program("cargo", &["run", "-q", "-p", "app", "--bin", "app"])))?;
    // Built beside this example, if `cargo build` of the package was run.
    let beside = std::env::current_exe()?;
    let fresh =
        beside.ancestors().nth(2).map(|dir| dir.join("cargo-fresh")).filter(|path| path.is_file());
    let cargo_fresh_run = fresh
        .map(|path| {
            let manifest = dir.path().join("app/Cargo.toml");
            let manifest = manifest.to_str().ok_or("a temporary directory has a plain name")?;
            let path = path.to_str().ok_or("a target directory has a plain name")?;
            let arguments = ["run", "--manifest-path", manifest, "--bin", "app"];
            median(|| run(&mut program(path, &arguments)))
        })
        .transpose()?;
    Ok(Figures {
        inputs: paths.len(),
        check,
        bare_stat_loop,
        watched,
        cargo_build_no_op,
        git_status,
        cargo_fresh_run,
        cargo_run,
    })
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// The median time of `work` in microseconds.
fn median<E: Into<Box<dyn Error>>>(
    mut work: impl FnMut() -> Result<(), E>,
) -> Result<f64, Box<dyn Error>> {
    work().map_err(Into::into)?;
    let mut takes = Vec::with_capacity(TAKES);
    let began = Instant::now();
    while takes.len() < TAKES && (takes.is_empty() || began.elapsed() < LONGEST) {
        let take = Instant::now();
        work().map_err(Into::into)?;
        takes.push(take.elapsed());
    }
    takes.sort_unstable();
    Ok(takes[takes.len() / 2].as_secs_f64() * 1e6)
}
