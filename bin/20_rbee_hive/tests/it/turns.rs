//! Models that do not fit into memory together, and requests for both.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};

use crate::world::{CHUNKS, World};

const DEADLINE: Duration = Duration::from_secs(60);

/// A machine on which one model fits.
fn tight(config: &str) -> World {
    let world = World::configured(|_| format!("[worker]\n{config}"));
    world.machine.state(|machine| {
        machine.is_tight = true;
        machine.available = machine.resident;
    });
    world
}

#[tokio::test]
async fn requests_for_two_models_are_all_answered_where_one_fits() {
    let world = tight("");
    let models = [world.model("a"), world.model("b")];
    let asked = (0..200).map(|nth| world.complete(&models[nth % 2], false));
    let answers = stream::iter(asked).buffer_unordered(200).collect::<Vec<_>>();
    let answers = tokio::time::timeout(DEADLINE, answers).await.expect("in time");
    assert_eq!(answers.len(), 200);
    for answer in answers {
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, CHUNKS), "{answer:?}");
    }
    // All of one model go before a swap: that is one, and a few where a request came late.
    let loads = world.machine.state(|machine| machine.spawned.len());
    assert!((2..=6).contains(&loads), "{loads} loads");
}

#[tokio::test]
async fn few_clients_that_ask_for_two_models_in_turn_get_all_their_answers() {
    let world = tight("");
    let models = [world.model("a"), world.model("b")];
    let asked = (0..200).map(|nth| world.complete(&models[nth % 2], false));
    let answers = stream::iter(asked).buffered(8).collect::<Vec<_>>();
    let answers = tokio::time::timeout(DEADLINE, answers).await.expect("in time");
    assert!(answers.iter().all(|answer| answer.body == CHUNKS));
    let loads = world.machine.state(|machine| machine.spawned.len());
    assert!(loads <= 100, "{loads} loads for 200 requests by eight clients");
}

#[tokio::test]
async fn a_busy_worker_is_waited_for_and_not_stopped() {
    let world = tight("");
    let (a, b) = (world.model("a"), world.model("b"));
    let slow = async { world.ask_for(&a, "slow").await.end().await };
    let other = async {
        world.machine.has(1).await;
        let asked = world.complete(&b, false);
        let release = async {
            world.machine.is_asked_for_memory(3).await;
            assert!(world.machine.state(|machine| machine.stopped.is_empty()));
            let workers = world.ask("GET", "/v1/workers", &[], "").await.json();
            assert_eq!(workers["waiting"], serde_json::json!({ b.clone(): 1 }));
            world.machine.release();
        };
        tokio::join!(asked, release).0
    };
    let (slow, other) =
        tokio::time::timeout(DEADLINE, async { tokio::join!(slow, other) }).await.expect("in time");
    assert!(!slow.cut && slow.body.contains("[DONE]"), "{slow:?}");
    assert_eq!(other.body, CHUNKS);
    assert_eq!(world.machine.state(|machine| machine.stopped.len()), 1);
}

#[tokio::test]
async fn a_model_that_is_used_without_a_pause_gives_another_its_turn() {
    let world = Arc::new(tight("turn = \"50ms\"\n"));
    let (a, b) = (world.model("a"), world.model("b"));
    world.complete(&a, false).await;
    // There is always one on it, until the other model is there.
    let without_a_pause = async {
        loop {
            assert_eq!(world.complete(&a, false).await.status, 200);
        }
    };
    let overlapping = futures::future::join(without_a_pause, async {
        loop {
            assert_eq!(world.complete(&a, false).await.status, 200);
        }
    });
    let other = async { tokio::time::timeout(DEADLINE, world.complete(&b, false)).await };
    tokio::select! {
        _ = overlapping => unreachable!("it has no end"),
        answer = other => assert_eq!(answer.expect("in time").body, CHUNKS),
    }
}

#[tokio::test]
async fn a_stream_that_is_out_of_its_turn_is_finished_first() {
    let world = tight("turn = \"10ms\"\n");
    let (a, b) = (world.model("a"), world.model("b"));
    let slow = async { world.ask_for(&a, "slow").await.end().await };
    let other = async {
        world.machine.has(1).await;
        let release = async {
            while world.machine.state(|machine| machine.stopped.is_empty()) {
                tokio::task::yield_now().await;
            }
            assert_eq!(world.machine.state(|machine| machine.spawned.len()), 1);
            world.machine.release();
        };
        tokio::join!(world.complete(&b, false), release).0
    };
    let (slow, other) =
        tokio::time::timeout(DEADLINE, async { tokio::join!(slow, other) }).await.expect("in time");
    assert!(!slow.cut && slow.body.contains("[DONE]"), "{slow:?}");
    assert_eq!(other.body, CHUNKS);
}

