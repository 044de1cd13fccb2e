use std::{
    fs,
    io::{BufRead as _, BufReader},
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

use chain_tests::Chain;
use rbee_api::HEADER_EVENTS;
use serde_json::{Value, json};

const NARRATION: &str = "bin/99_shared_crates/narration-core/src/lib.rs";

const STREAMS: usize = 8;

/// Of each stream, a few tokens each: more than are said before every level is replaced.
const WORDS: usize = 50;

/// Until each stream has begun, and until what was replaced has left; for a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn an_edit_replaces_every_level_while_eight_streams_of_the_real_model_run_to_their_ends() {
    let chain = Chain::whole();
    // One thread, so that what takes the streams' place is not kept from starting by them.
    chain.configure(&format!("[worker]\nparallel = {STREAMS}\ncontext = 1024\nthreads = 1\n"));
    // Both states are built beforehand: at idle priority a build waits for the streams' end.
    let shared = chain.checkout().path(NARRATION);
    chain.checkout().edit_to_something_new();
    let edited = fs::read(&shared).unwrap();
    let infer = ["infer", "--max-tokens", "1", "Hi"];
    chain.succeed(&infer);
    chain.checkout().restore(NARRATION);
    chain.succeed(&infer);
    let queen = chain.queen();

    let (before, replaced) = (chain.healths(), chain.daemons());
    let ended = while_all_run(&queen, (STREAMS, WORDS), || {
        fs::write(&shared, &edited).unwrap();
        chain.succeed(&infer);
        for (before, after) in before.iter().zip(chain.healths()) {
            assert_ne!(before.exe_hash, after.exe_hash, "{} was not replaced", after.role);
        }
    });

    for (number, text) in ended.iter().enumerate() {
        assert_eq!(*text, Value::from(story(number, WORDS)).to_string(), "stream {number}");
    }
    for process in replaced {
        assert!(process.ends_within(LIMIT), "{process:?} was replaced and is still there");
    }
}

/// Does `work` once so many streams of so many words have begun, and before any has ended; gives what
/// they came to.
pub(crate) fn while_all_run(
    queen: &str,
    (streams, words): (usize, usize),
    work: impl FnOnce(),
) -> Vec<String> {
    let (begun, beginnings) = channel();
    thread::scope(|scope| {
        let streams: Vec<_> = (0..streams)
            .map(|number| {
                let begun = begun.clone();
                scope.spawn(move || read(queen, (number, words), &begun))
            })
            .collect();
        for _ in &streams {
            beginnings.recv_timeout(LIMIT).expect("a stream begins");
        }
        work();
        let ended = streams.iter().filter(|stream| stream.is_finished()).count();
        assert_eq!(ended, 0, "streams ended before all was done that was to be done meanwhile");
        streams.into_iter().map(|stream| stream.join().unwrap()).collect()
    })
}

/// What the model is made to say, and nothing else: what it says of itself depends, by the last
/// bits of a sum, on what else it computes at the time, and so never comes twice.
pub(crate) fn story(number: usize, words: usize) -> String {
    let words: Vec<_> = (0..words).map(|word| format!("bee{number}x{word}")).collect();
    words.join(" ")
}

/// Reads a stream to its end on one connection.
fn read(queen: &str, (number, words): (usize, usize), begun: &Sender<()>) -> String {
    let schema = json!({"schema": {"const": story(number, words)}});
    let body = json!({
        "stream": true, "temperature": 0.8, "seed": number,
        "response_format": {"type": "json_schema", "json_schema": schema},
        "messages": [{"role": "user", "content": format!("Tell a story about {number} bees.")}],
    });
    let response = ureq::post(format!("{queen}/v1/chat/completions"))
        .header("content-type", "application/json")
        .header(HEADER_EVENTS, "1")
        .send(body.to_string())
        .unwrap();
    let (mut text, mut finish_reason) = (String::new(), String::new());
    let (mut is_done, mut last_id) = (false, 0);
    for line in BufReader::new(response.into_body().into_reader()).lines() {
        let line = line.unwrap_or_else(|error| panic!("stream {number} was cut: {error}"));
        if let Some(id) = line.strip_prefix("id: ") {
            let id: u64 = id.parse().unwrap();
            assert_eq!(id, last_id + 1, "stream {number}: an event is missing or came twice");
            last_id = id;
        }
        assert!(!line.starts_with("event: error"), "stream {number} ended with an error");
        let Some(data) = line.strip_prefix("data: ") else { continue };
        is_done |= data == "[DONE]";
        let chunk: Value = serde_json::from_str(data).unwrap_or_default();
        let choice = &chunk["choices"][0];
        if let Some(piece) = choice["delta"]["content"].as_str() {
            if text.is_empty() && !piece.is_empty() {
                // Nobody waits any more only where the test has failed.
                begun.send(()).ok();
            }
            text.push_str(piece);
        }
        finish_reason.push_str(choice["finish_reason"].as_str().unwrap_or_default());
    }
    assert!(is_done, "stream {number} ended without its end, after {text}");
    assert_eq!(finish_reason, "stop", "stream {number}");
    text
}
