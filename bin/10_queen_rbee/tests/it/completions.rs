use axum::http::StatusCode;

use crate::world::{CHUNKS, Reply, World};

const CHAT: &str = "POST /v1/chat/completions";
const PATH: &str = "/v1/chat/completions";
const STREAM: &str = r#"{"model":"m","stream":true}"#;
const FRESH: (&str, &str) = ("x-rbee-fresh", "1");

#[tokio::test]
async fn a_stream_is_openai_s_to_the_letter() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(&format!("event: narration\ndata: {{}}\n\n{CHUNKS}")));
    let answer = world.post(PATH, &[], STREAM).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, CHUNKS));
    assert!(answer.headers.contains_key("x-rbee-job"));
}

#[tokio::test]
async fn every_endpoint_passes_one_body_on_as_it_is() {
    let llama_cpp_s = ["/tokenize", "/detokenize", "/apply-template"];
    for path in [PATH, "/v1/completions", "/v1/embeddings"].into_iter().chain(llama_cpp_s) {
        let (world, hive) = World::one().await;
        hive.on(&format!("POST {path}"), Reply::json(200, r#"{ "whole":  true }"#));
        let answer = world.post(path, &[], r#"{"model": "m"}"#).await;
        assert_eq!(answer.body, r#"{ "whole":  true }"#);
        assert_eq!(answer.headers["content-type"], "application/json");
        let seen = &hive.seen(&format!("POST {path}"))[0];
        assert_eq!(seen.body, r#"{"model": "m"}"#);
        assert_eq!(
            (&seen.headers["x-rbee-events"], &seen.headers["x-rbee-fresh"]),
            (&"0".parse().unwrap(), &"0".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn what_is_known_of_a_model_is_asked_of_its_worker() {
    let (world, hive) = World::one().await;
    hive.on("GET /props?model=hf:a%2Fb%26c", Reply::json(200, r#"{ "n": 1 }"#));
    let answer = world.get("/props?model=hf:a/b%26c").await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, r#"{ "n": 1 }"#));
    hive.on("GET /props", Reply::json(200, "{}"));
    assert_eq!(world.get("/props").await.body, "{}");
    let answer = world.get(&format!("/props?model={}", "x".repeat(2000))).await;
    assert_eq!(answer.refusal(), (400, "invalid_model".into()));
}

#[tokio::test]
async fn a_hive_is_not_shown_the_token_for_a_completion() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS));
    world.post(PATH, &[], STREAM).await;
    assert!(!hive.seen(CHAT)[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_hive_is_started_for_the_first_request_and_remembered_for_the_next() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS));
    for _ in 0..3 {
        world.post(PATH, &[], STREAM).await;
    }
    assert_eq!((hive.starts(), hive.seen(CHAT).len()), (1, 3));
}

#[tokio::test]
async fn however_many_ask_at_once_one_starts_the_hive() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS));
    let asked = (0..8).map(|_| world.post(PATH, &[], STREAM));
    for answer in futures::future::join_all(asked).await {
        assert_eq!(answer.body, CHUNKS);
    }
    assert_eq!(hive.starts(), 1);
}

#[tokio::test]
async fn a_thousand_streams_of_one_person_go_on_at_once() {
    const STREAMS: usize = 1000;
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::open_stream_of("j", "data: {\"n\":1}\n\n"));
    let begun = (0..STREAMS).map(|_| async {
        let mut stream = world.begin("POST", PATH, &[], STREAM).await;
        stream.says("{\"n\":1}").await;
        stream
    });
    let under_way = futures::future::join_all(begun).await;
    assert!(under_way.iter().all(|stream| !stream.answer.cut));
    assert_eq!((world.jobs.running(), hive.seen(CHAT).len()), (STREAMS, STREAMS));
}

#[tokio::test]
async fn a_stale_hive_answers_and_is_replaced_beside_the_request() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS));
    world.post(PATH, &[], STREAM).await;
    hive.is_stale();
    assert_eq!(world.post(PATH, &[], STREAM).await.body, CHUNKS);
    hive.started(2).await;
}

#[tokio::test]
async fn who_wants_fresh_processes_waits_for_the_replacement() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS));
    world.post(PATH, &[FRESH], STREAM).await;
    hive.is_stale();
    world.post(PATH, &[FRESH], STREAM).await;
    assert_eq!(hive.starts(), 2);
    world.post(PATH, &[FRESH], STREAM).await;
    assert_eq!(hive.starts(), 2, "it is current again");
    assert_eq!(hive.seen(CHAT)[2].headers["x-rbee-fresh"], "1");
}

