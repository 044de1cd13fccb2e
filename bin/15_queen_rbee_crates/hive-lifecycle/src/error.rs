#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    UnknownHive(rbee_config::Error),
    #[error("cannot bring up the hive `{alias}`")]
    Start { alias: String, source: daemon_lifecycle::Error },
    #[error("cannot find out whether the hive `{alias}` runs")]
    Find { alias: String, source: daemon_lifecycle::Error },
    #[error("cannot stop the hive `{alias}`")]
    Stop { alias: String, source: daemon_lifecycle::Error },
}

impl Error {
    /// The compiler's refusal, when that is why the hive could not be brought up.
    pub fn is_build_failure(&self) -> bool {
        matches!(self, Self::Start { source, .. } if source.is_build_failure())
    }
}
