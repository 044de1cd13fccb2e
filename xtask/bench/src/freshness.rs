use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use auto_update::{AutoUpdater, Freshness, Watcher};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};

use crate::{
    figures::Figures,
    plot,
    programs::{self, BUILD},
    samples::{Samples, shown, verdict},
    scene::Scene,
};

/// What a verdict may cost, as a multiple of the bare loop, from so many inputs up.
const GOAL_LOOP: f64 = 1.3;
const LOOP_FROM: usize = 1_000;
/// How many verdicts should fit into cargo's no-op, at so many inputs.
const GOAL_CARGO: f64 = 50.0;
const CARGO_AT: usize = 1_000;
/// What a watched verdict may take, in seconds.
const GOAL_WATCHED: f64 = 5e-6;

/// A watched verdict is too short to be timed alone.
const WATCHED_AT_ONCE: u32 = 200;
/// Verdicts and loops for each run of the slow programs.
const FAST_FOR_A_SLOW: usize = 5;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Sizes of the workspaces
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 10_000, 50_000])]
    inputs: Vec<usize>,
    /// How often cargo and git are run for each size; everything else five times as often
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Where to put the figures
    #[arg(long, default_value = "target/bench/freshness.json")]
    json: PathBuf,
    /// Where to draw them
    #[arg(long)]
    svg: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    println!("inputs   check      bare loop  ratio  watched    cargo build  ratio  git status");
    let mut all = Vec::new();
    for size in &args.inputs {
        let figures = measure(*size, args.rounds)?;
        println!(
            "{:<7}  {:<9}  {:<9}  {:<5.2}  {:<9}  {:<11}  {:<5.0}  {}",
            figures.inputs,
            shown(figures.check),
            shown(figures.bare_loop),
            figures.check / figures.bare_loop,
            shown(figures.watched),
            shown(figures.cargo_build),
            figures.cargo_build / figures.check,
            shown(figures.git_status)
        );
        all.push(figures);
    }
    goals(&all).iter().for_each(|line| println!("{line}"));
    save(&args.json, &serde_json::to_string_pretty(&all)?)?;
    if let Some(path) = &args.svg {
        save(path, &plot::svg(&all))?;
    }
    Ok(())
}

pub(crate) fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    let saved = path.parent().map_or(Ok(()), fs::create_dir_all);
    saved
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    eprintln!("written: {}", path.display());
    Ok(())
}

/// A line for each goal that the sizes can speak for.
fn goals(all: &[Figures]) -> Vec<String> {
    let mut lines = Vec::new();
    let loops = all.iter().filter(|figures| figures.inputs >= LOOP_FROM);
    if let Some(worst) = loops.map(|figures| figures.check / figures.bare_loop).reduce(f64::max) {
        lines.push(format!(
            "within {GOAL_LOOP} x of the bare loop from {LOOP_FROM} inputs up: {} ({worst:.2} x)",
            verdict(worst <= GOAL_LOOP)
        ));
    }
    // The nearest, since the receipt lists more than the files that were asked for.
    let near = all.iter().min_by_key(|figures| figures.inputs.abs_diff(CARGO_AT));
    if let Some(near) = near.filter(|figures| figures.inputs.abs_diff(CARGO_AT) < CARGO_AT / 2) {
        let ratio = near.cargo_build / near.check;
        lines.push(format!(
            "at least {GOAL_CARGO} x faster than cargo's no-op at {CARGO_AT} inputs: {} ({ratio:.0} x)",
            verdict(ratio >= GOAL_CARGO)
        ));
    }
    if let Some(worst) = all.iter().map(|figures| figures.watched).reduce(f64::max) {
        lines.push(format!(
            "watched under {} whatever the size: {} ({})",
            shown(GOAL_WATCHED),
            verdict(worst < GOAL_WATCHED),
            shown(worst)
        ));
    }
    lines
}

