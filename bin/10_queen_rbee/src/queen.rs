use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use chain_level::{Metrics, Pool, Relays, Told};
use daemon_lifecycle::{Daemon, State};
use http_guard::{Access, Keyless, Keys, Names, Token};
use job_journal::JobJournal;
use job_server::JobServer;
use rbee_api::Health;
use rbee_config::{LiveConfig, LocalUse};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    hives::Hives,
    hosts::{Hosts, ThisHost},
};

/// The parts of a queen.
#[derive(Debug, Clone)]
pub struct Queen {
    pub(crate) relays: Relays<Pool<Hives>>,
    pub(crate) hives: Hives,
    pub(crate) pool: Pool<Hives>,
    pub(crate) config: LiveConfig,
    pub(crate) token: Token,
    pub(crate) keys: Keys,
    pub(crate) daemon: Daemon,
    pub(crate) told: Told,
    pub(crate) journal: Option<JobJournal>,
    since: Instant,
}

impl Queen {
    /// # Errors
    ///
    /// When the token file cannot be opened, or the platform's HTTP client not be set up.
    pub fn open(
        config: LiveConfig,
        jobs: JobServer,
        metrics: Metrics,
        daemon: Daemon,
    ) -> anyhow::Result<Self> {
        Self::with_hosts(config, jobs, metrics, daemon, Arc::new(ThisHost))
    }

    /// The same for hives that `hosts` brings up.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn with_hosts(
        config: LiveConfig,
        jobs: JobServer,
        metrics: Metrics,
        daemon: Daemon,
        hosts: Arc<dyn Hosts>,
    ) -> anyhow::Result<Self> {
        let path = &config.current().paths.token;
        let token = Token::load_or_create(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let keys = Keys::at(config.current().paths.keys.clone());
        let hives = Hives::new(config.clone(), token.clone(), hosts, metrics)
            .context("cannot set up the HTTP client")?;
        let pool = Pool::new(hives.clone());
        let relays = Relays::new(jobs, pool.clone(), daemon.clone(), token.clone());
        let (told, since) = (Told::new(), Instant::now());
        let journal = None;
        Ok(Self { relays, hives, pool, config, token, keys, daemon, told, journal, since })
    }

    /// The same for a queen whose narrations are heard there.
    #[must_use]
    pub fn telling(self, told: Told) -> Self {
        Self { told, ..self }
    }

    /// The same for a queen whose jobs outlive her in this journal.
    #[must_use]
    pub fn journaled(self, journal: JobJournal) -> Self {
        self.relays.jobs().keep_in(Arc::new(journal.clone()));
        Self { journal: Some(journal), ..self }
    }

    /// Who is let in, and for what: as the configuration says it at the moment.
    pub(crate) fn access(&self) -> Access {
        let config = self.config.clone();
        Access::new(self.token.clone(), self.keys.clone(), move || {
            match config.current().queen.local {
                LocalUse::SameUser => Keyless::SameUser,
                LocalUse::Key => Keyless::Nobody,
                LocalUse::Open => Keyless::Everybody,
            }
        })
    }

    /// What it is addressed by, and by whose pages: as the configuration says it at the moment.
    pub(crate) fn names(&self) -> impl Fn() -> Names + Send + Sync + 'static {
        let config = self.config.clone();
        move || {
            let queen = &config.current().queen;
            Names { hosts: queen.hosts.clone(), origins: queen.origins.clone() }
        }
    }

    pub(crate) fn health(&self) -> Health {
        chain_daemon::health(self.daemon.identity(), self.since)
    }

    /// Asks every `round` whether the hives answer and, while this queen serves, ends hives that hang, so that what they were answering goes on with the
    /// next. Never returns; to be run beside serving.
    pub async fn keep_hives(&self, round: Duration) -> ! {
        tokio::select! {
            never = self.pool.keep(round, || self.is_serving()) => never,
            never = self.keep_groups(round) => never,
        }
    }

    /// Looks every `round` after the workers that compute a model together.
    async fn keep_groups(&self, round: Duration) -> ! {
        let mut rounds = interval(round);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            if self.is_serving() {
                self.hives.watch_groups(self.pool.places()).await;
            }
        }
    }

    fn is_serving(&self) -> bool {
        self.daemon.state() == State::Serving
    }

    /// Has hives on other machines follow the sources here, while updates and watching are switched on.
    /// Never returns; to be run beside serving.
    pub async fn keep_followed(&self) -> ! {
        let follows = || {
            let update = &self.config.current().auto_update;
            self.daemon.state() == State::Serving && update.enabled && update.watch
        };
        self.hives.follow(&self.pool, follows).await
    }

    /// Once this queen has been replaced: has the next one, which answers at `address`, go on with what
    /// still streams at the drain deadline. Never returns; to be run beside serving.
    pub async fn leave_in_time(&self, address: SocketAddr) -> ! {
        self.relays.leave_in_time(address).await
    }
}
