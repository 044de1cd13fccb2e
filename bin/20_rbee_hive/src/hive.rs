use std::time::Instant;

use anyhow::Context as _;
use daemon_lifecycle::Identity;
use http_guard::Token;
use job_server::JobServer;
use model_store::{ModelStore, Sources};
use rbee_api::Health;
use rbee_config::LiveConfig;

use crate::{models::Models, pool::WorkerPool};

/// The parts of one hive.
#[derive(Debug, Clone)]
pub struct Hive {
    pub(crate) jobs: JobServer,
    pub(crate) models: Models,
    pub(crate) pool: WorkerPool,
    pub(crate) config: LiveConfig,
    pub(crate) token: Token,
    pub(crate) identity: Identity,
    pub(crate) since: Instant,
}

impl Hive {
    /// Opens the host's stores for the hive `alias`.
    ///
    /// # Errors
    ///
    /// When the model store or the token file cannot be opened.
    pub fn open(
        alias: &str,
        live: LiveConfig,
        jobs: JobServer,
        identity: Identity,
    ) -> anyhow::Result<Self> {
        let config = live.current();
        let environment = config.models.environment.clone();
        let sources = Sources::new(&config.models.hf_endpoint, environment)?;
        let store = ModelStore::open(config.paths.models.clone(), sources)
            .with_context(|| format!("cannot open {}", config.paths.models.display()))?;
        let token = Token::load_or_create(&config.paths.token)
            .with_context(|| format!("cannot open {}", config.paths.token.display()))?;
        let models = Models::new(store);
        let pool = WorkerPool::new(alias.to_owned(), live.clone(), models.clone());
        Ok(Self { jobs, models, pool, config: live, token, identity, since: Instant::now() })
    }

    pub(crate) fn health(&self) -> Health {
        chain_daemon::health(&self.identity, self.since)
    }

    /// Takes over the workers that an earlier hive left, or still uses.
    pub async fn adopt_workers(&self) {
        self.pool.adopt().await;
    }

    /// Keeps the leases of all workers and, while `serving` says so, stops idle ones. Never returns;
    /// to be raced against serving.
    pub async fn keep_workers(&self, serving: impl Fn() -> bool) {
        self.pool.keep(serving).await;
    }
}
