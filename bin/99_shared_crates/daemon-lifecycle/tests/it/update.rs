//! With a real workspace and a real cargo: the binary is built, and a running daemon follows it.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use auto_update::{AutoUpdater, BuildEvent};
use daemon_lifecycle::{DaemonManager, Error, OnBuildFailure, Outcome, StopMode, UpdatePolicy};
use narration_core::{NarrationLayer, human};
use rustix::process::Signal;
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{
    again,
    http::who,
    tree::Tree,
    world::{World, eventually, kill, within},
};

/// What a person is told from now on.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let told = Self::default();
        let sink = told.clone();
        let layer = NarrationLayer::new(move |n| sink.0.lock().unwrap().push(human(&n)));
        let subscriber = tracing_subscriber::registry().with(layer);
        (told, tracing::subscriber::set_default(subscriber))
    }

    /// Since the last time, without what cargo printed and how far a build was after a second.
    fn lines(&self) -> Vec<String> {
        let mut lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines.retain(|line| line.starts_with("[dmn-life]") && !line.contains("build_progress"));
        lines
    }
}

#[tokio::test]
async fn a_stale_binary_is_built_and_the_running_daemon_replaced_and_every_step_told() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", json!({ "version": "1" }));
    let (told, _guard) = Told::listen();
    let first = tree.manager(&world).spawn().await.unwrap();
    assert_eq!(first.outcome(), &Outcome::Started);
    assert_eq!(who(first.address()).await.0, "1");
    assert_eq!(first.identity().source_root.as_deref(), Some(tree.root.as_path()));
    let lines = told.lines();
    assert_eq!(lines[0], "[dmn-life] auto_update: Checking if 'd' needs rebuild...");
    assert_eq!(
        lines[lines.len() - 3..],
        [
            "[dmn-life] auto_rebuild: \u{1f528} Rebuilding 'd'...",
            "[dmn-life] auto_rebuild: \u{2705} Rebuild complete",
            "[dmn-life] spawn: Spawning daemon: target/debug/d with args: [\"--listen\", \"127.0.0.1:0\"]",
        ]
    );

    let again = tree.manager(&world).spawn().await.unwrap();
    assert_eq!(again.outcome(), &Outcome::Reused);
    assert_eq!(
        told.lines(),
        [
            "[dmn-life] auto_update: Checking if 'd' needs rebuild...",
            "[dmn-life] auto_update: \u{2705} 'd' is up to date",
        ]
    );

    tree.edit(json!({ "version": "2" }));
    let second = tree.manager(&world).spawn().await.unwrap();
    assert_eq!(second.outcome(), &Outcome::Replaced { from: first.identity().clone() });
    assert_eq!(who(first.address()).await.0, "2");
    let lines = told.lines();
    assert!(
        lines[1].starts_with("[dmn-life] auto_update: 'd' is stale: ")
            && lines[1].contains("script.json"),
        "{lines:?}"
    );
    let pid = first.id();
    let replacing = format!(
        "[dmn-life] replace: Replacing the running 'd' (process {pid}): its binary changed"
    );
    assert!(lines.contains(&replacing), "{lines:?}");
    world.finish().await;
}

/// A build in its own surroundings would be another one than its starter's.
#[tokio::test]
async fn one_that_builds_nothing_hands_over_to_what_was_built() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", json!({ "version": "1" }));
    let first = tree.manager(&world).builds_nothing().spawn().await.unwrap();
    tree.edit(json!({ "version": "2" }));
    kill(first.id(), Signal::HUP);
    eventually("another serves", async || who(first.address()).await.1 != first.id()).await;
    assert_eq!(who(first.address()).await.0, "1");
    let next = tree.manager(&world).builds_nothing().spawn().await.unwrap();
    assert_eq!(who(first.address()).await, ("2".to_owned(), next.id()));
    world.finish().await;
}

