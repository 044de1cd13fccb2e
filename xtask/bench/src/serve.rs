//! Tokens a second and the time to the first one: llama.cpp's own server, the worker at its socket,
//! and the whole chain, with the same model, threads and prompts, taking turns.

use std::{
    fmt,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use chain_tests::Chain;
use serde_json::json;

use crate::{
    endpoint::{Completion, Endpoint},
    samples::{Samples, seconds, shown, verdict},
    words::words,
    worker::Worker,
};

/// How fast the worker is to be, compared with llama.cpp's server.
const GOAL_WORKER: f64 = 1.0;
/// How fast the chain is to be, compared with the worker.
const GOAL_CHAIN: f64 = 0.98;
/// How much later a first token may come through the chain.
const GOAL_LATER: f64 = 0.005;

const LOADED_WITHIN: Duration = Duration::from_secs(120);
/// Tokens that all requests of a server share.
const CONTEXT: u32 = 8192;
/// Words that a prompt repeats, and how often.
const REPEATED_WORDS: usize = 24;
const REPEATED: usize = 5;
/// Words of a long prompt; with eight streams they fill most of the context.
const PROMPT_WORDS: usize = 600;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// llama.cpp's own `llama-server`
    #[arg(long)]
    server: PathBuf,
    /// The program `llamacpp-worker`
    #[arg(long)]
    worker: PathBuf,
    /// A model's file
    #[arg(long)]
    model: PathBuf,
    #[arg(long, default_value_t = 2)]
    threads: u32,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(4..))]
    rounds: u16,
    /// Requests at a time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 8])]
    streams: Vec<usize>,
    /// Tokens that all streams of one measurement generate together
    #[arg(long, default_value_t = 256)]
    tokens: usize,
    /// Leave the whole chain out, and compare the worker alone
    #[arg(long)]
    no_chain: bool,
}

/// What a request is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// A few words, and many tokens after them.
    Generation,
    /// A prompt that says one thing again and again, and many tokens after it that go on so.
    Repetition,
    /// A long prompt that nobody has asked before.
    Cold,
    /// A long prompt of which the server has seen three quarters.
    Shared,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generation => "generation",
            Self::Repetition => "generation, repeating",
            Self::Cold => "prompt, cold",
            Self::Shared => "prompt, shared prefix",
        })
    }
}

/// What one server gave for one load.
#[derive(Debug, Default)]
struct Figures {
    tokens_per_second: Samples,
    first_token: Samples,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let most = args.streams.iter().copied().max().context("no number of streams is given")?;
    ensure!(most <= 64 && !args.streams.contains(&0), "1 to 64 streams");
    let server = Server::start(args, most)?;
    let flags = ["--parallel", &most.to_string(), "--context", &CONTEXT.to_string()];
    let threads = ["--threads", &args.threads.to_string()];
    let worker = Worker::start_with(&args.worker, &args.model, &[&flags[..], &threads].concat())?;
    let mut endpoints = vec![server.endpoint.clone(), worker.endpoint()];
    let chain = if args.no_chain { None } else { Some(start_chain(args, most)?) };
    if let Some((_, endpoint)) = &chain {
        endpoints.push(endpoint.clone());
    }
    let model = args.model.to_str().context("the model's path is no text")?;

    let cases: Vec<_> = [Load::Generation, Load::Repetition, Load::Cold, Load::Shared]
        .into_iter()
        .flat_map(|load| args.streams.iter().map(move |&streams| (load, streams)))
        .collect();
    println!(
        "{:<24} {:>8} {:>13} {:>9} {:>9} {:>9} {:>9}",
        "medians", "streams", "llama-server", "worker", "(ratio)", "chain", "(ratio)"
    );
    let mut met = true;
    for (load, streams) in cases {
        let mut figures: Vec<_> = endpoints.iter().map(|_| Figures::default()).collect();
        // A first round to touch all memory, which is not counted.
        for round in 0..=args.rounds {
            // In turn, so that whatever else the machine does falls on each of them.
            for place in 0..endpoints.len() {
                let index = (place + usize::from(round)) % endpoints.len();
                let seed = usize::from(round) * 1000 + streams;
                let done = measure(&endpoints[index], model, load, streams, args.tokens, seed)?;
                if round > 0 {
                    figures[index].add(load, &done);
                }
            }
        }
        met &= report(load, streams, figures);
    }
    let of_chain = match chain {
        Some(_) => format!(
            ", chain {GOAL_CHAIN} x or more and a first token at most {} later",
            shown(GOAL_LATER)
        ),
        None => String::new(),
    };
    println!("\nworker {GOAL_WORKER} x or more{of_chain}: {}", verdict(met));
    Ok(())
}

