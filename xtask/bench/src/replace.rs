//! Queen and hive replaced by really different binaries, again and again, while clients ask at a
//! constant rate and read streams; then the same load while the queen is stopped and started.

mod requests; // sent by the clock, not by answers
mod seen; // what the clients saw
mod streams; // one after the other
mod variants; // binaries that differ, built beforehand

use std::{
    collections::BTreeSet,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use chain_tests::{Chain, Process, get, pause};
use rbee_api::Health;
use tokio::runtime::Runtime;

use self::{
    seen::{Phase, Seen},
    variants::{Level, Variants},
};
use crate::{
    copy::{Built, Copy},
    ports::{self, Addresses},
    samples::{Samples, seconds, shown, verdict},
};

/// How much slower one in a hundred answers may be than undisturbed.
const GOAL_P99: f64 = 2.0;

/// Streams and requests that the worker answers at once.
const PARALLEL: u32 = 256;

/// A replaced daemon stands by for so long to resume; the next replacement of a level comes later.
const PROBATION: Duration = Duration::from_secs(10);
/// A replacement waits for the streams of the one before the last.
const REPLACED_WITHIN: Duration = Duration::from_secs(180);
/// What a replacement costs the requests shows near it.
const NEAR: Duration = Duration::from_secs(3);
/// Between two looks at who answers.
const LOOK: Duration = Duration::from_millis(50);

/// After SIGTERM a service manager waits for so long, and then kills.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// Between two restarts, so that the streams run again.
const BETWEEN_RESTARTS: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often a daemon is replaced: the queen, then the hive, and so on
    #[arg(long, default_value_t = 100)]
    replacements: u16,
    /// How often the queen is stopped and started, for comparison
    #[arg(long, default_value_t = 5)]
    restarts: u16,
    /// Requests per second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Streams that are read at once
    #[arg(long, default_value_t = 50)]
    streams: u32,
    /// Seconds that are not counted, in which the streams spread, and seconds undisturbed
    #[arg(long, default_value_t = 60)]
    baseline: u64,
    #[command(flatten)]
    copy: Copy,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Built { folder, model, chain } = args.copy.build("replace")?;
    let addresses = ports::configure(&chain, &model, PARALLEL)?;
    chain.succeed(&["infer", "one"]);
    chain.succeed(&["queen", "stop"]);
    let each = [args.replacements.div_ceil(2), args.replacements / 2];
    let levels = [Level::Queen, Level::Hive];
    let [queens, hives] = [0, 1].map(|n| Variants::build(&chain, &folder, levels[n], each[n]));
    let variants = [queens?, hives?];
    chain.succeed(&["infer", "one"]);

    let seen = Arc::new(Seen::default());
    let runtime = Runtime::new().context("cannot start threads for the clients")?;
    let clients = [
        runtime.spawn(requests::send(addresses.clone(), args.rate, Arc::clone(&seen))),
        runtime.spawn(streams::read(addresses.queen.clone(), args.streams, Arc::clone(&seen))),
    ];
    let baseline = Duration::from_secs(args.baseline);
    eprintln!("replace: {} s until the streams have spread", args.baseline);
    pause(baseline);
    seen.enter(Phase::Undisturbed);
    eprintln!("replace: {} s undisturbed", args.baseline);
    pause(baseline);
    seen.enter(Phase::Replacing);
    let replaced = replace(&seen, &addresses, &variants, args.replacements)?;
    until_one_of_each(&chain)?;
    if args.restarts > 0 {
        seen.enter(Phase::Restarting);
        restart(&chain, &addresses, args.restarts)?;
    }
    seen.finish();
    runtime.block_on(async {
        for client in clients {
            client.await.context("a client panicked")?;
        }
        anyhow::Ok(())
    })?;
    report(args, &seen, replaced)
}

/// What came of the replacements.
#[derive(Debug, Default)]
struct Replaced {
    count: u16,
    /// Of the executables that answered, those before the first replacement included.
    hashes: BTreeSet<String>,
    took: Samples,
}

