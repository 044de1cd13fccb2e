//! A hive's part of a model that several compute together.

use std::time::Duration;

use rbee_api::Part;
use serde_json::{Value, json};

use crate::world::{CHUNKS, World};

const ROUND: Duration = Duration::from_millis(20);

/// A hive that computes `big` together with another one; nobody needs to use a model for it to go.
fn world() -> World {
    let world = World::configured(|home| {
        let source = home.join("big.gguf").display().to_string();
        format!(
            "[worker]\nidle_timeout = \"0s\"\n[[hive]]\nalias = \"h\"\n[[hive]]\nalias = \"i\"\nport = 8601\n\
             [worker.vllm]\ntensor_parallel = 2\n\
             [worker.vllm.nodes.h]\naddress = \"10.0.0.1\"\n[worker.vllm.nodes.i]\naddress = \"10.0.0.2\"\n\
             [model.big]\nsource = {source:?}\nhives = [\"i\", \"h\"]\n"
        )
    });
    world.model("big");
    world
}

fn part(rank: u32, port: u16) -> Part {
    let (meet, address) = (([10, 0, 0, 2], port).into(), [10, 0, 0, 1].into());
    Part { rank, parts: 2, meet, address, interface: None }
}

async fn load(world: &World, part: &Part) {
    let body = json!({"model": "big", "part": part}).to_string();
    let answer = world.manage("POST", "/v1/models/load", &body).await;
    assert!(answer.body.contains("\"state\":\"completed\""), "{answer:?}");
}

async fn worker(world: &World) -> Value {
    world.ask("GET", "/v1/workers", &[], "").await.json()["workers"][0].clone()
}

#[tokio::test]
async fn a_hive_loads_the_part_that_it_is_told_and_lists_it() {
    let world = world();
    world.machine.state(|machine| machine.shares = true);
    load(&world, &part(1, 20_001)).await;
    assert_eq!(world.machine.state(|machine| machine.parts.clone()), [Some(part(1, 20_001))]);
    let listed = worker(&world).await;
    assert_eq!(listed["part"]["rank"], 1, "{listed}");
    assert_eq!(listed["outdated"], Value::Null);
    assert_eq!(listed["unloads_in_s"], Value::Null, "its head says how long it stays");
    world.machine.state(|machine| machine.shares = false);
    assert_eq!(worker(&world).await["outdated"], true);
}

#[tokio::test]
async fn a_part_that_is_alive_and_not_known_is_told_of() {
    let world = world();
    let silent = async || world.ask("GET", "/v1/workers", &[], "").await.json()["silent"].clone();
    assert_eq!(silent().await, Value::Null);
    world.machine.state(|machine| machine.silent = vec!["big".to_owned()]);
    assert_eq!(silent().await, json!(["big"]));
    load(&world, &part(1, 20_001)).await;
    assert_eq!(silent().await, Value::Null);
}

#[tokio::test]
async fn a_part_is_not_started_without_the_others() {
    let world = world();
    let answer = world.complete("big", false).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("computed by several hives together"), "{answer:?}");
    assert!(world.machine.state(|machine| machine.spawned.is_empty()));
}

#[tokio::test]
async fn what_serves_nobody_stays_and_a_head_that_nobody_uses_does_not() {
    let world = world();
    load(&world, &part(1, 20_001)).await;
    let other = world.model("other");
    world.complete(&other, false).await;
    let stopped = async {
        while world.machine.state(|machine| machine.stopped.is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        never = world.keep_workers(ROUND) => never,
        () = stopped => {}
    }
    let stopped = world.machine.state(|machine| machine.stopped.clone());
    assert!(stopped.iter().all(|id| id.contains("other")), "{stopped:?}");
}

#[tokio::test]
async fn a_head_that_is_lost_ends_what_it_answers_with_the_reason() {
    let world = world();
    load(&world, &part(0, 20_001)).await;
    let mut begun = world.ask_for("big", "slow").await;
    begun.says("data: {\"n\":1}").await;
    let waiting = world.ask_for("big", "silent").await;
    world.machine.has(2).await;
    let why = "part 1 of `big` on `i` has ended";
    let body = json!({"model": "big", "lost": why}).to_string();
    let unloaded = world.manage("POST", "/v1/models/unload", &body).await;
    assert_eq!(unloaded.json(), json!({"name": "big", "was_loaded": true}));
    assert_eq!(world.machine.state(|machine| machine.lost.clone()), [why]);
    let begun = begun.end().await;
    assert!(begun.body.contains("worker_crashed"), "{begun:?}");
    // It would have been tried again alone, had there been such a worker.
    let waiting = waiting.end().await;
    assert!(waiting.body.contains("worker_crashed") && waiting.body.contains(why), "{waiting:?}");
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 1);
    assert_eq!(worker(&world).await, Value::Null);
}

#[tokio::test]
async fn a_part_from_another_binary_is_the_same_part_and_one_with_another_engine_waits_for_the_others()
 {
    let world = world();
    world.machine.state(|machine| machine.shares = true);
    load(&world, &part(0, 20_001)).await;
    world.machine.state(|machine| machine.current = false);
    assert_eq!(world.complete("big", true).await.body, CHUNKS);
    let parts = world.machine.state(|machine| machine.parts.clone());
    assert_eq!(parts, [Some(part(0, 20_001)), Some(part(0, 20_001))]);

    world.machine.state(|machine| (machine.current, machine.shares) = (false, false));
    assert_eq!(world.complete("big", true).await.body, CHUNKS);
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 2);
    // The next start is told which part it is.
    let unloaded = world.manage("POST", "/v1/models/unload", "{\"model\":\"big\"}").await;
    assert_eq!(unloaded.json()["was_loaded"], true, "{unloaded:?}");
    load(&world, &part(0, 20_002)).await;
    let parts = world.machine.state(|machine| machine.parts.clone());
    assert_eq!(parts.last(), Some(&Some(part(0, 20_002))));
}
