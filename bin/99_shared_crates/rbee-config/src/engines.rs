//! What computes tokens: `[worker.vllm]` and `[worker.external."NAME"]`.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    error::Error,
    hives::HiveEntry,
    layers::Layers,
    nodes::{self, Node},
    setting::Variables,
    table::Table,
};

/// The workers that need no table of their own.
pub const BUILT_IN_WORKERS: [&str; 2] = ["llamacpp", "vllm"];

/// `[worker.vllm]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vllm {
    /// The environment that vLLM is installed in, or the program; unless set, see
    /// [`crate::RbeeConfig::vllm`].
    pub command: Option<String>,
    /// Further arguments of `vllm serve`.
    pub args: Vec<String>,
    /// Memory for the key-value cache where it computes on the CPU, in GiB.
    pub kv_cache: Option<u32>,
    pub tensor_parallel: Option<u32>,
    pub pipeline_parallel: Option<u32>,
    /// Where hives meet that compute one model together, by their aliases.
    pub nodes: BTreeMap<String, Node>,
    pub limits: EngineLimits,
}

/// `[worker.external."NAME"]`: a program that serves OpenAI's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// The program and its arguments, with `{port}` or `{socket}` in it.
    pub command: Vec<String>,
    /// A path that is answered with success once requests are.
    pub ready: String,
    /// What the program calls the model, where that is not the model's name.
    pub model: Option<String>,
    /// Variables that are set for it, as `NAME=VALUE`.
    pub env: Vec<String>,
    pub limits: EngineLimits,
}

/// How patient a worker is with its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// From the engine's start to its first answer.
    pub load_timeout: Duration,
    /// Without a token for anybody who waits for one.
    pub silence_timeout: Duration,
}

impl Default for EngineLimits {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Self { load_timeout: minutes(30), silence_timeout: minutes(5) }
    }
}

pub(crate) fn vllm(layers: &mut Layers<'_>, hives: &[HiveEntry]) -> Result<Vllm, Error> {
    let usual = EngineLimits::default();
    Ok(Vllm {
        command: layers.get("worker.vllm.command", None)?,
        args: layers.get("worker.vllm.args", Vec::new())?,
        kv_cache: layers.get("worker.vllm.kv_cache", None)?,
        tensor_parallel: layers.get("worker.vllm.tensor_parallel", None)?,
        pipeline_parallel: layers.get("worker.vllm.pipeline_parallel", None)?,
        nodes: nodes::read(layers, hives)?,
        limits: EngineLimits {
            load_timeout: layers.get("worker.vllm.load_timeout", usual.load_timeout)?,
            silence_timeout: layers.get("worker.vllm.silence_timeout", usual.silence_timeout)?,
        },
    })
}

pub(crate) fn external(layers: &mut Layers<'_>) -> Result<BTreeMap<String, External>, Error> {
    let mut all = BTreeMap::new();
    for named in layers.file.take_named("worker.external") {
        let mut table = Table::new(layers, "worker.external", named);
        if BUILT_IN_WORKERS.contains(&table.name.as_str()) {
            return Err(Error::Invalid {
                key: table.key(""),
                expected: "a name of its own".into(),
                found: "that of a worker that there is already".into(),
                origin: table.origin,
            });
        }
        let usual = EngineLimits::default();
        let command: Vec<String> = table.get("command", Vec::new())?;
        let places = ["{port}", "{socket}"]
            .iter()
            .filter(|place| command.iter().any(|argument| argument.contains(**place)));
        if places.count() != 1 {
            return Err(Error::Invalid {
                key: table.key("command"),
                expected: "a program and its arguments, with one of `{port}` and `{socket}` in \
                           them, where it is to listen"
                    .into(),
                found: if command.is_empty() {
                    "left out".into()
                } else {
                    format!("`{}`", command.join(" "))
                },
                origin: table.origin,
            });
        }
        let external = External {
            command,
            ready: table.get("ready", "/health".to_owned())?,
            model: table.get("model", None)?,
            env: table.get("env", Variables::default())?.0,
            limits: EngineLimits {
                load_timeout: table.get("load_timeout", usual.load_timeout)?,
                silence_timeout: table.get("silence_timeout", usual.silence_timeout)?,
            },
        };
        let name = table.end()?;
        all.insert(name, external);
    }
    Ok(all)
}
