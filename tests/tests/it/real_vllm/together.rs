//! Two hives that compute a model together by vLLM's own means.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command, time::Duration};

use chain_tests::Chain;
use rbee_api::HiveList;

use super::{assert_is_beginning, chain, have_ended, says, shared_memory, streams, told};
use crate::engines::{folders, members, wait_at_most, wait_until};

/// From the end of one of its processes to that of them all, and to the errors of the streams.
const FOUND: Duration = Duration::from_secs(30);

#[test]
fn two_hives_compute_a_model_and_find_that_one_of_its_processes_is_dead() {
    let chain = chain("tensor_parallel = 2", "hives = [\"my-hive\", \"other\"]");
    chain.configure(
        "[[hive]]\nalias = \"other\"\nport = 0\n\
         [worker.vllm.nodes.my-hive]\naddress = \"127.0.0.1\"\ninterface = \"lo\"\n\
         [worker.vllm.nodes.other]\naddress = \"127.0.0.1\"\ninterface = \"lo\"\n",
    );
    let shared_memory = shared_memory();
    told("from nothing, the chain's build included, to an answer by both", || says(&chain, "d", 5));
    let hives: HiveList = chain_tests::get(&format!("{}/v1/hives", chain.queen()));
    let workers = hives.hives.iter().flat_map(|hive| &hive.workers.workers);
    let mut ranks: Vec<_> = workers.map(|worker| worker.part.as_ref().unwrap().rank).collect();
    ranks.sort_unstable();
    assert_eq!(ranks, [0, 1]);

    let [head, other] = engines(&chain);
    let all: BTreeSet<u32> = head.union(&other).copied().collect();
    let mut streams = streams(&chain);
    let worker = *other.iter().find(|pid| is_worker(**pid)).expect("it has a worker of vLLM's");
    assert!(Command::new("kill").args(["-9", &worker.to_string()]).status().unwrap().success());
    told("from the death of the other part's worker to that of the last process of both", || {
        wait_at_most(FOUND, "something of the engines is left", || have_ended(&all));
    });
    for (number, stream) in streams.iter_mut().enumerate() {
        assert!(!stream.0.wait().unwrap().success(), "a part was given out as the whole");
        assert_is_beginning(&stream.text(), number);
    }
    told("from the question after that to the answer by both", || says(&chain, "h", 5));
    let [head, other] = engines(&chain);
    assert!(head.is_disjoint(&all) && other.is_disjoint(&all));

    chain.succeed(&["queen", "stop"]);
    wait_until("something of the engines is left", || have_ended(&head) && have_ended(&other));
    wait_until("a folder of an engine is left", || folders(&chain).is_empty());
    assert_eq!(super::shared_memory(), shared_memory);
}

/// The head's processes, and those of the other part.
fn engines(chain: &Chain) -> [BTreeSet<u32>; 2] {
    wait_until("not two engines run", || folders(chain).len() == 2);
    let (head, other): (Vec<_>, Vec<_>) =
        folders(chain).into_iter().partition(|folder| folder.join("s.sock").exists());
    let of = |folders: &[PathBuf]| match folders {
        [folder] => members(folder),
        _ => panic!("not one of them is the head: {folders:?}"),
    };
    [of(&head), of(&other)]
}

fn is_worker(pid: u32) -> bool {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.starts_with("VLLM::Worker")
}
