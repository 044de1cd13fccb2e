//! A model that several hives compute together: which hives, `hives` of a `[model."NAME"]`, and where they
//! meet, `[worker.vllm.nodes."ALIAS"]`.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{error::Error, hives::HiveEntry, layers::Layers, setting::Setting, table::Table};

/// Of the name of a network interface; the kernel's limit.
const INTERFACE_BYTES: usize = 15;

/// `[worker.vllm.nodes."ALIAS"]`: a hive's host in the network in which the parts of a model meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub address: IpAddr,
    /// The interface that has the address; `None` leaves the choice to vLLM's libraries.
    pub interface: Option<String>,
}

pub(crate) fn read(
    layers: &mut Layers<'_>,
    hives: &[HiveEntry],
) -> Result<BTreeMap<String, Node>, Error> {
    let mut all = BTreeMap::new();
    for named in layers.file.take_named("worker.vllm.nodes") {
        let mut table = Table::new(layers, "worker.vllm.nodes", named);
        let key = table.key("address");
        if hives.iter().all(|hive| hive.alias != table.name) {
            return Err(Error::Invalid {
                key: format!("worker.vllm.nodes.\"{}\"", table.name),
                expected: format!("called by the alias of a hive ({})", aliases(hives)),
                found: format!("`{}`", table.name),
                origin: table.origin,
            });
        }
        let address = table.get("address", Address(None))?.0;
        let interface = table.get("interface", Interface(None))?.0;
        let Some(address) = address else {
            return Err(Error::Invalid {
                key,
                expected: Address::expected(),
                found: "left out".into(),
                origin: table.origin,
            });
        };
        let name = table.end()?;
        all.insert(name, Node { address, interface });
    }
    Ok(all)
}

/// What is said of a model that may be on several hives.
pub(crate) struct Wanted<'a, A> {
    pub(crate) hives: &'a [String],
    pub(crate) worker: Option<&'a str>,
    /// Of vLLM.
    pub(crate) args: A,
    /// Those that the model is spread over, unless the arguments say otherwise.
    pub(crate) parts: u32,
}

/// Refuses hives that there are not, and several that could not compute one model together.
pub(crate) fn check<'a>(
    table: &Table<'_, '_>,
    Wanted { hives: wanted, worker, mut args, parts }: Wanted<'a, impl Iterator<Item = &'a String>>,
    hives: &[HiveEntry],
    nodes: &BTreeMap<String, Node>,
) -> Result<(), Error> {
    let invalid = |key: String, expected: String, found: String| {
        Err(Error::Invalid { key, expected, found, origin: table.origin.clone() })
    };
    for (nth, alias) in wanted.iter().enumerate() {
        let is_known = hives.iter().any(|hive| hive.alias == *alias);
        if !is_known || wanted[..nth].contains(alias) {
            let expected = format!("a list of hives' aliases, each once ({})", aliases(hives));
            return invalid(table.key("hives"), expected, format!("one with `{alias}`"));
        }
    }
    if wanted.len() < 2 {
        return Ok(());
    }
    if let Some(worker) = worker.filter(|worker| *worker != "vllm") {
        let expected = "`vllm`, which alone computes one model on several hives".to_owned();
        return invalid(table.key("worker"), expected, format!("`{worker}`"));
    }
    if let Some(alias) = wanted.iter().find(|alias| !nodes.contains_key(*alias)) {
        let key = format!("worker.vllm.nodes.\"{alias}\".address");
        let expected = format!("the address at which the hives of `{}` meet", table.name);
        return invalid(key, expected, "left out".to_owned());
    }
    let is_spread = |argument: &String| {
        ["--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp"]
            .iter()
            .any(|flag| argument.split('=').next() == Some(flag))
    };
    // What is said in vLLM's own words is vLLM's to judge.
    if !args.any(is_spread) && !(parts as usize).is_multiple_of(wanted.len()) {
        let count = wanted.len();
        let expected = format!(
            "a number of hives by which `worker.vllm.tensor_parallel` times `pipeline_parallel` can be \
             divided, which is {parts}; `args = [\"--tensor-parallel-size\", \"{count}\"]` sets it for \
             this model"
        );
        return invalid(table.key("hives"), expected, format!("{count}"));
    }
    Ok(())
}

fn aliases(hives: &[HiveEntry]) -> String {
    let aliases: Vec<_> = hives.iter().map(|hive| format!("`{}`", hive.alias)).collect();
    aliases.join(", ")
}

struct Address(Option<IpAddr>);

impl Setting for Address {
    fn expected() -> String {
        "this hive's address in the network in which the hives meet, such as `10.0.0.2`".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        let address = text.parse().ok().filter(|address: &IpAddr| {
            // Others are told to go there.
            !address.is_unspecified() && !address.is_multicast()
        });
        address.map(|address| Self(Some(address)))
    }

    fn show(&self) -> String {
        self.0.map_or_else(|| "none".into(), |address| address.to_string())
    }
}

struct Interface(Option<String>);

impl Setting for Interface {
    fn expected() -> String {
        "the name of a network interface, such as \"eth1\"".into()
    }

    /// What has a meaning of its own to NCCL is no name.
    fn from_text(text: &str) -> Option<Self> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
        let is_name =
            !text.is_empty() && text.len() <= INTERFACE_BYTES && text.chars().all(is_plain);
        is_name.then(|| Self(Some(text.to_owned())))
    }

    fn show(&self) -> String {
        self.0.clone().unwrap_or_else(|| "none".into())
    }
}