/// A chain with the model, and where its queen answers.
fn start_chain(args: &Args, parallel: usize) -> anyhow::Result<(Chain, Endpoint)> {
    let chain = Chain::real();
    chain.configure(&format!(
        "[models]\ndefault = {:?}\n\n[worker]\nthreads = {}\nparallel = {parallel}\ncontext = {CONTEXT}\n",
        std::path::absolute(&args.model).context("the model has no path")?,
        args.threads
    ));
    eprintln!("serve: starting the chain");
    chain.succeed(&["infer", "--max-tokens", "1", "Hi"]);
    let queen = chain.queen();
    // An edit of the checkout meanwhile is none of the measurement's business.
    chain.configure("[auto_update]\nenabled = false\n");
    let queen = queen.strip_prefix("http://").context("the queen has no address")?;
    Ok((chain, Endpoint::Tcp(queen.to_owned())))
}

/// Asks for as many completions at a time, and waits for all.
fn measure(
    endpoint: &Endpoint,
    model: &str,
    load: Load,
    streams: usize,
    tokens: usize,
    seed: usize,
) -> anyhow::Result<Vec<Completion>> {
    let long = PROMPT_WORDS / streams.max(2) * 2;
    let shared = words(long * 3 / 4, seed);
    let body = |stream: usize| {
        let own = seed * 64 + stream + 1;
        let (prompt, tokens) = match load {
            Load::Generation => (words(4, own), tokens / streams),
            Load::Repetition => {
                (vec![words(REPEATED_WORDS, own); REPEATED].join(" "), tokens / streams)
            }
            Load::Cold => (words(long, own), 2),
            Load::Shared => (format!("{shared} {}", words(long / 4, own)), 2),
        };
        json!({
            "model": model, "prompt": prompt, "max_tokens": tokens.max(2), "temperature": 0.0,
            "stream": true, "ignore_eos": true, "cache_prompt": load == Load::Shared,
            "stream_options": { "include_usage": true },
        })
    };
    if load == Load::Shared {
        let mut first = body(0);
        first["prompt"] = shared.clone().into();
        endpoint.complete(&first)?;
    }
    thread::scope(|scope| {
        let asked: Vec<_> = (0..streams)
            .map(|stream| {
                let body = body(stream);
                scope.spawn(move || endpoint.complete(&body))
            })
            .collect();
        asked.into_iter().map(|one| one.join().expect("a client does not panic")).collect()
    })
}

impl Figures {
    fn add(&mut self, load: Load, done: &[Completion]) {
        let earliest = |of: fn(&Completion) -> Instant| done.iter().map(of).min();
        let latest = |of: fn(&Completion) -> Instant| done.iter().map(of).max();
        let (tokens, span) = match load {
            Load::Generation | Load::Repetition => (
                done.iter().map(|one| one.tokens - 1).sum::<u64>(),
                earliest(|one| one.first).zip(latest(|one| one.last)),
            ),
            _ => (
                done.iter().map(|one| one.prompt_tokens).sum(),
                earliest(|one| one.asked).zip(latest(|one| one.first)),
            ),
        };
        if let Some((from, to)) = span {
            self.tokens_per_second.add(tokens as f64 / seconds(to - from).max(1e-9));
        }
        let waits: f64 = done.iter().map(|one| seconds(one.first - one.asked)).sum();
        self.first_token.add(waits / done.len() as f64);
    }
}

