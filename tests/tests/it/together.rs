use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use chain_tests::Chain;
use rbee_api::{HiveList, Worker};

use crate::{
    engines::{Infer, folders, is_python, members, wait_at_most, wait_until},
    other_engines::{Mark, chain_with, words},
};

/// From the end of a part to that of the streams which needed it.
const FOUND: Duration = Duration::from_secs(30);

/// A chain with two hives, which compute the model `tiny` together.
fn chain() -> Chain {
    let chain = chain_with("tensor_parallel = 2", "hives = [\"my-hive\", \"other\"]");
    chain.configure(
        "[[hive]]\nalias = \"other\"\nport = 0\n\
         [worker.vllm.nodes.my-hive]\naddress = \"127.0.0.1\"\ninterface = \"lo\"\n\
         [worker.vllm.nodes.other]\naddress = \"127.0.0.1\"\n",
    );
    chain
}

/// The head and the other part.
fn workers(chain: &Chain) -> [Worker; 2] {
    let hives: HiveList = chain_tests::get(&format!("{}/v1/hives", chain.queen()));
    let of = |alias: &str| {
        let hive = hives.hives.iter().find(|hive| hive.alias == alias).expect("it is configured");
        hive.workers.workers.first().unwrap_or_else(|| panic!("`{alias}` has no worker")).clone()
    };
    [of("my-hive"), of("other")]
}

/// The processes of both engines.
fn engines(chain: &Chain) -> [BTreeSet<u32>; 2] {
    wait_until("not two engines run", || folders(chain).len() == 2);
    let mut engines: Vec<_> = folders(chain).iter().map(|folder| members(folder)).collect();
    // The head has a socket.
    let is_head = |place: usize| folders(chain)[place].join("s.sock").exists();
    if !is_head(0) {
        engines.swap(0, 1);
    }
    engines.try_into().unwrap()
}

#[test]
fn two_hives_compute_a_model_whose_parts_live_and_die_together() {
    let chain = chain();
    let first = chain.succeed(&["infer", "--model", "tiny", "count 3"]);
    assert_eq!(first.stdout.trim_end(), words(3), "{}", first.stderr);
    let before = workers(&chain);
    let [head, other] = before.clone().map(|worker| worker.part.expect("it is a part"));
    assert_eq!(((head.rank, head.parts), (other.rank, other.parts)), ((0, 2), (1, 2)));
    assert_eq!(head.meet, other.meet);
    let engines_before = engines(&chain);
    let listed = chain.succeed(&["worker", "list"]).stdout;
    assert!(listed.contains("head of 2") && listed.contains("part 1 of 2"), "{listed}");

    an_edit_replaces_the_workers_and_no_engine(&chain, &before, &engines_before);
    a_part_that_ends_ends_the_others_and_all_are_started_anew(&chain, &engines_before);

    chain.succeed(&["model", "unload", "tiny"]);
    wait_until("a folder of an engine is left", || folders(&chain).is_empty());
}

fn an_edit_replaces_the_workers_and_no_engine(
    chain: &Chain,
    workers_before: &[Worker; 2],
    engines_before: &[BTreeSet<u32>; 2],
) {
    let held = chain.home().join("model/marks/held");
    fs::write(&held, "").unwrap();
    let held = Mark(held);
    let mut stream = Infer::start(chain, &["--model", "tiny", "held 400"], "stream");
    wait_until("a stream begins", || stream.text().contains("w1 "));
    chain.checkout().edit_to_something_new();
    let run = chain.succeed(&["infer", "--model", "tiny", "count 2"]);
    assert_eq!(run.stdout.trim_end(), words(2), "{}", run.stderr);
    let hash = |worker: &Worker| worker.health.clone().expect("it answers").exe_hash;
    for (before, after) in workers_before.iter().zip(workers(chain)) {
        assert_ne!(hash(before), hash(&after), "{}\n{}", before.id, run.stderr);
        assert_eq!(before.part, after.part);
    }
    assert_eq!(engines(chain), *engines_before, "{}", run.stderr);
    drop(held);
    assert!(stream.0.wait().unwrap().success(), "{}", stream.said());
    assert_eq!(stream.text().trim_end(), words(400), "{}", stream.said());
}

fn a_part_that_ends_ends_the_others_and_all_are_started_anew(
    chain: &Chain,
    engines_before: &[BTreeSet<u32>; 2],
) {
    let held = chain.home().join("model/marks/held");
    fs::write(&held, "").unwrap();
    let held = Mark(held);
    let mut stream = Infer::start(chain, &["--model", "tiny", "held 400"], "cut");
    wait_until("a stream begins", || stream.text().contains("w1 "));
    let killed = engines_before[1].first().expect("an engine has processes").to_string();
    let began = Instant::now();
    assert!(Command::new("kill").args(["-9", &killed]).status().unwrap().success());
    let all: Vec<u32> = engines_before.iter().flatten().copied().collect();
    wait_at_most(FOUND, "something of the engines is left", || {
        all.iter().all(|&pid| !is_python(pid))
    });
    assert!(!stream.0.wait().unwrap().success(), "a part was given out as the whole");
    told("from a part's end to that of the last process and of the stream", began);
    drop(held);
    let began = Instant::now();
    let healed = chain.succeed(&["infer", "--model", "tiny", "count 3"]);
    told("from the next question to its answer", began);
    assert_eq!(healed.stdout.trim_end(), words(3), "{}", healed.stderr);
    let after = engines(chain);
    assert!(after.iter().flatten().all(|pid| !all.contains(pid)));
    let [head, other] = workers(chain).map(|worker| worker.part.expect("it is a part"));
    assert_eq!(head.meet, other.meet);
}

/// Says how long something took, for whoever runs this to measure it (`--no-capture`).
#[expect(clippy::print_stderr, reason = "a test's output is shown where somebody asks for it")]
fn told(what: &str, since: Instant) {
    eprintln!("{what}: {:.1} s", since.elapsed().as_secs_f64());
}
