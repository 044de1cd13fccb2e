use std::{path::PathBuf, time::Duration};

use hyper::{HeaderMap, Method, body::Bytes};

use super::core::{Core, lock};
use crate::{
    client::{self, Ask},
    identity::Identity,
    state::State,
};

/// A generation that drains may be busy with its last streams, and its caller waits.
const LIMIT: Duration = Duration::from_secs(8);

/// For who only wants to know what they do.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// Bounds what a generation that has gone wrong can make this one hold.
const MAX_BODY_BYTES: usize = 64 << 20;

pub(super) async fn ask(
    core: &Core,
    method: Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<Bytes> {
    core.instance.as_ref()?;
    probation_is_over(core).await;
    for (socket, earlier) in draining(core).await {
        let generation = earlier.generation;
        let (method, headers) = (method.clone(), headers.clone());
        let ask = Ask { method, path, address: &earlier.address, headers };
        match client::http(&socket, ask, LIMIT, MAX_BODY_BYTES).await {
            Ok((status, body)) if status.is_success() => return Some(body),
            Ok((status, _)) => tracing::debug!(generation, %status, path, "not to be had there"),
            Err(error) => tracing::debug!(generation, %error, path, "an earlier one is silent"),
        }
    }
    None
}

/// Each that drains, with the body of its answer to a `GET`.
pub(super) async fn look(
    core: &Core,
    path: &str,
    headers: &HeaderMap,
) -> Vec<(Identity, Option<Bytes>)> {
    let mut seen = Vec::new();
    for (socket, earlier) in draining(core).await {
        let (method, headers) = (Method::GET, headers.clone());
        let ask = Ask { method, path, address: &earlier.address, headers };
        let answer = client::http(&socket, ask, LOOK_LIMIT, MAX_BODY_BYTES).await;
        let body = answer.ok().filter(|(status, _)| status.is_success()).map(|(_, body)| body);
        seen.push((earlier, body));
    }
    seen
}

/// The other generations that drain, the latest first, each with its control socket: those before this
/// one, and one that has failed in this one's place.
async fn draining(core: &Core) -> Vec<(PathBuf, Identity)> {
    let Some(instance) = core.instance.as_ref() else { return Vec::new() };
    let own = core.identity().generation;
    let mut found = Vec::new();
    for generation in instance.generations().into_iter().rev().filter(|other| *other != own) {
        let socket = instance.socket(generation);
        if let Ok(hello) = client::hello(&socket).await
            && hello.state == State::Draining
        {
            found.push((socket, hello.identity));
        }
    }
    found
}

/// Until then the generation before may serve again and this one be no more, with whatever it was
/// given.
async fn probation_is_over(core: &Core) {
    let predecessor = lock(&core.predecessor).clone();
    if let Some(predecessor) = predecessor {
        let over = Duration::from_millis(core.terms().probation_ms) + LIMIT;
        if tokio::time::timeout(over, predecessor.commands.closed()).await.is_err() {
            tracing::warn!("the generation before says nothing of the end of the probation");
        }
    }
}
