//! Has hives that compute a model together start, watch and end their workers as one.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use chain_level::{Places, Wanted, to_its_end};
use daemon_lifecycle::Waits;
use futures::future::{join_all, try_join_all};
use job_client::{EventStream, Reading, Taken, Tries};
use narration_core::{Level as Severity, Narration};
use rbee_api::{
    ErrorBody, ErrorCode, HEADER_FRESH, HEADER_MODELS, LoadRequest, ModelUnloaded, Part,
    StreamEvent, UnloadRequest, Worker, WorkerList, causes, paths,
};
use reqwest::Method;

use super::{
    HiveHandle, Hives,
    group::{Group, Seen, Verdict},
    turn::{Turn, Turns},
};
use crate::failure;

/// How often it is looked whether the others are still there while the head waits for them.
const LOOK: Duration = Duration::from_secs(2);

/// How long after one look at the parts that serve nobody the next may follow, when nobody waits for it.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// How often in a row a hive may not be found before its part is taken to have ended with it.
const ABSENCES: u32 = 3;

/// How often in a row a part has to be missing.
const MISSES: u32 = 2;

/// How often in a row a part may be alive and not answer: about 15 s, in which one that is being replaced
/// is known again.
const SILENCES: u32 = 6;

/// Below the ports that systems give to connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What is remembered of models that several hives compute together.
#[derive(Debug, Default)]
pub(super) struct Groups {
    turns: Turns,
    /// When the parts that serve nobody were looked at last, by the models' names.
    refreshed: Mutex<HashMap<String, Instant>>,
    /// How often in a row a part was missing, by the models' names, or a hive, by its alias.
    missing: Mutex<HashMap<String, u32>>,
    /// Whether no part of any model was there at the last look, and none can have come since.
    is_settled: AtomicBool,
}

impl Verdict {
    /// How often in a row it has to be come to before anything is ended for it.
    fn looks(&self) -> u32 {
        match self {
            Self::Broken(_) => MISSES,
            Self::Silent(_) => SILENCES,
            Self::Whole | Self::Outdated | Self::Empty | Self::Unsure => 0,
        }
    }
}

impl Groups {
    /// Whether the model's parts are to be looked at once more, for nobody who waits for it.
    fn is_due(&self, model: &str) -> bool {
        let mut refreshed = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = refreshed.get(model).is_none_or(|last| last.elapsed() >= REFRESH_INTERVAL);
        if is_due {
            refreshed.insert(model.to_owned(), Instant::now());
        }
        is_due
    }

    /// Counts one more look at which `what` was missing, or was not; says how many those are in a row.
    fn missing(&self, what: &str, is_missing: bool) -> u32 {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_missing {
            missing.remove(what);
            return 0;
        }
        let times = missing.entry(what.to_owned()).or_default();
        *times = times.saturating_add(1);
        *times
    }
}

impl Hives {
    /// Makes sure that all workers are there that compute the model together. `hives` run, the head's
    /// first.
    pub(super) async fn gather(
        &self,
        model: &str,
        hives: Vec<HiveHandle>,
        wanted: &Wanted,
    ) -> Result<(), ErrorBody> {
        let Some(group) = Group::of(&self.config(), model) else { return Ok(()) };
        match self.verdict(&group, &hives).await {
            Verdict::Whole => return self.refresh_others(&group, &hives, wanted).await,
            Verdict::Unsure => return Ok(()),
            Verdict::Outdated | Verdict::Empty | Verdict::Broken(_) | Verdict::Silent(_) => {}
        }
        let (level, wanted) = (self.clone(), wanted.clone());
        to_its_end(async move { level.gather_in_turn(&group, &hives, &wanted).await }).await
    }

