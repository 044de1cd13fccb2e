//! One stream of the worker that repeats the words of its prompt, with every word accounted for.

use std::{fmt::Write as _, time::Instant};

use rbee_api::paths;
use serde_json::{Value, json};

use crate::{
    endpoint::Endpoint,
    http::{Connection, piece},
};

/// Streams that ended, and their tokens.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) whole: u64,
    /// Ended without their end.
    pub(crate) cut: u64,
    /// Never began.
    pub(crate) refused: u64,
    pub(crate) tokens: u64,
    pub(crate) missing: u64,
    /// Came again, or belong to another stream.
    pub(crate) doubled: u64,
}

impl Streams {
    pub(crate) fn add(&mut self, others: Self) {
        self.whole += others.whole;
        self.cut += others.cut;
        self.refused += others.refused;
        self.tokens += others.tokens;
        self.missing += others.missing;
        self.doubled += others.doubled;
    }

    /// With a fault of any kind; a stream that was cut lacks tokens as well, and counts once.
    pub(crate) fn lost(&self) -> u64 {
        self.cut + self.refused + self.missing + self.doubled
    }
}

/// What came of one.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) seen: Streams,
    /// When its first word came, if any did.
    pub(crate) first: Option<Instant>,
    /// When it was over.
    pub(crate) end: Instant,
}

/// One stream from its beginning to its end, as OpenAI's clients read it.
pub(crate) async fn one(at: &Endpoint, name: &str, words: u32) -> Stream {
    let mut prompt = String::new();
    for word in 0..words {
        // Cannot fail: it is a string.
        write!(prompt, "{name}.{word} ").unwrap_or(());
    }
    let body = json!({"stream": true, "messages": [{"role": "user", "content": prompt}]});
    let path = paths::CHAT_COMPLETIONS;
    let begun = async {
        let mut connection = Connection::open_at(at).await?;
        let response = connection.post(at.host(), path, body.to_string()).await?;
        anyhow::Ok((connection, response))
    };
    let refused = || {
        let seen = Streams { refused: 1, ..Streams::default() };
        Stream { seen, first: None, end: Instant::now() }
    };
    let Ok((_connection, mut response)) = begun.await else { return refused() };
    if response.status() != 200 {
        return refused();
    }
    let (mut reading, mut first) = (Reading::of(name), None);
    let mut unread = Vec::new();
    while let Ok(Some(piece)) = piece(&mut response).await {
        unread.extend_from_slice(&piece);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            reading.line(&line);
        }
        if reading.seen.tokens > 0 {
            first.get_or_insert_with(Instant::now);
        }
    }
    Stream { seen: reading.finish(words), first, end: Instant::now() }
}

/// Compares the words that come with those that were asked for.
struct Reading<'a> {
    name: &'a str,
    next: u32,
    done: bool,
    seen: Streams,
}

impl<'a> Reading<'a> {
    fn of(name: &'a str) -> Self {
        Self { name, next: 0, done: false, seen: Streams::default() }
    }

    fn line(&mut self, line: &[u8]) {
        let Some(data) = line.trim_ascii_end().strip_prefix(b"data: ") else { return };
        if data == b"[DONE]" {
            self.done = true;
            return;
        }
        let chunk: Value = serde_json::from_slice(data).unwrap_or_default();
        let Some(word) = chunk["choices"][0]["delta"]["content"].as_str() else { return };
        self.seen.tokens += 1;
        let number =
            word.trim_end().strip_prefix(self.name).and_then(|rest| rest.strip_prefix('.'));
        match number.and_then(|number| number.parse::<u32>().ok()) {
            Some(number) if number >= self.next => {
                self.seen.missing += u64::from(number - self.next);
                self.next = number + 1;
            }
            _ => self.seen.doubled += 1,
        }
    }

    fn finish(mut self, words: u32) -> Streams {
        if self.done {
            self.seen.whole = 1;
            self.seen.missing += u64::from(words - self.next);
        } else {
            self.seen.cut = 1;
        }
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str], done: bool) -> Streams {
        let mut reading = Reading::of("3.1");
        for word in words {
            let chunk = json!({"choices": [{"delta": {"content": format!("{word} ")}}]});
            reading.line(format!("data: {chunk}\n").as_bytes());
        }
        if done {
            reading.line(b"data: [DONE]\r\n");
        }
        reading.finish(4)
    }

    #[test]
    fn every_token_is_accounted_for() {
        let all = ["3.1.0", "3.1.1", "3.1.2", "3.1.3"];
        assert_eq!(read(&all, true), Streams { whole: 1, tokens: 4, ..Streams::default() });
        assert_eq!(read(&all, false), Streams { cut: 1, tokens: 4, ..Streams::default() });
        let gaps = read(&["3.1.0", "3.1.2"], true);
        assert_eq!((gaps.missing, gaps.doubled), (2, 0));
        let again = read(&["3.1.0", "3.1.0", "3.1.1", "3.1.2", "3.1.3", "3.2.0"], true);
        assert_eq!((again.missing, again.doubled), (0, 2));
    }
}