#[tokio::test]
async fn sources_that_do_not_build_are_refused_and_the_running_daemon_is_left_alone() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", json!({ "version": "1" }));
    let first = tree.manager(&world).spawn().await.unwrap();
    tree.break_source();
    let (told, _guard) = Told::listen();
    let error = tree.manager(&world).spawn().await.unwrap_err();
    assert!(matches!(error, Error::Build { .. }), "{error}");
    assert_eq!(
        told.lines().last().unwrap(),
        "[dmn-life] auto_rebuild: \u{274c} Rebuild of 'd' failed"
    );
    assert_eq!(who(first.address()).await, ("1".to_owned(), first.id()));
    world.finish().await;
}

#[tokio::test]
async fn with_last_good_what_does_not_build_goes_on_from_the_binary_before() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", json!({ "version": "1" }));
    let policy =
        UpdatePolicy { on_build_failure: OnBuildFailure::LastGood, ..UpdatePolicy::default() };
    let manager = tree.manager(&world).auto_update_policy(policy);
    let first = manager.spawn().await.unwrap();
    tree.break_source();
    let reused = manager.spawn().await.unwrap();
    assert!(matches!(reused.outcome(), Outcome::Stale { .. }), "{:?}", reused.outcome());
    assert_eq!(reused.id(), first.id());
    manager.stop(StopMode::Now).await.unwrap();
    let started = manager.spawn().await.unwrap();
    assert!(matches!(started.outcome(), Outcome::Stale { .. }), "{:?}", started.outcome());
    assert_eq!(started.identity().exe_hash, first.identity().exe_hash);
    world.finish().await;
}

#[tokio::test]
async fn with_updates_off_nothing_is_built() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", json!({ "version": "1" }));
    let policy = UpdatePolicy { enabled: false, ..UpdatePolicy::default() };
    let manager = tree.manager(&world).auto_update_policy(policy);
    let error = manager.spawn().await.unwrap_err();
    assert!(matches!(error, Error::BinaryNotFound { .. }), "{error}");
    assert!(!tree.root.join("target").exists());
    world.finish().await;
}

#[tokio::test]
async fn with_updates_off_what_runs_is_left_whatever_lies_in_the_target_directory() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", json!({ "version": "1" }));
    let first = tree.manager(&world).spawn().await.unwrap();
    tree.edit(json!({ "version": "2" }));
    let other = tree.manager(&world).instance(world.run_dir(), "other");
    other.spawn().await.unwrap();
    let policy = UpdatePolicy { enabled: false, ..UpdatePolicy::default() };
    let manager = tree.manager(&world).auto_update_policy(policy);
    let again = manager.spawn().await.unwrap();
    assert_eq!((again.outcome(), again.id()), (&Outcome::Reused, first.id()));
    other.stop(StopMode::Now).await.unwrap();
    world.finish().await;
}

#[tokio::test]
async fn within_its_interval_a_check_is_trusted() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", json!({ "version": "1" }));
    let policy =
        UpdatePolicy { check_interval: Duration::from_secs(600), ..UpdatePolicy::default() };
    let manager = tree.manager(&world).auto_update_policy(policy);
    let first = manager.spawn().await.unwrap();
    tree.edit(json!({ "version": "2" }));
    assert_eq!(manager.spawn().await.unwrap().outcome(), &Outcome::Reused);
    let at_once = tree.manager(&world).spawn().await.unwrap();
    assert_eq!(at_once.outcome(), &Outcome::Replaced { from: first.identity().clone() });
    world.finish().await;
}

