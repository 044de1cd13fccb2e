//! Calls whose function is named before their arguments.

use std::collections::HashSet;

use super::{Tool, gemma, piece::Piece};
use crate::{json::Extent, overlap::overlap};

/// No name with what surrounds it is longer.
const HEAD_BYTES_MAX: usize = 256;

/// How such calls are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// `<|tool_call_begin|>NAME<|tool_sep|>{..}<|tool_call_end|>`, with wider signs than these, or in DeepSeek's V3 and R1
    /// ``function<|tool_sep|>NAME\n```json\n{..}\n``` `` between the outer two; with
    /// `<|tool_calls_begin|>` and `<|tool_calls_end|>` around all of them.
    DeepSeek,
    /// `<function=NAME>{..}</function>`: functionary 3.1.
    Function,
    /// `>>>NAME\n{..}`, and `>>>all\n` before text, of which the prompt has the first `>>>`:
    /// functionary 3.2.
    Recipient,
    /// `<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{..}`, or with the recipient
    /// before the channel; text is `<|channel|>final<|message|>TEXT`: gpt-oss.
    Channel,
    /// `[TOOL_CALLS]NAME[ARGS]{..}`, perhaps with `[CALL_ID]` and an id before that: Mistral Small 3.2 and
    /// Devstral.
    Mistral,
    /// `<|tool_call>call:NAME{key:<|"|>text<|"|>,..}<tool_call|>`: Gemma 4.
    Gemma4,
    /// `<start_function_call>call:NAME{key:<escape>text<escape>,..}<end_function_call>`.
    FunctionGemma,
}

impl Named {
    /// What begins a call.
    pub(crate) fn opener(self) -> &'static str {
        match self {
            Self::DeepSeek => "<\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>",
            Self::Function => "<function=",
            Self::Recipient => ">>>",
            Self::Channel => "to=functions.",
            Self::Mistral => "[TOOL_CALLS]",
            Self::Gemma4 => "<|tool_call>",
            Self::FunctionGemma => "<start_function_call>",
        }
    }

    /// What may stand behind its arguments.
    pub(super) fn closers(self) -> &'static [&'static str] {
        match self {
            Self::DeepSeek => &["```", "<\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}>"],
            Self::Function => &["</function>"],
            Self::Recipient | Self::Mistral => &[],
            Self::Channel => &["<|call|>"],
            Self::Gemma4 => &["<tool_call|>"],
            Self::FunctionGemma => &["<end_function_call>"],
        }
    }

    /// Whether its marks stand in every answer, so that one without tools is read too.
    pub(crate) fn is_everywhere(self) -> bool {
        matches!(self, Self::Recipient | Self::Channel)
    }

    /// What stands around calls, or around text, and means nothing.
    pub(super) fn outer(self) -> &'static [&'static str] {
        match self {
            Self::DeepSeek => &[
                "<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}>",
                "<\u{ff5c}tool\u{2581}calls\u{2581}end\u{ff5c}>",
            ],
            Self::Channel => &[
                "<|start|>assistant",
                "<|channel|>commentary",
                "<|channel|>final",
                "<|message|>",
                "<|end|>",
            ],
            _ => &[],
        }
    }

    /// What quotes a text, where arguments are not JSON.
    pub(super) fn quote(self) -> Option<&'static str> {
        match self {
            Self::Gemma4 => Some("<|\"|>"),
            Self::FunctionGemma => Some("<escape>"),
            _ => None,
        }
    }

    /// What of its calls may be control tokens.
    pub(crate) fn controls(self) -> &'static [&'static str] {
        match self {
            Self::DeepSeek => &[
                "<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}>",
                "<\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>",
                "<\u{ff5c}tool\u{2581}sep\u{ff5c}>",
                "<\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}>",
                "<\u{ff5c}tool\u{2581}calls\u{2581}end\u{ff5c}>",
            ],
            Self::Function | Self::Recipient => &[],
            Self::Channel => {
                &["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>"]
            }
            Self::Mistral => &["[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"],
            Self::Gemma4 => &["<|tool_call>", "<tool_call|>", "<|\"|>"],
            Self::FunctionGemma => &["<start_function_call>", "<end_function_call>", "<escape>"],
        }
    }

    /// The name in what stands between a call's opener and its arguments.
    fn name(self, head: &str) -> &str {
        match self {
            Self::DeepSeek => {
                let (first, rest) =
                    head.split_once("<\u{ff5c}tool\u{2581}sep\u{ff5c}>").unwrap_or((head, ""));
                match first.trim() {
                    "function" => rest.lines().next().unwrap_or_default().trim(),
                    name => name,
                }
            }
            Self::Function => head.trim_end().trim_end_matches('>'),
            Self::Recipient => head.trim(),
            Self::Channel => head.split([' ', '<']).next().unwrap_or_default(),
            Self::Mistral => head.split('[').next().unwrap_or_default().trim(),
            Self::Gemma4 | Self::FunctionGemma => {
                head.trim().strip_prefix("call:").unwrap_or_default().trim()
            }
        }
    }
}

/// Finds such calls in an answer while it comes.
#[derive(Debug, Clone)]
pub(super) struct NamedStream {
    notation: Named,
    names: HashSet<String>,
    state: State,
    /// What has come and is not yet certain to be anything.
    held: String,
    calls: usize,
}

