use crate::json::Json;

/// What of a call is certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Name(String),
    /// A part of the arguments' JSON text. It comes after the name.
    Arguments(String),
}

/// Whether a call's object goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    More,
    /// It ended after so many bytes of what was pushed last.
    Done(usize),
    /// It is no object that names a function.
    NoCall,
}

/// Reads the object of a call while its text comes: `{"name": "f", "arguments": {..}}`, also with
/// `parameters`, or within `function`, and in any order.
#[derive(Debug, Clone, Default)]
pub(super) struct CallObject {
    raw: String,
    /// How far it is read.
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    place: Place,
    name: Option<String>,
    /// Whole arguments that wait for the name.
    arguments: Option<String>,
    /// Where the arguments that are being read begin, and up to where they were passed on.
    streamed: Option<(usize, usize)>,
    has_arguments: bool,
}

/// Where in the object, outside of what is nested in it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    Key {
        from: usize,
    },
    Colon {
        key: String,
    },
    Value {
        key: String,
        from: usize,
    },
    End,
}

impl CallObject {
    /// What was pushed so far.
    pub(super) fn raw(&self) -> &str {
        &self.raw
    }

    pub(super) fn has_name(&self) -> bool {
        self.name.is_some()
    }

    pub(super) fn push(&mut self, text: &str) -> (Vec<Found>, Reading) {
        let before = self.raw.len();
        self.raw.push_str(text);
        let mut found = Vec::new();
        while self.at < self.raw.len() {
            let byte = self.raw.as_bytes()[self.at];
            if !self.step(byte, &mut found) {
                return (found, Reading::NoCall);
            }
            self.at += 1;
            if self.place == Place::End {
                let read = self.at - before;
                return match (&self.name, self.has_arguments) {
                    (None, _) => (found, Reading::NoCall),
                    (Some(_), false) => {
                        found.push(Found::Arguments("{}".to_owned()));
                        (found, Reading::Done(read))
                    }
                    (Some(_), true) => (found, Reading::Done(read)),
                };
            }
        }
        self.pass_on(self.raw.len(), &mut found);
        (found, Reading::More)
    }

    /// Reads one byte; false where no object can have it.
    fn step(&mut self, byte: u8, found: &mut Vec<Found>) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    if let Place::Key { from } = self.place {
                        let key = serde_json::from_str(&self.raw[from..=self.at]);
                        let Ok(key) = key else { return false };
                        self.place = Place::Colon { key };
                    }
                }
                _ => {}
            }
            return true;
        }
        match (byte, self.depth) {
            (b'"', 0) => return false,
            (b'"', depth) => {
                self.in_string = true;
                if depth == 1 {
                    match self.place {
                        Place::Before => self.place = Place::Key { from: self.at },
                        Place::Value { .. } => {}
                        _ => return false,
                    }
                }
            }
            (b'{', 0) => self.depth = 1,
            (b'{' | b'[', depth) => {
                if !matches!(self.place, Place::Value { .. }) {
                    return false;
                }
                self.depth = depth + 1;
            }
            (b'}' | b',', 1) => {
                match std::mem::take(&mut self.place) {
                    Place::Value { key, from } => self.value(&key, from, found),
                    Place::Before => {}
                    _ => return false,
                }
                if byte == b'}' {
                    self.place = Place::End;
                }
            }
            (b'}' | b']', depth) => match depth.checked_sub(1) {
                Some(outer @ 1..) => self.depth = outer,
                _ => return false,
            },
            (b':', 1) => match std::mem::take(&mut self.place) {
                Place::Colon { key } => {
                    let from = self.at + 1;
                    if is_arguments(&key) && self.name.is_some() {
                        self.streamed = Some((from, from));
                    }
                    self.place = Place::Value { key, from };
                }
                other => {
                    self.place = other;
                    return matches!(self.place, Place::Value { .. });
                }
            },
            (byte, 1) if !matches!(self.place, Place::Value { .. }) => {
                return byte.is_ascii_whitespace();
            }
            (byte, 0) => return byte.is_ascii_whitespace(),
            _ => {}
        }
        true
    }

    /// Takes in the value that ends before `self.at`.
    fn value(&mut self, key: &str, from: usize, found: &mut Vec<Found>) {
        self.pass_on(self.at, found);
        self.streamed = None;
        let text = self.raw[from..self.at].trim();
        if key == "function" && text.starts_with('{') {
            let Ok(inner) = serde_json::from_str::<Json>(text) else { return };
            if let Some(arguments) = inner.get("arguments").or_else(|| inner.get("parameters")) {
                self.arguments = Some(arguments_text(arguments));
            }
            if let Some(name) = inner.get("name").and_then(Json::as_str) {
                self.named(name.to_owned(), found);
            }
        } else if matches!(key, "name" | "function") {
            if let Ok(name) = serde_json::from_str(text) {
                self.named(name, found);
            }
        } else if is_arguments(key) {
            if self.has_arguments {
                return;
            }
            let whole = serde_json::from_str::<Json>(text);
            self.arguments = Some(whole.map_or_else(|_| text.to_owned(), |a| arguments_text(&a)));
            self.release(found);
        }
    }

    fn named(&mut self, name: String, found: &mut Vec<Found>) {
        if self.name.is_none() {
            self.name = Some(name.clone());
            found.push(Found::Name(name));
        }
        self.release(found);
    }

    fn release(&mut self, found: &mut Vec<Found>) {
        if self.name.is_some()
            && let Some(arguments) = self.arguments.take()
        {
            self.has_arguments = true;
            found.push(Found::Arguments(arguments));
        }
    }

    /// Passes on what has come of the arguments before `until`. Arguments as a string are JSON in
    /// JSON, and wait for their end; so does white space, which may be the last.
    fn pass_on(&mut self, until: usize, found: &mut Vec<Found>) {
        let Some((begin, sent)) = self.streamed else { return };
        let value = self.raw[begin..until].trim_start();
        if value.is_empty() || value.starts_with('"') {
            return;
        }
        let from = sent.max(until - value.len());
        let part = &self.raw[from..until];
        let part = if self.in_string { part } else { part.trim_end() };
        if !part.is_empty() {
            found.push(Found::Arguments(part.to_owned()));
            self.streamed = Some((begin, from + part.len()));
            self.has_arguments = true;
        }
    }
}

