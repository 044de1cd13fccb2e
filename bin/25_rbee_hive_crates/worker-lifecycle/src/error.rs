use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot bring up a worker for the model `{model}`")]
    Spawn { model: String, source: Box<daemon_lifecycle::Error> },
    #[error(
        "vLLM, which is to serve the model `{model}`, is not at `{program}`: `./rbee setup --vllm` \
         installs it, and `worker.vllm.command` names one that is there"
    )]
    NoVllm { model: String, program: PathBuf },
    #[error("what serves the model `{model}` has just failed, and has not changed since: {why}")]
    FailedBefore { model: String, why: String },
    #[error("cannot read the chat template `{path}`", path = path.display())]
    ReadTemplate { path: PathBuf, source: io::Error },
    #[error("cannot write `{path}`, which says what is set for the model", path = path.display())]
    WriteSettings { path: PathBuf, source: io::Error },
    #[error("`{key}` is set, and {instead}")]
    NotForThisWorker { key: String, instead: &'static str },
    #[error("cannot stop `{instance}`")]
    Stop { instance: String, source: Box<daemon_lifecycle::Error> },
    #[error("cannot stop the workers for the model `{model}`")]
    StopAll { model: String, source: Box<daemon_lifecycle::Error> },
    #[error("cannot make a client for the worker at `{socket}`")]
    Client { socket: String, source: reqwest::Error },
    #[error("the worker at `{socket}` does not answer")]
    Unreachable { socket: String, source: reqwest::Error },
    #[error("the worker at `{socket}` answered {status}: {body}")]
    Refused { socket: String, status: u16, body: String },
}

impl Error {
    /// The compiler's refusal, when that is why the worker could not be brought up.
    pub fn is_build_failure(&self) -> bool {
        matches!(self, Self::Spawn { source, .. } if source.is_build_failure())
    }

    /// Whether nothing was tried, since what has failed a moment ago would fail again.
    pub fn is_held_back(&self) -> bool {
        matches!(self, Self::Spawn { source, .. } if source.is_held_back())
    }
}
