use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{
    programs,
    samples::{Samples, shown, verdict},
    scene::Scene,
};

/// How many of ours should fit into one of cargo's.
const GOAL: f64 = 5.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program `cargo-live`
    #[arg(long)]
    cargo_live: PathBuf,
    /// About how many files the program is made from
    #[arg(long, default_value_t = 1_000)]
    inputs: usize,
    #[arg(long, default_value_t = 31, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let scene = Scene::of_inputs(args.inputs)?;
    let built = scene.updater()?.ensure_built_with(|_| {})?;
    let plain = ["run", "--quiet", "--bin", "app"];
    let app = scene.root().join("app");
    let live = ["live", "run", "--quiet", "--bin", "app"];
    // The least that anything behind `cargo` can take: a subcommand that is the program itself.
    let least = scene.root().join("subcommand");
    fs::create_dir(&least)
        .and_then(|()| symlink(&built.path, least.join("cargo-nothing")))
        .context("cannot make a subcommand of cargo")?;
    let own = args.cargo_live.parent().context("`cargo-live` lies in no folder")?;
    let path = path_with([own, &least])?;
    let through_cargo = |args: &[&str]| {
        let mut command = programs::command("cargo", args, &app);
        command.env("PATH", &path);
        command
    };
    let mut kinds: [(&str, Command, Samples); 5] = [
        ("cargo run", through_cargo(&plain), Samples::default()),
        ("cargo live run", through_cargo(&live), Samples::default()),
        (
            "cargo-live run",
            programs::command(&args.cargo_live, &live[1..], &app),
            Samples::default(),
        ),
        ("the program, as `cargo nothing`", through_cargo(&["nothing"]), Samples::default()),
        ("the program itself", programs::command(&built.path, &[], &app), Samples::default()),
    ];
    for (_, command, _) in &mut kinds {
        programs::run(command)?;
    }
    // In turn, so that all see the same machine.
    for _ in 0..args.rounds {
        for (_, command, samples) in &mut kinds {
            samples.time(1, || programs::run(command))?;
        }
    }
    let medians = kinds.map(|(name, _, samples)| (name, samples.median()));
    let cargo = medians[0].1;
    for (name, median) in medians {
        println!(
            "{name:<32} {:>10}  {:>5.1} x faster than cargo run",
            shown(median),
            cargo / median
        );
    }
    for (name, median) in &medians[1..3] {
        let ratio = cargo / median;
        println!("`{name}` at least {GOAL} x faster: {} ({ratio:.1} x)", verdict(ratio >= GOAL));
    }
    Ok(())
}

/// The search path with `folders` first, where cargo finds its subcommands.
fn path_with(folders: [&Path; 2]) -> anyhow::Result<OsString> {
    let environment = programs::environment();
    let others = environment.get("PATH").map(env::split_paths).into_iter().flatten();
    let path = env::join_paths(folders.map(Path::to_owned).into_iter().chain(others));
    path.context("the folder of `cargo-live` cannot be named in PATH")
}