#[tokio::test]
async fn a_hive_that_cannot_be_started_is_the_client_s_error() {
    let (world, hive) = World::one().await;
    hive.cannot_start();
    let answer = world.post(PATH, &[], STREAM).await;
    assert_eq!(answer.refusal(), (404, "hive_not_found".into()));
}

#[tokio::test]
async fn a_refusal_of_the_hive_keeps_its_status_and_its_words() {
    for (status, code) in [(404, "model_not_found"), (422, "unusable_model"), (429, "queue_full")] {
        let (world, hive) = World::one().await;
        let body = format!(r#"{{"error":{{"message":"no","type":"t","code":"{code}"}}}}"#);
        hive.on(CHAT, Reply::json(status, &body));
        let answer = world.post(PATH, &[], STREAM).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()));
        assert_eq!(hive.seen(CHAT).len(), 1, "a refusal is an answer");
    }
}

#[tokio::test]
async fn an_error_that_cannot_be_read_is_a_bad_gateway() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::json(500, "<html>"));
    assert_eq!(world.post(PATH, &[], STREAM).await.refusal(), (502, "bad_gateway".into()));
}

#[tokio::test]
async fn an_answer_that_breaks_off_before_its_first_word_is_asked_for_again() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream("")).on(CHAT, Reply::stream(CHUNKS));
    assert_eq!(world.post(PATH, &[], STREAM).await.body, CHUNKS);
    assert_eq!((hive.seen(CHAT).len(), hive.starts()), (2, 2), "what failed is not trusted");
}

#[tokio::test]
async fn an_answer_that_breaks_off_three_times_is_lost() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(""));
    let answer = world.post(PATH, &[], STREAM).await;
    assert_eq!(answer.refusal(), (502, "upstream_lost".into()));
    assert_eq!(hive.seen(CHAT).len(), 3);
}

#[tokio::test]
async fn half_an_answer_is_cut_off_with_an_error() {
    for end in [
        "",
        "event: end\ndata: {\"state\":\"cancelled\"}\n\n",
        "event: end\ndata: {\"state\":\"failed\"}\n\n",
    ] {
        let (world, hive) = World::one().await;
        hive.on(CHAT, Reply::stream(&format!("data: {{\"n\":1}}\n\n{end}")));
        let answer = world.post(PATH, &[], STREAM).await;
        assert!(answer.cut && answer.body.contains("data: {\"error\":"), "{end}: {answer:?}");
        assert!(!answer.body.contains("[DONE]"));
        assert_eq!(hive.seen(CHAT).len(), 1);
    }
}

