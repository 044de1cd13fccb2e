use std::{fs, time::Duration};

use daemon_lifecycle::{Outcome, StopMode};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    http::{Client, who},
    world::{World, eventually, kill, kill_if_alive},
};

#[tokio::test]
async fn a_new_one_stays_when_the_old_one_is_killed_in_the_probation() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    world.install(json!({ "version": "new" }));
    let new = world.manager().spawn().await.unwrap();
    kill(old.id(), Signal::KILL);
    eventually("the old one is gone", async || world.processes() == [new.id()]).await;
    assert_eq!(who(new.address()).await, ("new".to_owned(), new.id()));
    assert_eq!(world.manager().spawn().await.unwrap().outcome(), &Outcome::Reused);
    world.finish().await;
}

#[tokio::test]
async fn a_next_one_is_let_in_when_the_old_one_hangs_in_the_probation() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    world.install(json!({ "version": "new" }));
    let new = world.manager().spawn().await.unwrap();
    kill(old.id(), Signal::STOP);
    world.install(json!({ "version": "newest" }));
    let newest = world.manager().spawn().await.unwrap();
    assert_eq!(newest.outcome(), &Outcome::Replaced { from: new.identity().clone() });
    assert_eq!(who(old.address()).await.0, "newest");
    assert!(!world.processes().contains(&old.id()), "it hangs and is ended");
    world.finish().await;
}

#[tokio::test]
async fn the_listener_outlives_an_old_one_that_is_killed_while_the_new_one_starts() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    world.install(json!({ "version": "new", "ready_after_ms": 1000 }));
    let manager = world.manager();
    let starting = tokio::spawn(async move { manager.spawn().await });
    // The new one has its copy of the listener once the old one says that it is prepared.
    eventually("the old one is prepared", async || {
        let log = fs::read_to_string(world.dir().join("log/fake.log")).unwrap();
        log.contains("listening again")
    })
    .await;
    kill(old.id(), Signal::KILL);
    // Waits in the listener until the new one accepts.
    let answer = Client::new(old.address()).get("/who").await.unwrap();
    assert!(answer.1.starts_with("new "), "{answer:?}");
    let new = starting.await.unwrap().unwrap();
    assert_eq!(new.outcome(), &Outcome::Replaced { from: old.identity().clone() });
    world.finish().await;
}

/// Whatever is killed and whenever: afterwards one generation serves, and nothing else is left.
#[tokio::test]
async fn a_replacement_survives_kill_9_of_any_party_at_any_moment() {
    let world = World::new(json!({ "version": "0" }));
    let mut random = Random::seeded();
    println!("seed {}", random.0);
    let manager = world.manager().probation(Duration::from_millis(300));
    manager.spawn().await.unwrap();
    for round in 1..=12 {
        world.install(json!({ "version": round.to_string(), "ready_after_ms": random.below(100) }));
        let old = manager.running().await.unwrap().unwrap();
        let mut starter = world.starter(&manager, None);
        tokio::time::sleep(Duration::from_millis(random.below(500))).await;
        let victim = random.below(3);
        match victim {
            0 => kill_if_alive(old.pid),
            1 => drop(starter.start_kill()),
            _ => world
                .processes()
                .iter()
                .filter(|&&pid| pid != old.pid)
                .for_each(|&pid| kill_if_alive(pid)),
        }
        starter.wait().await.unwrap();
        let healed = tokio::time::timeout(Duration::from_secs(15), manager.spawn()).await;
        let healed = healed.unwrap_or_else(|_| panic!("round {round}, victim {victim}: no answer"));
        let serving =
            healed.unwrap_or_else(|error| panic!("round {round}, victim {victim}: {error}"));
        // A listener that died with its last holder leaves its port; the others keep it.
        assert_eq!(who(serving.address()).await.1, serving.id(), "round {round}, victim {victim}");
        eventually("one generation is left", async || world.processes() == [serving.id()]).await;
        assert_eq!(manager.running().await.unwrap().unwrap().pid, serving.id());
    }
    world.finish().await;
}

/// A small generator whose seed can be named (xorshift).
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Self(now.as_nanos() as u64 | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[tokio::test]
async fn a_stop_in_the_probation_ends_both() {
    let world = World::new(json!({ "version": "old" }));
    world.manager().spawn().await.unwrap();
    world.install(json!({ "version": "new" }));
    world.manager().spawn().await.unwrap();
    let stopped = world.manager().stop(StopMode::Now).await.unwrap();
    assert_eq!(stopped.ended.len(), 2);
    assert_eq!(world.processes(), Vec::<u32>::new());
    world.finish().await;
}

#[tokio::test]
async fn sigterm_to_the_new_one_in_its_probation_ends_both() {
    let world = World::new(json!({ "version": "old" }));
    world.manager().spawn().await.unwrap();
    world.install(json!({ "version": "new" }));
    let new = world.manager().spawn().await.unwrap();
    kill(new.id(), Signal::TERM);
    eventually("both are gone", async || world.processes().is_empty()).await;
    world.finish().await;
}

#[tokio::test]
async fn a_killed_daemon_is_started_again_without_what_it_left_behind() {
    let world = World::new(json!({ "grandchild": true }));
    let first = world.manager().spawn().await.unwrap();
    assert_eq!(world.processes().len(), 2);
    kill(first.id(), Signal::KILL);
    let second = world.manager().spawn().await.unwrap();
    assert_eq!(second.outcome(), &Outcome::Started);
    assert_eq!(world.processes().len(), 2, "the first one's grandchild is gone");
    world.finish().await;
}

#[tokio::test]
async fn when_the_starter_is_killed_before_the_hand_over_the_old_one_goes_on() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    world.install(json!({ "version": "new", "ready_after_ms": 1000 }));
    let mut starter = world.starter(&world.manager(), None);
    eventually("the new one starts", async || world.processes().len() == 2).await;
    starter.start_kill().unwrap();
    starter.wait().await.unwrap();
    eventually("the new one leaves", async || world.processes() == [old.id()]).await;
    assert_eq!(who(old.address()).await, ("old".to_owned(), old.id()));
    let new = world.manager().spawn().await.unwrap();
    assert!(matches!(new.outcome(), Outcome::Replaced { .. }), "the lock died with its owner");
    world.finish().await;
}

#[tokio::test]
async fn when_the_starter_is_killed_the_first_daemon_starts_all_the_same() {
    let world = World::new(json!({ "ready_after_ms": 500 }));
    let mut starter = world.starter(&world.manager(), None);
    eventually("the daemon starts", async || world.processes().len() == 1).await;
    starter.start_kill().unwrap();
    starter.wait().await.unwrap();
    let pid = world.processes()[0];
    eventually("it serves", async || {
        world.manager().running().await.unwrap().is_some_and(|running| running.pid == pid)
    })
    .await;
    assert_eq!(world.manager().spawn().await.unwrap().outcome(), &Outcome::Reused);
    world.finish().await;
}

#[tokio::test]
async fn simultaneous_starters_in_different_processes_start_one_daemon() {
    let world = World::new(json!({ "ready_after_ms": 300 }));
    let mut starters: Vec<_> = (0..20).map(|_| world.starter(&world.manager(), None)).collect();
    for starter in &mut starters {
        assert!(starter.wait().await.unwrap().success());
    }
    assert_eq!(world.processes().len(), 1);
    world.finish().await;
}