#[derive(Debug, Clone)]
enum State {
    Text,
    /// White space is dropped before text.
    AfterCall,
    /// What begins a call has come, as this text.
    Head(String),
    Json(Extent),
    /// Arguments that are read once they are whole.
    Other,
    /// Arguments have ended.
    Closing,
}

impl NamedStream {
    pub(super) fn new(notation: Named, tools: &[Tool]) -> Self {
        let names = tools.iter().map(|tool| tool.name.clone()).collect();
        let state = match notation {
            // The prompt ends with what begins it.
            Named::Recipient => State::Head(String::new()),
            _ => State::Text,
        };
        Self { notation, names, state, held: String::new(), calls: 0 }
    }

    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    pub(super) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        while self.step(&mut pieces) {}
        pieces
    }

    /// What was held back when no more text comes.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        let held = std::mem::take(&mut self.held);
        let index = self.calls.saturating_sub(1);
        let text = match std::mem::replace(&mut self.state, State::Text) {
            State::Text => held,
            State::Head(opened) => opened + &held,
            // What was cut off of other arguments cannot be told in JSON.
            State::Other if !held.is_empty() => {
                return vec![Piece::Arguments { index, text: "{}".to_owned() }];
            }
            State::AfterCall | State::Json(_) | State::Other | State::Closing => String::new(),
        };
        if text.is_empty() { Vec::new() } else { vec![Piece::Text(text)] }
    }

    /// Goes one state further; false when more text has to come.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match &mut self.state {
            State::Text | State::AfterCall => self.read_text(pieces),
            State::Head(_) => self.read_head(pieces),
            State::Json(extent) => {
                let end = self.held.bytes().position(|byte| extent.ends_with(byte));
                let text: String =
                    self.held.drain(..end.map_or(self.held.len(), |end| end + 1)).collect();
                if !text.is_empty() {
                    pieces.push(Piece::Arguments { index: self.calls - 1, text });
                }
                if end.is_some() {
                    self.state = State::Closing;
                }
                end.is_some()
            }
            State::Other => {
                let quote = self.notation.quote().unwrap_or_default();
                match gemma::read(&self.held, quote) {
                    gemma::Read::More => false,
                    gemma::Read::Object { json, bytes } => {
                        self.held.drain(..bytes);
                        pieces.push(Piece::Arguments { index: self.calls - 1, text: json });
                        self.state = State::Closing;
                        true
                    }
                }
            }
            State::Closing => {
                self.drop_space();
                if let Some(closer) = starts_with_any(&self.held, self.notation.closers()) {
                    self.held.drain(..closer.len());
                    return true;
                }
                let may_follow =
                    |closer: &&&str| !self.held.is_empty() && closer.starts_with(&self.held);
                if self.held.is_empty() || self.notation.closers().iter().any(|c| may_follow(&c)) {
                    return false;
                }
                self.state = State::AfterCall;
                true
            }
        }
    }

    fn read_text(&mut self, pieces: &mut Vec<Piece>) -> bool {
        if matches!(self.state, State::AfterCall) {
            self.drop_space();
        }
        let (opener, outer) = (self.notation.opener(), self.notation.outer());
        let marks = || outer.iter().copied().chain([opener]);
        let found = marks().filter_map(|mark| Some((self.held.find(mark)?, mark))).min();
        let certain = match found {
            Some((at, _)) => at,
            None => {
                let held = &self.held;
                held.len() - marks().map(|mark| overlap(held, mark)).max().unwrap_or(0)
            }
        };
        // White space before a call is no part of the text.
        let text = self.held[..certain].trim_end().len();
        if text > 0 {
            pieces.push(Piece::Text(self.held.drain(..text).collect()));
            self.state = State::Text;
        }
        let Some((at, mark)) = found else { return false };
        let opened = self.held.drain(..at - text + mark.len()).collect();
        self.state = if mark == opener { State::Head(opened) } else { State::AfterCall };
        true
    }

    fn read_head(&mut self, pieces: &mut Vec<Piece>) -> bool {
        if self.notation == Named::Recipient
            && let Some(text) = self.held.strip_prefix("all\n")
        {
            self.held = text.to_owned();
            self.state = State::Text;
            return true;
        }
        let Some(at) = self.held.find('{').filter(|at| *at <= HEAD_BYTES_MAX) else {
            if self.held.len() <= HEAD_BYTES_MAX {
                return false;
            }
            return self.give_up(pieces);
        };
        let name = self.notation.name(&self.held[..at]);
        if !self.names.contains(name) {
            return self.give_up(pieces);
        }
        pieces.push(Piece::Call { index: self.calls, name: name.to_owned() });
        self.calls += 1;
        self.held.drain(..at);
        self.state = match self.notation.quote() {
            None => State::Json(Extent::default()),
            Some(_) => State::Other,
        };
        true
    }

    /// It is no call: its opener is text, and what follows is looked at as text.
    fn give_up(&mut self, pieces: &mut Vec<Piece>) -> bool {
        if let State::Head(opened) = std::mem::replace(&mut self.state, State::Text)
            && !opened.is_empty()
        {
            pieces.push(Piece::Text(opened));
        }
        true
    }

    fn drop_space(&mut self) {
        self.held.drain(..self.held.len() - self.held.trim_start().len());
    }
}

fn starts_with_any(text: &str, starts: &[&'static str]) -> Option<&'static str> {
    starts.iter().copied().find(|start| text.starts_with(start))
}
