//! A thousand streams at once, from a worker that repeats the words it is given: at the worker's own
//! socket, through the hive, and through queen and hive.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use chain_tests::{get, pause};
use rbee_api::HiveList;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{runtime::Runtime, task::JoinSet, time::interval};

use crate::{
    copy::{Built, Copy},
    endpoint::Endpoint,
    ports,
    samples::{Samples, seconds, shown, verdict},
    stream::{self, Stream, Streams},
};

/// Between two looks at the memory that a process has.
const LOOK: Duration = Duration::from_millis(100);
/// After a load, until what is left of it is looked at.
const REST: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Streams at once
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=2000))]
    streams: u32,
    /// Tokens of each; the worker says 50 a second to each if it can
    #[arg(long, default_value_t = 300)]
    tokens: u32,
    /// How often each way is taken, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    #[command(flatten)]
    copy: Copy,
}

/// What came of one way, in all rounds.
#[derive(Debug, Default)]
struct Figures {
    seen: Streams,
    tokens_per_second: Samples,
    first_token: Samples,
    /// Streams that had begun and were not over, at the height of the least crowded round.
    at_once: Option<usize>,
}

/// What one process had in memory, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    before: u64,
    height: u64,
    after: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    may_open(u64::from(args.streams) + 100)?;
    let Built { model, chain, .. } = args.copy.build("crowd")?;
    let addresses = ports::configure(&chain, &model, args.streams)?;
    chain.succeed(&["infer", "one"]);
    let list: HiveList = get(&format!("http://{}/v1/hives", addresses.queen));
    let worker = list.hives.first().and_then(|hive| hive.workers.workers.first());
    let worker = &worker.context("no worker runs")?.id;
    let ways = [
        (
            "the worker's socket",
            Endpoint::Unix(chain.home().join("run").join(worker).join("http.sock")),
        ),
        ("through the hive", Endpoint::Tcp(addresses.hive)),
        ("through queen and hive", Endpoint::Tcp(addresses.queen)),
    ];
    let pids = [chain.pid("queen-rbee"), chain.pid("rbee-hive")];
    let runtime = Runtime::new().context("cannot start threads for the clients")?;
    let mut figures: [Figures; 3] = Default::default();
    let mut memory = resident(pids)?.map(|before| Memory { before, ..Memory::default() });
    for round in 1..=args.rounds {
        for ((way, at), figures) in ways.iter().zip(&mut figures) {
            eprintln!("crowd: round {round} of {}, {way}", args.rounds);
            let height = runtime.block_on(load(at, args, pids, figures))?;
            pause(REST);
            for ((memory, height), after) in memory.iter_mut().zip(height).zip(resident(pids)?) {
                memory.height = memory.height.max(height);
                memory.after = after;
            }
        }
    }
    report(args, &ways.map(|(way, _)| way), figures, memory)
}

/// Each stream is a connection of this process.
fn may_open(wanted: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("this shell may not have so many descriptors")
}

/// Reads all streams at once to their ends. Returns what the processes had in memory at the height.
async fn load(
    at: &Endpoint,
    args: &Args,
    pids: [u32; 2],
    figures: &mut Figures,
) -> anyhow::Result<[u64; 2]> {
    let (at, tokens, mut readers) = (Arc::new(at.clone()), args.tokens, JoinSet::new());
    let begin = Instant::now();
    for reader in 0..args.streams {
        let at = Arc::clone(&at);
        readers.spawn(async move { stream::one(&at, &reader.to_string(), tokens).await });
    }
    let (mut looks, mut height, mut streams) = (interval(LOOK), [0, 0], Vec::new());
    while !readers.is_empty() {
        tokio::select! {
            Some(stream) = readers.join_next() => streams.push(stream.context("a client panicked")?),
            _ = looks.tick() => {
                let now = resident(pids)?;
                height = [0, 1].map(|nth| now[nth].max(height[nth]));
            }
        }
    }
    figures.add(begin, &streams);
    Ok(height)
}