#[tokio::test]
async fn another_source_tree_is_refused_until_it_is_told_to_take_over() {
    let world = World::new(json!({}));
    let ours = Tree::new(&world, "ours", json!({ "version": "ours" }));
    let theirs = Tree::new(&world, "theirs", json!({ "version": "theirs" }));
    let running = ours.manager(&world).spawn().await.unwrap();
    let error = theirs.manager(&world).spawn().await.unwrap_err();
    let message = error.to_string();
    let names = |tree: &Tree| message.contains(tree.root.to_str().unwrap());
    assert!(names(&ours) && names(&theirs), "{message}");
    assert_eq!(who(running.address()).await.0, "ours");
    let taken = theirs.manager(&world).takeover(true).spawn().await.unwrap();
    assert_eq!(taken.outcome(), &Outcome::Replaced { from: running.identity().clone() });
    assert_eq!(who(running.address()).await.0, "theirs");
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_that_nobody_starts_any_more_replaces_itself_when_it_is_stale() {
    replaces_itself_while_looks_are_trusted_for(100).await;
}

#[tokio::test]
async fn a_daemon_that_trusts_no_look_replaces_itself_when_it_is_told_of_an_edit() {
    replaces_itself_while_looks_are_trusted_for(0).await;
}

/// A build that nobody waits for gets nothing on a busy machine until it has aged, for a minute each
/// time.
const PATIENCE: Duration = Duration::from_secs(180);

async fn replaces_itself_while_looks_are_trusted_for(ms: u64) {
    let world = World::new(json!({}));
    let script = |version: &str| json!({ "version": version, "keep_fresh_trust_ms": ms });
    let tree = Tree::new(&world, "tree", script("1"));
    let first = tree.manager(&world).spawn().await.unwrap();
    tree.edit(script("2"));
    within(PATIENCE, "the second serves", async || who(first.address()).await.0 == "2").await;
    tree.break_source();
    let updater = AutoUpdater::new("d", tree.root.join("d")).unwrap();
    updater.ensure_built().await.unwrap_err();
    assert_eq!(who(first.address()).await.0, "2");
    tree.edit(script("3"));
    within(PATIENCE, "the third serves", async || who(first.address()).await.0 == "3").await;
    world.finish().await;
}

#[tokio::test]
async fn what_else_an_edit_makes_stale_is_compiled_along() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", json!({ "version": "1" }));
    let other = tree.add("e");
    other.ensure_built().await.unwrap();
    let manager = tree.manager(&world).build_together_with([("e", tree.root.join("e"))]);
    manager.spawn().await.unwrap();
    tree.edit(json!({ "version": "2" }));
    assert!(other.needs_rebuild().unwrap());
    manager.spawn().await.unwrap();
    let lines = Mutex::new(Vec::new());
    let built = other.ensure_built_with(|event| {
        if let BuildEvent::Line(line) = event {
            lines.lock().unwrap().push(line);
        }
    });
    built.unwrap();
    let lines = lines.into_inner().unwrap();
    assert!(lines.iter().all(|line| !line.contains("Compiling")), "{lines:?}");
    world.finish().await;
}

#[tokio::test]
async fn a_binary_is_built_ahead_and_a_package_that_takes_long_is_explained_when_it_is_compiled() {
    const NOTE: &str = "this takes long, once";
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", json!({ "version": "1" }));
    tree.depend_on("large");
    let manager = tree.manager(&world).slow_package("large", NOTE);
    let (told, _guard) = Told::listen();
    let build = async || {
        manager.build().await.unwrap();
        told.lines()
    };
    let explained = |lines: &[String]| lines.iter().filter(|line| line.contains(NOTE)).count();
    assert_eq!(explained(&build().await), 1);
    tree.edit(json!({ "version": "2" }));
    let lines = build().await;
    assert!(lines.iter().any(|line| line.contains("Rebuild complete")), "{lines:?}");
    assert_eq!(explained(&lines), 0);
    assert!(manager.running().await.unwrap().is_none(), "nothing was to be started");
    let daemon = manager.spawn().await.unwrap();
    assert_eq!(who(daemon.address()).await.0, "2");
    world.finish().await;
}

#[tokio::test]
async fn a_warm_reuse_takes_few_milliseconds() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", json!({ "version": "1" }));
    let manager = tree.manager(&world);
    manager.spawn().await.unwrap();
    let mut shortest = Duration::MAX;
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(manager.spawn().await.unwrap().outcome(), &Outcome::Reused);
        shortest = shortest.min(began.elapsed());
    }
    println!("a warm spawn() takes {shortest:?}, its check of {} included", tree.root.display());
    assert!(shortest < Duration::from_millis(5), "{shortest:?}");
    world.finish().await;
}