    /// Has the workers that serve nobody replaced where their binaries are stale, as the one that answers is
    /// by the request itself.
    async fn refresh_others(
        &self,
        group: &Group,
        hives: &[HiveHandle],
        wanted: &Wanted,
    ) -> Result<(), ErrorBody> {
        let asked = |hive: HiveHandle, wanted: Wanted| {
            let (level, model) = (self.clone(), group.model.clone());
            async move { level.load_part(&hive, &model, None, &wanted).await }
        };
        if wanted.fresh {
            let asked = hives[1..].iter().map(|hive| asked(hive.clone(), wanted.clone()));
            return try_join_all(asked).await.map(drop);
        }
        if self.0.groups.is_due(&group.model) {
            for hive in &hives[1..] {
                let asked = asked(hive.clone(), Wanted { job: None, ..wanted.clone() });
                tokio::spawn(async move {
                    if let Err(body) = asked.await {
                        tracing::debug!(error = body.error.message, "a part is not looked at");
                    }
                });
            }
        }
        Ok(())
    }

    async fn gather_in_turn(
        &self,
        group: &Group,
        hives: &[HiveHandle],
        wanted: &Wanted,
    ) -> Result<(), ErrorBody> {
        let mut turn = self.turn(&group.model).await?;
        // Somebody who was in front may have done it.
        let mut verdict = self.verdict(group, hives).await;
        let mut looks = 1;
        while looks < verdict.looks() {
            tokio::time::sleep(LOOK).await;
            verdict = self.verdict(group, hives).await;
            looks += 1;
        }
        if matches!(verdict, Verdict::Whole | Verdict::Unsure) {
            return Ok(());
        }
        if let Some(body) = turn.failed_before().filter(|_| wanted.waits != Waits::Person) {
            return Err(body.clone());
        }
        self.0.groups.is_settled.store(false, SeqCst);
        let why = match verdict {
            Verdict::Broken(why) | Verdict::Silent(why) => why,
            Verdict::Outdated => {
                // Its requests end first, and need the others for that.
                self.end_part(&hives[0], &group.model, None).await?;
                format!("`{}` is started anew", group.model)
            }
            Verdict::Whole | Verdict::Empty | Verdict::Unsure => {
                format!("`{}` is started on all of its hives", group.model)
            }
        };
        // Also those that are being loaded, for a start that came to nothing.
        self.end_parts(hives, &group.model, &why).await?;
        let started = self.start_parts(group, hives, wanted).await;
        if let Err(body) = &started {
            drop(self.end_parts(hives, &group.model, &body.error.message).await);
        }
        turn.note(&started);
        started
    }

    async fn start_parts(
        &self,
        group: &Group,
        hives: &[HiveHandle],
        wanted: &Wanted,
    ) -> Result<(), ErrorBody> {
        let model = &group.model;
        let human = format!("starting `{model}` on `{}` together", group.hives.join("`, `"));
        Narration::new("queen", "group_start", human).about(model).emit();
        let are_there: Vec<_> = hives.iter().map(|_| AtomicBool::new(false)).collect();
        let parts = group.meeting_at(any_port()).map(|(_, part)| part).zip(hives);
        let loaded = parts.zip(&are_there).map(async |((part, hive), is_there)| {
            let loaded = self.load_part(hive, model, Some(part), wanted).await;
            is_there.store(true, SeqCst);
            loaded.map_err(|mut body| {
                body.error.message = format!("on `{}`: {}", hive.alias, body.error.message);
                body
            })
        });
        // The head is loaded when all others are, and would wait for one that is there no more.
        tokio::select! {
            loaded = try_join_all(loaded) => loaded.map(drop),
            lost = self.lost_part(group, hives, &are_there) => Err(lost),
        }
    }

    /// Resolves, with the reason, when a part is missing that was there.
    async fn lost_part(
        &self,
        group: &Group,
        hives: &[HiveHandle],
        are_there: &[AtomicBool],
    ) -> ErrorBody {
        let mut missing = vec![0; hives.len()];
        loop {
            tokio::time::sleep(LOOK).await;
            for (rank, hive) in hives.iter().enumerate() {
                if !are_there[rank].load(SeqCst) {
                    continue;
                }
                let seen = group.seen(self.workers_of(hive).await.ok().as_ref());
                missing[rank] = if seen == Seen::Nothing { missing[rank] + 1 } else { 0 };
                if missing[rank] >= MISSES {
                    let why = format!("{} has ended as it loaded", group.called(rank));
                    return ErrorBody::new(ErrorCode::WorkerUnavailable, why);
                }
            }
        }
    }

