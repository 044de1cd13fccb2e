use std::{fmt::Write as _, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use super::{
    http::{Connection, piece},
    seen::{Seen, Streams},
};

/// Of the worker that repeats the words of its prompt.
const WORDS_PER_S: u32 = 50;
/// Before a stream that was refused is asked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// Reads `count` streams at once until the load is over, and those under way to their end.
pub(super) async fn read(queen: String, count: u32, seen: Arc<Seen>) {
    let mut readers = JoinSet::new();
    for reader in 0..count {
        let (queen, seen) = (queen.clone(), Arc::clone(&seen));
        readers.spawn(async move {
            let mut number = 0;
            while !seen.is_over() {
                let streams =
                    one(&queen, &format!("{reader}.{number}"), length(reader, number)).await;
                seen.stream(streams);
                if streams.whole == 0 {
                    sleep(AGAIN).await;
                }
                number += 1;
            }
        });
    }
    readers.join_all().await;
}

/// In words: from 10 to 60 s, spread evenly, and no two readers alike.
fn length(reader: u32, number: u32) -> u32 {
    (10 + (reader * 7 + number * 23) % 51) * WORDS_PER_S
}

/// One stream from its beginning to its end, as OpenAI's clients read it.
async fn one(queen: &str, name: &str, words: u32) -> Streams {
    let mut prompt = String::new();
    for word in 0..words {
        // Cannot fail: it is a string.
        write!(prompt, "{name}.{word} ").unwrap_or(());
    }
    let body = json!({"stream": true, "messages": [{"role": "user", "content": prompt}]});
    let path = "/v1/chat/completions";
    let begun = async {
        let mut connection = Connection::open(queen).await?;
        let response = connection.post(queen, path, body.to_string()).await?;
        anyhow::Ok((connection, response))
    };
    let Ok((_connection, mut response)) = begun.await else {
        return Streams { refused: 1, ..Streams::default() };
    };
    if response.status() != 200 {
        return Streams { refused: 1, ..Streams::default() };
    }
    let mut reading = Reading { name, next: 0, done: false, streams: Streams::default() };
    let mut unread = Vec::new();
    while let Ok(Some(piece)) = piece(&mut response).await {
        unread.extend_from_slice(&piece);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            reading.line(&line);
        }
    }
    reading.finish(words)
}

/// Compares the words that come with those that were asked for.
struct Reading<'a> {
    name: &'a str,
    next: u32,
    done: bool,
    streams: Streams,
}

impl Reading<'_> {
    fn line(&mut self, line: &[u8]) {
        let Some(data) = line.trim_ascii_end().strip_prefix(b"data: ") else { return };
        if data == b"[DONE]" {
            self.done = true;
            return;
        }
        let chunk: Value = serde_json::from_slice(data).unwrap_or_default();
        let Some(word) = chunk["choices"][0]["delta"]["content"].as_str() else { return };
        self.streams.tokens += 1;
        let number =
            word.trim_end().strip_prefix(self.name).and_then(|rest| rest.strip_prefix('.'));
        match number.and_then(|number| number.parse::<u32>().ok()) {
            Some(number) if number >= self.next => {
                self.streams.missing += u64::from(number - self.next);
                self.next = number + 1;
            }
            _ => self.streams.doubled += 1,
        }
    }

    fn finish(mut self, words: u32) -> Streams {
        if self.done {
            self.streams.whole = 1;
            self.streams.missing += u64::from(words - self.next);
        } else {
            self.streams.cut = 1;
        }
        self.streams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str], done: bool) -> Streams {
        let mut reading =
            Reading { name: "3.1", next: 0, done: false, streams: Streams::default() };
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

    #[test]
    fn streams_last_from_ten_seconds_to_a_minute() {
        let lengths = (0..50).flat_map(|reader| (0..5).map(move |number| length(reader, number)));
        let (shortest, longest) =
            lengths.fold((u32::MAX, 0), |(low, high), words| (low.min(words), high.max(words)));
        assert_eq!((shortest, longest), (500, 3_000));
    }
}
