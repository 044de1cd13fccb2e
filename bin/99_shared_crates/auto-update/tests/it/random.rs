//! Random edits, judged three ways at every step: by us, by cargo, and by a clean build.

mod edits; // what may happen to a workspace
mod scene; // the workspace it happens to

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    fs,
    io::Write as _,
    sync::mpsc,
    thread,
    time::Duration,
};

use auto_update::{ArtifactHash, BuildEnvironment, BuildEvent, Error, Freshness};

use crate::world::printed;
use edits::{Edit, Edited};
use scene::Scene;

/// Steps of each of the four runs, unless `AUTO_UPDATE_STEPS` says otherwise, and what decides them,
/// unless `AUTO_UPDATE_SEED` does. New ones are for `./rbee fuzz-freshness`.
const STEPS: usize = 25;
const SEED: u64 = 7;

#[test]
fn random_edits_never_leave_a_stale_binary_called_fresh_1() {
    println!("{}", run(1));
}

#[test]
fn random_edits_never_leave_a_stale_binary_called_fresh_2() {
    println!("{}", run(2));
}

#[test]
fn random_edits_never_leave_a_stale_binary_called_fresh_3() {
    println!("{}", run(3));
}

#[test]
fn random_edits_never_leave_a_stale_binary_called_fresh_4() {
    println!("{}", run(4));
}

/// A small generator whose sequence a seed repeats.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// What one run met. That a stale binary was called fresh is not counted: it fails the run.
#[derive(Debug, Default)]
struct Counts {
    steps: usize,
    stale: usize,
    fresh: usize,
    /// Only cargo could tell.
    unknown: usize,
    restored: usize,
    broken: usize,
    /// Cargo, which was right before, left another program than a clean build.
    cargo_wrong: usize,
    /// Cargo compiled and the truth was the same.
    cargo_needless: usize,
    our_compiles: usize,
    cargo_compiles: usize,
    /// Builds during which something was changed.
    during: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, stale, fresh, unknown, restored, broken, .. } = self;
        write!(f, "steps={steps} stale={stale} fresh={fresh} unknown={unknown} ")?;
        write!(f, "restored={restored} broken={broken} ")?;
        let Self { cargo_wrong, cargo_needless, our_compiles, cargo_compiles, during, .. } = self;
        write!(f, "during={during} ")?;
        write!(f, "cargo_wrong={cargo_wrong} cargo_needless={cargo_needless} ")?;
        write!(f, "our_compiles={our_compiles} cargo_compiles={cargo_compiles}")
    }
}

/// Plays one run, says how it went, and adds that to the file that `AUTO_UPDATE_COUNTS` names.
fn run(lane: u64) -> String {
    let environment = BuildEnvironment::capture();
    let number = |name: &str| environment.get(name)?.to_str()?.parse::<u64>().ok();
    let seed =
        number("AUTO_UPDATE_SEED").unwrap_or(SEED) ^ lane.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let steps = number("AUTO_UPDATE_STEPS").map_or(STEPS, |steps| steps as usize);
    let mut random = Random(seed.max(1));
    let mut log = format!("seed of lane {lane}: {seed}\n");
    let counts = play(&mut random, lane.is_multiple_of(2), steps, &mut log);
    if let Some(path) = environment.get("AUTO_UPDATE_COUNTS") {
        let mut file = fs::File::options().append(true).create(true).open(path).unwrap();
        // In one write: the other runs add theirs to the same file.
        file.write_all(format!("{counts}\n").as_bytes()).unwrap();
    }
    format!("seed {seed}: {counts}")
}

