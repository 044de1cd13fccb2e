//! `kill -9` of each party at each step of a start, a hand-over and a roll-back, and SIGSTOP.
//!
//! The steps are those that an undisturbed run passes, so a new one is tested too.

use std::{collections::BTreeSet, fs, time::Duration};

use daemon_lifecycle::{DaemonManager, Identity, Outcome};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    http::{Asking, who},
    paper::assert_transitions_are_drawn,
    world::{SOON, World, eventually, signal_if_alive, together, within},
};

/// From a death to the answer of the next `spawn()`.
const HEAL_LIMIT: Duration = Duration::from_secs(15);

/// The same where the starter and the old one first wait for a process that hangs.
const HANG_LIMIT: Duration = Duration::from_secs(45);

/// Short enough to wait for one that hangs.
const READY_LIMIT: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Story {
    /// "old" is started where nothing runs.
    Start,
    /// Then "new" takes its place.
    Replacement,
    /// Then "new" dies once it accepts, and "old" takes its place back.
    RollBack,
    /// Then "new" answers badly and makes room, and "old" takes its place back.
    GiveBack,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Die,
    Stop,
}

impl Fault {
    /// In a script.
    fn key(self) -> &'static str {
        match self {
            Self::Die => "die_at",
            Self::Stop => "stop_at",
        }
    }
}

#[tokio::test]
async fn a_first_daemon_may_die_at_any_step() {
    at_each_edge(Story::Start, "old", Fault::Die).await;
}

#[tokio::test]
async fn the_starter_of_a_first_daemon_may_die_at_any_step() {
    at_each_edge(Story::Start, "starter", Fault::Die).await;
}

#[tokio::test]
async fn the_old_one_may_die_at_any_step() {
    at_each_edge(Story::Replacement, "old", Fault::Die).await;
}

#[tokio::test]
async fn the_new_one_may_die_at_any_step() {
    at_each_edge(Story::Replacement, "new", Fault::Die).await;
}

#[tokio::test]
async fn the_starter_of_a_new_one_may_die_at_any_step() {
    at_each_edge(Story::Replacement, "starter", Fault::Die).await;
}

#[tokio::test]
async fn the_old_one_may_die_at_any_step_back() {
    at_each_edge(Story::RollBack, "old", Fault::Die).await;
}

#[tokio::test]
async fn the_old_one_may_die_at_any_step_of_taking_back() {
    at_each_edge(Story::GiveBack, "old", Fault::Die).await;
}

#[tokio::test]
async fn the_old_one_may_hang_at_any_step() {
    at_each_edge(Story::Replacement, "old", Fault::Stop).await;
}

#[tokio::test]
async fn the_new_one_may_hang_at_any_step() {
    at_each_edge(Story::Replacement, "new", Fault::Stop).await;
}

#[tokio::test]
async fn the_starter_of_a_first_daemon_may_hang_at_any_step() {
    at_each_edge(Story::Start, "starter", Fault::Stop).await;
}

#[tokio::test]
async fn the_starter_of_a_new_one_may_hang_at_any_step() {
    at_each_edge(Story::Replacement, "starter", Fault::Stop).await;
}

async fn at_each_edge(story: Story, party: &'static str, fault: Fault) {
    let edges = undisturbed(story, party).await;
    assert!(edges.len() > 3, "{edges:?}");
    together(edges.clone().into_iter().map(|at| Run::new(story, party, fault, at, &edges).go()))
        .await;
}

/// The steps that `party` comes past when nothing happens to it.
async fn undisturbed(story: Story, party: &str) -> Vec<String> {
    let world = World::new(script(story, "old", None));
    let manager = manager(&world);
    started(&world, &manager).await;
    let before = world.edges();
    if story != Story::Start {
        world.install(script(story, "new", None));
        assert!(world.starter(&manager, None).wait().await.unwrap().success());
        let ended = async || match story {
            Story::RollBack | Story::GiveBack => {
                world.edges().contains(&edge("old", "old.resumed"))
            }
            _ => world.edges().contains(&edge("new", "daemon.recorded-as-good")),
        };
        eventually("the story is over", ended).await;
        eventually("one generation is left", async || world.processes().len() == 1).await;
    }
    let all = world.edges();
    let (known, new) = match story {
        Story::Start => (BTreeSet::new(), &all[..]),
        _ => (before.iter().cloned().collect(), &all[before.len()..]),
    };
    let mut edges: Vec<String> = Vec::new();
    for (who, at) in new {
        // The old one passes some of them as it starts; there is no second first time.
        let seen = party == "old" && known.contains(&(who.clone(), at.clone()));
        if who == party && !seen && !edges.contains(at) {
            edges.push(at.clone());
        }
    }
    world.finish().await;
    edges
}

/// With "old" running and settled.
async fn started(world: &World, manager: &DaemonManager) -> Identity {
    assert!(world.starter(manager, None).wait().await.unwrap().success());
    let settled = edge("old", "daemon.recorded-as-good");
    eventually("it is settled", async || world.edges().contains(&settled)).await;
    manager.spawn().await.unwrap().identity().clone()
}

fn edge(party: &str, at: &str) -> (String, String) {
    (party.to_owned(), at.to_owned())
}

