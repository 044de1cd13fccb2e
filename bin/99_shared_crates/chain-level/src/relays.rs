use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use daemon_lifecycle::{Daemon, Shutdown, ShutdownReason};
use futures::future::join_all;
use http_guard::Token;
use job_server::{Error, JobEmitter, JobId, JobServer, JobWriter, Snapshot};
use narration_core::job_span;
use rbee_api::{ErrorBody, JobList, JobRemains, JobState, Leaving, UnderWay, paths};
use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderMap},
};
use tracing::Instrument as _;

use crate::{
    Completion,
    attempt::{Again, Attempt},
    drive::{Left, Subject, attempts, drive},
    next::NextLevel,
    start::Start,
    transfer::{Transfer, Transfers},
};

/// How long the process that serves now may take to fetch one job from this one.
const FETCH_LIMIT: Duration = Duration::from_secs(10);

/// How long before the drain deadline jobs begin to move, so that a busy machine gets it done; half
/// of the time that there is, where that is less.
const LEAD: Duration = Duration::from_secs(10);

/// What a job is called of which only its events are known: they are chunks.
const COMPLETION: &str = "completion";

/// The jobs of a process that are done by the next level, and their way from one generation of this
/// process to the next.
#[derive(Debug, Clone)]
pub struct Relays<N> {
    jobs: JobServer,
    next: N,
    daemon: Daemon,
    /// What every generation takes for the right to be handed a job.
    token: Token,
    transfers: Transfers,
    /// Held while a job is fetched from an earlier generation: whoever else asks for it meanwhile
    /// finds it here.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

/// Where every generation of a process answers.
#[derive(Debug, Clone)]
pub enum ServedAt {
    Port(SocketAddr),
    Socket(PathBuf),
}

impl ServedAt {
    fn client(&self) -> reqwest::Result<(reqwest::Client, String)> {
        let client = reqwest::Client::builder().timeout(FETCH_LIMIT);
        Ok(match self {
            Self::Port(address) => (client.build()?, format!("http://{address}")),
            Self::Socket(path) => {
                (client.unix_socket(path.as_path()).build()?, "http://localhost".to_owned())
            }
        })
    }
}

impl From<SocketAddr> for ServedAt {
    fn from(address: SocketAddr) -> Self {
        Self::Port(address)
    }
}

impl<N: NextLevel> Relays<N> {
    pub fn new(jobs: JobServer, next: N, daemon: Daemon, token: Token) -> Self {
        let (transfers, fetching) = (Transfers::default(), Arc::default());
        Self { jobs, next, daemon, token, transfers, fetching }
    }

    pub fn jobs(&self) -> &JobServer {
        &self.jobs
    }

    /// Who does the work.
    pub fn next(&self) -> &N {
        &self.next
    }

    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Begins a job that the next level does: gets an attempt from `acquire`, relays it, tries again
    /// if the process was gone before it had said anything.
    ///
    /// `acquire` is given the job, for what is told on its behalf, and what has become of the attempts
    /// so far.
    pub fn begin<'a, A, F>(&self, start: impl Into<Start<'a>>, acquire: A) -> Result<JobId, Error>
    where
        A: Fn(JobEmitter, Again) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Attempt<N::Held>, ErrorBody>> + Send,
    {
        self.begin_about(start.into(), Subject::default(), acquire)
    }

    /// The same of a request that is counted, or whose answer can be continued should whoever gives it
    /// end.
    pub(crate) fn begin_about<A, F>(
        &self,
        start: Start<'_>,
        mut subject: Subject,
        acquire: A,
    ) -> Result<JobId, Error>
    where
        A: Fn(JobEmitter, Again) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Attempt<N::Held>, ErrorBody>> + Send,
    {
        let job = match start.rest {
            Some(Transfer { job, upstream, unanswered, .. }) => {
                // What was noted of it comes again from there, event by event.
                let job = if unanswered { job } else { job.behind_its_readers() };
                let job = self.jobs.adopt(&job, self.jobs.limits().absence)?;
                tracing::info!(id = %job.id(), at = upstream.at, "goes on with a job that was left");
                subject.from = Some(Left { upstream, unanswered });
                job
            }
            None => self.jobs.begin(start.new)?,
        };
        let (id, next) = (job.id(), self.next.clone());
        let departure = self.transfers.register(id);
        let work = async move {
            let emitter = job.emitter();
            let acquire = |again| acquire(emitter.clone(), again);
            drive(job, &next, departure, subject, acquire).await;
        };
        self.spawn(id, work);
        Ok(id)
    }

