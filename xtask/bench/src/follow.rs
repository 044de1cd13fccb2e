//! From a saved edit of a crate that queen, hive and worker share to each of them answering with
//! it, while nobody runs `./rbee`; against one `cargo build` of the same binaries.
//!
//! The chain is used by the same client during both: it takes its share of the machine.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail, ensure};
use chain_tests::{Chain, get, post};
use rbee_api::{Health, HiveList};
use serde_json::{Value, json};

use crate::{
    copy::{Built, Copy},
    samples::{Samples, seconds, shown, verdict},
};

/// How much longer than cargo alone it may take.
const GOAL: f64 = 1.15;

const LIMIT: Duration = Duration::from_secs(300);
/// Between two requests of the client that keeps the worker in use.
const PAUSE: Duration = Duration::from_millis(50);

/// What is built, with its package.
const BINARIES: [(&str, &str); 3] = [
    ("queen-rbee", "queen-rbee"),
    ("rbee-hive", "rbee-hive"),
    ("llamacpp-worker", "llm-worker-rbee"),
];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    #[command(flatten)]
    copy: Copy,
}

/// Seconds since the edit, for one level.
#[derive(Debug, Default)]
struct Times {
    begins: Samples,
    built: Samples,
    answers: Samples,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Built { chain, .. } = args.copy.build("follow")?;
    chain.succeed(&["infer", "one"]);
    let queen = chain.queen();
    let follows = fs::read_to_string(config(&chain)).context("the configuration is gone")?;
    let waits = format!("[auto_update]\nenabled = false\n\n{follows}");

    let (mut cargo, mut last, mut levels) =
        (Samples::default(), Samples::default(), <[Times; 3]>::default());
    // In turn, so that whatever else the machine does falls on both.
    for round in 1..=args.rounds {
        fs::write(config(&chain), &waits).context("cannot switch updates off")?;
        let before = answering(&queen)?;
        chain.checkout().edit_to_something_new();
        cargo.time(1, || in_use(&queen, || build(&chain)))?;
        ensure!(answering(&queen)? == before, "the chain has built as well");
        fs::write(config(&chain), &follows).context("cannot switch updates on")?;
        follow(&queen, &before)?;

        let (before, saved) = (answering(&queen)?, SystemTime::now());
        chain.checkout().edit_to_something_new();
        let answers = follow(&queen, &before)?;
        let logs = logs(&chain)?;
        for (index, times) in levels.iter_mut().enumerate() {
            let (name, _) = BINARIES[index];
            // One of them builds for all; the others take theirs.
            let built = format!("Rebuild complete\" level=\"info\" target_name=\"{name}\"");
            if let (Ok(begins), Ok(built)) =
                (since(saved, &logs, &format!("Rebuilding '{name}'")), since(saved, &logs, &built))
            {
                times.begins.add(begins);
                times.built.add(built);
            }
            times.answers.add(answers[index]);
        }
        last.add(answers.into_iter().fold(0.0, f64::max));
        eprintln!("follow: round {round} of {}", args.rounds);
    }
    report(cargo.median(), last.median(), levels);
    Ok(())
}

fn report(cargo: f64, last: f64, levels: [Times; 3]) {
    println!("after an edit of narration-core, in seconds since it was saved (medians)\n");
    println!("{:<18} {:>12} {:>8} {:>9}", "", "build begins", "built", "answers");
    for ((name, _), Times { begins, built, answers }) in BINARIES.iter().zip(levels) {
        let shown = |times: Samples| match times.median() {
            0.0 => "-".to_owned(),
            time => format!("{time:.1}"),
        };
        let [begins, built, answers] = [begins, built, answers].map(shown);
        println!("{name:<18} {begins:>12} {built:>8} {answers:>9}");
    }
    println!("\none `cargo build` of all three: {}", shown(cargo));
    let ratio = last / cargo;
    println!("every level answers from the edit after {} ({ratio:.2} x)", shown(last));
    println!("at most {GOAL} x: {}", verdict(ratio <= GOAL));
}

fn config(chain: &Chain) -> PathBuf {
    chain.home().join("config.toml")
}

