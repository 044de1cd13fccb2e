use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    endpoint::{Completion, Endpoint},
    samples::seconds,
};

/// What the worker logs when it answers.
const READY: &str = "the worker is ready";

/// A worker of its own, that ends with this.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    folder: TempDir,
}

impl Worker {
    /// Starts `program` with `model`, and returns when it answers.
    pub(crate) fn start(program: &Path, model: &Path) -> anyhow::Result<Self> {
        Self::start_with(program, model, &["--parallel", "1", "--context", "2048"])
    }

    /// The same with other flags for its engine.
    pub(crate) fn start_with(program: &Path, model: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot create a folder for the socket")?;
        let child = Command::new(program)
            .args(["--name", "bench", "--lease", "600"])
            .args(flags)
            .arg("--model")
            .arg(model)
            .arg("--socket")
            .arg(folder.path().join("socket"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        let mut worker = Self { child, folder };
        let log = worker.child.stderr.take().context("the worker's log is not there")?;
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let mut said = Vec::new();
        for line in lines.by_ref() {
            let is_ready = line.contains(READY);
            said.push(line);
            if is_ready {
                // Read on, or the worker would stop when the pipe is full.
                thread::spawn(move || lines.for_each(drop));
                return Ok(worker);
            }
        }
        bail!("the worker ended before it was ready:\n{}", said.join("\n"));
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.folder.path().join("socket"))
    }

    /// Tokens per second while `tokens` of them are generated after a short prompt; what reading
    /// the prompt takes is left out.
    pub(crate) fn tokens_per_second(&self, tokens: u32) -> anyhow::Result<f64> {
        let body = json!({
            "prompt": "Bees live in", "max_tokens": tokens, "temperature": 0.0, "stream": true,
            "ignore_eos": true, "stream_options": { "include_usage": true },
        });
        let Completion { first, last, tokens: generated, .. } = self.endpoint().complete(&body)?;
        ensure!(generated == u64::from(tokens), "{generated} tokens came instead of {tokens}");
        Ok(f64::from(tokens - 1) / seconds(last - first))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It is gone if that fails.
        self.child.kill().unwrap_or(());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixListener,
    };

    use super::*;

    /// What a worker with this answer gives for `tokens`.
    fn rate(tokens: u32, answer: &'static str) -> anyhow::Result<f64> {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let answering = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 32];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            // Hanging up on what was not read would cut the answer short.
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        });
        let rate = Worker { child, folder }.tokens_per_second(tokens);
        answering.join().unwrap();
        rate
    }

    #[test]
    fn tokens_are_counted_by_what_the_worker_says_of_them() {
        const ANSWER: &str = "HTTP/1.1 200 OK\r\n\r\ndata: {\"choices\":[{\"text\":\" a\"}]}\n\n\
            data: {\"choices\":[{\"text\":\" b\"}]}\n\n\
            data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
        assert!(rate(2, ANSWER).unwrap() > 0.0);
        let error = rate(3, ANSWER).unwrap_err().to_string();
        assert_eq!(error, "2 tokens came instead of 3");
    }

    #[test]
    fn a_refusal_is_shown() {
        let error = rate(2, "HTTP/1.1 400 Bad Request\r\n\r\nno such field\n").unwrap_err();
        assert!(error.to_string().contains("no such field"), "{error}");
    }

    #[test]
    fn a_worker_that_does_not_start_says_why() {
        let error = Worker::start("ls".as_ref(), "no-such-model".as_ref()).unwrap_err();
        assert!(error.to_string().contains("before it was ready:\nls: "), "{error}");
    }
}
