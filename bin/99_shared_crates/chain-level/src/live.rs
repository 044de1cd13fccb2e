use std::{convert::Infallible, pin::Pin};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use daemon_lifecycle::Daemon;
use futures::{Stream, StreamExt as _, stream};
use job_server::sse::KEEP_ALIVE;
use tokio::time::{Interval, interval};

/// A comment, which readers skip.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

struct Live {
    frames: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    paused: Pin<Box<dyn Future<Output = ()> + Send>>,
    quiet: Interval,
}

/// Server-sent events for whoever looks on, for as long as this process is the one to look at: when
/// another generation accepts, the stream ends and its connection with it, so that who looks on asks
/// that one.
pub fn live(daemon: &Daemon, frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let daemon = daemon.clone();
    let paused = Box::pin(async move { daemon.paused().await });
    let live = Live { frames: Box::pin(frames), paused, quiet: interval(KEEP_ALIVE) };
    let body = stream::unfold(live, async |mut live| {
        let frame = tokio::select! {
            biased;
            () = &mut live.paused => return None,
            frame = live.frames.next() => frame?,
            _ = live.quiet.tick() => COMMENT,
        };
        Some((Ok::<_, Infallible>(frame), live))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONNECTION, HeaderValue::from_static("close")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}
