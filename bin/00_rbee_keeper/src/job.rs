use std::time::Duration;

use anyhow::Context as _;
use narration_core::{Level, Narration};
use rbee_api::{ErrorDetail, JobRemains, JobRequest, JobState, Origin, StreamEvent};
use serde_json::{Value, value::RawValue};
use tokio::time::sleep;

use crate::{
    app::{App, CurrentJob},
    client::{Broken, ClientError, EventStream, QueenClient, Started, from_detail},
    failure::{Failure, Kind},
};

/// Waits before another try at a queen that went away between being found and being asked.
const START_DELAYS: [Duration; 3] = [ms(100), ms(400), ms(1000)];

/// Waits before each try to come back to a job whose stream broke; a replacement or a restart of
/// the queen takes less than all of them.
const RESUME_DELAYS: [Duration; 7] =
    [ms(50), ms(150), ms(400), ms(800), ms(1600), ms(3200), ms(3200)];

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A job of the queen, followed across broken connections: no event is lost or seen twice.
///
/// While it lives it is the application's current job, which Ctrl-C cancels.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    app: &'a App,
    job_id: Option<String>,
    /// `None` before the first connection.
    events: Option<EventStream>,
    last_id: Option<u64>,
    /// What a resumed stream may repeat, and is passed over.
    replayed_up_to: Option<u64>,
    /// Where the queen has the answer from, should she die.
    origin: Option<Origin>,
    ended: bool,
    /// The answer is whole, though the job's own end has not been seen.
    done: bool,
}

/// Why a job gave no further event.
#[derive(Debug)]
pub(crate) enum JobError {
    /// The queen knows the job no more: it died, and its jobs with it.
    Lost(Failure),
    Failed(Failure),
}

impl<'a> Job<'a> {
    /// Starts a management job.
    pub(crate) async fn start(app: &'a App, request: &JobRequest) -> Result<Self, Failure> {
        let queen = app.queen().await?;
        let mut job = Self::open(app, queen, async |queen| queen.start(request).await).await?;
        if let Some(job_id) = &job.job_id {
            // Where this fails, following the job tries again and tells why.
            job.events = app.queen().await?.resume(job_id, None).await.ok();
        }
        Ok(job)
    }

    /// Asks for a completion; `body` is OpenAI's.
    ///
    /// Each request makes sure of the queen anew: a conversation outlives many an edit.
    pub(crate) async fn chat(app: &'a App, body: &Value) -> Result<Self, Failure> {
        let queen = app.ensure_queen().await?;
        Self::open(app, queen, async |queen| queen.chat(body).await).await
    }

    async fn open(
        app: &'a App,
        mut queen: QueenClient,
        ask: impl AsyncFn(&QueenClient) -> Result<Started, ClientError>,
    ) -> Result<Self, Failure> {
        let mut delays = START_DELAYS.into_iter();
        let Started { job_id, events } = loop {
            tracing::debug!(url = queen.base_url(), "asking the queen");
            match ask(&queen).await {
                Ok(started) => break started,
                Err(error) if error.is_worth_another_try() => {
                    let Some(delay) = delays.next() else { return Err(error.into()) };
                    sleep(delay).await;
                    queen = app.ensure_queen().await?;
                }
                Err(error) => return Err(error.into()),
            }
        };
        if let Some(job_id) = job_id.clone() {
            app.set_current(Some(CurrentJob { queen, job_id }));
        }
        Ok(Self {
            app,
            job_id,
            events,
            last_id: None,
            replayed_up_to: None,
            origin: None,
            ended: false,
            done: false,
        })
    }

    pub(crate) fn id(&self) -> Option<&str> {
        self.job_id.as_deref()
    }

    /// The next event that is not for the terminal alone; `None` after the last.
    ///
    /// Narrations and progress are shown here, as they come.
    pub(crate) async fn next(&mut self) -> Result<Option<StreamEvent>, JobError> {
        while !self.ended {
            let Some(events) = &mut self.events else {
                self.connect(None).await?;
                continue;
            };
            let received = match events.next().await {
                Ok(Ok(received)) => received,
                Ok(Err(malformed)) => {
                    return Err(JobError::Failed(Failure::new(Kind::Failed, malformed)));
                }
                Err(_) if self.done => break,
                Err(broken) => {
                    self.connect(Some(broken)).await?;
                    continue;
                }
            };
            if received.id.is_some() {
                if received.id <= self.replayed_up_to {
                    continue;
                }
                self.last_id = received.id;
            }
            match received.event {
                StreamEvent::Narration(data) => {
                    let narration: Narration = serde_json::from_str(data.get())
                        .context("cannot read a narration of the queen's stream")
                        .map_err(|error| JobError::Failed(error.into()))?;
                    self.app.terminal.narrate(&narration);
                }
                StreamEvent::Progress(progress) => self.app.terminal.progress(&progress),
                StreamEvent::Origin(origin) => self.origin = Some(origin),
                event => {
                    if let (StreamEvent::Chunk(_) | StreamEvent::Done, Some(origin)) =
                        (&event, &mut self.origin)
                    {
                        origin.advance();
                    }
                    self.done |= matches!(event, StreamEvent::Done);
                    self.ended = matches!(event, StreamEvent::End(_));
                    if self.ended {
                        self.leave();
                    }
                    return Ok(Some(event));
                }
            }
        }
        self.leave();
        Ok(None)
    }

