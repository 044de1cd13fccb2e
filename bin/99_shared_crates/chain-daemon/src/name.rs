use std::{fmt, str::FromStr};

/// So much of a model's name can be read in a worker's.
const READABLE_CHARS: usize = 16;

/// The name of a daemon's instance on its host: its folder under the run directory, and its log file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum InstanceName {
    /// Two queens of one person differ in nothing but the port.
    Queen {
        port: u16,
    },
    Hive {
        alias: String,
    },
    Worker {
        /// What [`InstanceName::worker`] makes of the model's name.
        model: String,
        /// Tells apart the workers of one model.
        slot: u8,
        /// Alias of the hive that it belongs to. No alias has an `@` in it.
        hive: String,
    },
}

/// A name that no daemon of the chain has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is the name of no queen, hive or worker")]
pub struct UnknownName {
    pub name: String,
}

impl InstanceName {
    /// The worker for the model in the slot. What the name says of the model is readable, bounded, and
    /// different for different models.
    pub fn worker(model: &str, slot: u8, hive: &str) -> Self {
        let last = model.rsplit('/').next().unwrap_or_default();
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let readable: String = last.chars().map(plain).take(READABLE_CHARS).collect();
        let digest = blake3::hash(model.as_bytes()).to_hex();
        let model = format!("{readable}.{}", &digest[..6]);
        Self::Worker { model, slot, hive: hive.to_owned() }
    }

    /// Whether it is a worker of the hive `alias`.
    pub fn is_worker_of(&self, alias: &str) -> bool {
        matches!(self, Self::Worker { hive, .. } if hive == alias)
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queen { port } => write!(f, "queen-{port}"),
            Self::Hive { alias } => write!(f, "hive-{alias}"),
            Self::Worker { model, slot, hive } => write!(f, "worker-{model}.{slot}@{hive}"),
        }
    }
}

impl FromStr for InstanceName {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse(name).ok_or_else(|| UnknownName { name: name.to_owned() })
    }
}

fn parse(name: &str) -> Option<InstanceName> {
    let (kind, rest) = name.split_once('-')?;
    match kind {
        "queen" => Some(InstanceName::Queen { port: rest.parse().ok()? }),
        "hive" if !rest.is_empty() => Some(InstanceName::Hive { alias: rest.to_owned() }),
        "worker" => {
            let (worker, hive) = rest.rsplit_once('@')?;
            let (model, slot) = worker.rsplit_once('.')?;
            let (model, hive) = (model.to_owned(), hive.to_owned());
            Some(InstanceName::Worker { model, slot: slot.parse().ok()?, hive })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_as_it_was() {
        let names = [
            InstanceName::Queen { port: 8500 },
            InstanceName::Hive { alias: "my.hive-2".to_owned() },
            InstanceName::worker("smollm2:135m", 1, "my.hive-2"),
            InstanceName::worker("/models/Other name.gguf", 0, "localhost"),
        ];
        for name in names {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        assert_eq!(InstanceName::Queen { port: 8500 }.to_string(), "queen-8500");
        let worker = InstanceName::worker("SmolLM2:135m", 1, "h").to_string();
        assert!(worker.starts_with("worker-smollm2-135m.") && worker.ends_with(".1@h"), "{worker}");
    }

    #[test]
    fn models_that_read_alike_have_different_names() {
        let (a, b) = (InstanceName::worker("a/x:1", 0, "h"), InstanceName::worker("b/x:1", 0, "h"));
        assert_ne!(a, b);
    }

    #[test]
    fn a_hive_does_not_own_the_workers_of_one_whose_alias_ends_alike() {
        assert!(InstanceName::worker("m", 0, "b-a").is_worker_of("b-a"));
        assert!(!InstanceName::worker("m", 0, "b-a").is_worker_of("a"));
        assert!(!InstanceName::Hive { alias: "a".to_owned() }.is_worker_of("a"));
    }

    #[test]
    fn what_names_no_daemon_of_the_chain_is_not_taken_for_one() {
        for name in
            ["", "queen", "queen-", "queen-x", "hive-", "king-1", "worker-m@h", "worker-m.0"]
        {
            let refused = name.parse::<InstanceName>();
            assert_eq!(refused, Err(UnknownName { name: name.to_owned() }), "{name}");
        }
    }
}