    /// Begins a job whose work ends it; it goes on whether or not somebody watches.
    pub fn begin_with<'a, W, F>(&self, start: impl Into<Start<'a>>, work: W) -> Result<JobId, Error>
    where
        W: FnOnce(JobWriter) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let job = self.jobs.begin(start.into().new)?;
        let id = job.id();
        self.spawn(id, work(job));
        Ok(id)
    }

    /// A part of `job` that the next level does; nothing of how it ends is put into the job.
    ///
    /// # Errors
    ///
    /// The next level's refusal, or that it was lost.
    pub async fn attempts<F>(
        &self,
        job: &JobWriter,
        acquire: impl FnMut(Again) -> F,
    ) -> Result<(), ErrorBody>
    where
        F: Future<Output = Result<Attempt<N::Held>, ErrorBody>>,
    {
        attempts(job, &self.next, acquire).await
    }

    /// Makes sure that the job is here, if any generation has it.
    pub(crate) async fn fetch(&self, id: JobId) {
        if self.jobs.info(&id).is_some() {
            return;
        }
        let relays = self.clone();
        // What has been released is nowhere else, so it is taken up even if who asks goes away.
        let fetched = tokio::spawn(async move { relays.fetch_unless_here(id).await }).await;
        if let Err(error) = fetched {
            tracing::error!(%id, %error, "an earlier generation's job is lost");
        }
    }

    /// The generations of this process that are replaced and finish what they have.
    pub async fn leaving(&self) -> Vec<Leaving> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, self.token.authorization())]);
        let seen = self.daemon.earlier(paths::JOBS, &headers).await.into_iter();
        seen.map(|(identity, jobs)| {
            let jobs = jobs.and_then(|jobs| serde_json::from_slice::<JobList>(&jobs).ok());
            let jobs = jobs.unwrap_or_default().jobs.into_iter();
            let running = jobs.filter(|job| job.state == JobState::Running);
            // Whoever may end one asks for it by its id, which is not told here.
            let requests = running.map(|job| UnderWay {
                job_id: None,
                operation: job.operation,
                subject: job.subject,
                created_at_ms: job.created_at_ms,
                events: job.last_event_id,
            });
            Leaving {
                pid: identity.pid,
                exe_hash: identity.exe_hash,
                started_at_ms: identity.started_at_ms,
                requests: requests.collect(),
            }
        })
        .collect()
    }

    async fn fetch_unless_here(&self, id: JobId) {
        let _turn = self.fetching.lock().await;
        if self.jobs.info(&id).is_some() {
            return;
        }
        let path = paths::job_release(id);
        let headers = HeaderMap::from_iter([(AUTHORIZATION, self.token.authorization())]);
        let Some(body) = self.daemon.ask_earlier(Method::POST, &path, &headers).await else {
            return;
        };
        match serde_json::from_slice(&body) {
            Ok(transfer) => {
                if let Err(error) = self.take_up(transfer) {
                    tracing::error!(%id, %error, "a job cannot be taken up");
                }
            }
            Err(error) => tracing::error!(%id, %error, "an earlier generation's job is lost"),
        }
    }

    /// Goes on with what a generation had that died.
    pub(crate) fn restore(&self, id: JobId, remains: JobRemains) -> Result<(), Error> {
        let JobRemains { last_event_id, origin: upstream } = remains;
        let job = Snapshot::survived(id, COMPLETION, last_event_id);
        self.take_up(Transfer { job, upstream, asked: None, unanswered: false })
    }

    /// Goes on with what an earlier generation has released.
    ///
    /// # Errors
    ///
    /// The job is here already, or there is no room for it.
    pub fn take_up(&self, Transfer { job, upstream, asked, .. }: Transfer) -> Result<(), Error> {
        let id = job.id();
        let job = self.jobs.adopt(&job, self.jobs.limits().absence)?;
        tracing::info!(%id, at = upstream.at, "goes on with a job of an earlier generation");
        let (next, departure) = (self.next.clone(), self.transfers.register(id));
        let from = Some(Left { upstream, unanswered: false });
        let subject = Subject { from, asked: asked.map(Completion::from), measured: None };
        let work = async move {
            let anew = async |_| unreachable!("its answer has begun, and is not begun anew");
            drive(job, &next, departure, subject, anew).await;
        };
        self.spawn(id, work);
        Ok(())
    }

    /// Runs a job's work, which this process stays for.
    fn spawn(&self, id: JobId, work: impl Future<Output = ()> + Send + 'static) {
        let guard = self.daemon.work();
        let work = async move {
            work.await;
            drop(guard);
        };
        tokio::spawn(work.instrument(job_span(&id.to_string())));
    }

    /// Lets a job go to a later generation, which has to [take it up](Self::take_up); `None` for one that
    /// is not here, or whose answer has not begun: it could only be repeated.
    pub async fn release(&self, id: JobId) -> Option<Transfer> {
        self.transfers.release(id).await
    }

    /// Shortly before the drain deadline of a process that has been replaced: has its successor, which
    /// answers `at` the same place, take over what is still relayed. To be run beside serving; never returns.
    ///
    /// Clients that read with ids lose their connection then and find the job at the same address.
    pub async fn leave_in_time(&self, at: impl Into<ServedAt>) -> ! {
        let at = at.into();
        let mut shutdown = self.daemon.shutdown();
        let Shutdown { reason, drain_deadline } = (&mut shutdown).await;
        if reason == ShutdownReason::Replaced
            && let Ok((http, base_url)) = at.client()
        {
            let left = drain_deadline.saturating_duration_since(Instant::now());
            tokio::select! {
                () = tokio::time::sleep(left - LEAD.min(left / 2)) => {}
                () = shutdown.drained() => {}
            }
            let told = self.transfers.ids().into_iter().map(|id| {
                // Asked for a job that it does not know, it looks for it here.
                let request = http.get(format!("{base_url}{}", paths::job(id))).send();
                async move {
                    if let Err(error) = request.await {
                        let error = rbee_api::causes(&error);
                        tracing::error!(%id, error, "a job finds nobody to go on with it");
                    }
                }
            });
            join_all(told).await;
        }
        std::future::pending().await
    }
}
