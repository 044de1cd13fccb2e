use std::time::Duration;

use api_dialects::Answer;
use bytes::Bytes;
use job_server::{Encoder, End, Ends, Event, JobState, sse::KEEP_ALIVE};
use rbee_api::{ErrorBody, ErrorCode, StreamEvent};

/// Tells a client of another API of a job's events.
#[derive(Debug)]
pub(super) struct Translating<A> {
    answer: A,
    so_far: SoFar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SoFar {
    Open,
    /// Its end has been told.
    Whole,
    /// Its failure has been told.
    Failed,
}

impl<A: Answer> Translating<A> {
    pub(super) fn of(answer: A) -> Self {
        Self { answer, so_far: SoFar::Open }
    }

    fn take(&mut self, event: &Event, out: &mut String) {
        let data = String::from_utf8_lossy(&event.data).into_owned();
        match StreamEvent::decode(event.name.unwrap_or_default(), data) {
            Ok(Some(StreamEvent::Chunk(chunk))) => {
                if let Err(unreadable) = self.answer.chunk(&chunk, out) {
                    self.fail(&unreadable.into(), out);
                }
            }
            Ok(Some(StreamEvent::Done)) => self.finish(out),
            Ok(Some(StreamEvent::Error(body))) => self.fail(&body, out),
            // What else there is, is for those who know rbee.
            Ok(_) => {}
            Err(error) => {
                let body = ErrorBody::new(ErrorCode::BadGateway, rbee_api::causes(&error));
                self.fail(&body, out);
            }
        }
    }

    fn finish(&mut self, out: &mut String) {
        self.so_far = SoFar::Whole;
        self.answer.done(out);
    }

    fn fail(&mut self, body: &ErrorBody, out: &mut String) {
        self.so_far = SoFar::Failed;
        self.answer.failed(body, out);
    }
}

impl<A: Answer> Encoder for Translating<A> {
    fn event(&mut self, event: &Event) -> Option<Bytes> {
        let mut out = String::new();
        if self.so_far == SoFar::Open {
            self.take(event, &mut out);
        }
        (!out.is_empty()).then(|| out.into())
    }

    fn overtaken(&mut self, error: ErrorBody) -> Option<Bytes> {
        let mut out = String::new();
        if self.so_far == SoFar::Open {
            self.fail(&error, &mut out);
        }
        Some(out.into())
    }

    fn end(&mut self, end: &End) -> (Option<Bytes>, Ends) {
        let mut out = String::new();
        if self.so_far == SoFar::Open && end.state == JobState::Completed {
            self.finish(&mut out);
        }
        let ends = match self.so_far {
            SoFar::Whole if end.state == JobState::Completed => Ends::Whole,
            SoFar::Open | SoFar::Whole | SoFar::Failed => Ends::CutOff,
        };
        ((!out.is_empty()).then(|| out.into()), ends)
    }

    fn keep_alive(&self) -> Option<(Duration, Bytes)> {
        A::KEEP_ALIVE.map(|frame| (KEEP_ALIVE, Bytes::from_static(frame.as_bytes())))
    }
}
