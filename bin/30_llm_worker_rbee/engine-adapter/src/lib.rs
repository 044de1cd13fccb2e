//! Serves one model by another program that speaks OpenAI's API, an engine: vLLM, `llama-server`, or
//! any other.
//!
//! The engine runs in a session of its own, led by a guard that ends all of it when it breaks down
//! or nobody owns it any more. Any number of workers may own one engine: a worker from a new
//! binary takes the running engine over from the one before, so that an edit of rbee's sources
//! loads no model anew. Requests are passed on as they come, and each streamed answer becomes a job
//! with numbered events, as with every worker.
//!
//! Two programs use it: `vllm-worker` knows vLLM's command line, `external-worker` takes any.

mod plan; // what an engine is started with
mod args; // what both command lines share
mod vllm; // vLLM's command line
mod external; // any other
mod engine; // the engine's processes
mod upstream; // HTTP to the engine
mod http; // OpenAI's API at the rim
mod run; // from a plan to a worker that serves

pub use crate::{args::Common, external::External, plan::Plan, run::run, vllm::Vllm};
