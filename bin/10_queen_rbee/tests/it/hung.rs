use std::time::Duration;

use crate::world::{CHUNKS, Reply, World};

const CHAT: &str = "POST /v1/chat/completions";
const STREAM: &str = r#"{"model":"m","stream":true}"#;

/// How often hives are asked in these tests.
const ROUND: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_hive_that_hangs_is_ended_and_what_it_was_asked_is_asked_of_the_next() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS)).on("GET /health", Reply::json(200, &health("ok")));
    world.post("/v1/chat/completions", &[], STREAM).await;
    hive.hangs();
    let asked = world.post("/v1/chat/completions", &[], STREAM);
    let answer = tokio::select! {
        never = world.keep_hives(ROUND) => never,
        answer = asked => answer,
    };
    assert_eq!(answer.body, CHUNKS);
    assert_eq!((hive.ended(), hive.starts()), (1, 2));
}

#[tokio::test]
async fn a_hive_that_says_that_it_is_stuck_is_ended() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS)).on("GET /health", Reply::json(200, &health("stuck")));
    world.post("/v1/chat/completions", &[], STREAM).await;
    tokio::select! {
        never = world.keep_hives(ROUND) => never,
        () = hive.is_ended() => {}
    }
    assert_eq!(world.post("/v1/chat/completions", &[], STREAM).await.body, CHUNKS);
    assert_eq!(hive.starts(), 2);
}

/// As one does that has more connections than it comes to answer.
#[tokio::test]
async fn a_hive_that_answers_no_request_and_says_past_its_listener_that_it_lives_is_not_ended() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS));
    world.post("/v1/chat/completions", &[], STREAM).await;
    hive.hangs();
    hive.gives_signs(false);
    tokio::select! {
        never = world.keep_hives(ROUND) => never,
        () = hive.has_given_signs(9) => {}
    }
    assert_eq!((hive.ended(), hive.seen("GET /health").len()), (0, 0));
}

#[tokio::test]
async fn a_hive_that_says_past_its_listener_that_it_is_stuck_is_ended() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS));
    world.post("/v1/chat/completions", &[], STREAM).await;
    hive.gives_signs(true);
    tokio::select! {
        never = world.keep_hives(ROUND) => never,
        () = hive.is_ended() => {}
    }
    assert_eq!(world.post("/v1/chat/completions", &[], STREAM).await.body, CHUNKS);
    assert_eq!(hive.starts(), 2);
}

#[tokio::test]
async fn a_hive_that_answers_whatever_it_says_is_not_ended() {
    for reply in [Reply::json(500, "<html>"), Reply::json(200, "{}"), Reply::json(401, "{}")] {
        let (world, hive) = World::one().await;
        hive.on(CHAT, Reply::stream(CHUNKS)).on("GET /health", reply);
        world.post("/v1/chat/completions", &[], STREAM).await;
        tokio::select! {
            never = world.keep_hives(ROUND) => never,
            () = hive.has_seen("GET /health", 6) => {}
        }
        assert_eq!(hive.ended(), 0);
    }
}

pub(crate) fn health(status: &str) -> String {
    let of_a_process =
        r#""instance_id":"i","pid":1,"start_time":1,"exe_hash":"","source_root":null"#;
    format!(
        r#"{{"status":"{status}","role":"rbee-hive",{of_a_process},"version":"0","uptime_s":1}}"#
    )
}
