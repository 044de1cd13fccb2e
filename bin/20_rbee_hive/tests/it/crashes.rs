use std::time::Duration;

use futures::future::{join_all, select_all};
use router_client::{Answer, Begun};
use serde_json::json;

use crate::world::{CHUNKS, Continues, World};

/// How often leases are renewed in these tests.
const ROUND: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_request_that_ends_its_worker_is_tried_once_more_alone_and_then_told_so() {
    let world = World::new();
    let answer = world.ask_for(&world.model("a"), "poison").await.end().await;
    assert!(
        answer.body.contains("\"code\":\"worker_crashed\",\"param\":null,\"status\":500"),
        "{answer:?}"
    );
    assert!(answer.body.ends_with("data: {\"state\":\"failed\"}\n\n"), "{answer:?}");
    assert_eq!(world.machine.state(|machine| machine.crashes.clone()), [["poison"], ["poison"]]);
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 2);
}

#[tokio::test]
async fn a_poison_request_takes_no_innocent_one_with_it_that_had_no_answer_yet() {
    let world = World::new();
    let model = world.model("a");
    let innocents = [world.ask_for(&model, "silent").await, world.ask_for(&model, "silent").await];
    world.machine.has(2).await;
    let poison = world.ask_for(&model, "poison").await;
    world.machine.release();
    let poison = poison.end().await;
    assert!(poison.body.contains("worker_crashed"), "{poison:?}");
    for innocent in innocents {
        let answer = innocent.end().await;
        assert!(answer.body.ends_with("data: {\"state\":\"completed\"}\n\n"), "{answer:?}");
    }
    let crashes = world.machine.state(|machine| machine.crashes.clone());
    assert_eq!(crashes.len(), 2);
    assert_eq!(crashes[1], ["poison"], "nobody was beside it the second time");
}

/// What a client has of a stream that has ended: the data of its frames without a name, and how its
/// job ended.
fn read(answer: &Answer) -> (Vec<&str>, &str) {
    let frames = answer.body.split("\n\n");
    let chunks = frames.filter_map(|frame| {
        let frame = frame.split_once('\n').filter(|(id, _)| id.starts_with("id: "))?.1;
        frame.strip_prefix("data: ")
    });
    let state = answer.body.trim_end().rsplit_once("data: ").unwrap().1;
    (chunks.collect(), state)
}

const COMPLETED: &str = "{\"state\":\"completed\"}";
const FAILED: &str = "{\"state\":\"failed\"}";

/// A stream of which something has come when its worker crashes.
async fn cut(world: &World) -> Begun {
    let mut cut = world.ask_for(&world.model("a"), "slow").await;
    cut.says("data: {\"n\":1}").await;
    world.machine.crash_all();
    cut
}

