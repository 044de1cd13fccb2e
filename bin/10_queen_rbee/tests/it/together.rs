//! Hives that compute a model together.

use std::time::Duration;

use rbee_api::{Part, Worker, WorkerKind, WorkerList, WorkerState};
use serde_json::{Value, json};

use crate::world::{CHUNKS, Hive, Reply, World};

const CONFIG: &str = r#"
    [worker.vllm]
    tensor_parallel = 2
    [worker.vllm.nodes.a]
    address = "10.0.0.1"
    interface = "eth1"
    [worker.vllm.nodes.b]
    address = "10.0.0.2"
    [model.big]
    source = "/models/big"
    hives = ["b", "a"]
    aliases = ["BIG-1"]
    [model.own]
    source = "/models/own"
    hives = ["c"]
"#;

const ROUND: Duration = Duration::from_millis(20);
const CHAT: &str = "POST /v1/chat/completions";
const WORKERS: &str = "GET /v1/workers";
const LOAD: &str = "POST /v1/models/load";
const UNLOAD: &str = "POST /v1/models/unload";
const REQUEST: &str = r#"{"model":"big","stream":true}"#;

/// The head `b` and the other one `a`, both of which load what they are told.
async fn world() -> (World, Hive, Hive) {
    let world = World::configured(&["a", "b", "c"], CONFIG).await;
    let (head, other) = (world.hives["b"].clone(), world.hives["a"].clone());
    for hive in [&head, &other] {
        let loaded = "event: end\ndata: {\"state\":\"completed\"}\n\n";
        hive.on(LOAD, Reply::stream(loaded));
        hive.on(UNLOAD, Reply::json(200, r#"{"name":"big","was_loaded":true}"#));
    }
    head.on(CHAT, Reply::stream(CHUNKS));
    (world, head, other)
}

fn part(rank: u32) -> Part {
    let (meet, interface) =
        (([10, 0, 0, 2], 20_001).into(), (rank == 1).then(|| "eth1".to_owned()));
    let address = [10, 0, 0, if rank == 0 { 2 } else { 1 }].into();
    Part { rank, parts: 2, meet, address, interface }
}

fn list(part: Option<Part>, outdated: bool) -> Reply {
    let worker = |part| Worker {
        id: "w".to_owned(),
        model: "big".to_owned(),
        kind: WorkerKind::VLlm,
        device: "cpu".to_owned(),
        state: WorkerState::Ready,
        active_requests: 0,
        memory_bytes: None,
        unloads_in_s: None,
        detail: None,
        health: None,
        part: Some(part),
        outdated,
    };
    told(&WorkerList { workers: part.into_iter().map(worker).collect(), ..WorkerList::default() })
}

/// A worker that is alive and of which the hive does not know more.
fn silent() -> Reply {
    told(&WorkerList { silent: vec!["big".to_owned()], ..WorkerList::default() })
}

fn told(list: &WorkerList) -> Reply {
    Reply::json(200, &serde_json::to_string(list).unwrap())
}

fn bodies(hive: &Hive, line: &str) -> Vec<Value> {
    hive.seen(line).iter().map(|seen| serde_json::from_str(&seen.body).unwrap()).collect()
}

/// How often it was told to start its part.
fn starts(hive: &Hive) -> usize {
    bodies(hive, LOAD).iter().filter(|body| !body["part"].is_null()).count()
}

/// The queen looks after her hives until this one has seen so many requests.
async fn keeps_until(world: &World, hive: &Hive, line: &str, times: usize) {
    tokio::select! {
        never = world.keep_hives(ROUND) => never,
        () = hive.has_seen(line, times) => {}
    }
}

#[tokio::test]
async fn a_model_is_started_on_all_of_its_hives_and_asked_of_the_first() {
    let (world, head, other) = world().await;
    for (hive, rank) in [(&head, 0), (&other, 1)] {
        // It is looked once more when it is this request's turn.
        hive.on(WORKERS, list(None, false)).on(WORKERS, list(None, false));
        hive.on(WORKERS, list(Some(part(rank)), false));
    }
    assert_eq!(world.post("/v1/chat/completions", &[], REQUEST).await.body, CHUNKS);
    let (of_head, of_other) = (bodies(&head, LOAD), bodies(&other, LOAD));
    let meet = of_head[0]["part"]["meet"].as_str().unwrap();
    let port = meet.strip_prefix("10.0.0.2:").unwrap().parse::<u16>().unwrap();
    assert!((20_000..32_000).contains(&port), "{meet}");
    let wanted =
        |rank, address| json!({"rank": rank, "parts": 2, "meet": meet, "address": address});
    assert_eq!(of_head, [json!({"model": "big", "part": wanted(0, "10.0.0.2")})]);
    let mut wanted = wanted(1, "10.0.0.1");
    wanted["interface"] = json!("eth1");
    assert_eq!(of_other, [json!({"model": "big", "part": wanted})]);
    assert!(other.seen(CHAT).is_empty());

    // They are there, by whichever of its names the model is asked for.
    let by_alias = r#"{"model":"big-1","stream":true}"#;
    assert_eq!(world.post("/v1/chat/completions", &[], by_alias).await.body, CHUNKS);
    assert_eq!((starts(&head), starts(&other)), (1, 1));
    assert_eq!(world.hives["c"].starts(), 0);
}

#[tokio::test]
async fn a_fresh_answer_is_one_of_fresh_workers_also_where_they_serve_nobody() {
    let (world, head, other) = world().await;
    head.on(WORKERS, list(Some(part(0)), false));
    other.on(WORKERS, list(Some(part(1)), false));
    let answer = world.post("/v1/chat/completions", &[("x-rbee-fresh", "1")], REQUEST).await;
    assert_eq!(answer.body, CHUNKS);
    let seen = other.seen(LOAD).remove(0);
    assert_eq!(
        (seen.body.as_str(), &seen.headers["x-rbee-fresh"]),
        (r#"{"model":"big"}"#, &"1".parse().unwrap())
    );
    // Nobody waits for it here, but it is looked at.
    world.post("/v1/chat/completions", &[], REQUEST).await;
    other.has_seen(LOAD, 2).await;
    assert_eq!(other.seen(LOAD)[1].headers["x-rbee-fresh"], "0");
    assert_eq!((starts(&head), starts(&other)), (0, 0));
}

#[tokio::test]
async fn a_model_of_one_hive_is_asked_of_that_one() {
    let (world, _, _) = world().await;
    world.hives["c"].on(CHAT, Reply::stream(CHUNKS));
    let request = r#"{"model":"own","stream":true}"#;
    assert_eq!(world.post("/v1/chat/completions", &[], request).await.body, CHUNKS);
    assert_eq!(world.hives["a"].starts(), 0);
}

#[tokio::test]
async fn one_that_cannot_be_started_ends_the_others_and_is_not_tried_again_at_once() {
    let (world, head, other) = world().await;
    head.on(WORKERS, list(None, false));
    other.on(WORKERS, list(None, false));
    let error = json!({"error": {"message": "no room", "type": "server_error", "param": null, "code": "insufficient_memory", "status": 503}});
    other.only(LOAD, Reply::json(503, &error.to_string()));
    for _ in 0..2 {
        let answer = world.post("/v1/chat/completions", &[], REQUEST).await;
        assert!(answer.body.contains("on `a`: no room"), "{answer:?}");
    }
    assert_eq!(starts(&other), 1);
    for hive in [&head, &other] {
        let last = bodies(hive, UNLOAD).pop().unwrap();
        assert_eq!(last, json!({"model": "big", "lost": "on `a`: no room"}));
    }
    // A person need not wait.
    world.post("/v1/chat/completions", &[("x-rbee-fresh", "1")], REQUEST).await;
    assert_eq!(starts(&other), 2);
    assert!(head.seen(CHAT).is_empty());
}

#[tokio::test]
async fn a_part_that_has_ended_ends_the_others_which_wait_for_it() {
    let (world, head, other) = world().await;
    head.runs().on(WORKERS, list(Some(part(0)), false));
    other.runs().on(WORKERS, list(None, false));
    keeps_until(&world, &head, UNLOAD, 1).await;
    let why = "part 1 of `big` on `a` has ended";
    assert_eq!(bodies(&head, UNLOAD)[0], json!({"model": "big", "lost": why}));
}

#[tokio::test]
async fn a_part_that_is_alive_and_does_not_answer_has_time_to_be_known_again() {
    let (world, head, other) = world().await;
    head.runs().on(WORKERS, list(Some(part(0)), false));
    other.runs();
    for _ in 0..5 {
        other.on(WORKERS, silent());
    }
    other.on(WORKERS, list(Some(part(1)), false)).on(WORKERS, silent());
    keeps_until(&world, &other, WORKERS, 11).await;
    assert!(head.seen(UNLOAD).is_empty());
    keeps_until(&world, &head, UNLOAD, 1).await;
    let why = "part 1 of `big` on `a` does not answer";
    assert_eq!(bodies(&head, UNLOAD)[0], json!({"model": "big", "lost": why}));
}

#[tokio::test]
async fn a_request_waits_for_a_part_that_is_being_started_or_replaced() {
    let (world, head, other) = world().await;
    head.on(WORKERS, list(Some(part(0)), false));
    other.on(WORKERS, silent()).on(WORKERS, silent()).on(WORKERS, list(Some(part(1)), false));
    assert_eq!(world.post("/v1/chat/completions", &[], REQUEST).await.body, CHUNKS);
    assert_eq!((starts(&head), starts(&other)), (0, 0));
    assert!(head.seen(UNLOAD).is_empty() && other.seen(UNLOAD).is_empty());
}

#[tokio::test]
async fn a_hive_that_does_not_answer_ends_nothing_and_one_that_is_gone_does() {
    let (world, head, other) = world().await;
    head.runs().on(WORKERS, list(Some(part(0)), false));
    other.runs().on(WORKERS, Reply::json(500, "<html>"));
    keeps_until(&world, &head, WORKERS, 8).await;
    assert!(head.seen(UNLOAD).is_empty());
    other.is_stopped();
    keeps_until(&world, &head, UNLOAD, 1).await;
}

#[tokio::test]
async fn what_nobody_is_to_compute_any_more_is_ended() {
    let (world, _, _) = world().await;
    let hive = &world.hives["c"];
    hive.runs().on(WORKERS, list(Some(part(1)), false));
    hive.on(UNLOAD, Reply::json(200, r#"{"name":"big","was_loaded":true}"#));
    keeps_until(&world, hive, UNLOAD, 1).await;
    let why = "`c` is to compute `big` no more";
    assert_eq!(bodies(hive, UNLOAD)[0], json!({"model": "big", "lost": why}));
}

#[tokio::test]
async fn one_that_would_be_started_otherwise_finishes_first_what_it_has() {
    let (world, head, other) = world().await;
    head.on(WORKERS, list(Some(part(0)), true));
    other.on(WORKERS, list(Some(part(1)), false));
    assert_eq!(world.post("/v1/chat/completions", &[], REQUEST).await.body, CHUNKS);
    assert_eq!(bodies(&head, UNLOAD)[0], json!({"model": "big"}), "its requests end first");
    let anew = json!({"model": "big", "lost": "`big` is started anew"});
    assert_eq!(bodies(&other, UNLOAD), [anew]);
    assert_eq!((starts(&head), starts(&other)), (1, 1));
}

#[tokio::test]
async fn it_is_loaded_and_unloaded_on_all_of_them() {
    let (world, head, other) = world().await;
    for (hive, rank) in [(&head, 0), (&other, 1)] {
        hive.on(WORKERS, list(None, false)).on(WORKERS, list(None, false));
        hive.on(WORKERS, list(Some(part(rank)), false));
    }
    let answer = world.job(r#"{"operation":"model_load","hive":null,"model":"big"}"#).await;
    assert!(answer.body.contains("\"state\":\"completed\""), "{answer:?}");
    assert_eq!(starts(&other), 1);
    // The last is the one that says how long it stays.
    assert_eq!(bodies(&head, LOAD)[1], json!({"model": "big"}));

    let before = (head.seen(UNLOAD).len(), other.seen(UNLOAD).len());
    let unloaded = world.manage("POST", "/v1/models/unload", r#"{"model":"big"}"#).await;
    assert_eq!(unloaded.json(), json!({"name": "big", "was_loaded": true}));
    assert_eq!(bodies(&head, UNLOAD)[before.0..], [json!({"model": "big"})]);
    let lost = json!({"model": "big", "lost": "`big` is unloaded"});
    assert_eq!(bodies(&other, UNLOAD)[before.1..], [lost]);
}
