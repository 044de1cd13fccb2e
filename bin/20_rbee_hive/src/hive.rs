use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use chain_level::{Pool, Relays, Told};
use daemon_lifecycle::{Daemon, State};
use http_guard::{Access, Keyless, Keys, Token};
use job_server::JobServer;
use model_store::{ModelStore, Sources};
use rbee_api::Health;
use rbee_config::LiveConfig;

use crate::{
    host::{Host, ThisHost},
    models::Models,
    workers::Workers,
};

/// The parts of one hive.
#[derive(Debug, Clone)]
pub struct Hive {
    pub(crate) relays: Relays<Pool<Workers>>,
    pub(crate) models: Models,
    pub(crate) pool: Pool<Workers>,
    pub(crate) token: Token,
    pub(crate) daemon: Daemon,
    pub(crate) told: Told,
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
        daemon: Daemon,
    ) -> anyhow::Result<Self> {
        Self::on(Arc::new(ThisHost), alias, live, jobs, daemon)
    }

    /// The same for a hive whose workers run on `host`.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn on(
        host: Arc<dyn Host>,
        alias: &str,
        live: LiveConfig,
        jobs: JobServer,
        daemon: Daemon,
    ) -> anyhow::Result<Self> {
        let config = live.current();
        let environment = config.models.environment.clone();
        let sources = Sources::new(&config.models.hf_endpoint, environment)?;
        let store = ModelStore::open(config.paths.models.clone(), sources)
            .with_context(|| format!("cannot open {}", config.paths.models.display()))?;
        let token = Token::load_or_create(&config.paths.token)
            .with_context(|| format!("cannot open {}", config.paths.token.display()))?;
        let models = Models::new(store, live.clone());
        let workers = Workers::new(alias.to_owned(), live.clone(), models.clone(), host);
        let pool = Pool::new(workers);
        let relays = Relays::new(jobs, pool.clone(), daemon.clone(), token.clone());
        let since = Instant::now();
        Ok(Self { relays, models, pool, token, daemon, told: Told::new(), since })
    }

    /// The same for a hive whose narrations are heard there.
    #[must_use]
    pub fn telling(self, told: Told) -> Self {
        Self { told, ..self }
    }

    /// Only the same user is let in: whom else the queen lets in is for the queen to say.
    pub(crate) fn access(&self) -> Access {
        Access::new(self.token.clone(), Keys::none(), || Keyless::SameUser)
    }

    pub(crate) fn health(&self) -> Health {
        chain_daemon::health(self.daemon.identity(), self.since)
    }

    /// Takes over the workers that an earlier hive left, or still uses.
    pub async fn adopt_workers(&self) {
        self.pool.adopt().await;
    }

    /// Renews the leases of all workers every `round` and, while this hive serves, stops idle ones and ends those that
    /// hang. Never returns; to be run beside serving.
    pub async fn keep_workers(&self, round: Duration) -> ! {
        self.pool.keep(round, || self.daemon.state() == State::Serving).await
    }

    /// Once this hive has been replaced: has the next one, which answers at `address`, go on with
    /// what still streams at the drain deadline. Never returns; to be run beside serving.
    pub async fn leave_in_time(&self, address: SocketAddr) -> ! {
        self.relays.leave_in_time(address).await
    }
}
