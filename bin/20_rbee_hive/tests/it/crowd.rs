//! What one person asks at once, and is not refused.

use std::time::Duration;

use futures::future::join_all;

use crate::world::{CHUNKS, World};

const STREAMS: usize = 1000;
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_thousand_streams_of_one_person_go_on_at_once() {
    let world = World::configured(|_| format!("[worker]\nparallel = {STREAMS}\n"));
    let model = world.model("a");
    let streams = (0..STREAMS).map(|_| async { world.ask_for(&model, "slow").await.end().await });
    let all_at_once = async {
        world.machine.has(STREAMS).await;
        world.machine.release();
    };
    let both = async { tokio::join!(join_all(streams), all_at_once).0 };
    let answers = tokio::time::timeout(DEADLINE, both).await.expect("in time");
    for answer in answers {
        assert!(!answer.cut && answer.body.contains("data: [DONE]"), "{answer:?}");
    }
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 1);
}

#[tokio::test]
async fn a_thousand_requests_wait_for_a_worker_that_answers_four_at_once() {
    let world = World::new();
    let model = world.model("a");
    let asked = join_all((0..STREAMS).map(|_| world.complete(&model, false)));
    let answers = tokio::time::timeout(DEADLINE, asked).await.expect("in time");
    for answer in answers {
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, CHUNKS), "{answer:?}");
    }
}

#[tokio::test]
async fn a_thousand_streams_go_on_whose_worker_one_request_ends() {
    let world = World::configured(|_| format!("[worker]\nparallel = {STREAMS}\n"));
    let model = world.model("a");
    let streams = (0..STREAMS).map(|_| async { world.ask_for(&model, "slow").await.end().await });
    let poisoned = async {
        world.machine.has(STREAMS).await;
        let poison = world.ask_for(&model, "poison").await;
        world.machine.has_crashed(1).await;
        // Those of which nothing had come are asked anew.
        world.machine.release();
        poison.end().await
    };
    let both = async { tokio::join!(join_all(streams), poisoned) };
    let (answers, poison) = tokio::time::timeout(DEADLINE, both).await.expect("in time");
    assert!(poison.body.contains("worker_crashed"), "{poison:?}");
    for answer in answers {
        assert!(!answer.cut && answer.body.contains("data: [DONE]"), "{answer:?}");
    }
    let (crashes, spawned) =
        world.machine.state(|machine| (machine.crashes.len(), machine.spawned.len()));
    assert!(crashes <= 6 && spawned <= crashes + 1, "{crashes} crashes, {spawned} workers");
}
