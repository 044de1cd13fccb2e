use std::collections::HashSet;

use super::{
    Tool,
    format::{Between, Format},
    object::{CallObject, Found, Reading},
};

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// A call of a function begins.
    Call {
        index: usize,
        name: String,
    },
    /// More of the JSON text of a call's arguments.
    Arguments {
        index: usize,
        text: String,
    },
}

/// Finds the calls in an answer while it comes.
///
/// What looks like a call and is none, or is one of a function that nobody offered, stays text.
#[derive(Debug)]
pub(crate) struct CallStream {
    format: Format,
    names: HashSet<String>,
    state: State,
    /// What has come and is not yet certain to be anything.
    held: String,
    calls: usize,
}

#[derive(Debug)]
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

impl CallStream {
    pub(crate) fn new(format: Format, tools: &[Tool]) -> Self {
        let names = tools.iter().map(|tool| tool.name.clone()).collect();
        Self { format, names, state: State::Begin, held: String::new(), calls: 0 }
    }

    /// An id for a call, as the model's template expects them.
    pub(crate) fn new_id(&self) -> String {
        let (prefix, length) = self.format.id();
        let unique = uuid::Uuid::now_v7().simple().to_string();
        // It ends with what is random.
        format!("{prefix}{}", &unique[unique.len() - length..])
    }

    /// How many calls have begun.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    pub(crate) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        while self.step(&mut pieces) {}
        pieces
    }

    /// What was held back when no more text comes.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
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

/// How many bytes at the end of `text` are the beginning of `opener`, which is ASCII.
fn overlap(text: &str, opener: &str) -> usize {
    let longest = (opener.len() - 1).min(text.len());
    (1..=longest)
        .rev()
        .find(|&len| text.as_bytes().ends_with(&opener.as_bytes()[..len]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> Vec<Tool> {
        ["get_weather", "add"].map(|name| Tool { name: name.to_owned(), parameters: None }).into()
    }

    /// The text and the calls of `answer`, which comes in pieces of `size` characters.
    fn read(format: Format, answer: &str, size: usize) -> (String, Vec<(String, String)>) {
        let mut stream = CallStream::new(format, &tools());
        let (mut text, mut calls) = (String::new(), Vec::<(String, String)>::new());
        let chars: Vec<_> = answer.chars().collect();
        let mut pieces: Vec<_> = chars
            .chunks(size)
            .flat_map(|part| stream.push(&part.iter().collect::<String>()))
            .collect();
        pieces.extend(stream.finish());
        for piece in pieces {
            match piece {
                Piece::Text(more) => text += &more,
                Piece::Call { index, name } => {
                    assert_eq!(index, calls.len());
                    calls.push((name, String::new()));
                }
                Piece::Arguments { index, text } => calls[index].1 += &text,
            }
        }
        assert_eq!(stream.calls(), calls.len());
        (text, calls)
    }

    #[track_caller]
    fn assert_reads(format: Format, answer: &str, text: &str, calls: &[(&str, &str)]) {
        for size in [1, 2, 3, 5, 8, 1000] {
            let (found, made) = read(format, answer, size);
            let made: Vec<_> =
                made.iter().map(|(name, arguments)| (&**name, &**arguments)).collect();
            assert_eq!((&*found, &*made), (text, calls), "by {size}: {answer}");
        }
    }

    /// As Qwen 2.5 and 3 and Hermes 2 Pro write them.
    #[test]
    fn calls_between_tags_are_read_with_the_text_before_them() {
        let format = Format::Hermes;
        let paris = r#"{"city": "Paris", "unit": "celsius"}"#;
        assert_reads(
            format,
            &format!(
                "<tool_call>\n{{\"name\": \"get_weather\", \"arguments\": {paris}}}\n</tool_call>"
            ),
            "",
            &[("get_weather", paris)],
        );
        assert_reads(
            format,
            "I'll add them, and look outside.\n\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 2, \"b\": [1]}}\n</tool_call>\n\
             <tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"M\\u00fcnchen \\\"<tool_call>\\\"\"}}\n</tool_call>",
            "I'll add them, and look outside.",
            &[
                ("add", r#"{"a": 2, "b": [1]}"#),
                ("get_weather", r#"{"city": "M\u00fcnchen \"<tool_call>\""}"#),
            ],
        );
        // Without white space, with text behind it, and without the end.
        assert_reads(
            format,
            "<tool_call>{\"arguments\":{\"a\":1},\"name\":\"add\"}</tool_call> Done.",
            "Done.",
            &[("add", r#"{"a":1}"#)],
        );
        assert_reads(format, "<tool_call>\n{\"name\": \"add\"}", "", &[("add", "{}")]);
    }

    /// As Llama 3.1 to 3.3 write them.
    #[test]
    fn an_answer_that_is_an_object_is_a_call() {
        let format = Format::Llama3;
        let object = r#"{"name": "get_weather", "parameters": {"city": "Paris"}}"#;
        let call = [("get_weather", r#"{"city": "Paris"}"#)];
        assert_reads(format, object, "", &call);
        assert_reads(format, &format!("\n\n{object}"), "", &call);
        assert_reads(format, &format!("<|python_tag|>{object}"), "", &call);
        let two =
            format!("{object}; {}", r#"{"type": "function", "name": "add", "parameters": {}}"#);
        assert_reads(format, &two, "", &[call[0], ("add", "{}")]);
        for text in [
            r#"{"name": "Bee", "age": 3}"#,
            r#"{"parameters": 1}"#,
            "Hello {\"name\": \"add\"}",
            "{ is a brace",
        ] {
            assert_reads(format, text, text, &[]);
        }
    }

    /// As Mistral Nemo and Mistral 7B v0.3 write them.
    #[test]
    fn a_list_behind_a_control_token_is_calls() {
        let format = Format::Mistral;
        assert_reads(
            format,
            r#"[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}, "id": "123456789"}, {"name": "get_weather", "arguments": {"city": "Paris"}}]"#,
            "",
            &[("add", r#"{"a": 1}"#), ("get_weather", r#"{"city": "Paris"}"#)],
        );
        assert_reads(
            format,
            r#"Let me see.[TOOL_CALLS] [{"name": "add", "arguments": {}}]"#,
            "Let me see.",
            &[("add", "{}")],
        );
    }

    #[test]
    fn what_only_looks_like_a_call_stays_text() {
        for text in [
            "a < b, <tool and <tool_call",
            "<tool_call>",
            "<tool_call> is how it begins",
            "<tool_call>\n{\"name\": \"unknown\", \"arguments\": {}}\n</tool_call>",
            "<tool_call>{\"a\": [1, 2]}</tool_call> and more",
            "<tool_call>{\"na",
            "plain text,\n\nin lines \n",
        ] {
            assert_reads(Format::Hermes, text, text, &[]);
        }
    }

    #[test]
    fn a_call_that_is_cut_off_has_the_arguments_that_came() {
        let cut = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Pa";
        assert_reads(Format::Hermes, cut, "", &[("get_weather", "{\"city\": \"Pa")]);
    }

    #[test]
    fn ids_are_as_long_as_templates_expect_and_differ() {
        for (format, length) in [(Format::Hermes, 29), (Format::Mistral, 9)] {
            let stream = CallStream::new(format, &[]);
            let (one, two) = (stream.new_id(), stream.new_id());
            assert!(one.len() == length && one != two, "{one} {two}");
        }
    }
}