/// As a person types it, with the environment of the chain.
fn build(chain: &Chain) -> anyhow::Result<()> {
    let mut cargo = Command::new("cargo");
    chain.environment(&mut cargo);
    cargo.arg("build").current_dir(chain.checkout().root());
    for (binary, package) in BINARIES {
        cargo.args(["-p", package, "--bin", binary]);
    }
    let status = cargo.stderr(Stdio::null()).status().context("cannot start cargo")?;
    ensure!(status.success(), "cargo ended with {status}");
    Ok(())
}

/// Does the work while a client uses the chain as in [`follow`].
fn in_use<T>(queen: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                ask(queen)?;
                answering(queen)?;
                pause();
            }
            Ok(())
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        client.join().unwrap_or_else(|_| bail!("the client panicked"))?;
        done
    })
}

/// The hashes of the executables that answer: queen, hive, worker.
fn answering(queen: &str) -> anyhow::Result<[String; 3]> {
    let health: Health = get(&format!("{queen}/health"));
    let hives: HiveList = get(&format!("{queen}/v1/hives"));
    let hive = hives.hives.into_iter().next().context("there is no hive")?;
    // Nobody answers for a level that is being replaced at this moment.
    let hash = |health: Option<Health>| health.map(|health| health.exe_hash).unwrap_or_default();
    let worker = hive.workers.workers.into_iter().next().and_then(|worker| worker.health);
    Ok([health.exe_hash, hash(hive.health), hash(worker)])
}

/// Uses the chain until every level answers with another executable than `before`; says after how
/// many seconds each did.
fn follow(queen: &str, before: &[String; 3]) -> anyhow::Result<[f64; 3]> {
    let begin = Instant::now();
    let mut after = [None; 3];
    loop {
        // A hive looks at its workers when they are used.
        ask(queen)?;
        let now = answering(queen)?;
        for (level, seen) in after.iter_mut().enumerate() {
            if !now[level].is_empty() && now[level] != before[level] {
                seen.get_or_insert(seconds(begin.elapsed()));
            }
        }
        if let [Some(queen), Some(hive), Some(worker)] = after {
            return Ok([queen, hive, worker]);
        }
        ensure!(begin.elapsed() < LIMIT, "not every level followed: {after:?}");
        pause();
    }
}

fn ask(queen: &str) -> anyhow::Result<()> {
    let body = json!({"messages": [{"role": "user", "content": "one"}]});
    let answer: Value = post(&format!("{queen}/v1/chat/completions"), &body);
    ensure!(answer["choices"][0]["message"]["content"] == "one", "not an answer: {answer}");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a client that asks now and then")]
fn pause() {
    thread::sleep(PAUSE);
}

/// The lines that queen and hive have logged.
fn logs(chain: &Chain) -> anyhow::Result<Vec<String>> {
    let folder = chain.home().join("state/logs");
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).context("there are no logs")?.flatten() {
        let text = fs::read_to_string(entry.path()).context("a log cannot be read")?;
        lines.extend(text.lines().map(str::to_owned));
    }
    Ok(lines)
}

/// Seconds from `saved` to the first narration after it that contains `text`.
fn since(saved: SystemTime, logs: &[String], text: &str) -> anyhow::Result<f64> {
    let saved = seconds(saved.duration_since(UNIX_EPOCH).context("the clock is not set")?);
    let times = logs.iter().filter(|line| line.contains(text)).filter_map(|line| at(line));
    let first = times.map(|at| at - saved).filter(|after| *after > 0.0).reduce(f64::min);
    first.with_context(|| format!("nobody has said `{text}`"))
}

/// When a narration was made, in seconds of the epoch.
fn at(line: &str) -> Option<f64> {
    let milliseconds: f64 = line.rsplit_once(" at_ms=")?.1.parse().ok()?;
    Some(milliseconds / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_found_after_the_edit() {
        let line = |at: u32, text: &str| format!("narration: human=\"{text}\" at_ms={at}");
        let logs = [line(900, "built"), line(4_500, "built"), line(3_250, "built"), line(1, "no")];
        let saved = UNIX_EPOCH + Duration::from_secs(1);
        assert_eq!(since(saved, &logs, "built").unwrap().to_bits(), 2.25_f64.to_bits());
        let error = since(saved, &logs, "no").unwrap_err();
        assert_eq!(error.to_string(), "nobody has said `no`");
    }
}
