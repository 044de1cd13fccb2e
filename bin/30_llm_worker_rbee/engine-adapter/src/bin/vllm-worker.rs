//! Assembles the worker that serves by vLLM.

use clap::Parser as _;
use engine_adapter::{Vllm, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Vllm::parse();
    run("vllm-worker", &args.common, Ok(args.plan())).await
}
