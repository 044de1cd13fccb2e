//! An axum program under load while its sources are edited and touched: through `cargo live watch`,
//! and through what people use otherwise.

mod rivals; // the programs that follow sources
mod clients; // requests, and what became of them

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use clients::{Clients, ask};
use rivals::{Follower, Tool};

use crate::{
    programs,
    samples::{Samples, seconds, shown, verdict},
};

/// What may come on top of a bare build, in seconds.
const GOAL: f64 = 0.1;

/// The first build compiles axum and Tokio.
const FIRST_LIMIT: Duration = Duration::from_secs(600);
const LIMIT: Duration = Duration::from_secs(60);
/// After a save that changes nothing, at least so long is waited for a restart.
const WAIT: Duration = Duration::from_secs(3);

const MAIN: &str = r#"use axum::{Router, routing::get};
use listenfd::ListenFd;

mod edit;

async fn answer() -> String {
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    format!("{} {}", edit::EDIT, std::process::id())
}

#[tokio::main]
async fn main() {
    let listener = match ListenFd::from_env().take_tcp_listener(0).unwrap() {
        Some(listener) => {
            listener.set_nonblocking(true).unwrap();
            tokio::net::TcpListener::from_std(listener).unwrap()
        }
        None => {
            let port = std::env::var("PORT").unwrap();
            tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap()
        }
    };
    axum::serve(listener, Router::new().route("/", get(answer))).await.unwrap();
}
"#;

const MANIFEST: &str = r#"[package]
name = "app"
version = "0.1.0"
edition = "2024"

[dependencies]
axum = { version = "0.8", default-features = false, features = ["http1", "tokio"] }
listenfd = "1"
tokio = { version = "1", features = ["macros", "net", "rt-multi-thread", "time"] }

[workspace]
"#;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program `cargo-live`
    #[arg(long)]
    cargo_live: PathBuf,
    /// Where the program is built and the other followers are installed, by `cargo install`, where
    /// they are not yet; `cargo-live-bench` in the user's cache unless set. Not in a folder that a
    /// repository ignores, whose files some followers ignore too
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Edits, touches and comments, of each so many
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

/// What one follower did.
#[derive(Debug, Default)]
struct Result {
    requests: usize,
    lost: Vec<String>,
    needless: usize,
    /// From a save to the first new answer.
    answers: Samples,
    /// From a save to the last old one.
    last_old: Samples,
}

struct Scene {
    folder: PathBuf,
    edits: u32,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let tools = match &args.folder {
        Some(folder) => std::path::absolute(folder).context("a path is empty")?,
        None => rivals::cache()?,
    };
    for tool in ["systemfd", "cargo-watch", "bacon"] {
        rivals::install(&tools, tool)?;
    }
    let mut scene = Scene { folder: tools.join("app"), edits: 0 };
    scene.lay_out()?;
    eprintln!("live: building the program");
    scene.build()?;
    let followers = [Tool::Live(args.cargo_live.clone()), Tool::Watch, Tool::Bacon];
    let mut results = Vec::new();
    let mut build = Samples::default();
    for tool in followers {
        // Between the followers, so that all see about the same machine.
        for _ in 0..args.rounds.div_ceil(3) {
            scene.edit()?;
            build.time(1, || scene.build())?;
        }
        eprintln!("live: {}", tool.name());
        let result = scene.follow(&tool, &tools, args.rounds)?;
        results.push((tool.name(), result));
    }
    report(build.median(), results);
    Ok(())
}