fn is_arguments(key: &str) -> bool {
    matches!(key, "arguments" | "parameters")
}

/// Some models write the arguments as JSON text within a string.
fn arguments_text(arguments: &Json) -> String {
    match arguments {
        Json::Text(text) => text.clone(),
        Json::Null => "{}".to_owned(),
        other => other.to_text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name, the arguments, and how the reading ended, of `text` in pieces of `size` bytes.
    fn read(text: &str, size: usize) -> (Option<String>, String, Reading) {
        let (mut object, mut name, mut arguments) = (CallObject::default(), None, String::new());
        let mut reading = Reading::More;
        for piece in text.as_bytes().chunks(size) {
            let (found, now) = object.push(std::str::from_utf8(piece).unwrap());
            for one in found {
                match one {
                    Found::Name(text) => assert_eq!(name.replace(text), None),
                    Found::Arguments(_) if name.is_none() => panic!("arguments before the name"),
                    Found::Arguments(text) => arguments += &text,
                }
            }
            reading = now;
            if reading != Reading::More {
                break;
            }
        }
        (name, arguments, reading)
    }

    #[test]
    fn a_call_is_the_same_in_whatever_pieces_and_order_it_comes() {
        for (text, arguments) in [
            (
                r#"{"name": "f", "arguments": {"a": "x}\"{", "b": [1, {"c": 2}]}}"#,
                r#"{"a": "x}\"{", "b": [1, {"c": 2}]}"#,
            ),
            (r#"{"name":"f","parameters":{} }"#, "{}"),
            (r#"{"arguments": {"a": 1}, "name": "f"}"#, r#"{"a":1}"#),
            (r#"{"name": "f"}"#, "{}"),
            (r#"{"name": "f", "arguments": null, "id": "x"}"#, "null"),
            (r#"{"name": "f", "arguments": "{\"a\": 1}"}"#, r#"{"a": 1}"#),
            (
                r#"{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}"#,
                r#"{"a":1}"#,
            ),
            (r#"{"type": "function", "function": "f", "parameters": {"a": 1}}"#, r#"{"a": 1}"#),
            (
                "{\n  \"name\": \"f\",\n  \"arguments\": {\n    \"a\": 1\n  }\n}",
                "{\n    \"a\": 1\n  }",
            ),
        ] {
            for size in [1, 2, 3, 7, 1000] {
                let (name, found, reading) = read(text, size);
                assert_eq!(
                    (name.as_deref(), found.as_str()),
                    (Some("f"), arguments),
                    "{text} by {size}"
                );
                assert!(matches!(reading, Reading::Done(_)), "{text} by {size}");
            }
        }
    }

    #[test]
    fn what_names_no_function_is_no_call() {
        for text in [
            r#"{"a": 1}"#,
            "{}",
            "{name: 1}",
            r#"{"name": 1}"#,
            r#"{"name" "f"}"#,
            "{]",
            "[1]",
            "x",
            r#"{"name":"f"]"#,
        ] {
            assert_eq!(read(text, 1).2, Reading::NoCall, "{text}");
        }
    }

    #[test]
    fn what_follows_the_object_is_left() {
        let (_, reading) = CallObject::default().push(r#"{"name":"f"} and more"#);
        assert_eq!(reading, Reading::Done(12));
    }

    #[test]
    fn arguments_are_passed_on_as_they_come() {
        let mut object = CallObject::default();
        drop(object.push(r#"{"name": "f", "arguments": "#));
        assert_eq!(
            object.push(r#" {"city": "Pa"#).0,
            [Found::Arguments(r#"{"city": "Pa"#.to_owned())]
        );
        assert_eq!(object.push("ris").0, [Found::Arguments("ris".to_owned())]);
    }
}
