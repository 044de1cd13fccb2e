use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use chain_level::{Metrics, Pool, Relays, ServedAt, Told, Wanted};
use daemon_lifecycle::{Daemon, State, Waits};
use http_guard::{Access, Keyless, Keys, Token};
use job_server::JobServer;
use model_store::{ModelStore, Sources};
use narration_core::{Level, Narration};
use rbee_api::Health;
use rbee_config::{LiveConfig, ModelEntry};
use tokio::time::{MissedTickBehavior, interval};

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
    config: LiveConfig,
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
        metrics: Metrics,
        daemon: Daemon,
    ) -> anyhow::Result<Self> {
        Self::on(Arc::new(ThisHost), alias, live, jobs, metrics, daemon)
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
        metrics: Metrics,
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
        let workers = Workers::new(alias.to_owned(), live.clone(), models.clone(), host, metrics);
        let config = live;
        let pool = Pool::new(workers);
        let relays = Relays::new(jobs, pool.clone(), daemon.clone(), token.clone());
        let since = Instant::now();
        Ok(Self { relays, models, pool, token, config, daemon, told: Told::new(), since })
    }

    /// The same for a hive whose narrations are heard there.
    #[must_use]
    pub fn telling(self, told: Told) -> Self {
        Self { told, ..self }
    }

    /// Only the same user is let in: whom else the queen lets in is for the queen to say.
    pub(crate) fn access(&self) -> Access {
        Access::new(self.token.clone(), Keys::none(), || Keyless::SameUser).passed_on()
    }

    pub(crate) fn health(&self) -> Health {
        chain_daemon::health(self.daemon.identity(), self.since)
    }

    /// Takes over the workers that an earlier hive left, or still uses.
    pub async fn adopt_workers(&self) {
        self.pool.adopt().await;
    }

    /// Renews the leases of all workers every `round` and, while this hive serves, stops idle ones and
    /// ends those that hang; loads what is to be there from the start. Never returns; to be run beside
    /// serving.
    pub async fn keep_workers(&self, round: Duration) -> ! {
        tokio::select! {
            never = self.pool.keep(round, || self.is_serving()) => never,
            never = self.preload(round) => never,
        }
    }

    fn is_serving(&self) -> bool {
        self.daemon.state() == State::Serving
    }

    /// Loads each model once of which the configuration says so, where there is room for it.
    async fn preload(&self, round: Duration) -> ! {
        let (mut loaded, mut rounds) = (HashSet::new(), interval(round));
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            if !self.is_serving() {
                continue;
            }
            let wanted = self.config.current();
            // What several hives compute together is started on all of them at once, when it is asked for.
            let is_wanted = |entry: &ModelEntry| entry.preload && !entry.is_shared();
            let wanted = wanted.model.iter().filter(|(_, entry)| is_wanted(entry));
            let wanted: HashSet<String> = wanted.map(|(name, _)| name.clone()).collect();
            loaded.retain(|name| wanted.contains(name));
            for name in wanted {
                if loaded.insert(name.clone()) {
                    self.load_for_nobody(&name).await;
                }
            }
        }
    }

    async fn load_for_nobody(&self, name: &str) {
        let wanted = Wanted { waits: Waits::Nobody, ..Wanted::default() };
        if let Err(body) = self.pool.acquire(name, wanted).await {
            let why = format!("`{name}` is not loaded ahead: {}", body.error.message);
            Narration::new("hive", "worker_preload", why).about(name).level(Level::Warn).emit();
        }
    }

    /// Once this hive has been replaced: has the next one, which answers `at` the same place, go on with
    /// what still streams at the drain deadline. Never returns; to be run beside serving.
    pub async fn leave_in_time(&self, at: impl Into<ServedAt>) -> ! {
        self.relays.leave_in_time(at).await
    }
}
