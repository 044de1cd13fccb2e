use std::{
    fs,
    io::{BufRead as _, BufReader},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use chain_tests::Chain;
use rbee_api::HEADER_EVENTS;
use serde_json::{Value, json};

const NARRATION: &str = "bin/99_shared_crates/narration-core/src/lib.rs";

const STREAMS: usize = 8;

/// Of each stream: longer than it takes to replace every level.
const TOKENS: u64 = 150;

/// Until each stream has begun, and until what was replaced has left; for a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn an_edit_replaces_every_level_while_eight_streams_of_the_real_model_run_to_their_ends() {
    let chain = Chain::whole();
    // One thread, so that what takes the streams' place is not kept from starting by them.
    chain.configure(&format!("[worker]\nparallel = {STREAMS}\ncontext = 512\nthreads = 1\n"));
    // Both states are built beforehand: at idle priority a build waits for the streams' end.
    let shared = chain.checkout().path(NARRATION);
    chain.checkout().edit_to_something_new();
    let edited = fs::read(&shared).unwrap();
    let infer = ["infer", "--max-tokens", "1", "Hi"];
    chain.succeed(&infer);
    chain.checkout().restore(NARRATION);
    chain.succeed(&infer);
    let queen = chain.queen();
    let undisturbed = while_all_run(&queen, || {});

    let (before, replaced) = (chain.healths(), chain.processes());
    let disturbed = while_all_run(&queen, || {
        fs::write(&shared, &edited).unwrap();
        chain.succeed(&infer);
        for (before, after) in before.iter().zip(chain.healths()) {
            assert_ne!(before.exe_hash, after.exe_hash, "{} was not replaced", after.role);
        }
    });

    for (number, (disturbed, undisturbed)) in disturbed.iter().zip(&undisturbed).enumerate() {
        assert_eq!(disturbed, undisturbed, "stream {number}");
    }
    for process in replaced {
        assert!(process.ends_within(LIMIT), "{process:?} was replaced and is still there");
    }
}

/// Does `work` once every stream has begun, and before any has ended; gives what they came to.
fn while_all_run(queen: &str, work: impl FnOnce()) -> Vec<Ended> {
    let (begun, beginnings) = channel();
    thread::scope(|scope| {
        let streams: Vec<_> = (0..STREAMS)
            .map(|number| {
                let begun = begun.clone();
                scope.spawn(move || read(queen, number, &begun))
            })
            .collect();
        wait_for_all(&beginnings);
        work();
        let running = streams.iter().filter(|stream| !stream.is_finished()).count();
        assert_eq!(running, STREAMS, "streams ended before every level was replaced");
        streams.into_iter().map(|stream| stream.join().unwrap()).collect()
    })
}

fn wait_for_all(beginnings: &Receiver<()>) {
    for _ in 0..STREAMS {
        beginnings.recv_timeout(LIMIT).expect("a stream begins");
    }
}

/// What a client has of a stream that has ended.
#[derive(Debug, Default, PartialEq)]
struct Ended {
    text: String,
    finish_reason: String,
    tokens: u64,
    done: bool,
}

/// Reads a stream to its end on one connection.
fn read(queen: &str, number: usize, begun: &Sender<()>) -> Ended {
    let prompt = format!("Tell a story about {number} bees.");
    let body = json!({
        "stream": true, "stream_options": {"include_usage": true}, "ignore_eos": true,
        "temperature": 0.8, "seed": number, "max_tokens": TOKENS,
        "messages": [{"role": "user", "content": prompt}],
    });
    let response = ureq::post(format!("{queen}/v1/chat/completions"))
        .header("content-type", "application/json")
        .header(HEADER_EVENTS, "1")
        .send(body.to_string())
        .unwrap();
    let (mut ended, mut last_id) = (Ended::default(), 0);
    for line in BufReader::new(response.into_body().into_reader()).lines() {
        let line = line.unwrap_or_else(|error| panic!("stream {number} was cut: {error}"));
        if let Some(id) = line.strip_prefix("id: ") {
            let id: u64 = id.parse().unwrap();
            assert_eq!(id, last_id + 1, "stream {number}: an event is missing or came twice");
            last_id = id;
        }
        assert!(!line.starts_with("event: error"), "stream {number} ended with an error");
        let Some(data) = line.strip_prefix("data: ") else { continue };
        ended.done |= data == "[DONE]";
        let chunk: Value = serde_json::from_str(data).unwrap_or_default();
        let choice = &chunk["choices"][0];
        if let Some(text) = choice["delta"]["content"].as_str() {
            if ended.text.is_empty() && !text.is_empty() {
                // Nobody waits any more only where the test has failed.
                begun.send(()).ok();
            }
            ended.text.push_str(text);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            ended.finish_reason.push_str(reason);
        }
        ended.tokens += chunk["usage"]["completion_tokens"].as_u64().unwrap_or_default();
    }
    assert!(ended.done, "stream {number} ended without its end: {ended:?}");
    assert_eq!((ended.finish_reason.as_str(), ended.tokens), ("length", TOKENS));
    ended
}
