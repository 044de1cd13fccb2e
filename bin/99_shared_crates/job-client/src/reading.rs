use std::time::Duration;

use rbee_api::{Origin, StreamEvent};

use crate::{
    Received, Tries, Unfinished,
    ending::{completes, of_end},
};

/// What has come of a job, over all responses that it was read from.
#[derive(Debug)]
pub struct Reading {
    /// Where the rest is to be had, once the job has a name.
    job: Option<Origin>,
    /// What the present response may repeat of those before it.
    repeated_up_to: u64,
    is_answered: bool,
    is_whole: bool,
    tries: Tries,
}

/// What an event means for its reader.
#[derive(Debug)]
pub enum Taken {
    /// To be passed on.
    Event(StreamEvent),
    /// Seen before, or meant for the reading itself.
    Noted,
    /// The job has ended, and its answer is whole.
    Whole,
    Unfinished(Unfinished),
}

impl Reading {
    /// Before the first event of a job, whose stream is asked for again as `tries` allow.
    pub fn new(tries: Tries) -> Self {
        Self { job: None, repeated_up_to: 0, is_answered: false, is_whole: false, tries }
    }

    /// Behind what is known of a job that somebody else has read so far.
    ///
    /// From the first request on that one can no longer end the job: it may wake up and not know.
    pub fn resumed(mut job: Origin, tries: Tries) -> Self {
        job.owner = job.owner.saturating_add(1);
        let repeated_up_to = job.last_event_id;
        Self { job: Some(job), repeated_up_to, is_answered: true, is_whole: false, tries }
    }

    /// The same where nothing of the answer has come, so that another one would repeat nothing.
    pub fn unanswered(job: Origin, tries: Tries) -> Self {
        Self { is_answered: false, ..Self::resumed(job, tries) }
    }

    /// Notes the job's name, if it has none yet: with it the rest can be asked for.
    pub fn name(&mut self, at: &str, job_id: &str) {
        self.job.get_or_insert_with(|| Origin {
            at: at.to_owned(),
            job_id: job_id.to_owned(),
            last_event_id: 0,
            owner: 0,
            origin: None,
        });
    }

    /// Forgets a job that nobody has any more, so that it can be begun anew.
    pub fn begin_anew(&mut self) {
        self.job = None;
        self.repeated_up_to = 0;
    }

    /// The job with the last of its events, once it has a name.
    pub fn job(&self) -> Option<&Origin> {
        self.job.as_ref()
    }

    /// Whether a part of the answer has come, so that another answer would repeat it.
    pub fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Whether all of the answer has come, whatever becomes of the job: `[DONE]`, a result, or the end
    /// of a job that completed.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// How many tries have failed since an event came.
    pub fn failed(&self) -> usize {
        self.tries.failed()
    }

    /// Notes that a try failed; gives the wait before the next, or `None` where it was the last.
    pub fn fail(&mut self) -> Option<Duration> {
        self.repeated_up_to = self.job.as_ref().map_or(0, |job| job.last_event_id);
        self.tries.fail()
    }

    /// Notes what has come.
    pub fn take(&mut self, Received { id, event }: Received) -> Taken {
        // An end here is no event of a job that goes on elsewhere.
        if !matches!(event, StreamEvent::End(_))
            && let (Some(job), Some(id)) = (&mut self.job, id)
        {
            if id <= self.repeated_up_to {
                return Taken::Noted;
            }
            if id > job.last_event_id {
                // A long stream may see many replacements.
                self.tries.succeed();
            }
            job.last_event_id = id;
        }
        let origin = self.job.as_mut().map(|job| &mut job.origin);
        match event {
            StreamEvent::Origin(from) => {
                if let Some(origin) = origin {
                    *origin = Some(Box::new(from));
                }
                return Taken::Noted;
            }
            StreamEvent::End(end) => {
                if !self.is_whole
                    && let Err(unfinished) = of_end(end.state)
                {
                    return Taken::Unfinished(unfinished);
                }
                self.is_whole = true;
                return Taken::Whole;
            }
            StreamEvent::Chunk(_) | StreamEvent::Done => {
                if let Some(Some(origin)) = origin {
                    origin.advance();
                }
                self.is_answered = true;
            }
            StreamEvent::Result(_) => self.is_answered = true,
            StreamEvent::Narration(_)
            | StreamEvent::Progress(_)
            | StreamEvent::Ignored(_)
            | StreamEvent::Error(_) => {}
        }
        self.is_whole |= completes(&event);
        Taken::Event(event)
    }
}
