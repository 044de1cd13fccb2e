//! Measurements that `./rbee bench` builds and runs on demand: each compares what is measured with
//! what it is judged by in the same run, on workspaces made for it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a command line")]

mod carry; // conversations, into the worker in another's place
mod copy; // a chain of its own
mod crowd; // many streams at once
mod endpoint; // one completion, from whichever server
mod figures; // medians of verdicts
mod film; // the README's moving picture
mod follow; // from an edit to its answers
mod fresh_run; // a whole process that ends in the program
mod freshness; // one verdict against the least it can cost, cargo and git
mod http; // one connection
mod live; // a program that is edited while it serves
mod load; // builds going on and on
mod plot; // figures as a picture
mod ports; // of queen and hive
mod programs; // commands that must succeed
mod replace; // queen and hive, under load
mod samples; // medians
mod scene; // workspaces of a given size
mod serve; // against llama.cpp's own server
mod stream; // of which every token is known
mod tokens; // a worker while something is built
mod words; // prompts
mod worker; // a worker and what it says

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "chain-bench", bin_name = "./rbee bench")]
struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The first token of a conversation whose worker was replaced, carried over and read again
    Carry(carry::Args),
    /// A thousand streams at once through queen and hive, against the same at the worker's socket
    Crowd(crowd::Args),
    /// An edit beside a stream that goes on over it, drawn as the README shows it
    Film(film::Args),
    /// From an edit of a shared crate to queen, hive and worker answering, against `cargo build`
    Follow(follow::Args),
    /// What a verdict costs, against a bare loop over the same files, cargo and git
    Freshness(freshness::Args),
    /// `cargo live run` against `cargo run` with nothing changed
    FreshRun(fresh_run::Args),
    /// A program that is edited while it serves, through `cargo live watch` and through others
    Live(live::Args),
    /// Requests and streams while queen and hive are replaced, against undisturbed and restarted
    Replace(replace::Args),
    /// Tokens per second and first tokens of worker and chain, against llama.cpp's own server
    Serve(serve::Args),
    /// Tokens per second of a worker, alone and while something is built
    TokensUnderBuild(tokens::Args),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().bench {
        Bench::Carry(args) => carry::run(&args),
        Bench::Crowd(args) => crowd::run(&args),
        Bench::Film(args) => film::run(&args),
        Bench::Follow(args) => follow::run(&args),
        Bench::Freshness(args) => freshness::run(&args),
        Bench::FreshRun(args) => fresh_run::run(&args),
        Bench::Live(args) => live::run(&args),
        Bench::Replace(args) => replace::run(&args),
        Bench::Serve(args) => serve::run(&args),
        Bench::TokensUnderBuild(args) => tokens::run(&args),
    }
}
