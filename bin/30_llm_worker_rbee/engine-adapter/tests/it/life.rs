use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::time::timeout;

use crate::support::{DEADLINE, World, is_alive, read, read_until, signal};

#[tokio::test]
async fn a_worker_is_ready_when_its_engine_answers_and_not_when_it_listens() {
    let world = World::new();
    world.mark("gate");
    let mut worker = world.start("w", &[]);
    let bound = async {
        while !world.path("e/s.sock").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, bound).await.expect("the engine listens");
    let said = world.engine().await;
    assert!(!world.path("w").exists(), "the worker listens before its engine answers");
    world.unmark("gate");
    worker.wait_ready().await;
    worker.stop().await;
    world.nothing_left(&said).await;
}

#[tokio::test]
async fn an_engine_gets_vllm_s_arguments_a_temporary_folder_and_no_secret() {
    let world = World::new();
    let worker =
        world.ready("w", &["--context", "2048", "--kv-cache", "1", "--", "--enforce-eager"]).await;
    let said = world.engine().await;
    let arguments: Vec<&str> =
        said["argv"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for wanted in
        ["--max-num-seqs 4", "--max-model-len 2048", "--served-model-name m", "--enforce-eager"]
    {
        assert!(arguments.join(" ").contains(wanted), "{arguments:?}");
    }
    let environment = said["environment"].as_object().unwrap();
    assert_eq!(environment["VLLM_SOMETHING"], "1");
    assert_eq!(environment["VLLM_CPU_KVCACHE_SPACE"], "1");
    assert_eq!(environment["TMPDIR"], world.path("e/tmp").display().to_string());
    assert!(world.path("e/tmp/vllm_dist_stand_in").exists());
    for secret in ["SOME_TOKEN", "RBEE_HOME"] {
        assert!(!environment.contains_key(secret), "{secret}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_end_finishes_its_streams_before_its_engine_hears_of_it() {
    let world = World::new();
    let worker = world.ready("w", &[]).await;
    let said = world.engine().await;
    world.mark("hold");
    let mut response = worker.stream("count 5").await;
    world.engine_until(|said| said["running"] == 1).await;
    signal(worker.pid(), "TERM");
    accepts_nothing(&world).await;
    assert_eq!(world.engine().await["hangs"], false);
    world.unmark("hold");
    let text = read_until(&mut response, "event: end").await;
    assert!(text.contains("[DONE]"), "{text}");
    drop(response);
    worker.has_been_read().await;
    let (status, log) = worker.end().await;
    assert!(status.success(), "{log}");
    world.nothing_left(&said).await;
}

#[tokio::test]
async fn what_a_reader_has_lost_of_a_worker_that_is_told_to_end_is_read_on_at_that_worker() {
    // The connection breaks while the engine computes; or later, with a part of the answer in it.
    for computes in [true, false] {
        let world = World::new();
        let mut worker = world.start("w", &[]);
        worker.wait_ready().await;
        world.mark("hold");
        let mut response = worker.stream("held 400").await;
        let job = response.headers()["x-rbee-job"].to_str().unwrap().to_owned();
        world.mark("held");
        world.unmark("hold");
        let begun = read_until(&mut response, "w1 ").await;
        if !computes {
            world.unmark("held");
            world.engine_until(|said| said["running"] == 0).await;
        }
        signal(worker.pid(), "TERM");
        accepts_nothing(&world).await;
        drop(response);
        if computes {
            world.unmark("held");
            world.engine_until(|said| said["running"] == 0).await;
        }
        let begun = &begun[..begun.rfind("\n\n").unwrap() + 2];
        let last = begun.rsplit("id: ").next().unwrap().split('\n').next().unwrap();
        let path = format!("/v1/jobs/{job}/stream");
        let rest = worker.request_of_its_own(Method::GET, &path).header("last-event-id", last);
        let whole = format!("{begun}{}", read(rest.send().await.unwrap()).await);
        let words = whole
            .lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok());
        let words: String = words
            .map(|chunk: Value| {
                chunk["choices"][0]["delta"]["content"].as_str().unwrap_or("").to_owned()
            })
            .collect();
        assert_eq!(words, (0..400).map(|n| format!("w{n} ")).collect::<String>(), "{computes}");
        assert!(whole.ends_with("event: end\ndata: {\"state\":\"completed\"}\n\n"), "{whole}");
        // Until whoever reads has said so, it could be asked again.
        let again = worker.request_of_its_own(Method::GET, &format!("/v1/jobs/{job}"));
        assert!(again.send().await.unwrap().status().is_success());
        worker.has_been_read().await;
        let (status, log) = worker.end().await;
        assert!(status.success(), "{log}");
    }
}

/// Waits until the worker has been told to end: it accepts nothing on its socket any more.
async fn accepts_nothing(world: &World) {
    let refused = async {
        while tokio::net::UnixStream::connect(world.path("w")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, refused).await.expect("the worker accepts nothing more");
}

#[tokio::test]
async fn a_worker_with_other_settings_goes_on_with_the_engine() {
    let world = World::new();
    let old = world.ready("old", &[]).await;
    let said = world.engine().await;
    let settings = world.path("settings.json");
    let text = r#"{"system":"Be brief.","members":{"temperature":0.2,"repetition_penalty":1.1}}"#;
    std::fs::write(&settings, text).unwrap();
    let new = world.ready("new", &["--settings", settings.to_str().unwrap()]).await;
    for (worker, system, temperature) in [(&old, false, false), (&new, true, true)] {
        assert!(worker.complete("count 2").await.status().is_success());
        let last = world.engine().await["last"].clone();
        assert_eq!(last["messages"][0]["role"] == "system", system, "{last}");
        assert_eq!(last["temperature"] == 0.2, temperature, "{last}");
    }
    assert_eq!(world.engine().await["children"], said["children"], "the engine was started anew");
    old.stop().await;
    new.stop().await;
    world.nothing_left(&said).await;
}

#[tokio::test]
async fn a_new_worker_takes_the_engine_over_and_the_old_one_leaves_it_running() {
    let world = World::new();
    let old = world.ready("old", &[]).await;
    let said = world.engine().await;
    world.mark("hold");
    let stream = old.stream("count 5").await;
    world.engine_until(|said| said["running"] == 1).await;

    // A start with a gate would wait, if it were one.
    world.mark("gate");
    let new = world.ready("new", &[]).await;
    signal(old.pid(), "TERM");
    world.unmark("hold");
    assert!(read(stream).await.contains("[DONE]"));
    old.has_been_read().await;
    let (status, log) = old.end().await;
    assert!(status.success(), "{log}");

    assert!(read(new.stream("count 2").await).await.contains("[DONE]"));
    assert_eq!(world.engine().await["children"], said["children"], "the engine was started anew");
    new.stop().await;
    world.nothing_left(&said).await;
    for file in ["e.lock", "e.owners"] {
        assert!(!world.path(file).exists(), "{file}");
    }
}

#[tokio::test]
async fn a_worker_that_is_killed_leaves_its_engine_to_the_next_one() {
    let world = World::new();
    let old = world.ready("w", &["--orphan", "60"]).await;
    let said = world.engine().await;
    signal(old.pid(), "KILL");
    old.end().await;
    let new = world.ready("w", &[]).await;
    assert_eq!(world.engine().await["children"], said["children"], "the engine was started anew");
    assert!(read(new.stream("count 2").await).await.contains("[DONE]"));
    new.stop().await;
    world.nothing_left(&said).await;
}

#[tokio::test]
async fn an_engine_that_nobody_owns_any_more_ends_with_all_that_it_has() {
    let world = World::new();
    let worker = world.ready("w", &[]).await;
    let said = world.engine().await;
    signal(worker.pid(), "KILL");
    worker.end().await;
    assert!(World::pids(&said).iter().all(|&pid| is_alive(pid)), "an owner may still come");
    world.nothing_runs(&said).await;

    // Which files its owners met by, the next worker with any engine removes.
    let engine = world.path("f").display().to_string();
    let other = world.ready("other", &["--engine", &engine]).await;
    world.nothing_left(&said).await;
    assert!(world.path("f.lock").exists() && world.path("f.owners").exists());
    other.stop().await;
}

#[tokio::test]
async fn another_engine_folder_is_another_engine() {
    let world = World::new();
    let one = world.ready("one", &[]).await;
    let said = world.engine().await;
    let engine = world.path("f").display().to_string();
    let other = world.ready("other", &["--engine", &engine]).await;
    other.stop().await;
    assert_eq!(world.engine().await["children"], said["children"]);
    one.stop().await;
    world.nothing_left(&said).await;
}
