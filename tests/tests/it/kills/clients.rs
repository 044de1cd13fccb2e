use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    process::{Child, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Instant,
};

use chain_tests::{Chain, get};
use rbee_api::{HEADER_EVENTS, HEADER_JOB, HiveList, JobInfo, JobList, JobState, Origin};
use serde_json::Value;

use super::{GRACE, LIMIT, words};

/// After which a stream is under way.
const SOME_WORDS: usize = 20;

/// A client of the queen that reads its one connection beside the test.
pub(super) struct Stream {
    words: Receiver<()>,
    reading: thread::JoinHandle<Ended>,
}

/// What a client has of a stream that is over.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) text: String,
    pub(super) dones: usize,
    pub(super) error: Option<Value>,
    pub(super) end: Option<Value>,
    /// Whether the connection broke.
    pub(super) cut: bool,
}

impl Stream {
    pub(super) fn open(queen: &str, body: &Value, events: bool) -> Self {
        let (read, words) = channel();
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(2 * LIMIT)).build().into();
        let request = agent
            .post(format!("{queen}/v1/chat/completions"))
            .header("content-type", "application/json")
            .header(HEADER_EVENTS, if events { "1" } else { "0" });
        let body = body.to_string();
        let reading = thread::spawn(move || {
            let response = request.send(body).unwrap();
            assert!(response.headers().contains_key(HEADER_JOB));
            let lines = BufReader::new(response.into_body().into_reader()).lines();
            let (mut ended, mut event, mut last_id) = (Ended::default(), String::new(), 0);
            for line in lines {
                let Ok(line) = line else {
                    ended.cut = true;
                    break;
                };
                if let Some(id) = line.strip_prefix("id: ") {
                    last_id += 1;
                    assert_eq!(id, last_id.to_string(), "an event is missing or came twice");
                } else if let Some(name) = line.strip_prefix("event: ") {
                    event = name.to_owned();
                } else if let Some(data) = line.strip_prefix("data: ")
                    && ended.take(&std::mem::take(&mut event), data)
                {
                    // Nobody waits any more only where the test has gone on.
                    read.send(()).ok();
                }
            }
            ended
        });
        Self { words, reading }
    }

    /// Waits for more than what came before now.
    pub(super) fn wait_for_new_words(&self) {
        self.words.try_iter().for_each(drop);
        for _ in 0..SOME_WORDS {
            assert!(self.words.recv_timeout(LIMIT).is_ok(), "the stream does not go on");
        }
    }

    pub(super) fn end(self) -> Ended {
        self.reading.join().unwrap()
    }
}

impl Ended {
    /// Takes one frame; says whether it was a word.
    fn take(&mut self, event: &str, data: &str) -> bool {
        let value: Value = serde_json::from_str(data).unwrap_or_default();
        match event {
            "end" => self.end = Some(value),
            "" | "error" if value.get("error").is_some() => {
                self.error = Some(value["error"].clone());
            }
            "" if data == "[DONE]" => self.dones += 1,
            "" => {
                let word = value["choices"][0]["delta"]["content"].as_str();
                self.text.push_str(word.unwrap_or_default());
                return word.is_some();
            }
            _ => {}
        }
        false
    }
}

/// An answer in a terminal, under way.
pub(super) struct Infer {
    pub(super) child: Child,
    /// What it has said.
    pub(super) text: String,
}

impl Infer {
    pub(super) fn start(chain: &Chain, count: usize) -> Self {
        let mut command = chain.command(&["infer", &words(count)]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut infer = Self { child, text: String::new() };
        infer.read_some_words();
        infer
    }

    /// Waits for so many more, or a few less.
    pub(super) fn read_some_words(&mut self) {
        let mut text = [0; SOME_WORDS * 8];
        self.child.stdout.as_mut().unwrap().read_exact(&mut text).unwrap();
        self.text.push_str(std::str::from_utf8(&text).unwrap());
    }
}

/// The job of a stream where its words are made.
pub(super) struct JobOfWorker {
    lines: std::io::Lines<BufReader<UnixStream>>,
}

impl JobOfWorker {
    pub(super) fn of_the_only_stream(chain: &Chain) -> Self {
        let hives: HiveList = get(&format!("{}/v1/hives", chain.queen()));
        let hive = hives.hives[0].base_url.clone().unwrap();
        let token = std::fs::read_to_string(chain.home().join("state/token")).unwrap();
        let jobs = ureq::get(format!("{hive}/v1/jobs"))
            .header("authorization", format!("Bearer {}", token.trim()));
        let jobs = jobs.call().unwrap().body_mut().read_to_string().unwrap();
        let jobs: JobList = serde_json::from_str(&jobs).unwrap();
        let running = |job: &&JobInfo| job.state == JobState::Running;
        let job = jobs.jobs.iter().find(running).unwrap();
        let origin = origin(&format!("{hive}/v1/jobs/{}/stream", job.job_id));
        let socket = chain.home().join("run").join(&origin.at).join("http.sock");
        let mut connection = UnixStream::connect(socket).unwrap();
        connection.set_read_timeout(Some(LIMIT)).unwrap();
        let path = format!("/v1/jobs/{}/stream", origin.job_id);
        write!(connection, "GET {path} HTTP/1.0\r\nhost: worker\r\n\r\n").unwrap();
        let mut lines = BufReader::new(connection).lines();
        assert!(lines.next().unwrap().unwrap().ends_with("200 OK"));
        Self { lines }
    }

    /// Reads on to the end.
    pub(super) fn state_at_its_end(mut self) -> String {
        let deadline = Instant::now() + GRACE + LIMIT;
        let end = self.lines.find(|line| {
            assert!(Instant::now() < deadline, "the job does not end");
            line.as_ref().unwrap() == "event: end"
        });
        assert!(end.is_some(), "the worker went away");
        let data = self.lines.next().unwrap().unwrap();
        let end: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        end["state"].as_str().unwrap().to_owned()
    }
}

/// Where a job's chunks come from, by its own account; its stream is not read on.
fn origin(stream: &str) -> Origin {
    let response = ureq::get(stream).call().unwrap();
    let mut lines = BufReader::new(response.into_body().into_reader()).lines();
    lines.find(|line| line.as_ref().unwrap() == "event: origin").unwrap().unwrap();
    let data = lines.next().unwrap().unwrap();
    serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap()
}
