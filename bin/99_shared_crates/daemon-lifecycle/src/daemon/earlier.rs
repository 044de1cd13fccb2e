use std::time::Duration;

use hyper::{HeaderMap, Method, body::Bytes};

use super::core::{Core, lock};
use crate::{
    client::{self, Ask},
    state::State,
};

/// A generation that drains may be busy with its last streams, and its caller waits.
const LIMIT: Duration = Duration::from_secs(8);

/// Bounds what a generation that has gone wrong can make this one hold.
const MAX_BODY_BYTES: usize = 64 << 20;

pub(super) async fn ask(
    core: &Core,
    method: Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<Bytes> {
    let (instance, own) = (core.instance.as_ref()?, core.identity().generation);
    probation_is_over(core).await;
    for generation in instance.generations().into_iter().rev().filter(|other| *other < own) {
        let socket = instance.socket(generation);
        let Ok(hello) = client::hello(&socket).await else { continue };
        if hello.state != State::Draining {
            continue;
        }
        let (method, headers) = (method.clone(), headers.clone());
        let ask = Ask { method, path, address: &hello.identity.address, headers };
        match client::http(&socket, ask, LIMIT, MAX_BODY_BYTES).await {
            Ok((status, body)) if status.is_success() => return Some(body),
            Ok((status, _)) => tracing::debug!(generation, %status, path, "not to be had there"),
            Err(error) => tracing::debug!(generation, %error, path, "an earlier one is silent"),
        }
    }
    None
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