#[tokio::test]
async fn one_that_died_is_started_from_the_last_good_binary_before_anything_is_built() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", json!({ "version": "1" }));
    let manager = tree.manager(&world).probation(Duration::from_millis(50));
    let first = manager.spawn().await.unwrap();
    let good = world.run_dir().join("fake/good.json");
    eventually("it is a good one", async || good.exists()).await;
    tree.break_source();
    kill(first.id(), Signal::KILL);
    eventually("it is dead", async || !first.identity().is_alive()).await;
    let error = manager.spawn().await.unwrap_err();
    assert!(matches!(error, Error::Build { .. }), "{error}");
    let healed = manager.running().await.unwrap().unwrap();
    assert_eq!(who(&healed.address).await, ("1".to_owned(), healed.pid));
    tree.edit(json!({ "version": "2" }));
    let second = manager.spawn().await.unwrap();
    assert_eq!(second.outcome(), &Outcome::Replaced { from: healed });
    // One that was stopped is not wanted any more.
    manager.stop(StopMode::Now).await.unwrap();
    tree.break_source();
    manager.spawn().await.unwrap_err();
    assert_eq!(manager.running().await.unwrap(), None);
    world.finish().await;
}

#[tokio::test]
async fn where_the_source_tree_is_gone_what_runs_stays_and_nothing_else_is_started() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", json!({ "version": "1" }));
    let manager = tree.manager(&world);
    let first = manager.spawn().await.unwrap();
    fs::rename(&tree.root, world.dir().join("moved")).unwrap();
    let kept = manager.spawn().await.unwrap();
    assert!(matches!(kept.outcome(), Outcome::Stale { .. }), "{kept:?}");
    assert_eq!(who(first.address()).await, ("1".to_owned(), first.id()));
    manager.stop(StopMode::Now).await.unwrap();
    let error = manager.spawn().await.unwrap_err();
    assert!(matches!(error, Error::NoSources { .. }), "{error}");
    world.finish().await;
}

#[tokio::test]
async fn a_build_that_fails_is_in_the_daemons_log_without_anybody_listening() {
    let world = World::new(json!({}));
    let tree = Tree::new(&world, "tree", json!({ "version": "1" }));
    let manager = tree.manager(&world).log_dir(world.dir().join("log"));
    tree.break_source();
    manager.spawn().await.unwrap_err();
    let log = fs::read_to_string(world.dir().join("log/fake.log")).unwrap();
    assert!(log.contains("this does not compile"), "{log}");
    world.finish().await;
}

#[tokio::test]
async fn two_projects_with_daemons_of_one_name_have_one_each() {
    if again::inside().is_none() {
        let state = tempfile::tempdir().unwrap();
        let mut own = Command::new("env");
        own.arg(format!("XDG_STATE_HOME={}", state.path().display()));
        let name = "update::two_projects_with_daemons_of_one_name_have_one_each";
        return again::run(name, "own state", own);
    }
    let world = World::new(json!({}));
    let of = |name: &str| {
        let tree = Tree::new(&world, name, json!({ "version": name }));
        let binary: &Path = "target/debug/d".as_ref();
        DaemonManager::new(tree.root.join(binary), ["--listen", "127.0.0.1:0"])
            .enable_auto_update("d", tree.root.join("d"))
            .env("FAKE_WORLD", world.dir().to_str().unwrap())
    };
    let (ours, theirs) = (of("ours"), of("theirs"));
    let first = ours.spawn().await.unwrap();
    let second = theirs.spawn().await.unwrap();
    assert_eq!(second.outcome(), &Outcome::Started);
    assert_eq!(who(first.address()).await.0, "ours");
    assert_eq!(who(second.address()).await.0, "theirs");
    assert_eq!(ours.spawn().await.unwrap().id(), first.id());
    ours.stop(StopMode::Now).await.unwrap();
    assert_eq!(world.processes(), [second.id()]);
    theirs.stop(StopMode::Now).await.unwrap();
    world.finish().await;
}