#[tokio::test]
async fn half_an_answer_of_a_worker_that_crashed_goes_on_in_another() {
    let world = World::new();
    let (model, answer) = (world.model("a"), cut(&world).await.end().await);
    assert_eq!(
        read(&answer),
        (vec![r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#, "[DONE]"], COMPLETED)
    );
    let asked = json!({
        "path": "/v1/completions",
        "request": {"model": model, "stream": true, "prompt": "slow"},
        "delivered": [{"n": 1}],
    });
    assert_eq!(world.machine.state(|machine| machine.continuations.clone()), [asked]);
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 2);
}

#[tokio::test]
async fn half_an_answer_that_no_worker_can_go_on_with_is_cut_off() {
    for (status, code) in [
        (409, "not_continuable"),
        (404, "unknown_path"),
        (405, "method_not_allowed"),
        (413, "body_too_large"),
    ] {
        let world = World::new();
        world.machine.state(|machine| machine.continues = Continues::Refused(status, code));
        let answer = cut(&world).await.end().await;
        assert!(answer.body.contains("the answer was cut off"), "{answer:?}");
        assert!(answer.body.contains("worker_crashed"), "{answer:?}");
        assert_eq!(read(&answer), (vec![r#"{"n":1}"#], FAILED));
        assert_eq!(world.machine.state(|machine| machine.continuations.len()), 1);
    }
}

#[tokio::test]
async fn an_answer_that_ends_the_worker_that_goes_on_with_it_is_not_continued_again() {
    let world = World::new();
    world.machine.state(|machine| machine.continues = Continues::Crashes);
    let answer = cut(&world).await.end().await;
    let (chunks, state) = read(&answer);
    // The last one may be lost with the connection.
    assert!([r#"{"n":1}"#, r#"{"n":2}"#].starts_with(&chunks), "{answer:?}");
    assert_eq!(state, FAILED);
    assert!(answer.body.contains("worker_crashed"), "{answer:?}");
    let crashes = world.machine.state(|machine| machine.crashes.clone());
    assert_eq!(crashes, [["continuation"]]);
}

#[tokio::test]
async fn an_innocent_stream_goes_on_whose_worker_a_poison_request_has_ended() {
    let world = World::new();
    let model = world.model("a");
    let mut innocents = [world.ask_for(&model, "slow").await, world.ask_for(&model, "slow").await];
    for innocent in &mut innocents {
        innocent.says("data: {\"n\":1}").await;
    }
    let poison = world.ask_for(&model, "poison").await.end().await;
    assert!(poison.body.contains("worker_crashed"), "{poison:?}");
    for innocent in innocents {
        let answer = innocent.end().await;
        let whole = vec![r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#, "[DONE]"];
        assert_eq!(read(&answer), (whole, COMPLETED));
    }
}

/// A world whose workers are given so many requests at once, and a model.
fn crowded(requests: usize) -> (World, String) {
    let world = World::configured(|_| format!("[worker]\nparallel = {}\n", requests.div_ceil(2)));
    let model = world.model("a");
    (world, model)
}

#[tokio::test]
async fn a_poison_request_among_many_is_found_by_few_crashes() {
    const INNOCENT: usize = 60;
    let (world, model) = crowded(INNOCENT + 1);
    let innocents = join_all((0..INNOCENT).map(|_| world.ask_for(&model, "silent"))).await;
    world.machine.has(INNOCENT).await;
    let poison = world.ask_for(&model, "poison").await;
    world.machine.has_crashed(1).await;
    world.machine.release();
    let poison = poison.end().await;
    assert!(poison.body.contains("worker_crashed"), "{poison:?}");
    for innocent in innocents {
        let answer = innocent.end().await;
        assert_eq!(read(&answer).1, COMPLETED, "{answer:?}");
    }
    let crashes = world.machine.state(|machine| machine.crashes.clone());
    assert_eq!(crashes[0].len(), INNOCENT + 1);
    // A quarter of them, a quarter of that, and the one alone.
    assert!(crashes.len() <= 4, "{crashes:?}");
    assert_eq!(crashes.last().unwrap(), &["poison"]);
    let spawned = world.machine.state(|machine| machine.spawned.len());
    assert!(spawned <= crashes.len() + 1, "{spawned} workers for {} crashes", crashes.len());
}

#[tokio::test]
async fn an_answer_that_is_cut_off_again_beside_others_goes_on_once_more() {
    let (world, model) = crowded(16);
    let mut streams = join_all((0..16).map(|_| world.ask_for(&model, "slow"))).await;
    for stream in &mut streams {
        stream.says("data: {\"n\":1}").await;
    }
    world.machine.state(|machine| machine.continues = Continues::Waits);
    world.machine.crash_all();
    let continued = streams.iter_mut().map(|stream| Box::pin(stream.says("data: {\"n\":2}")));
    drop(select_all(continued).await);
    world.machine.state(|machine| machine.continues = Continues::Whole);
    world.machine.crash_all();
    for stream in streams {
        let answer = stream.end().await;
        let (chunks, state) = read(&answer);
        assert_eq!((chunks.first(), chunks.last()), (Some(&r#"{"n":1}"#), Some(&"[DONE]")));
        assert_eq!(state, COMPLETED, "{answer:?}");
    }
    let continuations = world.machine.state(|machine| machine.continuations.clone());
    let again = json!([{"n": 1}, {"n": 2}]);
    let again = continuations.iter().filter(|asked| asked["delivered"] == again).count();
    assert!((1..=4).contains(&again), "{continuations:?}");
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_not_continued_to_its_end() {
    let world = World::new();
    world.machine.state(|machine| machine.continues = Continues::Waits);
    let mut cut = cut(&world).await;
    cut.says("data: {\"n\":2}").await;
    let job = cut.answer.headers["x-rbee-job"].to_str().unwrap().to_owned();
    let ended = world.manage("DELETE", &format!("/v1/jobs/{job}"), "").await;
    assert_eq!(ended.status, 204, "{ended:?}");
    let answer = cut.end().await;
    assert!(answer.body.ends_with("data: {\"state\":\"cancelled\"}\n\n"), "{answer:?}");
    world.machine.has_none().await;
}

#[tokio::test]
async fn requests_whose_worker_was_ended_for_want_of_memory_are_no_suspects() {
    let world = World::new();
    let model = world.model("a");
    let requests = [world.ask_for(&model, "silent").await, world.ask_for(&model, "silent").await];
    world.machine.has(2).await;
    let ended = world.machine.state(|machine| {
        machine.kills += 1;
        machine.spawned[0].clone()
    });
    world.machine.crash_all();
    // Beside one another, and not one after the other.
    world.machine.has_on_another_than(&ended, 2).await;
    world.machine.release();
    for request in requests {
        assert_eq!(read(&request.end().await).1, COMPLETED);
    }
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 2);
}

#[tokio::test]
async fn a_request_whose_workers_are_ended_for_want_of_memory_each_time_is_told_so() {
    let world = World::new();
    let model = world.model("a");
    world.machine.state(|machine| machine.starves = true);
    let answer = world.ask_for(&model, "poison").await.end().await;
    assert!(answer.body.contains("insufficient_memory"), "{answer:?}");
    assert!(answer.body.contains("has ended it for want of memory; 6"), "{answer:?}");
    assert!(answer.body.contains(" MiB are available now"), "{answer:?}");
    assert_eq!(world.machine.state(|machine| machine.crashes.len()), 3);
    world.machine.state(|machine| machine.starves = false);
    assert_eq!(world.complete(&model, false).await.body, CHUNKS);
}

#[tokio::test]
async fn a_worker_that_was_ended_for_want_of_memory_is_not_loaded_where_it_does_not_fit_any_more() {
    let world = World::new();
    let model = world.model("a");
    let request = world.ask_for(&model, "silent").await;
    world.machine.has(1).await;
    world.machine.state(|machine| (machine.kills, machine.available) = (1, 100 << 20));
    world.machine.crash_all();
    let answer = request.end().await;
    assert!(answer.body.contains("insufficient_memory"), "{answer:?}");
    assert!(answer.body.contains("MiB of memory; 100 MiB are free"), "{answer:?}");
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 1);
}

#[tokio::test]
async fn one_poison_request_after_another_leaves_the_others_alone() {
    let world = World::new();
    let model = world.model("a");
    for _ in 0..4 {
        let poison = world.ask_for(&model, "poison").await.end().await;
        assert!(poison.body.contains("worker_crashed"), "{poison:?}");
        assert_eq!(world.complete(&model, false).await.body, CHUNKS);
    }
    let crashes = world.machine.state(|machine| machine.crashes.clone());
    assert!(crashes.iter().all(|on_it| on_it == &["poison"]), "{crashes:?}");
}

#[tokio::test]
async fn a_suspect_that_there_is_no_room_for_alone_is_not_tried_again() {
    let world = World::new();
    let model = world.model("a");
    world.complete(&model, false).await;
    world.machine.state(|machine| machine.available = 0);
    let answer = world.ask_for(&model, "poison").await.end().await;
    assert!(answer.body.contains("worker_crashed"), "{answer:?}");
    assert!(answer.body.contains("MiB of memory"), "{answer:?}");
    assert_eq!(world.machine.state(|machine| machine.crashes.len()), 1);
}

#[tokio::test]
async fn a_worker_that_an_innocent_suspect_had_for_itself_serves_everybody_afterwards() {
    let world = World::new();
    let model = world.model("a");
    let suspect = world.ask_for(&model, "silent").await;
    world.machine.has(1).await;
    let first = world.machine.state(|machine| machine.spawned[0].clone());
    world.machine.crash_all();
    world.machine.release();
    let answer = suspect.end().await;
    assert!(answer.body.ends_with("data: {\"state\":\"completed\"}\n\n"), "{answer:?}");
    assert_eq!(world.complete(&model, false).await.body, CHUNKS);
    let spawned = world.machine.state(|machine| machine.spawned.clone());
    assert_eq!(spawned.len(), 2);
    assert_ne!(spawned[1], first);
}

#[tokio::test]
async fn a_worker_that_is_dead_is_not_taken_for_one_that_answers() {
    let world = World::new();
    let model = world.model("a");
    world.complete(&model, false).await;
    world.machine.crash_all();
    assert_eq!(world.complete(&model, false).await.body, CHUNKS);
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 2);
}

#[tokio::test]
async fn a_worker_that_says_that_it_is_stuck_is_ended_and_another_one_brought_up() {
    let world = World::new();
    let model = world.model("a");
    world.complete(&model, false).await;
    world.machine.state(|machine| machine.status = "stuck");
    let rounds = world.keep_workers(ROUND);
    tokio::select! {
        never = rounds => never,
        () = world.machine.has_ended_one() => {}
    }
    world.machine.state(|machine| machine.status = "ok");
    assert_eq!(world.complete(&model, false).await.body, CHUNKS);
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 2);
}

#[tokio::test]
async fn what_a_stuck_worker_was_to_answer_is_answered_by_another() {
    let world = World::new();
    let model = world.model("a");
    let waiting = world.ask_for(&model, "silent").await;
    world.machine.has(1).await;
    world.machine.state(|machine| machine.status = "stuck");
    let ended = async {
        world.machine.has_ended_one().await;
        world.machine.state(|machine| machine.status = "ok");
        world.machine.release();
        waiting.end().await
    };
    let answer = tokio::select! {
        never = world.keep_workers(ROUND) => never,
        answer = ended => answer,
    };
    assert!(answer.body.ends_with("data: {\"state\":\"completed\"}\n\n"), "{answer:?}");
}