#[tokio::test]
async fn a_pinned_model_stays_and_what_needs_its_memory_is_refused() {
    let world = World::configured(|home| {
        let source = home.join("a.gguf").display().to_string();
        format!("[model.\"a\"]\nsource = \"{source}\"\npinned = true\n")
    });
    world.model("a");
    let b = world.model("b");
    world.machine.state(|machine| {
        machine.is_tight = true;
        machine.available = machine.resident;
    });
    assert_eq!(world.complete("a", false).await.body, CHUNKS);
    let refused = world.complete(&b, false).await;
    assert_eq!(refused.refusal(), (503, "insufficient_memory".into()));
    assert!(world.machine.state(|machine| machine.stopped.is_empty()));
}

#[tokio::test]
async fn more_than_may_wait_are_told_when_to_try_again() {
    let world = tight("queue = 3\n");
    let (a, b) = (world.model("a"), world.model("b"));
    let slow = async { world.ask_for(&a, "slow").await.end().await };
    let others = async {
        world.machine.has(1).await;
        let mut asked: stream::FuturesUnordered<_> =
            (0..5).map(|_| world.complete(&b, false)).collect();
        let (mut answered, mut refused) = (0, 0);
        while let Some(answer) = asked.next().await {
            if answer.status == 200 {
                answered += 1;
                continue;
            }
            assert_eq!(answer.headers["retry-after"], "1", "{answer:?}");
            assert_eq!(answer.refusal(), (429, "queue_full".into()));
            refused += 1;
            if refused == 2 {
                world.machine.release();
            }
        }
        (answered, refused)
    };
    let (_, others) = tokio::time::timeout(DEADLINE, async { tokio::join!(slow, others) })
        .await
        .expect("in time");
    assert_eq!(others, (3, 2));
}

#[tokio::test]
async fn a_request_does_not_wait_for_memory_for_ever() {
    let world = tight("queue_timeout = \"200ms\"\n");
    let (a, b) = (world.model("a"), world.model("b"));
    let slow = async { world.ask_for(&a, "slow").await.end().await };
    let other = async {
        world.machine.has(1).await;
        let answer = world.complete(&b, false).await;
        world.machine.release();
        answer
    };
    let (_, other) =
        tokio::time::timeout(DEADLINE, async { tokio::join!(slow, other) }).await.expect("in time");
    assert_eq!(other.refusal(), (429, "queue_full".into()));
}

#[tokio::test]
async fn one_who_asks_two_hundred_times_does_not_keep_another_waiting_for_all_of_them() {
    let world = World::configured(|_| "[worker]\nparallel = 1\n".to_owned());
    let model = world.model("a");
    let bearer = format!("Bearer {}", world.token);
    let ask = async |caller: &str, prompt: &str| {
        let headers = [("authorization", bearer.as_str()), ("x-rbee-caller", caller)];
        let body =
            serde_json::json!({"model": model, "stream": true, "prompt": prompt}).to_string();
        world.ask("POST", "/v1/completions", &headers, &body).await
    };
    let many = futures::future::join_all((0..200).map(|_| ask("key:many", "slow")));
    let few = async {
        world.machine.has(2).await;
        let asked = futures::future::join_all((0..3).map(|_| ask("key:few", "slow and few")));
        let release = async { world.machine.release() };
        tokio::join!(asked, release).0
    };
    let (many, few) =
        tokio::time::timeout(DEADLINE, async { tokio::join!(many, few) }).await.expect("in time");
    assert!(many.iter().chain(&few).all(|answer| answer.body.contains("[DONE]")));
    let asked = world.machine.state(|machine| machine.asked.clone());
    let of_few = asked.iter().enumerate().filter(|(_, asked)| asked.contains("few"));
    let places: Vec<usize> = of_few.map(|(place, _)| place).collect();
    // Two are on the worker by then; from there on they take turns.
    assert!(places.len() == 3 && places[2] <= 8, "{places:?}");
    assert_eq!(asked.len(), 203);
}

#[tokio::test]
async fn more_of_one_s_requests_than_may_wait_are_refused_before_another_s() {
    let world = World::configured(|_| "[worker]\nparallel = 1\nqueue = 10\n".to_owned());
    let model = world.model("a");
    let bearer = format!("Bearer {}", world.token);
    let ask = async |caller: &str| {
        let headers = [("authorization", bearer.as_str()), ("x-rbee-caller", caller)];
        let body =
            serde_json::json!({"model": model, "stream": true, "prompt": "slow"}).to_string();
        world.ask("POST", "/v1/completions", &headers, &body).await
    };
    // One is loaded, and two are on it.
    world.complete(&model, false).await;
    let many = futures::future::join_all((0..14).map(|_| ask("key:many")));
    let few = async {
        world.machine.has(2).await;
        let asked = ask("key:few");
        let release = async { world.machine.release() };
        tokio::join!(asked, release).0
    };
    let (many, few) =
        tokio::time::timeout(DEADLINE, async { tokio::join!(many, few) }).await.expect("in time");
    assert_eq!(few.status, 200, "{few:?}");
    let refused: Vec<_> = many.into_iter().filter(|answer| answer.status != 200).collect();
    assert_eq!(refused.len(), 3, "two too many, and one for the other");
    for answer in refused {
        assert_eq!(answer.refusal(), (429, "queue_full".into()));
    }
}
