use std::{path::PathBuf, time::Duration};

use clap::Args;

/// What the command lines of all engines' workers share.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// What the model is called in requests and in `/v1/models`.
    #[arg(long)]
    pub name: String,

    /// Where to listen.
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,

    /// A folder for the engine's files. Workers that are given the same one share the engine.
    #[arg(long, value_name = "PATH")]
    pub engine: PathBuf,

    /// A JSON file that says what requests have where they say nothing of it.
    #[arg(long, value_name = "PATH")]
    pub settings: Option<PathBuf>,

    /// Requests that are answered at the same time; more wait in the engine's queue.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub parallel: u32,

    /// Seconds without a request and without a renewal after which the worker leaves.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub lease: Duration,

    /// Seconds that the engine may take from its start to its first answer.
    #[arg(long, value_name = "SECONDS", default_value = "1800", value_parser = seconds)]
    pub load_timeout: Duration,

    /// Seconds without a token of any request that waits for one after which the engine counts as
    /// hung.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub silence: Duration,

    /// Seconds that an engine without an owner lives on.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub orphan: u32,

    /// What is logged to stderr, as a filter of `tracing`; `engine` is what the engine writes.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse().map(Duration::try_from_secs_f64) {
        Ok(Ok(duration)) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("`{text}` is no duration: give seconds above zero")),
    }
}