impl Figures {
    fn add(&mut self, begin: Instant, streams: &[Stream]) {
        let (mut seen, mut end) = (Streams::default(), begin);
        for stream in streams {
            seen.add(stream.seen);
            end = end.max(stream.end);
            if let Some(first) = stream.first {
                self.first_token.add(seconds(first - begin));
            }
        }
        self.seen.add(seen);
        self.tokens_per_second.add(seen.tokens as f64 / seconds(end - begin));
        let at_once = at_once(streams);
        self.at_once = Some(self.at_once.map_or(at_once, |least| least.min(at_once)));
    }
}

/// How many of them had begun and were not over, when these were the most.
fn at_once(streams: &[Stream]) -> usize {
    let begun = streams.iter().filter_map(|stream| Some((stream.first?, stream.end)));
    let mut changes: Vec<(Instant, bool)> =
        begun.flat_map(|(first, end)| [(first, true), (end, false)]).collect();
    changes.sort_unstable();
    let (mut now, mut most) = (0_usize, 0);
    for (_, begins) in changes {
        now = if begins { now + 1 } else { now - 1 };
        most = most.max(now);
    }
    most
}

/// What each process has in memory.
fn resident(pids: [u32; 2]) -> anyhow::Result<[u64; 2]> {
    let of = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    let [queen, hive] = pids.map(of);
    queen.zip(hive).map(<[u64; 2]>::from).context("a process has gone")
}

fn report(
    args: &Args,
    ways: &[&str; 3],
    figures: [Figures; 3],
    memory: [Memory; 2],
) -> anyhow::Result<()> {
    println!(
        "{} streams at once of {} tokens, from a worker that says 50 a second to each if it can; \
         {} rounds in turn, medians\n",
        args.streams, args.tokens, args.rounds
    );
    println!(
        "{:<24} {:>7} {:>8} {:>10} {:>7} {:>12} {:>12}",
        "", "errors", "at once", "tokens/s", "ratio", "first token", "p99"
    );
    let mut lost = 0;
    let at_worker = figures[0].tokens_per_second.clone().median();
    for (way, Figures { seen, tokens_per_second, first_token, at_once }) in ways.iter().zip(figures)
    {
        lost += seen.lost();
        let rate = tokens_per_second.median();
        let [first, p99] = [0.5, 0.99].map(|part| shown(first_token.clone().percentile(part)));
        println!(
            "{way:<24} {:>7} {:>8} {rate:>10.0} {:>6.2}x {first:>12} {p99:>12}",
            seen.lost(),
            at_once.unwrap_or_default(),
            rate / at_worker
        );
    }
    println!("\n{:<24} {:>10} {:>10} {:>10}", "MiB in memory", "before", "height", "after");
    for (name, Memory { before, height, after }) in ["queen", "hive"].iter().zip(memory) {
        let [before, height, after] = [before, height, after].map(|bytes| bytes >> 20);
        println!("{name:<24} {before:>10} {height:>10} {after:>10}");
    }
    println!("\nno error: {} ({lost})", verdict(lost == 0));
    ensure!(lost == 0, "streams were refused, cut or wrong");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_at_once_between_their_first_words_and_their_ends() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let stream = |first: Option<u64>, end| Stream {
            seen: Streams { tokens: 2, ..Streams::default() },
            first: first.map(at),
            end: at(end),
        };
        let streams = [stream(Some(1), 5), stream(Some(2), 7), stream(Some(6), 9), stream(None, 8)];
        assert_eq!(at_once(&streams), 2);
        let mut figures = Figures::default();
        figures.add(begin, &streams);
        figures.add(begin, &streams[..1]);
        assert_eq!(
            (figures.at_once, figures.seen.tokens, figures.first_token.len()),
            (Some(1), 10, 4)
        );
    }

    #[test]
    fn the_memory_of_a_process_is_what_the_kernel_says() {
        let own = std::process::id();
        let [one, other] = resident([own, own]).unwrap();
        assert!(one > 1 << 20 && one.abs_diff(other) < 64 << 20, "{one} {other}");
        assert!(resident([own, u32::MAX]).is_err());
    }
}
