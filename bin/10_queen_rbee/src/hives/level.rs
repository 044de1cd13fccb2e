use chain_daemon::HIVE;
use chain_level::{
    Busy, Completion, Lapse, Level, Metrics, Place, Places, Reached, Renewed, Running, Wanted,
};
use daemon_lifecycle::{Identity, Outcome, SignOfLife};
use rbee_api::{ErrorBody, HEADER_MODELS, Health, Hive, ModelReach, Status, paths};
use reqwest::{Method, RequestBuilder};

use super::{HiveHandle, Hives};

impl Level for Hives {
    type Handle = HiveHandle;
    type Description = Hive;

    const NARRATOR: &'static str = "queen";
    const PROCESS: &'static str = "hive";
    const CHOOSES: bool = true;

    /// Whichever generation of the hive serves now fetches what an earlier one has.
    fn id(hive: &HiveHandle) -> &str {
        &hive.alias
    }

    fn identity(hive: &HiveHandle) -> &Identity {
        &hive.identity
    }

    /// One elsewhere counts as dead while there is no way to it, and once another one answers in its
    /// place: the one before it, say, after it has died in its probation.
    fn is_alive(hive: &HiveHandle, process: &Identity) -> bool {
        match &hive.way.elsewhere {
            Some(elsewhere) => {
                elsewhere.is_linked() && process.instance_id == hive.identity.instance_id
            }
            None => process.is_alive(),
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn outcome(hive: &HiveHandle) -> &Outcome {
        &hive.outcome
    }

    fn default_model(&self) -> String {
        self.config().models.default.clone()
    }

    async fn choose(
        &self,
        places: &Places<HiveHandle>,
        model: &str,
        without: &[String],
    ) -> Option<String> {
        self.hive_for(places, model, without).await
    }

    fn beside(&self, model: &str) -> Vec<String> {
        self.hives_beside(model)
    }

    async fn prepare(
        &self,
        model: &str,
        chosen: &HiveHandle,
        beside: &[HiveHandle],
        wanted: &Wanted,
    ) -> Result<(), ErrorBody> {
        let hives = std::iter::once(chosen).chain(beside).cloned().collect();
        self.gather(model, hives, wanted).await
    }

    async fn admit(
        &self,
        _: &Places<HiveHandle>,
        alias: &str,
        _: &Wanted,
    ) -> Result<String, ErrorBody> {
        self.alias(Some(alias))
    }

    async fn is_current(&self, hive: &HiveHandle) -> bool {
        let HiveHandle { alias, identity, .. } = hive;
        if hive.way.elsewhere.is_some() {
            return self.0.elsewhere.is_current(&self.config(), alias, identity).await;
        }
        self.0.hosts.is_current(&self.config(), alias, identity).await.unwrap_or(false)
    }

    async fn bring_up(
        &self,
        place: Place<'_, Self>,
        wanted: &Wanted,
    ) -> Result<HiveHandle, ErrorBody> {
        self.start(place.slot, wanted.waits).await
    }

    fn hurry(&self) -> impl Send {
        chain_daemon::hurry(&self.config(), HIVE)
    }

    fn request(&self, hive: &HiveHandle, method: Method, path: &str) -> RequestBuilder {
        self.streaming(hive, method, path)
    }

    /// The queen's own right goes along only for a client who may name any model. A stream that is
    /// silent for long is broken: a hive that lives sends comments.
    fn completion(&self, hive: &HiveHandle, completion: &Completion) -> RequestBuilder {
        let (way, method) = (&hive.way, completion.method.clone());
        let request = match completion.events {
            true => way.stream(method, &completion.path),
            false => way.request(method, &completion.path),
        };
        let request = request.header(HEADER_MODELS, completion.reach.as_str());
        match completion.reach {
            ModelReach::Any => way.authorized(request),
            ModelReach::Stored | ModelReach::Catalogue => request,
        }
    }

    async fn describe(&self, running: &Running<HiveHandle>) -> Hive {
        let hive = self.stopped(&running.handle.alias);
        self.asked(hive, &running.handle).await
    }

    /// Whichever generation of the hive serves answers: one that is here past its listener, so that no load
    /// on that keeps it from answering.
    async fn renew(&self, hive: &HiveHandle) -> Result<Renewed, Lapse> {
        let asked = self.get::<Health>(hive, paths::HEALTH);
        let health = match &hive.way.elsewhere {
            Some(elsewhere) => Self::renewed(elsewhere, asked).await?,
            None => match self.sign(&hive.alias).await {
                Some(SignOfLife { is_stuck: true, .. }) => return Err(Lapse::Stuck),
                Some(SignOfLife { identity, .. }) => {
                    return Ok(Renewed { requests: 0, by: Some(identity) });
                }
                None => asked.await.map_err(|body| Lapse::Refused(body.error.message))?,
            },
        };
        let Health { instance_id, pid, start_time, exe_hash, .. } = health;
        let by = Identity { instance_id, pid, start_time, exe_hash, ..hive.identity.clone() };
        match health.status {
            Status::Stuck => Err(Lapse::Stuck),
            Status::Ok | Status::Draining => Ok(Renewed { requests: 0, by: Some(by) }),
        }
    }

    async fn end(&self, hive: &HiveHandle, process: &Identity) {
        match hive.way.elsewhere {
            Some(_) => self.0.elsewhere.end(&self.config(), &hive.alias).await,
            None => self.0.hosts.end(process).await,
        }
    }

    /// A hive elsewhere goes on with what it has while there is no way to it.
    async fn reach(
        &self,
        places: &Places<HiveHandle>,
        alias: &str,
        method: &Method,
        path: &str,
    ) -> Option<Reached<HiveHandle>> {
        if !self.is_elsewhere(alias) {
            return None;
        }
        let found = self.linked_again(&places.slot(alias)).await.transpose()?;
        Some(found.map(|hive| {
            (self.streaming(&hive, method.clone(), path), Self::hold(None::<Busy<HiveHandle>>))
        }))
    }
}