fn script(story: Story, version: &str, fault: Option<(Fault, &str)>) -> Value {
    let mut script = json!({ "version": version });
    if story == Story::RollBack && version == "new" {
        script["die_at"] = json!("new.accepting-said");
    }
    if story == Story::GiveBack && version == "new" {
        script["answer_500_after_serving_ms"] = json!(0);
    }
    if let Some((fault, at)) = fault {
        script[fault.key()] = json!(at);
    }
    script
}

fn manager(world: &World) -> DaemonManager {
    world.manager().probation(Duration::from_millis(300)).drain_timeout(Duration::from_millis(100))
}

/// One world in which `party` meets its fate `at` one step.
struct Run {
    story: Story,
    party: &'static str,
    fault: Fault,
    at: String,
    /// Whether the listener is then in nobody's hands.
    closed: bool,
    /// Whether the new one was the only one that could serve.
    alone: bool,
    /// Whether nobody whom a client could have reached is hit.
    spares_clients: bool,
}

impl Run {
    fn new(story: Story, party: &'static str, fault: Fault, at: String, edges: &[String]) -> Self {
        let is_before = |step: &str| {
            let place = |step: &str| edges.iter().position(|edge| edge == step);
            place(&at).unwrap() < place(step).unwrap()
        };
        let alone = story == Story::Replacement && party == "new" && !is_before("new.commit-heard");
        let closed = match (story, party) {
            (Story::Start, _) | (Story::RollBack | Story::GiveBack, "old") => true,
            // One that hangs is killed, listener and all.
            (_, "old") => fault == Fault::Stop || is_before("old.listener-sent"),
            _ => alone,
        };
        let spares_clients = match party {
            "new" => fault == Fault::Die && is_before("new.accepting"),
            _ => party == "starter",
        };
        Self { story, party, fault, at, closed, alone, spares_clients }
    }

    async fn go(self) {
        let what = format!("{} at {}", self.party, self.at);
        let fault_of = |party: &str| (party == self.party).then_some((self.fault, &*self.at));
        let world = World::new(script(self.story, "old", fault_of("old")));
        let mut manager = manager(&world);
        let starters = fault_of("starter").map(|(fault, at)| (fault.key(), at));
        let (mut starter, asking) = if self.story == Story::Start {
            (world.starter(&manager, starters), None)
        } else {
            let old = started(&world, &manager).await;
            let asking = Asking::begin(old.address);
            if self.fault == Fault::Stop && self.party == "new" {
                manager = manager.ready_timeout(READY_LIMIT);
                if !self.alone {
                    // So that it hangs within.
                    manager = manager.probation(SOON);
                }
            }
            world.install(script(self.story, "new", fault_of("new")));
            (world.starter(&manager, starters), Some(asking))
        };
        eventually(&what, async || world.is_hit(self.party)).await;
        if self.story == Story::GiveBack {
            world.install(json!({ "version": "new" }));
        }

        let limit = if self.fault == Fault::Die { HEAL_LIMIT } else { HANG_LIMIT };
        let healed = tokio::time::timeout(limit, manager.spawn()).await;
        let healed = healed.unwrap_or_else(|_| panic!("{what}: no answer"));
        let serving = healed.unwrap_or_else(|error| panic!("{what}: {error}"));
        // Where what it has started serves nobody has had to wait for it.
        if let Some(pid) = starter.id() {
            signal_if_alive(pid, Signal::CONT);
        }
        starter.wait().await.unwrap();
        let (version, pid) = who(serving.address()).await;
        assert_eq!(pid, serving.id(), "{what}");
        let left = format!("{what}: only {pid} is left");
        within(limit, &left, async || world.processes() == [pid]).await;
        let rolled_back = matches!(serving.outcome(), Outcome::RolledBack { .. });
        assert_eq!(rolled_back, self.party == "new" && !self.alone, "{what}: {serving:?}");
        assert_eq!(version == "new", !rolled_back && self.story != Story::Start, "{what}");
        let again = manager.spawn().await.unwrap();
        assert_eq!(again.id(), pid, "{what}: {again:?}");
        let lock = fs::File::open(world.run_dir().join("fake/lifecycle.lock")).unwrap();
        // Another world's child has a copy until it is its own program.
        eventually("the lock is free", async || lock.try_lock().is_ok()).await;
        drop(lock);
        self.assert_records_are_true(&world, pid).await;
        assert_transitions_are_drawn(&world);
        if let Some(asking) = asking {
            let seen = asking.end().await;
            if !self.closed {
                assert_eq!(seen.refused, Vec::<String>::new(), "{what}");
            }
            // What the victim had accepted itself is lost with it.
            if self.spares_clients {
                assert_eq!(seen.lost, Vec::<String>::new(), "{what}");
            }
        }
        world.finish().await;
    }

    /// All files of the instance can be read and say the truth, and none is half-written.
    async fn assert_records_are_true(&self, world: &World, pid: u32) {
        let folder = world.run_dir().join("fake");
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with('.') {
                // Whoever serves may be about to write that it is a good one.
                let written = format!("{}: {name} is left", self.at);
                eventually(&written, async || !entry.path().exists()).await;
                continue;
            }
            if name.ends_with(".json") {
                let text = fs::read_to_string(entry.path()).unwrap();
                let value: Value = serde_json::from_str(&text)
                    .unwrap_or_else(|error| panic!("{}: {name}: {error}", self.at));
                if name == "current.json" {
                    assert_eq!(value["pid"], pid, "{}", self.at);
                }
            }
        }
    }
}
