mod clients; // what reads streams, and what makes them

use std::{
    os::unix::fs::symlink,
    process::Command,
    time::{Duration, Instant},
};

use chain_tests::{Chain, Process};
use clients::{Infer, JobOfWorker, Stream};
use serde_json::{Value, json};

/// From a kill to what it leads to, on a busy machine; the stand-in waits 15 s for a reader.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a job waits for its reader to come back.
const GRACE: Duration = Duration::from_secs(15);

/// Of a stream that is read to its end, at fifty a second.
const WORDS: usize = 800;

/// Of a stream that does not reach its end while a test runs.
const TOO_MANY_WORDS: usize = 8_000;

#[test]
fn streams_go_on_word_for_word_each_time_that_their_hive_is_killed() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let (queen, worker) = (chain.pid("queen-rbee"), chain.pid("llamacpp-worker"));
    let url = chain.queen();
    let streams = [true, false].map(|events| Stream::open(&url, &body(WORDS), events));
    for _ in 0..2 {
        let hive = chain.pid("rbee-hive");
        for stream in &streams {
            stream.wait_for_new_words();
        }
        kill(hive);
        for stream in &streams {
            stream.wait_for_new_words();
        }
        assert_ne!(chain.pid("rbee-hive"), hive);
    }
    for stream in streams {
        let ended = stream.end();
        assert_eq!((ended.error.as_ref(), ended.cut), (None, false), "{ended:?}");
        assert_eq!((ended.text, ended.dones), (words(WORDS), 1));
    }
    assert_eq!((chain.pid("queen-rbee"), chain.pid("llamacpp-worker")), (queen, worker));
}

#[test]
fn streams_whose_worker_is_killed_go_on_word_for_word_in_another_and_no_other_stream_notices() {
    let chain = Chain::new();
    let other = chain.home().join("other.gguf");
    symlink(Chain::model(), &other).unwrap();
    // A name of the configuration's: clients without the token name no paths.
    chain.configure(&format!("[model.other]\nsource = {other:?}\n"));
    chain.succeed(&["infer", "one"]);
    let killed = chain.pid("llamacpp-worker");
    let url = chain.queen();
    let mut to_other = body(WORDS);
    to_other["model"] = json!("other");
    let untouched = [true, false].map(|events| Stream::open(&url, &to_other, events));
    let touched = [true, false].map(|events| Stream::open(&url, &body(WORDS), events));
    for stream in untouched.iter().chain(&touched) {
        stream.wait_for_new_words();
    }
    let survivors = chain.processes();

    kill(killed);
    let [with_events, plain] = touched.map(Stream::end);
    assert_eq!(with_events.end, Some(json!({"state": "completed"})));
    for ended in [with_events, plain] {
        assert_eq!((ended.error.as_ref(), ended.cut), (None, false), "{ended:?}");
        assert_eq!((ended.text, ended.dones), (words(WORDS), 1));
    }
    for ended in untouched.map(Stream::end) {
        assert_eq!((ended.text, ended.dones, ended.cut), (words(WORDS), 1, false));
    }

    assert_eq!(chain.succeed(&["infer", "healed again"]).stdout.trim_end(), "healed again");
    let left = survivors.iter().filter(|process| process.pid != killed);
    for process in left {
        assert!(chain.processes().contains(process), "{process:?} is gone");
    }
    let status: Value = serde_json::from_str(&chain.succeed(&["status", "--json"]).stdout).unwrap();
    let levels = status["levels"].as_array().unwrap();
    let workers: Vec<_> = levels.iter().filter(|level| level["level"] == "worker").collect();
    assert_eq!(workers.len(), 2, "{status}");
    assert!(workers.iter().all(|worker| worker["pid"] != json!(killed)), "{status}");
}

#[test]
fn neither_a_hive_that_hangs_nor_a_worker_costs_a_stream() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let (hive, worker) = (chain.pid("rbee-hive"), chain.pid("llamacpp-worker"));
    let stream = Stream::open(&chain.queen(), &body(WORDS), true);
    stream.wait_for_new_words();
    suspend(hive);
    let ended = stream.end();
    assert_eq!((ended.text, ended.dones, ended.error), (words(WORDS), 1, None));
    assert!(Process { pid: hive, name: String::new() }.ends_within(LIMIT));
    assert_eq!(chain.pid("llamacpp-worker"), worker);

    let stream = Stream::open(&chain.queen(), &body(WORDS), true);
    stream.wait_for_new_words();
    suspend(worker);
    assert_eq!(chain.succeed(&["infer", "healed again"]).stdout.trim_end(), "healed again");
    let ended = stream.end();
    assert_eq!((ended.text, ended.dones, ended.error), (words(WORDS), 1, None));
    assert!(Process { pid: worker, name: String::new() }.ends_within(LIMIT));
}

