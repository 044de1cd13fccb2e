//! A job's events as the body of an HTTP response, whatever they look like there.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::Stream;
use rbee_api::{ErrorBody, ErrorCode};
use tokio::time::{Instant, Sleep};

use crate::{
    error::Error,
    event::{End, Event},
    subscription::Subscription,
};

/// How one client is told of a job's events.
pub trait Encoder: Send + Unpin + 'static {
    /// The event as this client is sent it, if at all.
    fn event(&mut self, event: &Event) -> Option<Bytes>;

    /// What a client is told whose next event has been dropped; the body is cut off after it.
    fn overtaken(&mut self, error: ErrorBody) -> Option<Bytes>;

    /// The last frame, if there is one, and whether the body is to be cut off after it, so that nobody
    /// takes half an answer for a whole one.
    fn end(&mut self, end: &End) -> (Option<Bytes>, Ends);

    /// What is sent when nothing else has been for so long.
    fn keep_alive(&self) -> Option<(Duration, Bytes)>;
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    Whole,
    CutOff,
}

/// Streams a job's events, each as one frame and as soon as it is there.
pub fn frames_response(
    subscription: Subscription,
    content_type: &'static str,
    encoder: impl Encoder,
) -> Response {
    let keep_alive = encoder.keep_alive().map(|(period, frame)| KeepAlive::new(period, frame));
    let frames = Frames { keep_alive, subscription, encoder, ending: Ending::Open };
    streamed(content_type, Body::from_stream(frames))
}

/// A body that comes piece by piece, which nothing on its way is to hold back or keep.
pub(crate) fn streamed(content_type: &'static str, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

/// Why a body stops before its end.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the job did not complete")]
    NotCompleted,
    #[error("the client was too slow")]
    Overtaken(#[source] Error),
}

#[derive(Debug)]
struct Frames<E> {
    subscription: Subscription,
    encoder: E,
    keep_alive: Option<KeepAlive>,
    ending: Ending,
}

#[derive(Debug)]
enum Ending {
    Open,
    /// The last frame was given to the connection, which writes it when it has nothing else to
    /// do; an error at once would overtake it.
    Flush(Cut),
    Cut(Cut),
    Done,
}

#[derive(Debug)]
struct KeepAlive {
    period: Duration,
    frame: Bytes,
    /// Moved only when it fires: moving it for every token would cost more than the token.
    timer: Pin<Box<Sleep>>,
    last_frame: Instant,
}

impl<E: Encoder> Stream for Frames<E> {
    type Item = Result<Bytes, Cut>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.ending, Ending::Done) {
                Ending::Open => this.ending = Ending::Open,
                Ending::Flush(cut) => {
                    this.ending = Ending::Cut(cut);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ending::Cut(cut) => return Poll::Ready(Some(Err(cut))),
                Ending::Done => return Poll::Ready(None),
            }
            let Poll::Ready(item) = Pin::new(&mut this.subscription).poll_next(cx) else { break };
            let frame = match item {
                Some(Ok(event)) => this.encoder.event(&event),
                Some(Err(lost)) => this.overtaken(lost),
                None => this.end(),
            };
            if let Some(frame) = frame {
                if let Some(keep_alive) = &mut this.keep_alive {
                    keep_alive.last_frame = Instant::now();
                }
                return Poll::Ready(Some(Ok(frame)));
            }
        }
        match &mut this.keep_alive {
            Some(keep_alive) => keep_alive.poll(cx).map(|frame| Some(Ok(frame))),
            None => Poll::Pending,
        }
    }
}

impl<E: Encoder> Frames<E> {
    fn overtaken(&mut self, lost: Error) -> Option<Bytes> {
        let body = ErrorBody::new(ErrorCode::EventsGone, lost.to_string());
        self.ending = Ending::Flush(Cut::Overtaken(lost));
        self.encoder.overtaken(body)
    }

    fn end(&mut self) -> Option<Bytes> {
        self.ending = Ending::Done;
        let (frame, ends) = self.encoder.end(self.subscription.end()?);
        if ends == Ends::CutOff {
            self.ending = Ending::Flush(Cut::NotCompleted);
        }
        frame
    }
}

impl KeepAlive {
    fn new(period: Duration, frame: Bytes) -> Self {
        let timer = Box::pin(tokio::time::sleep(period));
        Self { period, frame, timer, last_frame: Instant::now() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let silent = now >= self.last_frame + self.period;
            if silent {
                self.last_frame = now;
            }
            self.timer.as_mut().reset(self.last_frame + self.period);
            if silent {
                return Poll::Ready(self.frame.clone());
            }
        }
        Poll::Pending
    }
}