    /// Has the hive start its part, or look after the one that it has, and tells the request's job what it
    /// says meanwhile.
    async fn load_part(
        &self,
        hive: &HiveHandle,
        model: &str,
        part: Option<Part>,
        wanted: &Wanted,
    ) -> Result<(), ErrorBody> {
        let fresh = if wanted.fresh || part.is_some() { "1" } else { "0" };
        let body = LoadRequest { model: model.to_owned(), keep_alive: None, part };
        let request = self.streaming(hive, Method::POST, paths::MODEL_LOAD);
        let request = request.header(HEADER_MODELS, wanted.reach.as_str());
        let request = request.header(HEADER_FRESH, fresh).json(&body);
        let unreachable = |error: reqwest::Error| failure::unreachable(&hive.alias, &error);
        let lost = |why: String| {
            let message = format!("the hive `{}` broke off: {why}", hive.alias);
            ErrorBody::new(ErrorCode::UpstreamLost, message)
        };
        let response = request.send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            return Err(response.json().await.map_err(unreachable)?);
        }
        let (mut events, mut reading) = (EventStream::new(response), Reading::new(Tries::new(&[])));
        loop {
            let received = events.next().await.map_err(|broken| lost(causes(&broken)))?;
            match reading.take(received) {
                Taken::Event(StreamEvent::Error(body)) => return Err(body),
                Taken::Event(event @ (StreamEvent::Narration(_) | StreamEvent::Progress(_))) => {
                    if let Some(job) = &wanted.job {
                        job.send(event);
                    }
                }
                Taken::Event(_) | Taken::Noted => {}
                Taken::Whole => return Ok(()),
                Taken::Unfinished(how) => return Err(lost(how.to_string())),
            }
        }
    }

    /// Ends every part at once, for that reason.
    async fn end_parts(
        &self,
        hives: &[HiveHandle],
        model: &str,
        why: &str,
    ) -> Result<(), ErrorBody> {
        let ended = hives.iter().map(|hive| self.end_part(hive, model, Some(why.to_owned())));
        join_all(ended).await.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
    }

    /// Ends the hive's part when its requests have ended, or at once where it is `lost`, and waits for
    /// that.
    async fn end_part(
        &self,
        hive: &HiveHandle,
        model: &str,
        lost: Option<String>,
    ) -> Result<ModelUnloaded, ErrorBody> {
        let request = self.managing(hive, Method::POST, paths::MODEL_UNLOAD);
        let body = UnloadRequest { model: model.to_owned(), lost };
        let unreachable = |error: reqwest::Error| failure::unreachable(&hive.alias, &error);
        let response = request.json(&body).send().await.map_err(unreachable)?;
        match response.status().is_success() {
            true => response.json().await.map_err(unreachable),
            false => Err(response.json().await.map_err(unreachable)?),
        }
    }

    /// Unloads the model on every hive where several compute it together: its requests end first. `None`
    /// is any other model.
    pub(crate) async fn unload_together(
        &self,
        places: &Places<HiveHandle>,
        model: &str,
    ) -> Option<Result<ModelUnloaded, ErrorBody>> {
        let group = Group::of(&self.config(), model)?;
        let _turn = match self.turn(&group.model).await {
            Ok(turn) => turn,
            Err(body) => return Some(Err(body)),
        };
        let mut found = Vec::new();
        for alias in &group.hives {
            found.extend(self.find(&places.slot(alias)).await.ok().flatten());
        }
        let mut unloaded = ModelUnloaded { name: group.model.clone(), was_loaded: false };
        for hive in &found {
            // The head comes first.
            let is_head = hive.alias == group.hives[0];
            let lost = (!is_head).then(|| format!("`{}` is unloaded", group.model));
            match self.end_part(hive, &group.model, lost).await {
                Ok(ended) => unloaded.was_loaded |= ended.was_loaded,
                Err(body) => return Some(Err(body)),
            }
        }
        Some(Ok(unloaded))
    }

    async fn turn(&self, model: &str) -> Result<Turn, ErrorBody> {
        let turn = self.0.groups.turns.wait(&self.config().paths.run, model).await;
        turn.map_err(|error| http_guard::ApiError::internal(error).into())
    }

    async fn verdict(&self, group: &Group, hives: &[HiveHandle]) -> Verdict {
        let seen =
            hives.iter().map(async |hive| group.seen(self.workers_of(hive).await.ok().as_ref()));
        group.judge(&join_all(seen).await)
    }

    /// Looks once at every part of every model, and ends those that wait for one which is not there, or
    /// that nobody wants any more.
    pub(crate) async fn watch_groups(&self, places: &Places<HiveHandle>) {
        let config = self.config();
        let groups = Group::all(&config);
        if groups.is_empty() && self.0.groups.is_settled.load(SeqCst) {
            return;
        }
        let mut looked = Vec::new();
        for alias in self.aliases() {
            let hive = self.find(&places.slot(&alias)).await.ok().flatten();
            let workers = match &hive {
                Some(hive) => self.workers_of(hive).await.ok(),
                None => None,
            };
            let absences = self.0.groups.missing(&alias, hive.is_none());
            let is_gone = absences >= ABSENCES;
            looked.push((alias, hive, if is_gone { Some(WorkerList::default()) } else { workers }));
        }
        let is_known = looked.iter().all(|(_, _, workers)| workers.is_some());
        let has_part = |worker: &Worker| worker.part.is_some();
        let mut lists = looked.iter().filter_map(|(_, _, list)| list.as_ref());
        let any = lists.any(|list| list.workers.iter().any(has_part) || !list.silent.is_empty());
        self.0.groups.is_settled.store(is_known && !any, SeqCst);
        for group in &groups {
            // Who starts them looks after them.
            let Some(_turn) = self.0.groups.turns.take(&config.paths.run, &group.model) else {
                continue;
            };
            let of = |alias: &String| looked.iter().find(|(of, _, _)| of == alias);
            let seen = group
                .hives
                .iter()
                .map(|alias| group.seen(of(alias).and_then(|(_, _, workers)| workers.as_ref())));
            let verdict = group.judge(&seen.collect::<Vec<_>>());
            let looks = verdict.looks();
            let misses = self.0.groups.missing(&format!("parts of {}", group.model), looks > 0);
            let (Verdict::Broken(why) | Verdict::Silent(why)) = verdict else { continue };
            if misses < looks {
                continue;
            }
            let hives = group.hives.iter().filter_map(|alias| of(alias)?.1.clone());
            self.end_lost(&hives.collect::<Vec<_>>(), &group.model, &why).await;
        }
        for (alias, hive, workers) in &looked {
            let workers = workers.iter().flat_map(|list| &list.workers);
            for worker in workers.filter(|worker| has_part(worker)) {
                let is_its = |group: &&Group| group.model == worker.model;
                let wanted = groups.iter().find(is_its);
                if wanted.is_none_or(|group| !group.hives.contains(alias))
                    && let Some(hive) = hive
                {
                    let why = format!("`{alias}` is to compute `{}` no more", worker.model);
                    self.end_lost(std::slice::from_ref(hive), &worker.model, &why).await;
                }
            }
        }
    }

    async fn end_lost(&self, hives: &[HiveHandle], model: &str, why: &str) {
        let human = format!("ending what is left of `{model}`: {why}");
        Narration::new("queen", "group_lost", human).about(model).level(Severity::Warn).emit();
        if let Err(body) = self.end_parts(hives, model, why).await {
            tracing::warn!(error = body.error.message, "a part of a model is not ended");
        }
    }
}

/// Another one each time: what a start before has left would meet what was started after it.
fn any_port() -> u16 {
    let count = u64::from(PORTS.end - PORTS.start);
    let nth = RandomState::new().build_hasher().finish() % count;
    PORTS.start + u16::try_from(nth).unwrap_or_default()
}
