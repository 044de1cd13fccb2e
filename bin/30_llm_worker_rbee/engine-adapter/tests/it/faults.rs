use serde_json::Value;

use crate::support::{World, read, read_until, signal};

#[tokio::test]
async fn an_engine_that_ends_as_it_loads_ends_its_worker_with_its_last_words() {
    let world = World::new();
    world.mark("broken");
    let (status, log) = world.start("w", &[]).end().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("vLLM ended as it loaded. It wrote last"), "{log}");
    assert!(log.contains("ValueError: the model is broken"), "{log}");
    for file in ["e", "e.lock", "e.owners"] {
        assert!(!world.path(file).exists(), "{file}");
    }
}

#[tokio::test]
async fn an_engine_that_is_not_there_ends_its_worker_with_the_reason() {
    let world = World::new();
    let (status, log) = world.start("w", &["--vllm", "/no/vllm"]).end().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("/no/vllm"), "{log}");
    for file in ["e", "e.lock", "e.owners"] {
        assert!(!world.path(file).exists(), "{file}");
    }
}

/// Nobody has looked yet whose shared memory is whose.
#[tokio::test]
async fn an_engine_that_is_killed_as_it_loads_leaves_nothing() {
    let world = World::new();
    world.mark("gate");
    let worker = world.start("w", &[]);
    world.listens().await;
    let said = world.engine().await;
    signal(said["pid"].as_u64().unwrap(), "KILL");
    let (status, log) = worker.end().await;
    assert_eq!(status.code(), Some(1), "{log}");
    world.nothing_left(&said).await;
}

#[tokio::test]
async fn an_engine_that_is_never_ready_is_given_up() {
    let world = World::new();
    world.mark("gate");
    let (status, log) = world.start("w", &["--load-timeout", "1"]).end().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("vLLM did not answer `/health` within 1 s"), "{log}");
    assert!(!world.path("e").exists());
}

/// What kills an engine's server leaves its other processes computing.
#[tokio::test]
async fn a_killed_server_ends_its_streams_with_an_error_and_leaves_nothing() {
    let world = World::new();
    let worker = world.ready("w", &[]).await;
    let said = world.engine().await;
    let mut response = worker.stream("silent 2").await;
    let seen = read_until(&mut response, "w1 ").await;
    assert!(!seen.contains("event: end"), "{seen}");
    let whole = tokio::spawn(async move { read(response).await });
    let dying = worker.stream("die 1").await;
    let rest = read(dying).await;
    assert!(rest.contains("event: error"), "{rest}");
    let rest = whole.await.unwrap();
    assert!(rest.contains("event: error"), "{rest}");
    let (status, log) = worker.end().await;
    assert_eq!(status.code(), Some(1), "{log}");
    world.nothing_left(&said).await;
}

#[tokio::test]
async fn an_engine_that_answers_that_it_is_well_without_one_of_its_processes_is_ended() {
    for lost in ["VLLM::Worker", "VLLM::EngineCore"] {
        let world = World::new();
        let worker = world.ready("w", &[]).await;
        let said = world.engine().await;
        let mut response = worker.stream("silent 1").await;
        read_until(&mut response, "w0 ").await;
        signal(said["children"][lost].as_u64().unwrap(), "KILL");
        let rest = read(response).await;
        assert!(rest.contains("event: error") && rest.contains(lost), "{rest}");
        assert!(rest.ends_with("event: end\ndata: {\"state\":\"failed\"}\n\n"), "{rest}");
        let (status, log) = worker.end().await;
        assert_eq!(status.code(), Some(1), "{log}");
        world.nothing_left(&said).await;
    }
}

