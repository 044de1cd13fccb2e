use std::path::Path;

use chain_daemon::{Binary, EXTERNAL_WORKER, LLAMACPP_WORKER, VLLM_WORKER};
use rbee_api::WorkerKind;
use rbee_config::{ModelEntry, RbeeConfig};

/// What computes the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerType {
    /// llama.cpp, linked into the worker.
    LlamaCpp,
    /// vLLM, which the worker starts.
    VLlm,
    /// Any program that serves OpenAI's API, as the configuration has it for the model.
    External,
}

impl WorkerType {
    const ALL: [Self; 3] = [Self::LlamaCpp, Self::VLlm, Self::External];

    /// Whether another program computes for it.
    pub(crate) fn has_engine(self) -> bool {
        match self {
            Self::LlamaCpp => false,
            Self::VLlm | Self::External => true,
        }
    }

    pub(crate) fn binary(self) -> Binary {
        match self {
            Self::LlamaCpp => LLAMACPP_WORKER,
            Self::VLlm => VLLM_WORKER,
            Self::External => EXTERNAL_WORKER,
        }
    }

    /// What is to serve the model of that name: what the configuration says, else what its files are
    /// for. `path` is where they are, and empty where that is not known yet.
    pub fn of(rbee: &RbeeConfig, model: &str, path: &Path) -> Self {
        let entry = rbee.model.get(model);
        match entry.and_then(|entry| entry.worker.as_deref()) {
            Some("llamacpp") => Self::LlamaCpp,
            Some("vllm") => Self::VLlm,
            Some(_) => Self::External,
            None if path.is_dir() || entry.is_some_and(ModelEntry::is_shared) => Self::VLlm,
            None => Self::LlamaCpp,
        }
    }

    /// What the worker is that calls itself so.
    pub fn of_role(role: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.binary().name == role).unwrap_or(Self::LlamaCpp)
    }
}

impl From<WorkerType> for WorkerKind {
    fn from(kind: WorkerType) -> Self {
        match kind {
            WorkerType::LlamaCpp => Self::LlamaCpp,
            WorkerType::VLlm => Self::VLlm,
            WorkerType::External => Self::External,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rbee_config::{Environment, Overrides, RbeeConfig};

    use super::WorkerType;

    #[test]
    fn the_configuration_says_what_serves_a_model_and_else_its_format() {
        let home = tempfile::tempdir().unwrap();
        let toml = "[worker.external.mine]\ncommand = [\"server\", \"{port}\"]\n\
                    [model.a]\nworker = \"vllm\"\n[model.b]\nworker = \"mine\"\n\
                    [model.c]\nworker = \"llamacpp\"\n[model.d]\nsource = \"x\"\n\
                    [model.e]\nhives = [\"h\", \"i\"]\n\
                    [[hive]]\nalias = \"h\"\n[[hive]]\nalias = \"i\"\nport = 8601\n\
                    [worker.vllm]\ntensor_parallel = 2\n\
                    [worker.vllm.nodes.h]\naddress = \"10.0.0.1\"\n\
                    [worker.vllm.nodes.i]\naddress = \"10.0.0.2\"\n";
        fs::write(home.path().join("config.toml"), toml).unwrap();
        let environment = Environment::from_iter([("RBEE_HOME", home.path())]);
        let rbee = RbeeConfig::resolve(&Overrides::default(), &environment, None).unwrap();
        let file = home.path().join("config.toml");
        for (model, path, kind) in [
            ("a", file.as_path(), WorkerType::VLlm),
            ("b", home.path(), WorkerType::External),
            ("c", home.path(), WorkerType::LlamaCpp),
            ("d", home.path(), WorkerType::VLlm),
            ("d", file.as_path(), WorkerType::LlamaCpp),
            ("e", "".as_ref(), WorkerType::VLlm),
            ("other", "".as_ref(), WorkerType::LlamaCpp),
        ] {
            assert_eq!(WorkerType::of(&rbee, model, path), kind, "{model}");
        }
    }
}
