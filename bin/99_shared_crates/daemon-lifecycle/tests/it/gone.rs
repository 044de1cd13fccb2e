//! What a running daemon was built from goes away: what runs and is good stays.

use std::fs;

use daemon_lifecycle::Outcome;
use serde_json::json;

use crate::{
    http::who,
    tree::Tree,
    world::{World, eventually},
};

/// A daemon that looks after itself, as those of a chain do.
fn script(version: &str) -> serde_json::Value {
    json!({ "version": version, "keep_fresh_trust_ms": 0 })
}

#[tokio::test]
async fn a_target_directory_that_is_removed_costs_a_build_and_no_restart() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", script("1"));
    let first = tree.manager(&world).spawn().await.unwrap();
    fs::remove_dir_all(tree.root.join("target")).unwrap();
    assert_eq!(who(first.address()).await, ("1".to_owned(), first.id()));
    let again = tree.manager(&world).spawn().await.unwrap();
    assert_eq!((again.outcome(), again.id()), (&Outcome::Reused, first.id()));

    fs::remove_dir_all(tree.root.join("target")).unwrap();
    tree.edit(script("2"));
    let second = tree.manager(&world).spawn().await.unwrap();
    assert_eq!(who(first.address()).await, ("2".to_owned(), second.id()));
    world.finish().await;
}

#[tokio::test]
async fn a_tree_that_is_moved_leaves_its_daemon_serving_until_it_is_back() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", script("1"));
    let first = tree.manager(&world).spawn().await.unwrap();
    let elsewhere = world.dir().join("elsewhere");
    fs::rename(&tree.root, &elsewhere).unwrap();
    let found = tree.manager(&world).spawn().await.unwrap();
    let Outcome::Stale { build_error } = found.outcome() else { panic!("{found:?}") };
    assert!(build_error.contains(&*tree.root.to_string_lossy()), "{build_error}");
    assert_eq!(who(first.address()).await, ("1".to_owned(), first.id()));

    fs::rename(&elsewhere, &tree.root).unwrap();
    let again = tree.manager(&world).spawn().await.unwrap();
    assert_eq!((again.outcome(), again.id()), (&Outcome::Reused, first.id()));
    tree.edit(script("2"));
    eventually("it follows", async || who(first.address()).await.0 == "2").await;
    world.finish().await;
}
