use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rbee_api::paths;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::seen::{Answer, Kind, Seen};
use crate::{
    http::{Connection, text},
    ports::Addresses,
};

/// Kept connections to each address.
const KEPT: usize = 20;
/// A request that has no answer by then has none.
const PATIENCE: Duration = Duration::from_secs(10);
const PROMPT: &str = "one two three";

/// Connections that wait for their next request, the one that waits longest in front.
type Pool = Mutex<VecDeque<Connection>>;

/// Sends `rate` requests a second, each when the clock says so, until the load is over. How long
/// one takes is counted from when it was due, so that a stall of anybody's is seen.
pub(super) async fn send(addresses: Addresses, rate: u32, seen: Arc<Seen>) {
    let addresses = Arc::new(addresses);
    let pools: Arc<[Pool; 2]> = Arc::default();
    let begin = Instant::now();
    let mut under_way = JoinSet::new();
    for number in 0_u32.. {
        let due = begin + Duration::from_secs(1) * number / rate;
        sleep_until(due).await;
        if seen.is_over() {
            break;
        }
        let (kind, kept) = choose(number);
        let (addresses, pools, seen) =
            (Arc::clone(&addresses), Arc::clone(&pools), Arc::clone(&seen));
        let phase = seen.phase();
        under_way.spawn(async move {
            let pool = kept.then(|| &pools[usize::from(kind == Kind::Hive)]);
            let address = if kind == Kind::Hive { &addresses.hive } else { &addresses.queen };
            let answer = match timeout(PATIENCE, ask(address, kind, pool)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => Answer::None,
            };
            seen.request(phase, kind, answer, due.into_std());
        });
        while under_way.try_join_next().is_some() {}
    }
    under_way.join_all().await;
}

/// Of ten requests one is a completion, the others go to queen and hive in turn; half of each kind
/// are on kept connections.
fn choose(number: u32) -> (Kind, bool) {
    let kind = match number % 10 {
        0 => Kind::Completion,
        odd if odd % 2 == 1 => Kind::Hive,
        _ => Kind::Queen,
    };
    (kind, (number / 10 + number % 10 / 2).is_multiple_of(2))
}

async fn ask(address: &str, kind: Kind, pool: Option<&Pool>) -> anyhow::Result<Answer> {
    let mut connection = match pool {
        Some(pool) => waiting(address, pool).await?,
        None => Connection::open(address).await?,
    };
    let mut response = match kind {
        Kind::Queen | Kind::Hive => connection.get(address, paths::HEALTH).await?,
        Kind::Completion => {
            let body = json!({"messages": [{"role": "user", "content": PROMPT}]});
            connection.post(address, paths::CHAT_COMPLETIONS, body.to_string()).await?
        }
    };
    let status = response.status().as_u16();
    let body = text(&mut response).await?;
    if let Some(pool) = pool
        && connection.is_usable().await
    {
        pool.lock().unwrap_or_else(PoisonError::into_inner).push_back(connection);
    }
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let right = match kind {
        Kind::Queen => body["role"] == "queen-rbee",
        Kind::Hive => body["role"] == "rbee-hive",
        Kind::Completion => body["choices"][0]["message"]["content"] == PROMPT,
    };
    Ok(match status {
        200 if right => Answer::Right,
        500.. => Answer::ServerError,
        _ => Answer::Wrong,
    })
}

/// A connection that has been used before, once there are enough of them.
async fn waiting(address: &str, pool: &Pool) -> anyhow::Result<Connection> {
    let next = || {
        let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < KEPT { None } else { pool.pop_front() }
    };
    while let Some(mut connection) = next() {
        if connection.is_usable().await {
            return Ok(connection);
        }
    }
    Connection::open(address).await
}

#[cfg(test)]
mod tests {
    use super::{Kind, choose};

    #[test]
    fn half_of_each_kind_are_on_kept_connections() {
        let all: Vec<_> = (0..200).map(choose).collect();
        let count = |kind, kept| all.iter().filter(|one| **one == (kind, kept)).count();
        for (kind, half) in [(Kind::Queen, 40), (Kind::Hive, 50), (Kind::Completion, 10)] {
            assert_eq!((count(kind, true), count(kind, false)), (half, half), "{kind:?}");
        }
    }
}
