use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
};

use clap::{Args, Parser};
use rbee_api::Part;

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

    #[command(flatten)]
    pub place: Option<Place>,

    /// Further arguments of `vllm serve`.
    #[arg(last = true)]
    pub further: Vec<String>,
}

/// A worker's place among those that compute the model together.
#[derive(Debug, Clone, Args)]
#[group(requires_all = ["rank", "parts", "meet", "address"])]
pub struct Place {
    /// Which of them it is; 0 is the head, which answers.
    #[arg(long, required = false, value_name = "N")]
    pub rank: u32,

    /// How many workers compute the model together.
    #[arg(long, required = false, value_name = "N")]
    pub parts: u32,

    /// Where they meet, at the head's host.
    #[arg(long, required = false, value_name = "ADDRESS:PORT")]
    pub meet: SocketAddr,

    /// This host's address in the network in which they meet.
    #[arg(long, required = false, value_name = "ADDRESS")]
    pub address: IpAddr,

    /// The interface that has this address.
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
}

impl From<Place> for Part {
    fn from(Place { rank, parts, meet, address, interface }: Place) -> Self {
        Self { rank, parts, meet, address, interface }
    }
}

impl Vllm {
    #[must_use]
    pub fn plan(&self) -> Plan {
        let text = |path: &PathBuf| path.display().to_string();
        let part: Option<Part> = self.place.clone().map(Part::from);
        let serves = part.as_ref().is_none_or(Part::is_head);
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
        if serves {
            command.extend(["--uds", "{socket}"].map(str::to_owned));
        }
        command.extend(["--served-model-name".to_owned(), self.common.name.clone()]);
        command.extend(numbers.flatten());
        command.extend(part.iter().flat_map(nodes));
        command.extend(self.further.iter().cloned());
        // The files are there: nothing is looked up, and nobody is told what is served.
        let mut environment: Vec<(String, String)> =
            [("HF_HUB_OFFLINE", "1"), ("VLLM_NO_USAGE_STATS", "1"), ("DO_NOT_TRACK", "1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        environment.extend(part.iter().flat_map(network));
        if let Some(gibibytes) = self.kv_cache {
            environment.push(("VLLM_CPU_KVCACHE_SPACE".to_owned(), gibibytes.to_string()));
        }
        Plan {
            engine: "vLLM".to_owned(),
            command,
            environment,
            inherits: INHERITED.into_iter().chain(VARIABLES).collect(),
            ready: serves.then(|| "/health".to_owned()),
            model: self.common.name.clone(),
            needs: Some("VLLM::"),
            part,
        }
    }
}

/// By which vLLM finds the others.
fn nodes(part: &Part) -> Vec<String> {
    let mut arguments: Vec<String> = [
        ("--nnodes", part.parts.to_string()),
        ("--node-rank", part.rank.to_string()),
        ("--master-addr", part.meet.ip().to_string()),
        ("--master-port", part.meet.port().to_string()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect();
    if !part.is_head() {
        arguments.push("--headless".to_owned());
    }
    arguments
}

/// By which vLLM and the libraries below it stay in the network in which the parts meet.
fn network(part: &Part) -> Vec<(String, String)> {
    let mut variables = vec![("VLLM_HOST_IP".to_owned(), part.address.to_string())];
    if let Some(interface) = &part.interface {
        variables.push(("GLOO_SOCKET_IFNAME".to_owned(), interface.clone()));
        // NCCL takes a name for the beginning of one.
        variables.push(("NCCL_SOCKET_IFNAME".to_owned(), format!("={interface}")));
    }
    variables
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
        assert_eq!((plan.ready.as_deref(), &plan.part), (Some("/health"), &None));
    }

    #[test]
    fn a_part_is_told_where_the_others_are_and_only_the_head_listens() {
        let plan = |place: &str| {
            let args = format!(
                "vllm-worker --name m --socket s --engine e --model /m --vllm v --parts 2 --meet \
                 10.0.0.1:23456 {place}"
            );
            Vllm::parse_from(args.split_whitespace()).plan()
        };
        let head = plan("--rank 0 --address 10.0.0.1 --interface eth1");
        let expected = "v serve /m --uds {socket} --served-model-name m --max-num-seqs 4 --nnodes 2 \
                        --node-rank 0 --master-addr 10.0.0.1 --master-port 23456";
        assert_eq!(head.command.join(" "), expected);
        assert_eq!(head.ready.as_deref(), Some("/health"));
        for (name, value) in [
            ("VLLM_HOST_IP", "10.0.0.1"),
            ("GLOO_SOCKET_IFNAME", "eth1"),
            ("NCCL_SOCKET_IFNAME", "=eth1"),
        ] {
            let variable = (name.to_owned(), value.to_owned());
            assert!(head.environment.contains(&variable), "{head:?}");
        }
        let rank = plan("--rank 1 --address 10.0.0.2");
        let expected = "v serve /m --served-model-name m --max-num-seqs 4 --nnodes 2 --node-rank 1 \
                        --master-addr 10.0.0.1 --master-port 23456 --headless";
        assert_eq!(rank.command.join(" "), expected);
        assert_eq!(rank.ready, None, "it answers nobody");
        assert!(rank.environment.iter().all(|(name, _)| !name.ends_with("IFNAME")), "{rank:?}");
    }

    #[test]
    fn a_place_is_given_whole_or_not_at_all() {
        let args = "vllm-worker --name m --socket s --engine e --model /m --rank 1 --parts 2";
        let error = Vllm::try_parse_from(args.split_whitespace()).unwrap_err().to_string();
        assert!(error.contains("--meet"), "{error}");
    }
}
