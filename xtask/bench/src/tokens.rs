use std::path::PathBuf;

use anyhow::ensure;

use crate::{
    load::{self, Builder, Load},
    samples::{Samples, verdict},
    worker::Worker,
};

/// What is left of the undisturbed rate while the chain rebuilds itself.
const GOAL: f64 = 0.85;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program `llamacpp-worker`
    #[arg(long)]
    worker: PathBuf,
    /// A model's file
    #[arg(long)]
    model: PathBuf,
    /// Tokens of each answer
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..))]
    tokens: u32,
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let worker = Worker::start(&args.worker, &args.model)?;
    let scene = load::scene()?;
    // The first answer is slower: memory is touched for the first time.
    worker.tokens_per_second(args.tokens)?;
    let mut rates = [Samples::default(), Samples::default(), Samples::default()];
    let mut builds = [0; 3];
    let builders = [None, Some(Builder::Chain), Some(Builder::Person)];
    // In turn, so that whatever else the machine does falls on each of them.
    for _ in 0..args.rounds {
        for (index, builder) in builders.into_iter().enumerate() {
            let load = builder.map(|builder| Load::start(&scene, builder)).transpose()?;
            let rate = worker.tokens_per_second(args.tokens);
            if let Some(load) = load {
                builds[index] += load.finish()?;
            }
            rates[index].add(rate?);
        }
    }
    let [alone, chain, person] = rates.map(Samples::median);
    ensure!(alone > 0.0, "no token came");
    let line = |name: &str, rate: f64, builds: u32| {
        println!(
            "{name:<42} {rate:>8.1} tokens/s  {:>5.1} %  {builds} builds",
            100.0 * rate / alone
        );
    };
    line("undisturbed", alone, builds[0]);
    line("while the chain rebuilds, at idle priority", chain, builds[1]);
    line("beside `cargo build`, at normal priority", person, builds[2]);
    let part = chain / alone;
    println!(
        "at least {:.0} % while the chain rebuilds: {} ({:.1} %)",
        100.0 * GOAL,
        verdict(part >= GOAL),
        100.0 * part
    );
    Ok(())
}
