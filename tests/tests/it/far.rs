//! Two hives at the ends of bad lines: each machine in a network namespace of its own, packets late and
//! lost.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use chain_tests::{Chain, Elsewhere, Machines, get, pause};
use rbee_api::HiveList;
use serde_json::{Value, json};

use crate::{
    elsewhere::{Streaming, words},
    engines::wait_at_most,
};

/// How late each packet is, one way, and how many of a hundred are lost: over this, binaries of some
/// hundred megabytes go.
const BAD: (Duration, f64) = (Duration::from_millis(5), 0.1);

/// And over this, streams.
const WORSE: (Duration, f64) = (Duration::from_millis(60), 2.0);

/// From an edit that nobody announces to processes from it on both machines, builds and their way over
/// the bad line included.
const FOLLOWS: Duration = Duration::from_secs(400);

/// How long the line is cut: far beyond what ssh waits for.
const CUT: Duration = Duration::from_secs(60);

/// From when a machine is gone to when no request waits for it any more.
const LEFT_OUT: Duration = Duration::from_secs(45);

/// So many words, at fifty a second, begin before a cut and end behind it.
const CUT_WORDS: usize = 3500;

/// And so many outlast an edit.
const EDITED_WORDS: usize = 2500;

const HIVE: &str = "bin/20_rbee_hive/src/main.rs";
const SERVES: &str = "async fn run(args: Args) -> anyhow::Result<()> {";

/// Clients that ask one question after the other, half of them for streams.
struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<usize>>,
}

impl Load {
    const CLIENTS: usize = 4;
    const WORDS: usize = 40;

    fn begin(queen: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let client = |number: usize| {
            let (over, queen) = (Arc::clone(&over), queen.to_owned());
            thread::spawn(move || {
                let mut answered = 0;
                while !over.load(Ordering::Relaxed) {
                    let said = ask(&queen, number.is_multiple_of(2), &words(Self::WORDS));
                    assert_eq!(said, words(Self::WORDS), "answer {answered} of client {number}");
                    answered += 1;
                }
                answered
            })
        };
        Self { clients: (0..Self::CLIENTS).map(client).collect(), over }
    }

    /// How many answers there were, all of them whole.
    fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().unwrap()).sum()
    }
}

/// The answer to a request as any program sends it, which asks for nothing fresh.
fn ask(queen: &str, stream: bool, prompt: &str) -> String {
    let body = json!({"stream": stream, "messages": [{"role": "user", "content": prompt}]});
    let answer = ureq::post(format!("{queen}/v1/chat/completions"))
        .header("content-type", "application/json")
        .config()
        .http_status_as_error(false)
        .build()
        .send(body.to_string())
        .unwrap();
    let status = answer.status();
    let mut body = answer.into_body();
    assert_eq!(status, 200, "{}", body.read_to_string().unwrap());
    if !stream {
        let body: Value = serde_json::from_str(&body.read_to_string().unwrap()).unwrap();
        return body["choices"][0]["message"]["content"].as_str().unwrap().trim_end().to_owned();
    }
    let (mut text, mut is_done) = (String::new(), false);
    for line in BufReader::new(body.into_reader()).lines() {
        let line = line.unwrap_or_else(|error| panic!("cut after `{text}`: {error}"));
        let Some(data) = line.strip_prefix("data: ") else { continue };
        is_done |= data == "[DONE]";
        let chunk: Value = serde_json::from_str(data).unwrap_or_default();
        assert!(chunk["error"].is_null(), "{chunk} after `{text}`");
        text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
    }
    assert!(is_done, "no end after `{text}`");
    text.trim_end().to_owned()
}

/// What each hive and its worker say that they run; `None` while one of them says nothing.
fn hashes(queen: &str) -> Option<[[String; 2]; 2]> {
    let list: HiveList = get(&format!("{queen}/v1/hives"));
    let of = |nth: usize| {
        let hive = list.hives.get(nth)?;
        let worker = hive.workers.workers.iter().find_map(|worker| worker.health.clone())?;
        Some([hive.health.clone()?.exe_hash, worker.exe_hash])
    };
    Some([of(0)?, of(1)?])
}

fn whole(streaming: Streaming, count: usize) {
    let run = streaming.end();
    assert_eq!((run.code, run.stdout.trim_end()), (Some(0), &*words(count)), "{}", run.stderr);
}

#[expect(clippy::print_stdout, reason = "what was skipped, and what was measured, is to be seen")]
fn say(text: &str) {
    println!("{text}");
}

