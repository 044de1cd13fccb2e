use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::Parser;

use crate::{
    Pooling,
    engine::{EngineConfig, Speculative},
    model::ModelFacts,
};

/// The cache is allocated at once, and few conversations are longer.
const CONTEXT_MAX_BY_DEFAULT: u32 = 8192;
/// A text whose vector is made goes through the model in one go, and llama.cpp then keeps a number
/// for each of its tokens and each of the vocabulary's: with one of 250,000, 2 GB.
const TEXT_MAX_BY_DEFAULT: u32 = 2048;

/// Serves one GGUF model over OpenAI's HTTP format on a Unix socket.
#[derive(Debug, Clone, Parser)]
#[command(name = "llamacpp-worker", version)]
pub struct Args {
    /// The GGUF file.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,

    /// What the model is called in answers and in `/v1/models`.
    #[arg(long)]
    pub name: String,

    /// Where to listen.
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,

    /// Threads that compute [default: one for each physical core].
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroU32>,

    /// Requests that are answered at the same time; more wait in a queue.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub parallel: u32,

    /// Tokens that the requests answered at one time may take together, prompts and answers; one
    /// alone may take them all [default: what the model was trained for, at most 8192]. Of a text
    /// whose vector is made, at most [default: 2048].
    #[arg(long, value_name = "N")]
    pub context: Option<NonZeroU32>,

    /// Serves vectors of texts instead of text, and how the vectors of tokens become them: `mean`,
    /// `cls` or `last` [default: what the model's file says, and text where it says nothing].
    #[arg(long, value_name = "POOLING")]
    pub pooling: Option<Pooling>,

    /// What computes.
    #[arg(long, default_value = "cpu")]
    pub device: Device,

    /// Layers that a GPU computes.
    #[arg(long, value_name = "N")]
    pub gpu_layers: Option<u32>,

    /// Where guesses come from of what an answer says next; what is chosen does not depend on it.
    #[arg(long, value_enum, default_value_t)]
    pub speculative: Speculative,

    /// A JSON file that says what chats are written down by and what requests have where they say
    /// nothing of it.
    #[arg(long, value_name = "PATH")]
    pub settings: Option<PathBuf>,

    /// Whatever tells this state of the model's file from others. It changes nothing.
    #[arg(long, value_name = "TEXT")]
    pub model_state: Option<String>,

    /// Seconds without a request and without a renewal after which the worker leaves.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    pub lease: Duration,

    /// What is logged to stderr, as a filter of `tracing`; `llama-cpp-2` is llama.cpp.
    #[arg(long, value_name = "FILTER", default_value = "info,llama-cpp-2=error")]
    pub log: String,
}

/// What computes a model's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Cpu,
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cpu" => Ok(Self::Cpu),
            other => Err(format!("`{other}` is no device of this build: it computes on `cpu`")),
        }
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse().map(Duration::try_from_secs_f64) {
        Ok(Ok(lease)) if !lease.is_zero() => Ok(lease),
        _ => Err(format!("`{text}` is not a lease: give seconds above zero")),
    }
}

impl Args {
    /// The folder of the socket, and of what else the daemon writes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.socket.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
    }

    /// What the engine is started with, with what the flags left open chosen for `model` and for
    /// whether it makes `vectors`.
    #[must_use]
    pub fn engine(&self, model: &ModelFacts, vectors: bool) -> EngineConfig {
        let threads = self.threads.or_else(|| NonZeroU32::new(physical_cores()));
        let most = if vectors { TEXT_MAX_BY_DEFAULT } else { CONTEXT_MAX_BY_DEFAULT };
        let trained = NonZeroU32::new(model.context_train.min(most));
        EngineConfig {
            threads: threads.unwrap_or(NonZeroU32::MIN),
            parallel: self.parallel,
            context: self.context.or(trained).map_or(most, NonZeroU32::get),
            speculative: self.speculative,
            batch_cost: None,
        }
    }
}

/// Cores that this process may use. Two threads on one core compute no faster than one.
fn physical_cores() -> u32 {
    let allowed = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let cores = sysinfo::System::physical_core_count().ok().filter(|&cores| cores > 0);
    u32::try_from(cores.map_or(allowed, |cores| cores.min(allowed))).unwrap_or(1)
}
