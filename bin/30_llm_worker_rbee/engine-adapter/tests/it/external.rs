use serde_json::Value;
use tokio::process::Command;

use crate::support::{World, read, spawn};

fn worker(world: &World, flags: &[&str], command: &[&str]) -> crate::support::Worker {
    let path = |name: &str| world.path(name).display().to_string();
    let mut worker = Command::new(env!("CARGO_BIN_EXE_external-worker"));
    worker.args([
        "--name",
        "m",
        "--title",
        "my-server",
        "--socket",
        &path("w"),
        "--engine",
        &path("e"),
    ]);
    worker.args(flags).arg("--").args(command);
    spawn(worker, &world.path("w"))
}

#[tokio::test]
async fn any_server_serves_on_the_port_or_the_socket_that_it_is_given() {
    for place in ["--port={port}", "--uds={socket}"] {
        let world = World::new();
        let (vllm, model) =
            (world.path("vllm").display().to_string(), world.path("model").display().to_string());
        let flags = ["--model", &model, "--upstream-model", "its-own-name", "--env", "A=b"];
        let command = [&vllm, "serve", "{model}", place, "--served-model-name", "its-own-name"];
        let mut worker = worker(&world, &flags, &command);
        worker.wait_ready().await;
        let text = read(worker.stream("count 2").await).await;
        assert!(text.contains("w1 ") && text.contains("[DONE]"), "{text}");
        let (status, log) = worker.stop().await;
        assert!(status.success(), "{log}");
        assert!(!world.path("e").exists(), "{log}");
    }
}

#[tokio::test]
async fn a_variable_that_is_set_for_a_server_reaches_it() {
    let world = World::new();
    let (vllm, model) =
        (world.path("vllm").display().to_string(), world.path("model").display().to_string());
    let command = [&vllm, "serve", &model, "--uds", "{socket}", "--served-model-name", "{name}"];
    let mut worker = worker(&world, &["--env", "A=b"], &command);
    worker.wait_ready().await;
    let said: Value = world.engine().await;
    assert_eq!(said["environment"]["A"], "b");
    worker.stop().await;
    world.nothing_left(&said).await;
}

#[tokio::test]
async fn a_server_that_is_not_told_where_to_listen_is_not_started() {
    let world = World::new();
    let (status, log) = worker(&world, &[], &["true"]).end().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("one of `{socket}` and `{port}`"), "{log}");
}
