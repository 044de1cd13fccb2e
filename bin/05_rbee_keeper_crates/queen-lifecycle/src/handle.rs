use daemon_lifecycle::Identity;

/// A queen that answers at [`base_url`](Self::base_url).
#[derive(Debug, Clone)]
pub struct QueenHandle {
    base_url: String,
    started_pid: Option<u32>,
    identity: Option<Identity>,
}

impl QueenHandle {
    pub fn already_running(base_url: String) -> Self {
        Self { base_url, started_pid: None, identity: None }
    }

    pub fn started_by_us(base_url: String, pid: u32) -> Self {
        Self { base_url, started_pid: Some(pid), identity: None }
    }

    pub(crate) fn identified(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Such as `http://127.0.0.1:8500`, without a final slash; the port is the one it bound.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The process that this call started; `None` when the queen was running already.
    pub fn started_pid(&self) -> Option<u32> {
        self.started_pid
    }

    /// Which process it is and which executable it runs.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }
}
