use std::time::Duration;

use anyhow::Context as _;
use job_client::{Broken, EventStream, Reading, Taken, Tries, Unfinished};
use narration_core::{Level, Narration};
use rbee_api::{ErrorDetail, JobRequest, StreamEvent};
use serde_json::{Value, value::RawValue};
use tokio::time::sleep;

use crate::{
    app::{App, CurrentJob},
    client::{ClientError, QueenClient, Started, from_detail},
    failure::{Failure, Kind},
};

/// For a queen that went away between being found and being asked.
const STARTS: Tries = Tries::new(&[ms(100), ms(400), ms(1000)]);

/// For coming back to a job whose stream broke; a replacement or a restart of the queen takes less
/// than all of them.
const RESUMES: Tries =
    Tries::new(&[ms(50), ms(150), ms(400), ms(800), ms(1600), ms(3200), ms(3200)]);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A job of the queen, followed across broken connections: no event is lost or seen twice.
///
/// While it lives it is the application's current job, which Ctrl-C cancels.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    app: &'a App,
    reading: Reading,
    /// `None` before the first connection.
    events: Option<EventStream>,
    /// Why it failed, which its end does not say.
    error: Option<ErrorDetail>,
    ended: bool,
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
        if let Some(origin) = job.reading.job() {
            // Where this fails, following the job tries again and tells why.
            job.events = app.queen().await?.read_on(origin, 0).await.ok();
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
        let mut starts = STARTS;
        let Started { job_id, events } = loop {
            tracing::debug!(url = queen.base_url(), "asking the queen");
            match ask(&queen).await {
                Ok(started) => break started,
                Err(error) if error.is_worth_another_try() => {
                    let Some(wait) = starts.fail() else { return Err(error.into()) };
                    sleep(wait).await;
                    queen = app.ensure_queen().await?;
                }
                Err(error) => return Err(error.into()),
            }
        };
        let mut reading = Reading::new(RESUMES);
        if let Some(job_id) = job_id {
            reading.name(queen.base_url(), &job_id);
            app.set_current(Some(CurrentJob { queen, job_id }));
        }
        Ok(Self { app, reading, events, error: None, ended: false })
    }

    pub(crate) fn id(&self) -> Option<&str> {
        self.reading.job().map(|job| job.job_id.as_str())
    }

    /// The next part of what the job is for; `None` once that is whole.
    ///
    /// Narrations and progress are shown here, as they come.
    ///
    /// # Errors
    ///
    /// That it failed, or was lost, in the middle or at its end.
    pub(crate) async fn next(&mut self) -> Result<Option<StreamEvent>, JobError> {
        while !self.ended {
            let Some(events) = &mut self.events else {
                self.connect(None).await?;
                continue;
            };
            let received = match events.next().await {
                Ok(received) => received,
                Err(malformed @ Broken::Malformed(_)) => {
                    return Err(JobError::Failed(Failure::new(Kind::Failed, malformed)));
                }
                Err(_) if self.reading.is_whole() => break,
                Err(broken) => {
                    self.connect(Some(broken)).await?;
                    continue;
                }
            };
            match self.reading.take(received) {
                Taken::Event(StreamEvent::Narration(data)) => {
                    let narration: Narration = serde_json::from_str(data.get())
                        .context("cannot read a narration of the queen's stream")
                        .map_err(|error| JobError::Failed(error.into()))?;
                    self.app.terminal.narrate(&narration);
                }
                Taken::Event(StreamEvent::Progress(progress)) => {
                    self.app.terminal.progress(&progress);
                }
                Taken::Event(StreamEvent::Error(body)) => self.error = Some(body.error),
                Taken::Event(event) => return Ok(Some(event)),
                Taken::Noted => {}
                Taken::Whole => break,
                Taken::Unfinished(Unfinished::Elsewhere) => {
                    self.connect(Some(Broken::Closed)).await?;
                }
                Taken::Unfinished(how) => {
                    self.leave();
                    let gave_no_reason = || Failure::failed(how);
                    let failed = self.error.take();
                    let failed = failed.map(|detail| from_detail(detail, None));
                    return Err(JobError::Failed(failed.unwrap_or_else(gave_no_reason)));
                }
            }
        }
        self.ended = true;
        self.leave();
        match self.error.take() {
            Some(detail) => Err(JobError::Failed(from_detail(detail, None))),
            None => Ok(None),
        }
    }

    /// Follows the job to its end and gives its result.
    pub(crate) async fn finish(mut self) -> Result<Option<Box<RawValue>>, Failure> {
        let mut result = None;
        while let Some(event) = self.next().await? {
            if let StreamEvent::Result(value) = event {
                result = Some(value);
            }
        }
        Ok(result)
    }

    fn leave(&self) {
        self.app.set_current(None);
        self.app.terminal.end_progress();
    }

    /// Opens the stream after the last event seen, which a queen that has taken over has too.
    async fn connect(&mut self, broken: Option<Broken>) -> Result<(), JobError> {
        let mut last = Failure::failed("the queen named no job to follow");
        if let Some(broken) = broken {
            // A queen that has been replaced closes in order what the next one goes on with.
            if matches!(broken, Broken::Transport(_)) {
                Narration::new("keeper", "resume", "The connection to the queen broke; resuming")
                    .level(Level::Warn)
                    .emit();
            }
            last = Failure::new(Kind::Failed, broken).context("the queen's stream broke off");
            last = self.wait_after(last).await?;
        }
        loop {
            match self.try_connect(last).await {
                Ok(()) => return Ok(()),
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Passing(failure)) => last = self.wait_after(failure).await?,
            }
        }
    }

    /// Waits for another try after `failure`, if there is to be one.
    async fn wait_after(&mut self, failure: Failure) -> Result<Failure, JobError> {
        let Some(wait) = self.reading.fail() else { return Err(JobError::Failed(failure)) };
        sleep(wait).await;
        Ok(failure)
    }

    async fn try_connect(&mut self, last: Failure) -> Result<(), Refusal> {
        let Some(job) = self.reading.job().cloned() else {
            return Err(Refusal::Final(JobError::Lost(last)));
        };
        let queen = self.app.ensure_queen().await.map_err(Refusal::Passing)?;
        match queen.read_on(&job, self.reading.failed()).await {
            Ok(events) => {
                self.events = Some(events);
                self.app.set_current(Some(CurrentJob { queen, job_id: job.job_id }));
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

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Lost(failure) | JobError::Failed(failure) => failure,
        }
    }
}
