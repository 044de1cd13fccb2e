use crate::world::{CHUNKS, World};

#[tokio::test]
async fn a_worker_is_spawned_for_the_first_request_and_serves_the_next() {
    let world = World::new();
    let model = world.model("a");
    for _ in 0..3 {
        assert_eq!(world.complete(&model, false).await.body, CHUNKS);
    }
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 1);
    let workers = world.ask("GET", "/v1/workers", &[], "").await.json();
    assert_eq!(workers["workers"][0]["model"], model.as_str());
    assert_eq!(workers["workers"][0]["state"], "ready");
}

#[tokio::test]
async fn however_many_ask_at_once_one_worker_is_spawned() {
    let world = World::new();
    let model = world.model("a");
    let asked = (0..8).map(|_| world.complete(&model, false));
    for answer in futures::future::join_all(asked).await {
        assert_eq!(answer.body, CHUNKS);
    }
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 1);
}

#[tokio::test]
async fn a_stale_worker_is_replaced_beside_itself_where_memory_allows_it() {
    let world = World::new();
    let model = world.model("a");
    world.complete(&model, true).await;
    world.machine.state(|machine| machine.current = false);
    assert_eq!(world.complete(&model, true).await.body, CHUNKS);
    let spawned = world.machine.state(|machine| machine.spawned.clone());
    assert_eq!(spawned.len(), 2);
    assert_ne!(spawned[0], spawned[1], "two of one model have names of their own");
    let counted = world.ask("GET", "/metrics", &[], "").await.body;
    assert!(counted.contains(r#"rbee_ends_total{level="worker",why="replaced"} 1"#), "{counted}");
}

#[tokio::test]
async fn a_replaced_worker_is_told_of_until_it_has_finished_what_it_has() {
    let world = World::new();
    let model = world.model("a");
    let slow = world.ask_for(&model, "slow").await;
    world.machine.has(1).await;
    world.machine.state(|machine| machine.current = false);
    world.complete(&model, true).await;
    let told = async || world.ask("GET", "/v1/workers", &[], "").await.json();
    let workers = told().await;
    let spawned = world.machine.state(|machine| machine.spawned.clone());
    assert_eq!(workers["workers"][0]["id"], spawned[1].as_str());
    let leaving = &workers["leaving"][0];
    assert_eq!(leaving["id"], spawned[0].as_str());
    assert_eq!((&leaving["state"], &leaving["active_requests"]), (&"draining".into(), &1.into()));
    world.machine.release();
    assert!(!slow.end().await.cut);
    while told().await.get("leaving").is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_worker_whose_successor_cannot_be_started_goes_on() {
    let world = World::new();
    let model = world.model("a");
    world.complete(&model, true).await;
    world.machine.state(|machine| (machine.current, machine.refuses) = (false, true));
    assert_eq!(world.complete(&model, true).await.body, CHUNKS);
    let attempts = || world.machine.state(|machine| machine.spawned.len());
    assert_eq!(attempts(), 2);
    let counted = world.ask("GET", "/metrics", &[], "").await.body;
    assert!(counted.contains(r#"outcome="rolled_back""#), "{counted}");
    // Nobody who comes by has it tried again at once; who asks for a fresh answer does.
    assert_eq!(world.complete(&model, false).await.body, CHUNKS);
    assert_eq!(world.complete(&model, true).await.body, CHUNKS);
    assert_eq!(attempts(), 3);
    world.machine.state(|machine| machine.refuses = false);
    assert_eq!(world.complete(&model, true).await.body, CHUNKS);
    assert_eq!(attempts(), 4);
    assert!(world.machine.state(|machine| machine.current));
    // No other binary is to be started beside it.
    assert_eq!(world.machine.state(|machine| machine.beside.clone()), [false, true, true, true]);
}

#[tokio::test]
async fn a_binary_whose_worker_dies_at_once_has_failed_in_every_place_of_its_model() {
    let mut world = World::new();
    let model = world.model("a");
    world.complete(&model, true).await;
    world.machine.state(|machine| (machine.current, machine.binary) = (false, "bad"));
    world.complete(&model, true).await;
    // It is known to whoever comes first, and told wherever one is started, by the next hive too.
    let told =
        |world: &World| world.machine.state(|machine| std::mem::take(&mut machine.distrusted));
    let mut serves = String::new();
    for next_hive in [false, false, true] {
        if next_hive {
            world = world.with_the_next_hive();
        }
        world.machine.crash_all();
        assert_eq!(world.complete(&model, true).await.body, CHUNKS);
        let [(slot, bad)] = &told(&world)[..] else { panic!("not told once") };
        assert_eq!(bad, "bad");
        serves = world.machine.state(|machine| machine.spawned.last().cloned()).unwrap();
        assert!(serves.contains(&format!(".{slot}@")), "{serves}");
    }
    // The next one is put into the place itself, where its starter watches over it.
    world.machine.state(|machine| (machine.current, machine.binary) = (false, "mended"));
    world.complete(&model, true).await;
    let last = || world.machine.state(|machine| machine.spawned.last().cloned());
    assert_eq!(last().as_ref(), Some(&serves));
    // It serves: the one after it is put beside it again.
    world.machine.state(|machine| machine.current = false);
    world.complete(&model, true).await;
    assert_ne!(last().as_ref(), Some(&serves));
}

#[tokio::test]
async fn a_stale_worker_is_replaced_in_its_place_where_memory_allows_only_one() {
    let world = World::new();
    let model = world.model("a");
    world.complete(&model, true).await;
    world.machine.state(|machine| {
        machine.current = false;
        machine.available = machine.resident - 1;
    });
    world.complete(&model, true).await;
    let spawned = world.machine.state(|machine| machine.spawned.clone());
    assert_eq!(spawned.len(), 2);
    assert_eq!(spawned[0], spawned[1]);
    // It has ended by then: one from its binary is better than none.
    assert!(!world.machine.state(|machine| machine.beside[1]));
}

#[tokio::test]
async fn an_idle_worker_makes_room_for_another_model() {
    let world = World::new();
    let (a, b) = (world.model("a"), world.model("b"));
    world.complete(&a, false).await;
    world.machine.state(|machine| machine.available = 0);
    assert_eq!(world.complete(&b, false).await.body, CHUNKS);
    world.machine.state(|machine| assert_eq!(machine.stopped, machine.spawned[..1]));
    let counted = world.ask("GET", "/metrics", &[], "").await.body;
    for line in [
        format!(r#"rbee_starts_total{{level="worker",name="{b}"}} 1"#),
        r#"rbee_ends_total{level="worker",why="evicted"} 1"#.to_owned(),
        r#"rbee_requests_total{endpoint="/v1/completions",outcome="completed"} 2"#.to_owned(),
    ] {
        assert!(counted.contains(&line), "{line}: {counted}");
    }
}

#[tokio::test]
async fn a_model_that_nothing_makes_room_for_is_refused_and_stops_nobody() {
    let world = World::new();
    let (a, b) = (world.model("a"), world.model("b"));
    world.complete(&a, false).await;
    world.machine.state(|machine| (machine.available, machine.resident) = (0, 1));
    let answer = world.complete(&b, false).await;
    assert_eq!(answer.refusal(), (503, "insufficient_memory".into()));
    assert!(world.machine.state(|machine| machine.stopped.is_empty()));
}

#[tokio::test]
async fn a_worker_that_runs_is_adopted_instead_of_spawning_another() {
    let world = World::new();
    let model = world.model("a");
    world.stranger(&model, 0);
    world.hive.adopt_workers().await;
    assert_eq!(world.complete(&model, false).await.body, CHUNKS);
    assert!(world.machine.state(|machine| machine.spawned.is_empty()));
}

#[tokio::test]
async fn a_worker_that_another_hive_brings_up_meanwhile_is_found_by_the_request() {
    let world = World::new();
    let model = world.model("a");
    world.hive.adopt_workers().await;
    world.stranger(&model, 1);
    assert_eq!(world.complete(&model, false).await.body, CHUNKS);
    assert!(world.machine.state(|machine| machine.spawned.is_empty()));
}

#[tokio::test]
async fn an_update_replaces_stale_workers_only() {
    let world = World::new();
    world.complete(&world.model("a"), false).await;
    for (is_current, spawned) in [(true, 1), (false, 2)] {
        world.machine.state(|machine| machine.current = is_current);
        let answer = world.manage("POST", "/v1/workers/update", "").await;
        assert!(answer.body.ends_with("data: {\"state\":\"completed\"}\n\n"), "{answer:?}");
        assert_eq!(world.machine.state(|machine| machine.spawned.len()), spawned);
    }
}

#[tokio::test]
async fn half_an_answer_of_a_worker_is_an_error() {
    for end in ["", "event: end\ndata: {\"state\":\"cancelled\"}\n\n"] {
        let world = World::new();
        let answer: &'static str = format!("data: {{\"n\":1}}\n\n{end}").leak();
        world.machine.state(|machine| machine.answer = answer);
        let answer = world.complete(&world.model("a"), false).await;
        assert!(answer.cut && answer.body.contains("data: {\"error\":"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_worker_that_breaks_off_before_its_first_word_is_asked_three_times() {
    let world = World::new();
    world.machine.state(|machine| machine.answer = "");
    let answer = world.complete(&world.model("a"), false).await;
    assert_eq!(answer.refusal(), (502, "upstream_lost".into()));
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 1, "it answers its health");
}