fn replace(
    seen: &Seen,
    addresses: &Addresses,
    variants: &[Variants; 2],
    replacements: u16,
) -> anyhow::Result<Replaced> {
    let places = [addresses.queen.as_str(), addresses.hive.as_str()];
    let mut replaced = Replaced::default();
    for place in places {
        replaced.hashes.insert(health(place).exe_hash);
    }
    let mut last = [None::<Instant>; 2];
    for number in 0..usize::from(replacements) {
        let (level, place) = (number % 2, places[number % 2]);
        let due = last[level].map(|last| last + PROBATION);
        pause(due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now())));
        let before = health(place);
        let wanted = variants[level].install(number / 2)?;
        let begin = Instant::now();
        let after = loop {
            let now = health(place);
            if now.exe_hash == wanted {
                break now;
            }
            ensure!(begin.elapsed() < REPLACED_WITHIN, "{} was not replaced", before.role);
            pause(LOOK);
        };
        seen.change();
        last[level] = Some(Instant::now());
        ensure!(after.pid != before.pid, "{} is the same process", after.role);
        replaced.count += 1;
        replaced.hashes.insert(after.exe_hash);
        let took = seconds(begin.elapsed());
        replaced.took.add(took);
        eprintln!("replace: {:>3}  {:<10} after {took:.1} s", replaced.count, after.role);
    }
    Ok(replaced)
}

/// Waits until the streams of the last ones that were replaced have ended.
fn until_one_of_each(chain: &Chain) -> anyhow::Result<()> {
    let begin = Instant::now();
    while chain.processes().len() > 3 {
        ensure!(begin.elapsed() < REPLACED_WITHIN, "left over: {:?}", chain.processes());
        pause(Duration::from_secs(1));
    }
    Ok(())
}

/// As service managers do it: SIGTERM, after a while SIGKILL, and another one on the same port.
fn restart(chain: &Chain, addresses: &Addresses, restarts: u16) -> anyhow::Result<()> {
    for number in 1..=restarts {
        let queen = health(&addresses.queen);
        let process = Process { pid: queen.pid, name: queen.role };
        signal("-TERM", process.pid)?;
        if !process.ends_within(STOP_LIMIT) {
            signal("-KILL", process.pid)?;
            ensure!(process.ends_within(STOP_LIMIT), "{process:?} cannot be killed");
        }
        chain.succeed(&["queen", "start"]);
        eprintln!("replace: {number} of {restarts} restarts");
        pause(BETWEEN_RESTARTS);
    }
    Ok(())
}

fn signal(signal: &str, pid: u32) -> anyhow::Result<()> {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status();
    ensure!(status.context("cannot start `kill`")?.success(), "process {pid} is not ours");
    Ok(())
}

fn health(address: &str) -> Health {
    get(&format!("http://{address}/health"))
}

fn report(args: &Args, seen: &Seen, replaced: Replaced) -> anyhow::Result<()> {
    let Replaced { count, hashes, took } = replaced;
    println!(
        "{} requests/s by the clock, half on kept connections; {} streams of 10 to 60 s\n\
         {count} replacements of queen and hive in turn, by binaries built beforehand; \
         {} hashes answered /health\n\
         from the edit to the new one's answer: median {} (draining of two before it included)\n",
        args.rate,
        args.streams,
        hashes.len(),
        shown(took.median())
    );
    let [undisturbed, replacing, restarting] =
        [Phase::Undisturbed, Phase::Replacing, Phase::Restarting].map(|phase| seen.figures(phase));
    undisturbed.print("undisturbed");
    replacing.print(&format!("{count} replacements"));
    if args.restarts > 0 {
        restarting.print(&format!("{} restarts of the queen, for comparison", args.restarts));
    }
    let lost = replacing.requests_lost() + replacing.streams_lost();
    println!("nothing lost, cut, doubled or missing: {} ({lost})", verdict(lost == 0));
    let distinct = hashes.len() == usize::from(count) + 2;
    println!("every replacement another binary: {}", verdict(distinct));
    let p99 = undisturbed.percentile(0.99);
    let ratio = replacing.percentile(0.99) / p99;
    println!(
        "p99 within {GOAL_P99} x of undisturbed: {} ({ratio:.2} x)",
        verdict(ratio <= GOAL_P99)
    );
    let around = seen.around_changes(NEAR);
    println!(
        "p99 of the {} requests due within {} s of a change: {} ({:.2} x)",
        around.len(),
        NEAR.as_secs(),
        shown(around.clone().percentile(0.99)),
        around.percentile(0.99) / p99
    );
    if args.restarts > 0 {
        let each = |lost: u64, times: u16| lost as f64 / f64::from(times.max(1));
        println!(
            "lost by each: {:.1} requests and {:.1} streams by a restart, {:.1} and {:.1} by a replacement",
            each(restarting.requests_lost(), args.restarts),
            each(restarting.streams_lost(), args.restarts),
            each(replacing.requests_lost(), count),
            each(replacing.streams_lost(), count)
        );
    }
    if lost > 0 || undisturbed.requests_lost() + undisturbed.streams_lost() > 0 {
        bail!("requests or streams were lost");
    }
    Ok(())
}
