use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    BoxError,
    body::{Body, HttpBody},
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::Limited;
use rbee_api::ErrorCode;
use tokio::time::{Sleep, sleep};

use crate::error::ApiError;

/// The largest body that a request may have, unless a guard says otherwise.
pub const MAX_BODY_BYTES: usize = 8 << 20;

/// How much of the bodies of all requests is taken in at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Of one body.
    pub bytes: usize,
    /// Of all of them together, from their first byte until the request has been answered.
    pub bytes_at_once: usize,
    /// Bodies that are still coming.
    pub at_once: usize,
    /// For one body, from its request's head to its last byte.
    pub time: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            bytes: MAX_BODY_BYTES,
            bytes_at_once: 64 << 20,
            at_once: 1024,
            time: Duration::from_secs(60),
        }
    }
}

/// When there may be room for another body.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a body is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyRefused {
    #[error("the bodies of other requests take all the room that there is for bodies")]
    NoRoom,
    #[error("the body did not come in time")]
    TooSlow,
}

impl From<BodyRefused> for ApiError {
    fn from(refused: BodyRefused) -> Self {
        match refused {
            BodyRefused::NoRoom => {
                Self::new(ErrorCode::TooManyBodies, refused.to_string()).retry_after(RETRY_AFTER)
            }
            BodyRefused::TooSlow => Self::new(ErrorCode::BodyTooSlow, refused.to_string()),
        }
    }
}

/// The bodies of all requests behind one guard.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    bytes: AtomicUsize,
    coming: AtomicUsize,
}

impl Bodies {
    /// Bounds `body`; what it takes is freed when both the body and the answer's guard are gone.
    pub(crate) fn admit(
        self: &Arc<Self>,
        body: Body,
        limits: BodyLimits,
    ) -> Result<(Body, Arc<Held>), BodyRefused> {
        if self.coming.fetch_add(1, Relaxed) >= limits.at_once {
            self.coming.fetch_sub(1, Relaxed);
            return Err(BodyRefused::NoRoom);
        }
        let coming = Coming(Arc::clone(self));
        let held = Arc::new(Held {
            bodies: Arc::clone(self),
            bytes: AtomicUsize::new(0),
            is_read: AtomicBool::new(false),
        });
        let metered = Metered {
            body: Limited::new(body, limits.bytes),
            most: limits.bytes_at_once,
            held: Arc::clone(&held),
            late: Box::pin(sleep(limits.time)),
            coming: Some(coming),
        };
        Ok((Body::new(metered), held))
    }
}

/// What a request holds of the room for bodies.
#[derive(Debug)]
pub(crate) struct Held {
    bodies: Arc<Bodies>,
    bytes: AtomicUsize,
    is_read: AtomicBool,
}

impl Held {
    /// Whether somebody has read the body to its end.
    pub(crate) fn is_read(&self) -> bool {
        self.is_read.load(Relaxed)
    }

    fn take(&self, bytes: usize, most: usize) -> Result<(), BodyRefused> {
        // Counted before it is compared, so that many at once cannot all find the same room.
        self.bytes.fetch_add(bytes, Relaxed);
        let before = self.bodies.bytes.fetch_add(bytes, Relaxed);
        if before + bytes > most { Err(BodyRefused::NoRoom) } else { Ok(()) }
    }

    /// Holds on until `body`, the answer's, has been sent or dropped.
    pub(crate) fn until_sent(self: Arc<Self>, body: Body) -> Body {
        Body::new(Answer { body, _held: self })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bodies.bytes.fetch_sub(*self.bytes.get_mut(), Relaxed);
    }
}

/// Counts a body that is still coming.
#[derive(Debug)]
struct Coming(Arc<Bodies>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.coming.fetch_sub(1, Relaxed);
    }
}

/// A request's body, counted as it comes.
struct Metered {
    body: Limited<Body>,
    most: usize,
    held: Arc<Held>,
    late: Pin<Box<Sleep>>,
    coming: Option<Coming>,
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            ready!(self.late.as_mut().poll(cx));
            self.coming = None;
            return Poll::Ready(Some(Err(BodyRefused::TooSlow.into())));
        };
        match frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                let taken = self.held.take(bytes, self.most);
                Poll::Ready(Some(taken.map(|()| frame).map_err(Into::into)))
            }
            end => {
                self.held.is_read.store(end.is_none(), Relaxed);
                self.coming = None;
                Poll::Ready(end)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body, with what its request holds.
struct Answer {
    body: Body,
    _held: Arc<Held>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
