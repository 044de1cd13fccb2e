//! Hives by alias: brought up when a request needs one, replaced when stale.

mod bring_up; // from an alias to a hive that answers
mod choose; // which hive a model goes to
mod list; // every hive with what it has

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use daemon_lifecycle::{Identity, Waits};
use http_guard::Token;
use job_client::Source;
use narration_core::{Level, Narration};
use rbee_api::{ErrorBody, HEADER_MODELS, ModelReach};
use rbee_config::{LiveConfig, RbeeConfig};
use reqwest::{Client, Method, RequestBuilder, header::AUTHORIZATION};

use crate::{failure, hosts::Hosts};

/// How long a hive on this host may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a stream may be silent; a hive sends a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(60);

type Slot = chain_level::Slot<HiveHandle>;
type Running = chain_level::Running<HiveHandle>;
pub(crate) type Busy = chain_level::Busy<HiveHandle>;

#[derive(Debug, Clone)]
pub(crate) struct Hives(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: LiveConfig,
    hosts: Arc<dyn Hosts>,
    http: Client,
    /// For responses that are streams.
    streams: Client,
    token: Token,
    /// One for each hive that has been asked for.
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
}

/// A hive that answers.
#[derive(Debug, Clone)]
pub(crate) struct HiveHandle {
    pub(crate) alias: String,
    pub(crate) base_url: String,
    pub(crate) identity: Identity,
}

/// What a request wants of the hive that answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Whether a hive that runs a stale binary will not do.
    pub(crate) fresh: bool,
    /// Whether the hive that the queen remembers has failed this request already.
    pub(crate) distrust: bool,
    /// Who waits for it to be built, if it must.
    pub(crate) waits: Waits,
}

impl Wanted {
    /// A request that only fresh processes may answer is a person's.
    pub(crate) fn of(fresh: bool, distrust: bool) -> Self {
        let waits = if fresh { Waits::Person } else { Waits::Program };
        Self { fresh, distrust, waits }
    }
}

impl Source for Hives {
    type Held = Busy;
    type Error = ErrorBody;

    /// To whichever generation of the hive serves now: it fetches what an earlier one has.
    async fn request(
        &self,
        alias: &str,
        method: Method,
        path: &str,
        failed: usize,
    ) -> Result<(RequestBuilder, Busy), ErrorBody> {
        let wanted = Wanted::of(false, failed > 0);
        let (hive, guard) = self.acquire(alias, wanted).await?;
        let (http, url) = (&self.0.streams, format!("{}{path}", hive.base_url));
        let request = http.request(method, url).header(AUTHORIZATION, self.0.token.authorization());
        Ok((request, guard))
    }
}

impl Hives {
    /// # Errors
    ///
    /// When the platform's HTTP client cannot be set up.
    pub(crate) fn new(
        config: LiveConfig,
        token: Token,
        hosts: Arc<dyn Hosts>,
    ) -> reqwest::Result<Self> {
        // A connection of its own for each request: one that was kept would lead to a hive that has
        // been replaced, and that answers once more before it closes it.
        let client = || {
            let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
            client.pool_max_idle_per_host(0)
        };
        let (http, streams) = (client().build()?, client().read_timeout(SILENCE).build()?);
        Ok(Self(Arc::new(Inner { config, hosts, http, streams, token, slots: Mutex::default() })))
    }

    fn config(&self) -> Arc<RbeeConfig> {
        self.0.config.current()
    }

    /// A request for a completion: the body goes as it came. The queen's own right goes along only for
    /// a client who may name any model. A stream that is silent for longer than [`SILENCE`] is broken:
    /// a hive that lives sends comments.
    pub(crate) fn completion(
        &self,
        hive: &HiveHandle,
        path: &str,
        stream: bool,
        reach: ModelReach,
    ) -> RequestBuilder {
        let http = if stream { &self.0.streams } else { &self.0.http };
        let request = http.post(format!("{}{path}", hive.base_url));
        let request = request.header(HEADER_MODELS, reach.as_str());
        match reach {
            ModelReach::Any => request.header(AUTHORIZATION, self.0.token.authorization()),
            ModelReach::Stored | ModelReach::Catalogue => request,
        }
    }

