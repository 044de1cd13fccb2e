use std::{convert::Infallible, pin::Pin};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use daemon_lifecycle::Daemon;
use futures::{Stream, StreamExt as _, stream};
use job_server::sse::{KEEP_ALIVE, KEEP_ALIVE_FRAME, events_response};
use tokio::time::{Interval, interval};

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
            _ = live.quiet.tick() => KEEP_ALIVE_FRAME,
        };
        Some((Ok::<_, Infallible>(frame), live))
    });
    let mut response = events_response(Body::from_stream(body));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