    /// Follows the job to its end and gives its result.
    pub(crate) async fn finish(mut self) -> Result<Option<Box<RawValue>>, Failure> {
        let (mut result, mut error) = (None, None);
        loop {
            match self.next().await.map_err(Failure::from)? {
                Some(StreamEvent::Result(value)) => result = Some(value),
                Some(StreamEvent::Error(body)) => error = Some(body.error),
                Some(StreamEvent::End(end)) => return outcome(end.state, error).map(|()| result),
                Some(_) => {}
                None => return outcome(JobState::Completed, error).map(|()| result),
            }
        }
    }

    fn leave(&self) {
        self.app.set_current(None);
        self.app.terminal.end_progress();
    }

    /// Opens the stream after the last event seen, which a queen that has taken over has too.
    async fn connect(&mut self, broken: Option<Broken>) -> Result<(), JobError> {
        let mut delays = RESUME_DELAYS.into_iter();
        let mut last = Failure::failed("the queen named no job to follow");
        if let Some(broken) = broken {
            // A queen that has been replaced closes in order what the next one goes on with.
            if matches!(broken, Broken::Transport(_)) {
                Narration::new("keeper", "resume", "The connection to the queen broke; resuming")
                    .level(Level::Warn)
                    .emit();
            }
            last = Failure::new(Kind::Failed, broken).context("the queen's stream broke off");
            delays.next().map(sleep).expect("there is a first delay").await;
        }
        let Some(job_id) = self.job_id.clone() else { return Err(JobError::Lost(last)) };
        loop {
            match self.try_connect(&job_id).await {
                Ok(()) => return Ok(()),
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Passing(failure)) => last = failure,
            }
            match delays.next() {
                Some(delay) => sleep(delay).await,
                None => return Err(JobError::Failed(last)),
            }
        }
    }

    async fn try_connect(&mut self, job_id: &str) -> Result<(), Refusal> {
        let queen = self.app.ensure_queen().await.map_err(Refusal::Passing)?;
        let mut resumed = queen.resume(job_id, self.last_id).await;
        if let (Err(ClientError::Refused { status: 404, .. }), Some(origin), Some(last_event_id)) =
            (&resumed, &self.origin, self.last_id)
        {
            // This queen has it from nobody else.
            let remains = JobRemains { last_event_id, origin: origin.clone() };
            if queen.restore(job_id, &remains).await.is_ok() {
                resumed = queen.resume(job_id, self.last_id).await;
            }
        }
        match resumed {
            Ok(events) => {
                self.events = Some(events);
                self.replayed_up_to = self.last_id;
                self.app.set_current(Some(CurrentJob { queen, job_id: job_id.to_owned() }));
                Ok(())
            }
            Err(error @ ClientError::Refused { status: 404, .. }) => {
                let failure = Failure::new(Kind::Failed, error)
                    .context("the queen that had the request is gone, and the request with it");
                Err(Refusal::Final(JobError::Lost(failure)))
            }
            Err(error) if error.is_worth_another_try() => Err(Refusal::Passing(error.into())),
            Err(error) => Err(Refusal::Final(JobError::Failed(error.into()))),
        }
    }
}

/// Why a stream could not be opened.
enum Refusal {
    /// Another try may find a queen that has taken over.
    Passing(Failure),
    Final(JobError),
}

/// What the end of a job means to the person who asked for it.
pub(crate) fn outcome(state: JobState, error: Option<ErrorDetail>) -> Result<(), Failure> {
    match (state, error) {
        (_, Some(detail)) => Err(from_detail(detail, None)),
        (JobState::Completed | JobState::Running, None) => Ok(()),
        (JobState::Failed, None) => Err(Failure::failed("the job failed and gave no reason")),
        (JobState::Cancelled, None) => Err(Failure::failed("the job was cancelled")),
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Lost(failure) | JobError::Failed(failure) => failure,
        }
    }
}
