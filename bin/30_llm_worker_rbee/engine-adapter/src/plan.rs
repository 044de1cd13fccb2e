use std::path::PathBuf;

use rbee_api::Part;

/// What an engine is started with, and what is known of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it is called for a person.
    pub engine: String,
    /// Program and arguments. `{socket}` and `{port}` stand for where it is to listen.
    pub command: Vec<String>,
    /// Variables that are set for it.
    pub environment: Vec<(String, String)>,
    /// Variables of the worker that it gets; a `*` at the end stands for any rest.
    pub inherits: Vec<&'static str>,
    /// A path that is answered with success once requests are; `None`: it answers nobody, and is ready
    /// once the processes that it needs are there.
    pub ready: Option<String>,
    /// What the engine calls the model.
    pub model: String,
    /// How the command lines begin of processes without which it cannot go on.
    pub needs: Option<&'static str>,
    /// Its place among those that compute the model together.
    pub part: Option<Part>,
}

/// What every program needs to find its files and to write its texts.
pub(crate) const INHERITED: [&str; 10] =
    ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_*", "TZ", "OMP_*", "CUDA_*", "HF_HOME"];

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Address {
    Unix(PathBuf),
    /// On 127.0.0.1.
    Port(u16),
}

impl Plan {
    /// Whether it is to listen on a TCP port, and not on a Unix socket.
    pub(crate) fn wants_port(&self) -> bool {
        self.command.iter().any(|argument| argument.contains("{port}"))
    }

    /// The command with its places filled in.
    pub(crate) fn command_at(&self, address: &Address) -> Vec<String> {
        let (place, value) = match address {
            Address::Unix(path) => ("{socket}", path.display().to_string()),
            Address::Port(port) => ("{port}", port.to_string()),
        };
        self.command.iter().map(|argument| argument.replace(place, &value)).collect()
    }
}
