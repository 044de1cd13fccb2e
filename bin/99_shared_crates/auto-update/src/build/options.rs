use crate::store::Store;

/// How a build is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BuildOptions {
    /// Nobody waits for it, until somebody does.
    pub(crate) idle: bool,
    pub(crate) colours: bool,
    /// Cargo is asked even if everything is as it was, or failed as it is.
    pub(crate) force: bool,
    /// Nobody has asked for it by hand, so what has just failed as it is is not compiled again.
    pub(crate) automatic: bool,
    /// Bytes that the artifact store may hold.
    pub(crate) store_limit: u64,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            idle: false,
            colours: false,
            force: false,
            automatic: false,
            store_limit: Store::DEFAULT_LIMIT,
        }
    }
}
