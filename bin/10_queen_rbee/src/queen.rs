use std::time::Instant;

use anyhow::Context as _;
use daemon_lifecycle::Identity;
use http_guard::Token;
use job_server::JobServer;
use rbee_api::Health;
use rbee_config::LiveConfig;

use crate::hives::Hives;

/// The parts of a queen.
#[derive(Debug, Clone)]
pub struct Queen {
    pub(crate) jobs: JobServer,
    pub(crate) hives: Hives,
    pub(crate) config: LiveConfig,
    pub(crate) token: Token,
    identity: Identity,
    since: Instant,
}

impl Queen {
    /// # Errors
    ///
    /// When the token file cannot be opened, or the platform's HTTP client not be set up.
    pub fn open(config: LiveConfig, jobs: JobServer, identity: Identity) -> anyhow::Result<Self> {
        let path = &config.current().paths.token;
        let token = Token::load_or_create(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let hives =
            Hives::new(config.clone(), token.clone()).context("cannot set up the HTTP client")?;
        Ok(Self { jobs, hives, config, token, identity, since: Instant::now() })
    }

    pub(crate) fn health(&self) -> Health {
        chain_daemon::health(&self.identity, self.since)
    }
}