    /// A request to the hive, with the right to change its state.
    pub(crate) fn managing(&self, hive: &HiveHandle, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", hive.base_url);
        self.0.http.request(method, url).header(AUTHORIZATION, self.0.token.authorization())
    }

    /// The alias as configured; without one, the first hive's.
    pub(crate) fn alias(&self, alias: Option<&str>) -> Result<String, ErrorBody> {
        let config = self.config();
        let hive = config.hive(alias).map_err(hive_lifecycle::Error::UnknownHive);
        hive.map(|hive| hive.alias.clone()).map_err(|error| failure::hive(&error))
    }

    /// Of all configured hives, in the configuration's order.
    pub(crate) fn aliases(&self) -> Vec<String> {
        self.config().hives.iter().map(|hive| hive.alias.clone()).collect()
    }

    /// The hive of that alias; it counts as busy while the guard beside it is held.
    pub(crate) async fn acquire(
        &self,
        alias: &str,
        wanted: Wanted,
    ) -> Result<(HiveHandle, Busy), ErrorBody> {
        let slot = self.slot(alias)?;
        if !wanted.distrust
            && let Some(running) = slot.current()
            // A port that a dead hive has left may be somebody else's.
            && running.handle.identity.is_alive()
        {
            if !wanted.fresh {
                self.refresh_beside(&slot);
                return Ok((running.handle.clone(), Busy::new(running)));
            }
            if self.is_current(&running).await {
                return Ok((running.handle.clone(), Busy::new(running)));
            }
        }
        let running = self.bring_up(&slot, wanted).await?;
        Ok((running.handle.clone(), Busy::new(running)))
    }

    /// Stops the hive and its workers, `now` in the middle of requests; says what ran.
    pub(crate) async fn stop(&self, alias: &str, now: bool) -> Result<Vec<String>, ErrorBody> {
        let slot = self.slot(alias)?;
        let _turn = slot.bringing_up.lock().await;
        slot.set(None);
        let when = if now { "now" } else { "when their requests have ended" };
        let human = format!("stopping `{alias}` and its workers {when}");
        Narration::new("queen", "hive_stop", human).about(alias).emit();
        let stopped = self.0.hosts.stop(&self.config(), alias, now).await;
        let stopped = stopped.map_err(|error| failure::hive(&error))?;
        let human = if stopped.is_empty() {
            format!("`{alias}` was not running")
        } else {
            format!("stopped {}", stopped.join(", "))
        };
        Narration::new("queen", "hive_stop", human).about(alias).emit();
        Ok(stopped)
    }

    /// Checks, after the request has gone its way, whether its hive should be replaced.
    fn refresh_beside(&self, slot: &Arc<Slot>) {
        let Some(turn) = slot.take_refresh_turn() else { return };
        let (hives, slot) = (self.clone(), Arc::clone(slot));
        tokio::spawn(async move {
            let stale = match slot.current() {
                Some(running) => !hives.is_current(&running).await,
                None => false,
            };
            if stale
                && let Err(body) = hives
                    .bring_up(&slot, Wanted { waits: Waits::Nobody, ..Wanted::of(true, false) })
                    .await
            {
                let why = format!("`{}` stays as it is: {}", slot.name, body.error.message);
                Narration::new("queen", "hive_stale", why)
                    .about(&slot.name)
                    .level(Level::Warn)
                    .emit();
            }
            drop(turn);
        });
    }

    fn slot(&self, alias: &str) -> Result<Arc<Slot>, ErrorBody> {
        let alias = self.alias(Some(alias))?;
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(alias.clone());
        Ok(Arc::clone(slot.or_insert_with(|| Arc::new(Slot::new(alias)))))
    }
}
