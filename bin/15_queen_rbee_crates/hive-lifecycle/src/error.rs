#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    UnknownHive(rbee_config::Error),
    #[error("cannot bring up the hive `{alias}`")]
    Start { alias: String, source: Box<daemon_lifecycle::Error> },
    #[error("cannot find out whether the hive `{alias}` runs")]
    Find { alias: String, source: Box<daemon_lifecycle::Error> },
    #[error("cannot stop the hive `{alias}`")]
    Stop { alias: String, source: Box<daemon_lifecycle::Error> },
    #[error("the binaries for the hive `{alias}` cannot be made")]
    Build { alias: String, source: Box<daemon_lifecycle::Error> },
    #[error("the hive `{alias}` is out of reach")]
    Ssh { alias: String, source: ssh_host::Error },
    /// There is a way to its machine, which does not do what is asked.
    #[error("the hive `{alias}` is left as it is")]
    Undone { alias: String, source: ssh_host::Error },
    #[error("the hive `{alias}` cannot run on `{host}`: {why}")]
    Unsupported { alias: String, host: String, why: String },
    #[error(
        "the hive `{alias}` cannot be reached on `{host}`: the sshd there forwards no sockets; it needs \
         `AllowStreamLocalForwarding yes`, and neither `DisableForwarding yes` nor, for this key, \
         `restrict`"
    )]
    Forbidden { alias: String, host: String },
    /// In the words of the hive's own binary there.
    #[error("the hive `{alias}` on `{host}`: {why}")]
    There { alias: String, host: String, why: String },
    #[error(
        "the hive `{alias}` is on this machine: `./rbee hive start {alias}` is all that it takes"
    )]
    NotElsewhere { alias: String },
}

impl Error {
    /// The compiler's refusal, when that is why the hive could not be brought up.
    pub fn is_build_failure(&self) -> bool {
        matches!(self, Self::Start { source, .. } | Self::Build { source, .. } if source.is_build_failure())
    }
}