#[test]
fn a_killed_infer_ends_its_job_on_the_worker_and_nothing_else() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let daemons = chain.processes();
    let mut infer = Infer::start(&chain, TOO_MANY_WORDS);
    let job = JobOfWorker::of_the_only_stream(&chain);

    kill(chain.pid("rbee-keeper"));
    let killed = Instant::now();
    assert!(!infer.child.wait().unwrap().success());
    assert_eq!(job.state_at_its_end(), "cancelled");
    let took = killed.elapsed();
    assert!(took < GRACE + LIMIT / 2, "{took:?}");
    assert_eq!(chain.processes(), daemons);
}

#[test]
fn a_killed_queen_takes_its_clients_streams_with_it_but_neither_hive_nor_worker() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let (hive, worker) = (chain.pid("rbee-hive"), chain.pid("llamacpp-worker"));
    let stream = Stream::open(&chain.queen(), &body(TOO_MANY_WORDS), false);
    stream.wait_for_new_words();
    let job = JobOfWorker::of_the_only_stream(&chain);

    kill(chain.pid("queen-rbee"));
    let killed = Instant::now();
    let ended = stream.end();
    assert!(ended.cut && ended.dones == 0, "{ended:?}");
    assert_eq!(job.state_at_its_end(), "cancelled");
    let took = killed.elapsed();
    assert!(took < GRACE + LIMIT / 2, "{took:?}");
    let left: Vec<u32> = chain.processes().iter().map(|process| process.pid).collect();
    assert_eq!(left.len(), 2, "{:?}", chain.processes());

    assert_eq!(chain.succeed(&["infer", "healed again"]).stdout.trim_end(), "healed again");
    assert_eq!((chain.pid("rbee-hive"), chain.pid("llamacpp-worker")), (hive, worker));
}

#[test]
fn an_infer_goes_on_word_for_word_when_its_queen_is_killed_and_then_its_hive() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let worker = chain.pid("llamacpp-worker");
    let mut infer = Infer::start(&chain, WORDS);
    for level in ["queen-rbee", "rbee-hive"] {
        let killed = chain.pid(level);
        kill(killed);
        infer.read_some_words();
        infer.read_some_words();
        assert_ne!(chain.pid(level), killed, "{level}");
    }

    let run = infer.child.wait_with_output().unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success(), "{said}");
    assert_eq!(infer.text + &String::from_utf8(run.stdout).unwrap(), words(WORDS) + "\n");
    assert!(said.contains("The connection to the queen broke; resuming"), "{said}");
    assert_eq!(chain.pid("llamacpp-worker"), worker);
}

#[test]
fn a_worker_whose_queen_and_hive_are_killed_leaves_when_its_lease_ends() {
    let chain = Chain::new();
    // Long enough for a hive, which renews it every 5 s; a minute otherwise.
    chain.configure("[worker]\nlease = \"8s\"\n");
    chain.succeed(&["infer", "one"]);
    let stream = Stream::open(&chain.queen(), &body(TOO_MANY_WORDS), false);
    stream.wait_for_new_words();
    let worker = chain.pid("llamacpp-worker");

    // The queen first, which would start another hive.
    for level in ["queen-rbee", "rbee-hive"] {
        kill(chain.pid(level));
    }
    let worker = Process { pid: worker, name: String::new() };
    assert!(worker.ends_within(GRACE + LIMIT / 2), "{:?}", chain.processes());
    assert!(stream.end().cut);
    assert_eq!(chain.processes(), []);
    assert_eq!(chain.succeed(&["infer", "healed again"]).stdout.trim_end(), "healed again");
}

fn words(count: usize) -> String {
    (0..count).map(|n| format!("word{n} ")).collect()
}

/// A request for a stream of so many words.
fn body(count: usize) -> Value {
    json!({"stream": true, "messages": [{"role": "user", "content": words(count)}]})
}

/// Has a process of the chain that this test has started do nothing any more.
fn suspend(pid: u32) {
    assert!(Command::new("kill").args(["-STOP", &pid.to_string()]).status().unwrap().success());
}

/// Kills a process of the chain that this test has started.
pub(super) fn kill(pid: u32) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(status.success());
    let process = Process { pid, name: String::new() };
    assert!(process.ends_within(LIMIT));
}
