//! One completion, from whichever server.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

/// No token takes so long, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where completions are asked for.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {
    /// `127.0.0.1:PORT`.
    Tcp(String),
    Unix(PathBuf),
}

/// A completion, as its client saw it.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) asked: Instant,
    /// When the first and the last text came.
    pub(crate) first: Instant,
    pub(crate) last: Instant,
    pub(crate) prompt_tokens: u64,
    /// Of the prompt, what was there already.
    pub(crate) cached_tokens: u64,
    pub(crate) tokens: u64,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

impl Endpoint {
    fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        })
    }

    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Tcp(address) => address,
            Self::Unix(_) => "localhost",
        }
    }

    /// Whether the server answers that it is well.
    pub(crate) fn is_ready(&self) -> bool {
        let request =
            format!("GET /health HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.host());
        let answer = self.connect().and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            Ok(line)
        });
        answer.is_ok_and(|line| line.starts_with("HTTP/1.1 200"))
    }

    /// Asks for a streamed completion that says its usage, and reads it to its end.
    pub(crate) fn complete(&self, body: &Value) -> anyhow::Result<Completion> {
        let body = body.to_string();
        let asked = Instant::now();
        let mut stream = self.connect().context("the server does not answer")?;
        write!(
            stream,
            "POST /v1/completions HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.host(),
            body.len()
        )
        .context("the server does not listen")?;
        let (mut first, mut last, mut usage, mut said) = (None, None, None, String::new());
        let mut cached_tokens = 0;
        for line in BufReader::new(stream).lines() {
            let line = line.context("the server stopped answering")?;
            let chunk =
                line.strip_prefix("data: ").and_then(|data| serde_json::from_str(data).ok());
            let Some(chunk): Option<Value> = chunk else {
                said += &line;
                said.push('\n');
                continue;
            };
            if chunk["choices"][0]["text"].as_str().is_some_and(|text| !text.is_empty()) {
                last = Some(Instant::now());
                first = first.or(last);
            }
            let of = |name: &str| chunk["usage"][name].as_u64();
            let details = &chunk["usage"]["prompt_tokens_details"];
            cached_tokens = details["cached_tokens"].as_u64().unwrap_or(cached_tokens);
            usage = of("prompt_tokens").zip(of("completion_tokens")).or(usage);
        }
        let (Some(first), Some(last), Some((prompt_tokens, tokens))) = (first, last, usage) else {
            bail!("no tokens came:\n{said}");
        };
        ensure!(tokens > 0, "an empty completion came");
        Ok(Completion { asked, first, last, prompt_tokens, cached_tokens, tokens })
    }
}