/// Prints what came of one load, and returns whether it is as fast as it is to be.
///
/// Speeds are compared round by round: a machine that gets slower does so for all.
fn report(load: Load, streams: usize, figures: Vec<Figures>) -> bool {
    let to_server = ratio(&figures[1], &figures[0]);
    let to_worker = figures.get(2).map(|chain| ratio(chain, &figures[1]));
    let medians: Vec<_> = figures
        .into_iter()
        .map(|one| (one.tokens_per_second.median(), one.first_token.median()))
        .collect();
    let (server, worker, chain) = (medians[0], medians[1], medians.get(2));
    let (mut speeds, mut firsts) = (String::new(), String::new());
    let mut met = to_server >= GOAL_WORKER;
    if let (Some(chain), Some(to_worker)) = (chain, to_worker) {
        let later = chain.1 - worker.1;
        speeds = format!(" {:>9.1} {to_worker:>8.2}x", chain.0);
        firsts = format!(" {:>9} {:>9}", shown(chain.1), format!("{:+.1} ms", later * 1e3));
        met &= to_worker >= GOAL_CHAIN && later <= GOAL_LATER;
    }
    println!(
        "{:<24} {streams:>8} {:>13.1} {:>9.1} {to_server:>8.2}x{speeds}",
        format!("{load}, tokens/s"),
        server.0,
        worker.0
    );
    println!(
        "{:<24} {:>8} {:>13} {:>9} {:>9}{firsts}",
        "  first token",
        "",
        shown(server.1),
        shown(worker.1),
        ""
    );
    met
}

/// The median of how many times as fast as `other` it was in each round.
fn ratio(one: &Figures, other: &Figures) -> f64 {
    let mut ratios = Samples::default();
    let rounds = one.tokens_per_second.values().zip(other.tokens_per_second.values());
    rounds.for_each(|(one, other)| ratios.add(one / other));
    ratios.median()
}

/// llama.cpp's own server, that ends with this.
#[derive(Debug)]
struct Server {
    child: Child,
    endpoint: Endpoint,
}

impl Server {
    fn start(args: &Args, parallel: usize) -> anyhow::Result<Self> {
        let port = free_port().context("no port is free")?;
        let child = server(&args.server, &args.model)
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--kv-unified"])
            .args(["--threads", &args.threads.to_string(), "--ctx-size", &CONTEXT.to_string()])
            .args(["--threads-batch", &args.threads.to_string()])
            .args(["--parallel", &parallel.to_string()])
            .spawn()
            .with_context(|| format!("cannot start `{}`", args.server.display()))?;
        let mut server = Self { child, endpoint: Endpoint::Tcp(format!("127.0.0.1:{port}")) };
        let began = Instant::now();
        while !server.endpoint.is_ready() {
            let ended = server.child.try_wait().context("cannot look at llama-server")?;
            ensure!(ended.is_none(), "llama-server ended before it was ready: {ended:?}");
            ensure!(began.elapsed() < LOADED_WITHIN, "llama-server loads nothing");
            thread::park_timeout(Duration::from_millis(50));
        }
        Ok(server)
    }
}

fn server(program: &Path, model: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--model").arg(model).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is gone if that fails.
        self.child.kill().unwrap_or(());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(first: u64, last: u64, tokens: u64) -> Completion {
        let asked = Instant::now();
        let at = |ms| asked + Duration::from_millis(ms);
        Completion {
            asked,
            first: at(first),
            last: at(last),
            prompt_tokens: 500,
            cached_tokens: 0,
            tokens,
        }
    }

    #[test]
    fn generation_leaves_out_what_came_before_the_first_token() {
        let mut figures = Figures::default();
        figures.add(Load::Generation, &[completion(1000, 3000, 101)]);
        assert!((figures.tokens_per_second.median() - 50.0).abs() < 0.1);
        assert!((figures.first_token.median() - 1.0).abs() < 0.001);
    }

    #[test]
    fn prompts_are_counted_until_the_last_stream_has_its_first_token() {
        let mut figures = Figures::default();
        let asked = completion(500, 500, 2);
        let mut later = completion(2000, 2000, 2);
        later.first = asked.asked + Duration::from_millis(2000);
        figures.add(Load::Cold, &[asked, later]);
        assert!((figures.tokens_per_second.median() - 500.0).abs() < 1.0);
    }

    #[test]
    fn a_machine_that_gets_slower_does_so_for_both() {
        let figures = |speeds: [f64; 3]| {
            let mut figures = Figures::default();
            speeds.into_iter().for_each(|speed| figures.tokens_per_second.add(speed));
            figures
        };
        let (one, other) = (figures([110.0, 55.0, 11.0]), figures([100.0, 50.0, 10.0]));
        assert!((ratio(&one, &other) - 1.1).abs() < 1e-9);
    }
}
