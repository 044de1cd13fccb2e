//! Workers that compute one model together, each with its own part of the engine.

use std::{fs, net::TcpListener};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::support::{DEADLINE, POLL, Worker, World, is_alive, read, read_until, signal};

/// A port at which parts may meet.
fn meet() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("127.0.0.1:{port}")
}

fn head(world: &World, meet: &str) -> Worker {
    world.start("head", &["--rank", "0", "--parts", "2", "--meet", meet, "--address", "127.0.0.1"])
}

fn rank(world: &World, meet: &str) -> Worker {
    let engine = world.path("rank").display().to_string();
    let place = ["--rank", "1", "--parts", "2", "--meet", meet, "--address", "127.0.0.1"];
    world.start("r", &[&place[..], &["--interface", "lo", "--engine", &engine]].concat())
}

/// What the second part's engine says of itself.
async fn rank_says(world: &World) -> Value {
    let path = world.path("model/marks/rank-1");
    let written = async {
        loop {
            match fs::read(&path).map(|text| serde_json::from_slice(&text)) {
                Ok(Ok(said)) => break said,
                _ => sleep(POLL).await,
            }
        }
    };
    timeout(DEADLINE, written).await.expect("the rank starts")
}

/// Both of them, ready.
async fn both(world: &World) -> (Worker, Worker) {
    let meet = meet();
    let (mut head, mut rank) = (head(world, &meet), rank(world, &meet));
    rank.wait_ready().await;
    head.wait_ready().await;
    (head, rank)
}

#[tokio::test]
async fn the_head_is_ready_when_the_others_are_there_and_answers_for_all() {
    let world = World::new();
    let meet = meet();
    let mut head = head(&world, &meet);
    // It listens, and answers nothing yet.
    world.listens().await;
    assert!(head.request(Method::GET, "/health").send().await.is_err());
    let mut rank = rank(&world, &meet);
    rank.wait_ready().await;
    head.wait_ready().await;
    assert!(read(head.stream("count 2").await).await.contains("w1 "));

    let said = rank_says(&world).await;
    assert_eq!(said["environment"]["VLLM_HOST_IP"], "127.0.0.1");
    assert_eq!(said["environment"]["GLOO_SOCKET_IFNAME"], "lo");
    let models: Value =
        rank.request(Method::GET, "/v1/models").send().await.unwrap().json().await.unwrap();
    let expected =
        json!({"rank": 1, "parts": 2, "meet": meet, "address": "127.0.0.1", "interface": "lo"});
    assert_eq!(models["data"][0]["meta"]["part"], expected);
    let refused = rank.complete("count 1").await;
    assert_eq!(refused.status(), 503);
    assert!(read(refused).await.contains("part 1 of the 2 that compute `m` together"));
}

#[tokio::test]
async fn a_part_without_its_processes_ends_while_the_head_is_well() {
    for lost in ["pid", "child"] {
        let world = World::new();
        let (head, rank) = both(&world).await;
        let said = rank_says(&world).await;
        let lost = if lost == "pid" { &said["pid"] } else { &said["children"]["VLLM::Worker"] };
        signal(lost.as_u64().unwrap(), "KILL");
        let (status, log) = rank.end().await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("vLLM"), "{log}");
        for pid in World::pids(&said) {
            assert!(!is_alive(pid), "{pid} is left");
        }
        assert_eq!(head.request(Method::GET, "/health").send().await.unwrap().status(), 200);
        let said = world.engine().await;
        head.stop().await;
        world.nothing_left(&said).await;
    }
}

#[tokio::test]
async fn what_is_given_up_ends_its_streams_with_the_reason() {
    let world = World::new();
    let (head, rank) = both(&world).await;
    let (said, of_rank) = (world.engine().await, rank_says(&world).await);
    let mut response = head.stream("silent 2").await;
    read_until(&mut response, "w1 ").await;
    for worker in [&head, &rank] {
        let given_up = worker.request(Method::DELETE, "/v1/engine");
        let given_up = given_up.json(&json!({"why": "part 1 on `b` has ended"})).send().await;
        assert_eq!(given_up.unwrap().status(), 202);
    }
    let rest = read(response).await;
    assert!(rest.contains("event: error") && rest.contains("part 1 on `b` has ended"), "{rest}");
    for worker in [head, rank] {
        let (status, log) = worker.end().await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("part 1 on `b` has ended"), "{log}");
    }
    world.nothing_left(&said).await;
    for pid in World::pids(&of_rank) {
        assert!(!is_alive(pid), "{pid} is left");
    }
}

#[tokio::test]
async fn a_worker_from_another_binary_goes_on_with_its_part() {
    let world = World::new();
    let meet = meet();
    let mut first = head(&world, &meet);
    let mut rank = rank(&world, &meet);
    rank.wait_ready().await;
    first.wait_ready().await;
    let before = world.engine().await;
    let place = ["--rank", "0", "--parts", "2", "--meet", &meet, "--address", "127.0.0.1"];
    let second = world.ready("head2", &place).await;
    first.stop().await;
    assert!(read(second.stream("count 2").await).await.contains("w1 "));
    assert_eq!(world.engine().await["pid"], before["pid"]);
}
