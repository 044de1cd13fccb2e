use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;

use crate::{
    error::Error,
    event::{End, Event, JobState},
    id::JobId,
    job::{Admission, Job, ReaderId},
    log::Read,
};

/// The events of one job, in order and without gaps, up to its end.
///
/// The stream is over when the job has ended and its last event was read; [`Subscription::end`]
/// then says how. A reader that the job's bounded log has overtaken gets [`Error::Gone`] as its
/// last item, and no end.
#[derive(Debug)]
pub struct Subscription {
    job: Arc<Job>,
    reader: ReaderId,
    next: u64,
    /// Set where the job is to be cancelled when nobody is left.
    grace: Option<Duration>,
    end: Option<End>,
    lost: bool,
}

impl Subscription {
    pub(crate) fn new(job: Arc<Job>, admission: Admission) -> Self {
        let Admission { reader, next, grace } = admission;
        Self { job, reader, next, grace, end: None, lost: false }
    }

    pub fn job_id(&self) -> JobId {
        self.job.id
    }

    /// The job's state now, which may be ahead of what was read.
    pub fn state(&self) -> JobState {
        self.job.state()
    }

    /// How the job ended, once the stream is over.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Cancels the job when the last such subscription is dropped before the end.
    ///
    /// It is cancelled `grace` later, unless somebody subscribes meanwhile; whoever does takes the
    /// place of the one who left. A `grace` of zero cancels at once.
    #[must_use]
    pub fn cancel_on_drop(mut self, grace: Duration) -> Self {
        let is_counted = self.grace.replace(grace).is_some();
        self.job.arrive(grace, is_counted);
        self
    }
}

impl Stream for Subscription {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.lost || self.end.is_some() {
            return Poll::Ready(None);
        }
        match self.job.read(self.reader, self.next, cx.waker()) {
            Read::Event(event) => {
                self.next += 1;
                Poll::Ready(Some(Ok(event)))
            }
            Read::Pending => Poll::Pending,
            Read::End(end) => {
                self.end = Some(end);
                Poll::Ready(None)
            }
            Read::Gone { oldest } => {
                self.lost = true;
                Poll::Ready(Some(Err(Error::Gone { id: self.job.id, oldest })))
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.job.leave(self.reader, self.grace);
    }
}
