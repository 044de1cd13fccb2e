use std::collections::HashSet;

use super::{
    Tool,
    format::{Between, Format},
    object::{CallObject, Found, Reading},
    piece::Piece,
};
use crate::overlap::overlap;

/// Finds calls that are objects in an answer while it comes.
#[derive(Debug, Clone)]
pub(super) struct ObjectStream {
    format: Format,
    names: HashSet<String>,
    state: State,
    /// What has come and is not yet certain to be anything.
    held: String,
    calls: usize,
}

#[derive(Debug, Clone)]
enum State {
    /// Nothing has come that is not white space.
    Begin,
    Text,
    /// A call has ended: white space is dropped before text.
    AfterCall,
    /// What begins calls has come, as this text.
    Opened(String),
    /// After that text, an object.
    Object(String, Box<CallObject>),
    /// An object has ended.
    Between,
    /// No calls can follow.
    Plain,
}

impl ObjectStream {
    pub(super) fn new(format: Format, tools: &[Tool]) -> Self {
        let names = tools.iter().map(|tool| tool.name.clone()).collect();
        Self { format, names, state: State::Begin, held: String::new(), calls: 0 }
    }

    /// How many calls have begun.
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
        let text = match std::mem::replace(&mut self.state, State::Plain) {
            State::Begin | State::Text | State::Plain => held,
            State::AfterCall | State::Between => String::new(),
            State::Opened(opener) => opener + &held,
            State::Object(_, object) if object.has_name() => String::new(),
            State::Object(opener, object) => opener + object.raw(),
        };
        if text.is_empty() { Vec::new() } else { vec![Piece::Text(text)] }
    }

    /// Goes one state further; false when more text has to come.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let opener = self.format.opener();
        match &mut self.state {
            State::Begin => {
                let begun = self.held.trim_start();
                if begun.is_empty() {
                    return false;
                }
                // As a whole answer, an object may be a call.
                self.state = match self.format {
                    Format::Llama3 if begun.starts_with('{') => {
                        let space = self.held.len() - begun.len();
                        State::Object(self.held.drain(..space).collect(), Box::default())
                    }
                    _ => State::Text,
                };
                true
            }
            State::Text | State::AfterCall => {
                if matches!(self.state, State::AfterCall) {
                    self.held.drain(..self.held.len() - self.held.trim_start().len());
                    if self.held.is_empty() {
                        return false;
                    }
                }
                if let Some(at) = self.held.find(opener) {
                    let before = self.held[..at].trim_end().to_owned();
                    if !before.is_empty() {
                        pieces.push(Piece::Text(before));
                    }
                    let begun: String = self.held.drain(..at + opener.len()).collect();
                    self.state = State::Opened(begun.trim_start().to_owned());
                    return true;
                }
                let keep = self.held.len() - overlap(&self.held, opener);
                let text = self.held[..keep].trim_end().len();
                if text > 0 {
                    pieces.push(Piece::Text(self.held.drain(..text).collect()));
                    self.state = State::Text;
                }
                false
            }
            State::Opened(opened) => {
                let rest = self.held.trim_start();
                let space = self.held.len() - rest.len();
                match rest.chars().next() {
                    None => false,
                    Some('[') if self.format == Format::Mistral => {
                        opened.extend(self.held.drain(..=space));
                        true
                    }
                    Some('{') => {
                        let mut opened = std::mem::take(opened);
                        opened.extend(self.held.drain(..space));
                        self.state = State::Object(opened, Box::default());
                        true
                    }
                    Some(_) => {
                        pieces.push(Piece::Text(std::mem::take(opened)));
                        self.state = State::Text;
                        true
                    }
                }
            }
            State::Object(..) => self.read_object(pieces),
            State::Between => {
                self.held.drain(..self.held.len() - self.held.trim_start().len());
                if self.held.is_empty() {
                    return false;
                }
                match self.format.is_between(&self.held) {
                    Between::Unclear => return false,
                    Between::Closes(bytes) => {
                        self.held.drain(..bytes);
                        self.state = State::AfterCall;
                    }
                    Between::Continues(bytes) => {
                        self.held.drain(..bytes);
                        self.state = State::Opened(String::new());
                    }
                    Between::Nothing => {
                        self.state = match self.format {
                            Format::Llama3 => State::Plain,
                            _ => State::Text,
                        };
                    }
                }
                true
            }
            State::Plain => {
                if !self.held.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut self.held)));
                }
                false
            }
        }
    }

    fn read_object(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let State::Object(opened, object) = &mut self.state else { return false };
        if self.held.is_empty() {
            return false;
        }
        let held = std::mem::take(&mut self.held);
        let (found, mut reading) = object.push(&held);
        for one in found {
            match one {
                Found::Name(name) if self.names.contains(&name) => {
                    pieces.push(Piece::Call { index: self.calls, name });
                    self.calls += 1;
                }
                Found::Name(_) => {
                    reading = Reading::NoCall;
                    break;
                }
                Found::Arguments(text) => {
                    pieces.push(Piece::Arguments { index: self.calls.saturating_sub(1), text });
                }
            }
        }
        match reading {
            Reading::More => false,
            Reading::Done(read) => {
                held[read..].clone_into(&mut self.held);
                self.state = State::Between;
                true
            }
            Reading::NoCall => {
                object.raw().clone_into(&mut self.held);
                let opened = std::mem::take(opened);
                if !opened.is_empty() {
                    pieces.push(Piece::Text(opened));
                }
                self.state = match self.format {
                    Format::Llama3 => State::Plain,
                    _ => State::Text,
                };
                true
            }
        }
    }
}
