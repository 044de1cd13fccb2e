//! Assembles the worker that serves by any program that speaks OpenAI's API.

use clap::Parser as _;
use engine_adapter::{External, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = External::parse();
    run("external-worker", &args.common, args.plan()).await
}
