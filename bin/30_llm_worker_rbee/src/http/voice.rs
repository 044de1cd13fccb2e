use tokio::sync::mpsc;

use super::{
    plain::PlainChunks,
    reader::{Part, Reader},
    wire::{self, Call, Content, Function, Kind, Logprobs, Message},
};
use crate::{
    engine::{Event, Finish, TokenLogprob},
    tools::Piece,
};

/// One of an answer's choices, while it comes.
#[derive(Debug)]
pub(super) struct Voice {
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) reader: Reader,
    /// What stands before it: the prompt, where that was to be echoed.
    pub(super) echo: Option<String>,
    /// Whether the one before it has the same prompt, which counts once.
    pub(super) shares_prompt: bool,
    /// What comes next that the client has already, of an answer that goes on.
    repeats: String,
    /// Characters sent so far.
    sent: usize,
    /// Its chunks of nothing but text, once the first one was sent.
    pub(super) plain: Option<PlainChunks>,
    /// How it ended, once it has.
    pub(super) finish: Option<Finish>,
    said: Said,
}

/// All that was said, where it is given as a whole.
#[derive(Debug, Default)]
struct Said {
    thoughts: String,
    text: String,
    calls: Vec<Call>,
    tokens: Vec<TokenLogprob>,
}

impl Voice {
    pub(super) fn new(events: mpsc::Receiver<Event>, reader: Reader) -> Self {
        Self {
            events,
            reader,
            echo: None,
            shares_prompt: false,
            repeats: String::new(),
            sent: 0,
            plain: None,
            finish: None,
            said: Said::default(),
        }
    }

    /// One that begins with what the client has already.
    pub(super) fn repeating(
        events: mpsc::Receiver<Event>,
        reader: Reader,
        repeats: String,
    ) -> Self {
        Self { repeats, ..Self::new(events, reader) }
    }

    /// One of which nothing more comes.
    pub(super) fn ended(finish: Finish) -> Self {
        let (_, events) = mpsc::channel(1);
        Self { finish: Some(finish), ..Self::new(events, Reader::default()) }
    }

    /// What of `text`, which comes next, the client does not have.
    pub(super) fn unsent<'t>(&mut self, text: &'t str) -> &'t str {
        if let Some(left) = self.repeats.strip_prefix(text) {
            self.repeats = left.to_owned();
            return "";
        }
        text.strip_prefix(&*std::mem::take(&mut self.repeats)).unwrap_or(text)
    }

    /// Keeps what has come.
    pub(super) fn keep(&mut self, text: String, tokens: Vec<TokenLogprob>) {
        self.said.tokens.extend(tokens);
        let parts = self.reader.push(text);
        self.keep_parts(parts);
    }

    /// Keeps what was held back, and how it ended.
    pub(super) fn end(&mut self, finish: Finish) {
        let parts = self.reader.finish();
        self.keep_parts(parts);
        self.finish = Some(finish);
    }

    fn keep_parts(&mut self, parts: Vec<Part>) {
        let said = &mut self.said;
        for part in parts {
            match part {
                Part::Thought(more) => said.thoughts.push_str(&more),
                Part::Said(Piece::Text(more)) => said.text.push_str(&more),
                Part::Said(Piece::Call { name, .. }) => said.calls.push(Call {
                    id: self.reader.call_id(),
                    kind: "function",
                    function: Function { name, arguments: String::new() },
                }),
                Part::Said(Piece::Arguments { text, .. }) => {
                    if let Some(call) = said.calls.last_mut() {
                        call.function.arguments.push_str(&text);
                    }
                }
            }
        }
    }

    /// What was kept, with what is to stand before it.
    pub(super) fn content(&mut self, kind: Kind) -> Content<'_> {
        if let Some(echo) = self.echo.take() {
            self.said.text.insert_str(0, &echo);
        }
        let Said { thoughts, text, calls, .. } = &self.said;
        match kind {
            Kind::Chat => Content::Message(Message {
                role: "assistant",
                content: Some(text.as_str()).filter(|text| !text.is_empty() || calls.is_empty()),
                reasoning_content: Some(thoughts.as_str()).filter(|thoughts| !thoughts.is_empty()),
                refusal: None,
                annotations: [],
                tool_calls: calls,
            }),
            Kind::Completion => Content::Text(text),
        }
    }

    /// What is said of the tokens that were kept.
    pub(super) fn kept_logprobs(&self, kind: Kind) -> Option<Logprobs> {
        let tokens = &self.said.tokens;
        (!tokens.is_empty()).then(|| wire::logprobs(kind, tokens, 0))
    }

    /// What is said of the tokens that are sent with `text`.
    pub(super) fn logprobs(
        &mut self,
        kind: Kind,
        text: &str,
        tokens: &[TokenLogprob],
    ) -> Option<Logprobs> {
        let logprobs = (!tokens.is_empty()).then(|| wire::logprobs(kind, tokens, self.sent));
        if !tokens.is_empty() {
            self.sent += text.chars().count();
        }
        logprobs
    }
}