fn report(build: f64, results: Vec<(&'static str, Result)>) {
    println!("one axum program with listenfd, 100 requests a second, each on its own connection");
    println!("a bare `cargo build` of such an edit: {}\n", shown(build));
    println!(
        "| | requests lost | restarts that changed nothing | save to new answer, median | slowest | last old answer |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut ours = None;
    for (name, Result { requests, lost, needless, answers, last_old }) in results {
        let (median, slowest) = (answers.clone().median(), answers.percentile(1.0));
        ours.get_or_insert((lost.len(), needless, median));
        println!(
            "| {name} | {} of {requests} | {needless} | {} | {} | {} |",
            lost.len(),
            shown(median),
            shown(slowest),
            shown(last_old.median()),
        );
        if let Some(why) = lost.first() {
            eprintln!("live: {name}: the first lost request: {why}");
        }
    }
    let Some((lost, needless, median)) = ours else { return };
    println!("\nno request lost: {}", verdict(lost == 0));
    println!("no restart that changed nothing: {}", verdict(needless == 0));
    let more = median - build;
    let sign = if more < 0.0 { "-" } else { "" };
    let goal = verdict(more <= GOAL);
    println!(
        "save to new answer at most the build and {}: {goal} ({sign}{})",
        shown(GOAL),
        shown(more.abs())
    );
}

impl Scene {
    fn lay_out(&mut self) -> anyhow::Result<()> {
        self.write("Cargo.toml", MANIFEST)?;
        self.write("src/main.rs", MAIN)?;
        self.write(".gitignore", "/target/\n")?;
        self.edit().map(drop)
    }

    fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join(path);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all);
        written
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Saves another answer than ever before, and says which.
    fn edit(&mut self) -> anyhow::Result<String> {
        self.edits += 1;
        let word = format!("edit-{}-{}", std::process::id(), self.edits);
        self.write("src/edit.rs", &format!("pub const EDIT: &str = {word:?};\n"))?;
        Ok(word)
    }

    fn touch(&self) -> anyhow::Result<()> {
        let path = self.folder.join("src/edit.rs");
        let text = fs::read(&path).context("the source is gone")?;
        fs::write(&path, text).context("cannot write the source")
    }

    fn comment(&self, round: u16) -> anyhow::Result<()> {
        let path = self.folder.join("src/edit.rs");
        let text = fs::read_to_string(&path).context("the source is gone")?;
        fs::write(&path, format!("{text}// {round}\n")).context("cannot write the source")
    }

    fn build(&self) -> anyhow::Result<()> {
        let mut cargo = programs::online("cargo", &["build", "--bin", "app"], &self.folder);
        programs::run(&mut cargo)
    }

    fn follow(&mut self, tool: &Tool, tools: &Path, rounds: u16) -> anyhow::Result<Result> {
        let port = free_port()?;
        let word = self.edit()?;
        let mut follower = Follower::start(tool, tools, &self.folder, port)?;
        until(
            FIRST_LIMIT,
            || follower.check(),
            || ask(port).is_ok_and(|said| said.starts_with(&word)),
        )
        .with_context(|| format!("`{}` serves nothing", tool.name()))?;
        let clients = Clients::start(port);
        let mut result = Result::default();
        for _ in 0..rounds {
            let saved = Instant::now();
            let word = self.edit()? + " ";
            until(LIMIT, || follower.check(), || clients.first(&word).is_some())?;
            let first = clients.first(&word).context("it was there")?;
            result.answers.add(seconds(first.duration_since(saved)));
            // The old one may still answer beside the new one.
            pause(Duration::from_secs(1));
            let last = clients.last_without(&word).unwrap_or(saved);
            result.last_old.add(seconds(last.saturating_duration_since(saved)));
        }
        for round in 0..rounds {
            result.needless += usize::from(self.restarts(port, Self::touch)?);
            result.needless += usize::from(self.restarts(port, |scene| scene.comment(round))?);
        }
        (result.requests, result.lost) = clients.stop();
        follower.stop(port)?;
        Ok(result)
    }

    /// Whether another process answers after a save.
    fn restarts(
        &self,
        port: u16,
        save: impl Fn(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let before = answer(port)?;
        save(self)?;
        pause(WAIT);
        Ok(answer(port)? != before)
    }
}

/// What is answered, once something is: a process may be in the middle of ending.
fn answer(port: u16) -> anyhow::Result<String> {
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        if let Ok(answer) = ask(port) {
            return Ok(answer);
        }
        pause(Duration::from_millis(50));
    }
    bail!("nobody answers any more")
}

fn until(
    limit: Duration,
    mut check: impl FnMut() -> anyhow::Result<()>,
    is_so: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !is_so() {
        check()?;
        ensure!(begin.elapsed() < limit, "it did not come to that within {limit:?}");
        pause(Duration::from_millis(5));
    }
    Ok(())
}

fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("there is no free port")?;
    Ok(listener.local_addr().context("it has an address")?.port())
}

#[expect(clippy::disallowed_methods, reason = "what does not happen gives no event")]
fn pause(length: Duration) {
    thread::sleep(length);
}
