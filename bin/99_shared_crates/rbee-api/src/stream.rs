use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{ErrorBody, JobEnd, Origin, Progress};

/// The names of events, as server-sent events have them. Chunks have none, as OpenAI sends them.
pub mod event {
    pub const NARRATION: &str = "narration";
    pub const PROGRESS: &str = "progress";
    pub const RESULT: &str = "result";
    pub const ERROR: &str = "error";
    pub const ORIGIN: &str = "origin";
    pub const IGNORED: &str = "ignored";
    pub const END: &str = "end";

    /// The constant that reads like `name`, where there is one.
    pub fn known(name: &str) -> Option<&'static str> {
        let all = [NARRATION, PROGRESS, RESULT, ERROR, ORIGIN, IGNORED, END];
        all.into_iter().find(|known| *known == name)
    }
}

/// OpenAI's last frame.
const DONE: &str = "[DONE]";

/// What an event without a name is called by those who read server-sent events.
const UNNAMED: &str = "message";

/// One event of a job's stream.
///
/// A level passes on what it does not read: chunks, narrations and results stay the text that came.
#[derive(Debug, Clone)]
pub enum StreamEvent {
    /// A part of a language model's answer, as OpenAI writes it.
    Chunk(String),
    /// The last chunk has been sent: `[DONE]`.
    Done,
    /// Something that a person is told; narration-core knows its fields.
    Narration(Box<RawValue>),
    Progress(Progress),
    /// Where the chunks that follow come from. For whoever outlives the process that relays them.
    Origin(Origin),
    /// Which members of the request had no effect, as [`crate::HEADER_IGNORED`] lists them.
    Ignored(String),
    /// What the job was for, where that is no stream of chunks.
    Result(Box<RawValue>),
    Error(ErrorBody),
    /// Always the last event of a stream, once.
    End(JobEnd),
}

/// An event of a known name whose data is not what that name promises.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the event `{name}`")]
pub struct Malformed {
    pub name: &'static str,
    pub source: serde_json::Error,
}

impl StreamEvent {
    /// The event of that name with that data; `None` for a name that this version does not know.
    ///
    /// # Errors
    ///
    /// [`Malformed`]; a chunk never is, since nobody reads it here.
    pub fn decode(name: &str, data: String) -> Result<Option<Self>, Malformed> {
        Ok(Some(match name {
            "" | UNNAMED if data == DONE => Self::Done,
            "" | UNNAMED => Self::Chunk(data),
            event::NARRATION => Self::Narration(raw(event::NARRATION, data)?),
            event::PROGRESS => Self::Progress(read(event::PROGRESS, &data)?),
            event::ORIGIN => Self::Origin(read(event::ORIGIN, &data)?),
            event::IGNORED => Self::Ignored(read(event::IGNORED, &data)?),
            event::RESULT => Self::Result(raw(event::RESULT, data)?),
            event::ERROR => Self::Error(read(event::ERROR, &data)?),
            event::END => Self::End(read(event::END, &data)?),
            _ => return Ok(None),
        }))
    }

    /// The event's name and its data.
    pub fn encode(self) -> (Option<&'static str>, String) {
        match self {
            Self::Chunk(data) => (None, data),
            Self::Done => (None, DONE.to_owned()),
            Self::Narration(data) => (Some(event::NARRATION), text(data)),
            Self::Progress(progress) => (Some(event::PROGRESS), write(&progress)),
            Self::Origin(origin) => (Some(event::ORIGIN), write(&origin)),
            Self::Ignored(names) => (Some(event::IGNORED), write(&names)),
            Self::Result(data) => (Some(event::RESULT), text(data)),
            Self::Error(body) => (Some(event::ERROR), write(&body)),
            Self::End(end) => (Some(event::END), write(&end)),
        }
    }

    /// A chunk of that value.
    ///
    /// # Errors
    ///
    /// When the value cannot be written as JSON.
    pub fn chunk(value: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::to_string(value).map(Self::Chunk)
    }

    /// A result of that value.
    ///
    /// # Errors
    ///
    /// When the value cannot be written as JSON.
    pub fn result(value: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(value).map(Self::Result)
    }
}

fn read<T: DeserializeOwned>(name: &'static str, data: &str) -> Result<T, Malformed> {
    serde_json::from_str(data).map_err(|source| Malformed { name, source })
}

fn raw(name: &'static str, data: String) -> Result<Box<RawValue>, Malformed> {
    RawValue::from_string(data).map_err(|source| Malformed { name, source })
}

fn text(data: Box<RawValue>) -> String {
    Box::<str>::from(data).into_string()
}

fn write(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("wire types hold only strings and numbers")
}

#[cfg(test)]
mod tests {
    use super::{StreamEvent, event};

    /// As the data of each name may look.
    const DATA: [(&str, &str); 9] = [
        ("", r#"{"choices":[]}"#),
        ("", "[DONE]"),
        (event::NARRATION, r#"{"human":"a hive is chosen"}"#),
        (event::PROGRESS, r#"{"target":"m","done_bytes":1,"total_bytes":null}"#),
        (event::ORIGIN, r#"{"at":"hive","job_id":"j","last_event_id":3}"#),
        (event::IGNORED, r#""top_g, x""#),
        (event::RESULT, r#"{"b": 1, "a": 2}"#),
        (event::ERROR, r#"{"error":{"message":"m","type":"t","code":"c","param":null}}"#),
        (event::END, r#"{"state":"completed"}"#),
    ];

    #[test]
    fn every_event_is_written_as_it_was_read() {
        for (name, data) in DATA {
            let event = StreamEvent::decode(name, data.to_owned()).unwrap().unwrap();
            let (written, text) = event.encode();
            assert_eq!((written.unwrap_or(""), text.as_str()), (name, data));
        }
    }

    #[test]
    fn a_chunk_is_any_text() {
        let event = StreamEvent::decode("message", "{".to_owned()).unwrap();
        assert!(matches!(event, Some(StreamEvent::Chunk(text)) if text == "{"));
    }

    #[test]
    fn half_of_an_event_names_the_event() {
        for (name, data) in DATA.into_iter().filter(|(name, _)| !name.is_empty()) {
            let error = StreamEvent::decode(name, data[..data.len() - 1].to_owned()).unwrap_err();
            assert_eq!(error.name, name);
        }
    }

    #[test]
    fn a_name_of_another_version_is_no_error() {
        assert!(StreamEvent::decode("weather", "fair".to_owned()).unwrap().is_none());
    }
}
