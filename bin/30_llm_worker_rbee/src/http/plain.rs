use bytes::{BufMut as _, Bytes, BytesMut};

use super::wire::Chunk;

/// What stands for the text while all else is written down. No other text stands behind it.
pub(super) const TEXT: &str = "\u{e000}";

/// The chunks of one choice that have a piece of text and nothing else of their own.
///
/// Most chunks are such, and they differ in their text only: what they have in common is written down once.
#[derive(Debug)]
pub(super) struct PlainChunks {
    before: Box<str>,
    behind: Box<str>,
}

impl PlainChunks {
    /// Those like `chunk`, which has [`TEXT`] for its text; `None` where that is not to be found in it.
    pub(super) fn like(chunk: &Chunk<'_>) -> Option<Self> {
        let written = serde_json::to_string(chunk).ok()?;
        let (before, behind) = written.rsplit_once(&format!("\"{TEXT}\""))?;
        Some(Self { before: before.into(), behind: behind.into() })
    }

    /// The one with that text.
    pub(super) fn with(&self, text: &str) -> Bytes {
        const QUOTES: usize = 2;
        let len = self.before.len() + text.len() + QUOTES + self.behind.len();
        let mut chunk = BytesMut::with_capacity(len).writer();
        chunk.get_mut().extend_from_slice(self.before.as_bytes());
        serde_json::to_writer(&mut chunk, text).expect("a text is JSON, and memory takes it");
        chunk.get_mut().extend_from_slice(self.behind.as_bytes());
        chunk.into_inner().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::{Choice, Content, Delta};

    /// A chunk of the second choice; with `null` where usage comes at the end.
    fn written<T>(text: &str, is_chat: bool, usage: bool, give: impl Fn(&Chunk<'_>) -> T) -> T {
        let content = match is_chat {
            true => Content::Delta(Delta { content: Some(text), ..Delta::default() }),
            false => Content::Text(text),
        };
        let (logprobs, finish_reason, stop_reason) = (None, None, None);
        let choice = Choice { index: 1, content, logprobs, finish_reason, stop_reason };
        give(&Chunk {
            id: "chatcmpl-1",
            object: "chat.completion.chunk",
            created: 7,
            // Whoever names a model so.
            model: "a \"\u{e000}\" model",
            system_fingerprint: "rbee-1",
            choices: &[choice],
            usage: usage.then_some(None),
            timings: None,
        })
    }

    #[test]
    fn a_plain_chunk_is_what_it_would_be_if_it_were_written_by_itself() {
        for (is_chat, usage) in [(true, false), (true, true), (false, false), (false, true)] {
            let plain = written(TEXT, is_chat, usage, PlainChunks::like).unwrap();
            for text in ["", "a", " \"quoted\" \\ \n\t\u{1}", "\u{1f41d}", TEXT, "\u{2028}"] {
                let alone = written(text, is_chat, usage, |chunk| serde_json::to_string(chunk));
                assert_eq!(plain.with(text), alone.unwrap(), "{text:?}");
            }
        }
    }

    #[test]
    fn a_chunk_without_a_text_is_like_no_plain_one() {
        let chunk = written("other", true, false, PlainChunks::like);
        // The model's name has it, escaped.
        assert!(chunk.is_none());
    }
}
