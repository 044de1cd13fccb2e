use std::{fs, time::Duration};

use chain_tests::{Chain, Process};
use rbee_api::{HiveList, WorkerState};

use crate::{
    drain_deadline::Client,
    engines::wait_until,
    other_engines::{Mark, chain},
};

/// More than the logs and the connections between two levels hold together.
const WORDS: usize = 40_000;

/// How slowly they are read.
const AT_ONCE: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Each model with the worker that serves it.
const SERVED: [(&str, &str); 2] = [("tiny", "vllm-worker"), ("other", "external-worker")];

const ADAPTER: &str = "bin/30_llm_worker_rbee/engine-adapter/src/run.rs";
const HIVE: &str = "bin/20_rbee_hive/src/main.rs";

fn running(chain: &Chain, name: &str) -> Vec<Process> {
    chain.processes().into_iter().filter(|process| process.name == name).collect()
}

fn hives(chain: &Chain) -> HiveList {
    chain_tests::get(&format!("{}/v1/hives", chain.queen()))
}

#[test]
fn a_slow_reader_gets_all_of_a_stream_whose_worker_is_replaced_and_then_its_hive() {
    let chain = chain();
    let (vllm, model) = (chain.home().join("vllm"), chain.home().join("model"));
    chain.configure(&format!(
        "[auto_update]\nwatch = false\n\
         [worker.external.\"server\"]\n\
         command = [{vllm:?}, \"serve\", \"{{model}}\", \"--uds\", \"{{socket}}\", \
         \"--served-model-name\", \"{{name}}\"]\n\
         [model.other]\nsource = {model:?}\nworker = \"server\"\n"
    ));
    let infer = |model: &str| chain.succeed(&["infer", "--model", model, "count 1"]);
    for (model, _) in SERVED {
        infer(model);
    }
    let held = chain.home().join("model/marks/held");
    fs::write(&held, "").unwrap();
    let held = Mark(held);
    let mut clients =
        SERVED.map(|(model, _)| Client::ask(&chain.queen(), model, &format!("held {WORDS}")));
    for client in &mut clients {
        client.read_words(2);
    }

    chain.checkout().edit(ADAPTER, "the worker is ready", "the worker is up");
    for (model, worker) in SERVED {
        infer(model);
        assert_eq!(running(&chain, worker).len(), 2, "{:?}", chain.processes());
    }
    let leaving = hives(&chain).hives.remove(0).workers.leaving;
    let states: Vec<WorkerState> = leaving.iter().map(|worker| worker.state).collect();
    assert_eq!(states, [WorkerState::Draining; 2], "{leaving:?}");

    // They have half an hour; the hive hands on what it has long before.
    chain.configure_queen("drain_timeout = \"16s\"");
    let old = running(&chain, "rbee-hive").remove(0);
    chain.checkout().edit(HIVE, "hive is ready", "hive is up");
    infer("tiny");
    assert_eq!(running(&chain, "rbee-hive").len(), 2, "{:?}", chain.processes());
    drop(held);
    let mut read = 2;
    while running(&chain, "rbee-hive").contains(&old) {
        // So slow that the levels before wait for it, and never without a word for long.
        if read + AT_ONCE < WORDS {
            clients.iter_mut().for_each(|client| client.read_words(AT_ONCE));
            read += AT_ONCE;
        }
        std::thread::park_timeout(PAUSE);
    }
    for client in &mut clients {
        client.read_words(WORDS - read);
        let wanted: String = (0..WORDS).map(|n| format!("w{n} ")).collect();
        assert!(client.text == wanted, "{} of {}", client.text.len(), wanted.len());
    }
    // What they had is read, so nobody is waited for.
    for (_, worker) in SERVED {
        wait_until("a worker that was replaced is left", || running(&chain, worker).len() == 1);
    }
}