#[test]
fn two_hives_at_bad_lines_follow_roll_back_outlast_a_cut_and_leave_one_that_is_gone_out() {
    let machines = match Machines::far() {
        Ok(machines) => machines,
        Err(why) => return say(&format!("SKIPPED: {why}, so no line of packets was tried")),
    };
    let there = ["left", "right"].map(|name| machines.add(name));
    let chain = Chain::new().with_programs(&machines.programs());
    let [left, right] = &there;
    let config = format!("[models]\ndefault = {:?}\n[queen]\nport = 0\n", Chain::model());
    let config = format!("{config}{}{}", left.hive(), right.hive());
    fs::write(chain.home().join("config.toml"), config).unwrap();
    let model = Chain::model().display().to_string();
    for name in ["left", "right"] {
        chain.succeed(&["model", "load", "--hive", name, &model]);
    }
    for there in &there {
        there.is_far(BAD.0, BAD.1);
    }
    an_edit_is_followed_on_both(&chain);
    a_bad_hive_is_rolled_back_on_both(&chain, &there);
    for there in &there {
        there.is_far(WORSE.0, WORSE.1);
    }
    a_cut_of_a_minute_is_outlasted(&chain, &there);
    one_that_is_gone_is_left_out(&chain, &there);

    left.mend();
    for (name, there) in ["left", "right"].iter().zip(&there) {
        wait_at_most(LEFT_OUT, "it is not found again", || {
            chain.rbee(&["hive", "stop", name]).code == Some(0)
        });
        assert_eq!(there.processes(), []);
    }
}

/// New hives and new workers on both, and nothing lost or cut.
fn an_edit_is_followed_on_both(chain: &Chain) {
    let queen = chain.queen();
    let before = hashes(&queen).expect("both run");
    let streams = [(); 2].map(|()| Streaming::begin(chain, &words(EDITED_WORDS)));
    let load = Load::begin(&queen);
    let began = Instant::now();
    chain.checkout().edit_to_something_new();
    let differ = |after: &[[String; 2]; 2]| {
        after.iter().flatten().zip(before.iter().flatten()).all(|(after, before)| after != before)
    };
    wait_at_most(FOLLOWS, "not all of both follows by itself", || {
        hashes(&queen).is_some_and(|after| differ(&after))
    });
    let followed = began.elapsed();
    let answered = load.end();
    for stream in streams {
        whole(stream, EDITED_WORDS);
    }
    let after = hashes(&queen).expect("both run");
    assert_eq!(after[0], after[1], "the same on both");
    say(&format!("both followed in {followed:.1?}, {answered} answers meanwhile, each whole"));
}

/// One that dies in its probation.
fn a_bad_hive_is_rolled_back_on_both(chain: &Chain, there: &[Elsewhere; 2]) {
    let queen = chain.queen();
    let before = hashes(&queen).expect("both run");
    let hives = there.each_ref().map(|there| there.pid("rbee-hive"));
    let load = Load::begin(&queen);
    let dies = "std::thread::spawn(|| { std::thread::park_timeout(std::time::Duration::from_secs(1)); \
                std::process::exit(41) });";
    chain.checkout().edit(HIVE, SERVES, &format!("{SERVES}\n    {dies}"));
    let rolled_back = |alias: &str| {
        let run = chain.rbee(&["hive", "update", alias]);
        run.stderr.contains("was not replaced") || run.stderr.contains("rolled back")
    };
    for alias in ["left", "right"] {
        wait_at_most(FOLLOWS, "nobody says that it was rolled back", || rolled_back(alias));
    }
    let answered = load.end();
    assert_eq!(hashes(&queen).expect("both run"), before);
    assert_eq!(there.each_ref().map(|there| there.pid("rbee-hive")), hives);
    chain.checkout().restore(HIVE);
    say(&format!("both rolled back, {answered} answers meanwhile, each whole"));
}

fn a_cut_of_a_minute_is_outlasted(chain: &Chain, there: &[Elsewhere; 2]) {
    let queen = chain.queen();
    let pids = there.each_ref().map(|there| there.pid("llamacpp-worker"));
    let busy = |queen: &str| {
        let list: HiveList = get(&format!("{queen}/v1/hives"));
        let workers = list.hives.iter().flat_map(|hive| &hive.workers.workers);
        workers.filter(|worker| worker.active_requests > 0).count()
    };
    // One after the other, so that the second goes where the first is not.
    let streams = [1, 2].map(|nth| {
        let stream = Streaming::begin(chain, &words(CUT_WORDS));
        wait_at_most(LEFT_OUT, "the streams are not one on each", || busy(&queen) == nth);
        stream
    });
    for there in there {
        there.cut();
    }
    pause(CUT);
    assert!(streams.iter().all(|stream| !stream.is_over()), "they were to be cut in mid-stream");
    for there in there {
        there.is_far(WORSE.0, WORSE.1);
    }
    for stream in streams {
        whole(stream, CUT_WORDS);
    }
    assert_eq!(there.each_ref().map(|there| there.pid("llamacpp-worker")), pids);
}

fn one_that_is_gone_is_left_out(chain: &Chain, there: &[Elsewhere; 2]) {
    let queen = chain.queen();
    let before = hashes(&queen).expect("both run");
    there[0].cut();
    let gone = Instant::now();
    assert_eq!(ask(&queen, false, "one two"), "one two");
    let left_out = gone.elapsed();
    assert!(left_out < LEFT_OUT, "{left_out:?}");
    let asked = Instant::now();
    assert_eq!(ask(&queen, false, "three"), "three");
    let next = asked.elapsed();
    say(&format!("gone, answered elsewhere after {left_out:.1?}, the next after {next:.1?}"));
    assert!(hashes(&queen).is_none_or(|after| after == before));
}