/// The worker that would notice it does nothing any more.
#[tokio::test]
async fn an_engine_that_has_lost_a_process_is_not_gone_on_with() {
    let world = World::new();
    let worker = world.ready("w", &[]).await;
    let said = world.engine().await;
    signal(worker.pid(), "STOP");
    signal(said["children"]["VLLM::Worker"].as_u64().unwrap(), "KILL");
    let next = world.ready("x", &[]).await;
    let now = world.engine().await;
    assert_ne!(now["pid"], said["pid"]);
    assert!(read(next.stream("count 2").await).await.contains("[DONE]"));
    signal(worker.pid(), "CONT");
    let (status, log) = worker.end().await;
    assert_eq!(status.code(), Some(1), "{log}");
    next.stop().await;
    world.nothing_left(&now).await;
}

#[tokio::test]
async fn an_engine_that_gives_no_token_for_too_long_is_ended_and_one_that_only_waits_is_not() {
    let world = World::new();
    let worker = world.ready("w", &["--silence", "2"]).await;
    let said = world.engine().await;
    let waits = worker.stream("silent 1").await;
    // As long as another one gets tokens, the first one may have to wait for its turn.
    for _ in 0..8 {
        assert!(read(worker.stream("count 2").await).await.contains("[DONE]"));
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    }
    let rest = read(waits).await;
    assert!(rest.contains("vLLM has given no token for 2 s"), "{rest}");
    let (status, log) = worker.end().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(said["requests"] == 0, "{said}");
    world.nothing_left(&said).await;
}

#[tokio::test]
async fn a_worker_and_its_guard_that_are_killed_at_once_leave_nothing_to_the_next_engine() {
    let world = World::new();
    let worker = world.ready("w", &[]).await;
    let said = world.engine().await;
    let record = std::fs::read(world.path("e/engine.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    signal(worker.pid(), "STOP");
    signal(record["program"]["pid"].as_u64().unwrap(), "KILL");
    signal(worker.pid(), "KILL");
    worker.end().await;
    let next = world.ready("w", &[]).await;
    let now = world.engine().await;
    assert_ne!(now["children"], said["children"]);
    let left: Vec<_> =
        World::pids(&said).into_iter().filter(|&pid| crate::support::is_alive(pid)).collect();
    assert!(left.is_empty(), "{left:?}");
    next.stop().await;
    world.nothing_left(&now).await;
}

#[tokio::test]
async fn what_a_lost_engine_has_not_begun_to_answer_is_left_to_the_next_worker() {
    let world = World::new();
    let worker = world.ready("w", &[]).await;
    let said = world.engine().await;
    world.mark("hold");
    let body = |stream: bool| serde_json::json!({"prompt": "count 3", "stream": stream});
    let ask = |stream: bool| {
        let request = worker.request(reqwest::Method::POST, "/v1/completions");
        tokio::spawn(request.json(&body(stream)).send())
    };
    let under_way = [ask(true), ask(false)];
    world.engine_until(|said| said["running"] == 2).await;
    let server = said["pid"].as_u64().unwrap();
    signal(server, "KILL");
    let late = [ask(true), ask(false)];
    for asked in under_way.into_iter().chain(late) {
        let answered = asked.await.unwrap();
        let text = match answered {
            Ok(response) => read(response).await,
            Err(_) => String::new(),
        };
        assert_eq!(text, "", "an error would be final");
    }
    worker.end().await;
    world.nothing_left(&said).await;
}

#[tokio::test]
async fn an_engine_whose_processes_are_all_killed_at_once_leaves_no_shared_memory() {
    let world = World::new();
    let worker = world.ready("w", &[]).await;
    let said = world.engine().await;
    let mut all = World::pids(&said);
    all.extend(["pid", "tracker"].map(|name| said[name].as_u64().unwrap()));
    let all: Vec<String> = all.iter().map(u64::to_string).collect();
    let killed = std::process::Command::new("kill").args(["-s", "KILL"]).args(&all).status();
    assert!(killed.unwrap().success());
    let (status, log) = worker.end().await;
    assert_eq!(status.code(), Some(1), "{log}");
    world.nothing_left(&said).await;
}
