//! The document says what there is, and all of it.

use std::collections::BTreeSet;

use http_guard::Peer;

use crate::world::World;

const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
const ID: &str = "0199f5a0-0000-7000-8000-000000000000";

/// Every path that any process of rbee has, from where they are written down.
fn paths() -> Vec<&'static str> {
    let source = include_str!("../../../99_shared_crates/rbee-api/src/paths.rs");
    let constants = source.lines().filter(|line| line.starts_with("pub const "));
    let paths = constants.filter_map(|line| line.split_once(": &str = \"")?.1.strip_suffix("\";"));
    // A hive's; to a queen names of models.
    let hive_s = [rbee_api::paths::MODEL_PULL, rbee_api::paths::MODEL_LOAD];
    paths.filter(|path| !hive_s.contains(path)).collect()
}

#[tokio::test]
async fn every_route_is_in_the_document_and_nothing_else_is() {
    let (world, _) = World::one().await;
    let document = world.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    // A stream that has no end.
    let endless = rbee_api::paths::EVENTS;
    let mut routed = BTreeSet::from([("GET".to_owned(), endless.to_owned())]);
    for path in paths().into_iter().filter(|path| *path != endless) {
        let asked = path.replace("{id}", ID).replace("{name}", "m").replace("{*name}", "m");
        for method in METHODS {
            // No body is one that anything takes.
            let body = if method == "GET" { "" } else { "[]" };
            let answer = world.manage(method, &asked, body).await;
            let is_there = !answer.body.contains("does not take")
                && !answer.body.contains("there is nothing at");
            if is_there {
                routed.insert((method.to_owned(), path.replace("{*", "{")));
            }
        }
    }
    assert!(routed.len() > 30, "{routed:?}");
    assert_eq!(described, routed);
}

#[tokio::test]
async fn the_document_is_for_whoever_is_let_in() {
    let (world, _) = World::one().await;
    let answer = world.ask_as(Peer::Unknown, "GET", "/openapi.json", &[], "").await;
    assert_eq!(answer.refusal(), (401, "key_missing".into()));
}