/// Every end of a stream, cut at every byte: a client takes an answer for whole only if it is.
#[tokio::test]
async fn an_answer_is_whole_only_if_its_end_has_come() {
    let ends = [
        ("data: [DONE]\n\n", true),
        ("event: end\ndata: {\"state\":\"completed\"}\n\n", true),
        ("event: end\ndata: {\"state\":\"cancelled\"}\n\n", false),
        ("event: end\ndata: {\"state\":\"failed\"}\n\n", false),
        ("event: end\ndata: {\"state\":\"running\"}\n\n", false),
        (
            "event: error\ndata: {\"error\":{\"message\":\"m\",\"type\":\"t\",\"code\":\"c\"}}\n\n",
            false,
        ),
    ];
    let (world, hive) = World::one().await;
    for (end, is_whole) in ends {
        let all = format!("data: {{\"n\":1}}\n\n{end}");
        let first = all.len() - end.len();
        for cut in first..=all.len() {
            // The blank line ends an event; its second line feed is what makes it one.
            let whole = is_whole && cut == all.len();
            hive.only("POST /v1/completions", Reply::stream(&all[..cut]));
            let answer = world.post("/v1/completions", &[], r#"{"stream":true}"#).await;
            assert_eq!(!answer.cut, whole, "{:?}: {answer:?}", &all[..cut]);
        }
    }
}

#[tokio::test]
async fn a_model_goes_to_the_hive_that_has_it() {
    let world = World::of(&["a", "b"]).await;
    let workers = r#"{"workers":[{"id":"w","model":"m","kind":"llama_cpp","device":"cpu","state":"ready","active_requests":9,"memory_bytes":null,"detail":null,"health":null}]}"#;
    for (alias, workers) in [("a", r#"{"workers":[]}"#), ("b", workers)] {
        let hive = &world.hives[alias];
        hive.on("GET /v1/workers", Reply::json(200, workers)).on(CHAT, Reply::stream(CHUNKS));
        hive.on("GET /health", Reply::json(503, "{}"));
        world.job(&format!(r#"{{"operation":"hive_start","alias":"{alias}"}}"#)).await;
    }
    world.post(PATH, &[], STREAM).await;
    assert_eq!((world.hives["a"].seen(CHAT).len(), world.hives["b"].seen(CHAT).len()), (0, 1));
    world.post(PATH, &[], r#"{"model":"other","stream":true}"#).await;
    assert_eq!(world.hives["a"].seen(CHAT).len(), 1, "the less busy one");
}

const NO_ROOM: &str = r#"{"error":{"message":"it needs 9 MiB","type":"server_error","param":null,"code":"insufficient_memory","status":503}}"#;

#[tokio::test]
async fn a_model_that_one_hive_has_no_memory_for_is_answered_by_another() {
    let world = World::of(&["a", "b"]).await;
    world.hives["a"].on(CHAT, Reply::json(503, NO_ROOM));
    world.hives["b"].on(CHAT, Reply::stream(CHUNKS));
    for body in [STREAM, r#"{"model":"m"}"#] {
        assert_eq!(world.post(PATH, &[], body).await.status, StatusCode::OK);
    }
    assert_eq!(world.post(PATH, &[], STREAM).await.body, CHUNKS);
    for alias in ["a", "b"] {
        assert_eq!(world.hives[alias].seen(CHAT).len(), 3, "{alias}");
    }
}

#[tokio::test]
async fn a_model_that_no_hive_can_serve_is_refused_once_with_what_each_says() {
    let world = World::of(&["a", "b", "c"]).await;
    let absent = NO_ROOM.replace("insufficient_memory", "model_not_found").replace("9 MiB", "it");
    world.hives["a"].on(CHAT, Reply::json(503, NO_ROOM));
    world.hives["b"].on(CHAT, Reply::json(503, NO_ROOM));
    world.hives["c"].on(CHAT, Reply::json(404, &absent));
    let answer = world.post(PATH, &[], STREAM).await;
    assert_eq!(answer.refusal(), (503, "insufficient_memory".into()));
    let said = "`a`: it needs 9 MiB; `b`: it needs 9 MiB; `c`: it needs it";
    assert!(answer.body.contains(said), "{answer:?}");
    for hive in world.hives.values() {
        assert_eq!(hive.seen(CHAT).len(), 1);
    }

    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::json(503, NO_ROOM));
    let answer = world.post(PATH, &[], STREAM).await;
    assert_eq!(answer.refusal(), (503, "insufficient_memory".into()));
    assert!(answer.body.contains("\"it needs 9 MiB\""), "{answer:?}");
    assert_eq!(hive.seen(CHAT).len(), 1);
}