/// All kinds take turns, so that whatever else the machine does falls on each of them.
fn measure(size: usize, rounds: u16) -> anyhow::Result<Figures> {
    let scene = Scene::of_inputs(size)?;
    scene.commit()?;
    let updater = scene.updater()?;
    updater.ensure_built_with(|_| {})?;
    let folders = folders(&updater)?;
    let inputs = folders.iter().map(|folder| folder.names.len()).sum();
    ensure!(inputs >= size, "the receipt lists {inputs} inputs of at least {size}");
    let watcher = updater.watch();
    let cargo = || programs::run(&mut programs::command("cargo", &BUILD, scene.root()));
    let git =
        || programs::run(&mut programs::command("git", &["status", "--porcelain"], scene.root()));
    // The first of each reads into memory what the others find there.
    cargo()?;
    git()?;
    bare_loop(&folders)?;
    let (mut check, mut bare, mut watched) =
        (Samples::default(), Samples::default(), Samples::default());
    let (mut cargo_build, mut git_status) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        // One that is not counted, after others had the processor's caches.
        is_fresh(&updater.check()?)?;
        for _ in 0..FAST_FOR_A_SLOW {
            check.time(1, || is_fresh(&updater.check()?))?;
            bare.time(1, || bare_loop(&folders))?;
        }
        watch(&watcher)?;
        ensure!(watcher.is_watching(), "nothing is watched here");
        watched.time(WATCHED_AT_ONCE, || (0..WATCHED_AT_ONCE).try_for_each(|_| watch(&watcher)))?;
        cargo_build.time(1, cargo)?;
        git_status.time(1, git)?;
    }
    Ok(Figures {
        inputs,
        check: check.median(),
        bare_loop: bare.median(),
        watched: watched.median(),
        cargo_build: cargo_build.median(),
        git_status: git_status.median(),
    })
}

fn watch(watcher: &Watcher) -> anyhow::Result<()> {
    is_fresh(&watcher.check()?)
}

fn is_fresh(freshness: &Freshness) -> anyhow::Result<()> {
    ensure!(freshness.is_fresh(), "what was just built is not fresh: {freshness:?}");
    Ok(())
}

/// Inputs that lie in one folder.
struct Folder {
    path: PathBuf,
    names: Vec<OsString>,
}

/// The inputs as the receipt orders them, which is by folder.
fn folders(updater: &AutoUpdater) -> anyhow::Result<Vec<Folder>> {
    let mut folders: Vec<Folder> = Vec::new();
    for input in updater.inputs()? {
        let (Some(path), Some(name)) = (input.path.parent(), input.path.file_name()) else {
            continue;
        };
        match folders.last_mut().filter(|folder| folder.path == path) {
            Some(folder) => folder.names.push(name.to_owned()),
            None => folders.push(Folder { path: path.to_owned(), names: vec![name.to_owned()] }),
        }
    }
    Ok(folders)
}

/// The least that looking at all inputs takes: each folder is opened, each name looked up in it.
fn bare_loop(folders: &[Folder]) -> anyhow::Result<()> {
    for folder in folders {
        // One that is absent holds nothing to look at.
        let Ok(open) = openat(CWD, &folder.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        else {
            continue;
        };
        for name in &folder.names {
            std::hint::black_box(statat(&open, name, AtFlags::SYMLINK_NOFOLLOW).ok());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(inputs: usize, check: f64) -> Figures {
        Figures {
            inputs,
            check,
            bare_loop: 1e-3,
            watched: 1e-6,
            cargo_build: 55e-3,
            git_status: 4e-3,
        }
    }

    #[test]
    fn goals_are_judged_by_the_sizes_that_they_are_about() {
        // Small workspaces have no goal for the loop.
        assert_eq!(goals(&[figures(100, 9e-3)]).len(), 1);
        let met = goals(&[figures(1_040, 1.1e-3)]);
        assert_eq!(met.len(), 3);
        assert!(met.iter().all(|line| line.contains(": met (")), "{met:#?}");
        let missed = goals(&[figures(1_040, 1.4e-3)]);
        assert!(missed[0].ends_with("missed (1.40 x)"), "{missed:#?}");
        assert!(missed[1].ends_with("missed (39 x)"), "{missed:#?}");
    }

    #[test]
    fn a_scene_has_the_inputs_that_were_asked_for_and_is_measured() {
        let figures = measure(40, 1).unwrap();
        assert!((40..140).contains(&figures.inputs), "{figures:?}");
        assert!(figures.check > 0.0 && figures.cargo_build > figures.check, "{figures:?}");
    }
}
