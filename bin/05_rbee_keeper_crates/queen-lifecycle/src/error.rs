#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the configuration")]
    Config(#[source] rbee_config::Error),
    #[error("`{url}` is not the address of a queen: expected `http://127.0.0.1:PORT`")]
    BaseUrl { url: String },
    #[error("cannot bring up the queen")]
    Start(#[source] daemon_lifecycle::Error),
    #[error("cannot find out whether a queen runs")]
    Find(#[source] daemon_lifecycle::Error),
    #[error("cannot stop the chain")]
    Stop(#[source] daemon_lifecycle::Error),
}

impl Error {
    /// The compiler's refusal, when that is why the queen could not be brought up.
    pub fn is_build_failure(&self) -> bool {
        matches!(self, Self::Start(source) if source.is_build_failure())
    }

    /// Whether a queen of another source tree is in the way.
    pub fn is_other_tree(&self) -> bool {
        matches!(self, Self::Start(daemon_lifecycle::Error::OtherTree { .. }))
    }

    /// Whether a program that is no queen has her port.
    pub fn is_address_in_use(&self) -> bool {
        matches!(self, Self::Start(daemon_lifecycle::Error::AddressInUse { .. }))
    }
}
