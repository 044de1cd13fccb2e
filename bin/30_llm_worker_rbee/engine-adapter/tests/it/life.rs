use std::time::Duration;

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
    let ended = tokio::spawn(worker.end());
    // It has been told, since it accepts nothing any more.
    let refused = async {
        while tokio::net::UnixStream::connect(world.path("w")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, refused).await.expect("the worker accepts nothing more");
    assert_eq!(world.engine().await["hangs"], false);
    world.unmark("hold");
    let text = read_until(&mut response, "event: end").await;
    assert!(text.contains("[DONE]"), "{text}");
    drop(response);
    let (status, log) = ended.await.unwrap();
    assert!(status.success(), "{log}");
    world.nothing_left(&said).await;
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
    let ended = tokio::spawn(old.end());
    world.unmark("hold");
    assert!(read(stream).await.contains("[DONE]"));
    let (status, log) = ended.await.unwrap();
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
