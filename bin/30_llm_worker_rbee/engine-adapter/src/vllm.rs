use std::{num::NonZeroU32, path::PathBuf};

use clap::Parser;

use crate::{Common, Plan, plan::INHERITED};

/// What vLLM and the libraries below it are told by variables.
const VARIABLES: [&str; 5] = ["VLLM_*", "NCCL_*", "GLOO_*", "NVIDIA_*", "TORCH*"];

/// Serves one model by vLLM on a Unix socket.
#[derive(Debug, Clone, Parser)]
#[command(name = "vllm-worker", version)]
pub struct Vllm {
    #[command(flatten)]
    pub common: Common,

    /// The model's folder, with `config.json` and safetensors files.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,

    /// The program `vllm`.
    #[arg(long, value_name = "PATH", default_value = "vllm")]
    pub vllm: PathBuf,

    /// Tokens of context for each request [default: what the model was made for].
    #[arg(long, value_name = "N")]
    pub context: Option<NonZeroU32>,

    /// Memory for the key-value cache where vLLM computes on the CPU, in GiB.
    #[arg(long, value_name = "GIB")]
    pub kv_cache: Option<NonZeroU32>,

    /// Devices that each layer is spread over.
    #[arg(long, value_name = "N")]
    pub tensor_parallel: Option<NonZeroU32>,

    /// Stages that the layers are spread over.
    #[arg(long, value_name = "N")]
    pub pipeline_parallel: Option<NonZeroU32>,

    /// Further arguments of `vllm serve`.
    #[arg(last = true)]
    pub further: Vec<String>,
}

impl Vllm {
    #[must_use]
    pub fn plan(&self) -> Plan {
        let text = |path: &PathBuf| path.display().to_string();
        let mut command = vec![text(&self.vllm), "serve".to_owned(), text(&self.model)];
        let numbers = [
            ("--max-num-seqs", NonZeroU32::new(self.common.parallel)),
            ("--max-model-len", self.context),
            ("--tensor-parallel-size", self.tensor_parallel),
            ("--pipeline-parallel-size", self.pipeline_parallel),
        ];
        let numbers = numbers
            .iter()
            .filter_map(|(flag, number)| Some([(*flag).to_owned(), number.as_ref()?.to_string()]));
        command.extend(["--uds", "{socket}", "--served-model-name"].map(str::to_owned));
        command.push(self.common.name.clone());
        command.extend(numbers.flatten());
        command.extend(self.further.iter().cloned());
        // The files are there: nothing is looked up, and nobody is told what is served.
        let mut environment: Vec<(String, String)> =
            [("HF_HUB_OFFLINE", "1"), ("VLLM_NO_USAGE_STATS", "1"), ("DO_NOT_TRACK", "1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        if let Some(gibibytes) = self.kv_cache {
            environment.push(("VLLM_CPU_KVCACHE_SPACE".to_owned(), gibibytes.to_string()));
        }
        Plan {
            engine: "vLLM".to_owned(),
            command,
            environment,
            inherits: INHERITED.into_iter().chain(VARIABLES).collect(),
            ready: "/health".to_owned(),
            model: self.common.name.clone(),
            needs: Some("VLLM::"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::Vllm;

    #[test]
    fn the_command_is_that_of_vllm_serve_on_a_socket() {
        let args = "vllm-worker --name m --socket s --engine e --parallel 2 --model /models/m --vllm \
                    /venv/bin/vllm --context 2048 --kv-cache 1 --tensor-parallel 2 -- --enforce-eager";
        let plan = Vllm::parse_from(args.split_whitespace()).plan();
        let expected = "/venv/bin/vllm serve /models/m --uds {socket} --served-model-name m \
                        --max-num-seqs 2 --max-model-len 2048 --tensor-parallel-size 2 --enforce-eager";
        assert_eq!(plan.command.join(" "), expected);
        let kv = ("VLLM_CPU_KVCACHE_SPACE".to_owned(), "1".to_owned());
        assert!(plan.environment.contains(&kv), "{plan:?}");
        assert!(!plan.wants_port());
    }
}