fn play(random: &mut Random, in_git: bool, steps: usize, log: &mut String) -> Counts {
    let mut scene = Scene::new(in_git);
    let mut counts = Counts::default();
    let mut truths: HashMap<ArtifactHash, Option<String>> = HashMap::new();
    // What was edited since the binary was last made sure of.
    let mut edited = Edited::default();
    let mut last_truth = scene.truth();
    let mut last_cargo = scene.cargo_builds();
    let built = scene.world.ensure_with(&scene.updater());
    assert_eq!(Some(printed(&built.artifact.path)), last_truth);
    // Cargo has something left to compile in our target directory that we had no need of.
    let mut is_behind = false;
    for step in 0..steps {
        counts.steps += 1;
        for _ in 0..=random.below(4) {
            let edit = Edit::any(random);
            writeln!(log, "{step}: {edit:?}").unwrap();
            edit.make(&mut scene, random, &mut edited);
        }
        // Cargo may have more to compile there than what was edited since.
        is_behind |= edited.elsewhere;
        let verdict = scene.updater().check().unwrap();
        let cargo = scene.cargo_builds();
        let truth = truths.entry(scene.digest()).or_insert_with(|| scene.truth()).clone();
        let cargo_is_idle = !cargo.compiled && cargo.hash == last_cargo.hash;
        let same_truth = truth == last_truth;
        let cargo_is_wrong = truth.is_some() && cargo.prints != truth;
        counts.cargo_wrong += usize::from(cargo_is_wrong);
        counts.cargo_needless += usize::from(cargo.compiled && same_truth);
        counts.cargo_compiles += usize::from(cargo.compiled);
        match &verdict {
            Freshness::Fresh(artifact) => {
                counts.fresh += 1;
                assert_eq!(Some(printed(&artifact.path)), truth, "called fresh\n{log}");
                // What we know to be the same, and what was cleaned, cargo will compile when it is
                // asked next.
                is_behind |= !same_truth || cargo.compiled || edited.tampered;
                counts.restored += usize::from(!same_truth);
            }
            Freshness::Stale(reasons) => {
                counts.stale += 1;
                for reason in reasons {
                    assert!(edited.explains(&reason.input), "{reason} was not edited\n{log}");
                }
            }
            Freshness::Unknown(doubt) => {
                counts.unknown += 1;
                assert!(edited.tampered, "{doubt}\n{log}");
            }
        }
        let mut events = Vec::new();
        let result = scene.updater().ensure_built_with(|event| events.push(event));
        let compiled = events.iter().any(
            |event| matches!(event, BuildEvent::Line(line) if line.trim_start().starts_with("Compiling")),
        );
        counts.our_compiles += usize::from(compiled);
        let missing = scene.programs_of_tests.iter().find(|program| !program.exists());
        assert_eq!(missing, None, "a test that a person may be running is gone\n{log}");
        match (result, &truth) {
            (Ok(artifact), Some(_)) => {
                assert_eq!(Some(printed(&artifact.path)), truth, "after a build\n{log}");
                let verdict = scene.updater().check().unwrap();
                assert!(verdict.is_fresh(), "{verdict:?} after a build\n{log}\n{events:#?}");
                let may_know_better = edited.tampered || edited.unlisted || is_behind;
                if cargo_is_idle && same_truth && !may_know_better {
                    assert!(!compiled, "compiled for nothing\n{log}\n{events:#?}");
                }
                is_behind &= !compiled;
                edited = Edited::default();
            }
            (Err(Error::BuildFailed { .. }), None) => {
                counts.broken += 1;
                assert!(!verdict.is_fresh(), "{log}");
                edited.tampered = true;
            }
            (result, truth) => panic!("{result:?} but the truth is {truth:?}\n{log}"),
        }
        last_truth = truth;
        if random.below(8) == 0 {
            edit_during_a_build(&mut scene, random, &mut edited, log);
            last_truth = scene.truth();
            counts.during += 1;
        }
        last_cargo = if cargo_is_wrong { scene.cargo_builds_from_nothing() } else { cargo };
    }
    counts
}

/// Changes something at a random moment of a build: what is called fresh afterwards must be what the
/// sources say then. What was removed is put back.
fn edit_during_a_build(
    scene: &mut Scene,
    random: &mut Random,
    edited: &mut Edited,
    log: &mut String,
) {
    let paths = ["leaf/src/lib.rs", "app/text.txt", "scripted/in.txt", ".cargo/config.toml"];
    let path = paths[random.below(paths.len())];
    let is_removal = random.below(2) == 0;
    let delay = Duration::from_millis(random.below(400) as u64);
    writeln!(log, "during: {path} {is_removal} {delay:?}").unwrap();
    // So that there is something to build.
    let word = ["one", "two", "six"][random.below(3)];
    scene.world.write("leaf/src/lib.rs", &scene::leaf(word));
    let text = scene.world.read(path);
    let place = scene.world.path(path);
    let updater = scene.updater();
    let (building, ended) = mpsc::channel::<()>();
    let (place, old) = (&place, &text);
    thread::scope(|scope| {
        scope.spawn(move || {
            // At that moment of the build, or at its end.
            ended.recv_timeout(delay).unwrap_or(());
            fs::remove_file(place).unwrap();
            if !is_removal {
                // In its place at once, as editors do it.
                let other =
                    if path == "leaf/src/lib.rs" { scene::leaf("six") } else { format!("{old} ") };
                fs::write(place, other).unwrap();
            }
        });
        // It may well fail.
        updater.ensure_built_with(|_| {}).map(drop).unwrap_or(());
        drop(building);
    });
    if let Freshness::Fresh(artifact) = updater.check().unwrap() {
        assert_eq!(Some(printed(&artifact.path)), scene.truth(), "changed during a build\n{log}");
    }
    scene.world.write(path, &text);
    edited.tampered = true;
    edited.elsewhere = true;
}
