use std::{
    io::{BufRead as _, BufReader, Read},
    time::Duration,
};

use chain_tests::{Chain, Process};
use rbee_api::{HEADER_EVENTS, HEADER_JOB};
use serde_json::{Value, json};

/// Of the stand-in's stream, which gives fifty words a second: longer than any replacement takes.
const WORDS: usize = 30_000;

/// After which the chain has settled, and the rest of the stream is like what was seen.
const WORDS_AFTERWARDS: usize = 200;

/// From an edit to the end of the daemons that it has replaced, builds included.
const FOLLOWS: Duration = Duration::from_secs(240);

#[test]
fn a_stream_that_outlasts_the_drain_deadline_of_queen_and_hive_goes_on_byte_for_byte() {
    let chain = Chain::new();
    chain.configure_queen("drain_timeout = \"16s\"");
    chain.succeed(&["infer", "one"]);
    let (queen, before) = (chain.queen(), chain.daemons());
    let words: Vec<String> = (0..WORDS).map(|n| format!("word{n} ")).collect();
    let mut client = Client::ask(&queen, "", &words.concat());
    client.read_words(10);

    chain.checkout().edit_to_something_new();
    let daemons: Vec<&Process> =
        before.iter().filter(|process| process.name != "llamacpp-worker").collect();
    assert_eq!(daemons.len(), 2, "{before:?}");
    std::thread::scope(|scope| {
        // Read on beside, as a client does: the log behind the stream is bounded.
        let waiting = scope.spawn(|| daemons.iter().all(|daemon| daemon.ends_within(FOLLOWS)));
        while !waiting.is_finished() {
            client.read_words(10);
        }
        assert!(waiting.join().unwrap(), "{:?} were not replaced", chain.daemons());
    });
    client.read_words(WORDS_AFTERWARDS);

    assert!(client.reconnected > 0, "the stream ended before the deadline did");
    assert!(words.concat().starts_with(&client.text), "not what was asked for");
    assert!(client.text.len() > 200 * "word1 ".len());
}

/// A client that honours `Last-Event-ID`.
pub(crate) struct Client {
    queen: String,
    job: String,
    lines: BufReader<Box<dyn Read>>,
    pub(crate) text: String,
    last_id: u64,
    reconnected: usize,
}

impl Client {
    /// The default model where none is named.
    pub(crate) fn ask(queen: &str, model: &str, prompt: &str) -> Self {
        let messages = json!([{"role": "user", "content": prompt}]);
        let model = Some(model).filter(|model| !model.is_empty());
        let body = json!({"model": model, "stream": true, "messages": messages});
        let response = ureq::post(format!("{queen}/v1/chat/completions"))
            .header("content-type", "application/json")
            .header(HEADER_EVENTS, "1")
            .send(body.to_string())
            .unwrap();
        let job = response.headers()[HEADER_JOB].to_str().unwrap().to_owned();
        let lines = BufReader::new(Box::new(response.into_body().into_reader()) as Box<dyn Read>);
        let (queen, text) = (queen.to_owned(), String::new());
        Self { queen, job, lines, text, last_id: 0, reconnected: 0 }
    }

    pub(crate) fn read_words(&mut self, count: usize) {
        let mut read = 0;
        while read < count {
            let mut line = String::new();
            // A connection that is closed or cut is opened again.
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 {
                self.resume();
                continue;
            }
            let line = line.trim_end();
            if let Some(id) = line.strip_prefix("id: ") {
                let id = id.parse().unwrap();
                assert_eq!(id, self.last_id + 1, "an event is missing or came twice");
                self.last_id = id;
            }
            assert!(!line.contains("\"error\":{"), "after {}: {line}", self.text.len());
            let chunk =
                line.strip_prefix("data: ").and_then(|data| serde_json::from_str(data).ok());
            let chunk: Value = chunk.unwrap_or_default();
            if let Some(word) = chunk["choices"][0]["delta"]["content"].as_str() {
                self.text.push_str(word);
                read += 1;
            }
        }
    }

    fn resume(&mut self) {
        self.reconnected += 1;
        let response = ureq::get(format!("{}/v1/jobs/{}/stream", self.queen, self.job))
            .header("last-event-id", self.last_id.to_string())
            .call()
            .unwrap_or_else(|error| panic!("after event {}: {error}", self.last_id));
        self.lines = BufReader::new(Box::new(response.into_body().into_reader()) as Box<dyn Read>);
    }
}
