use rbee_api::{ErrorBody, ErrorCode};
use serde::{
    Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::value::RawValue;

use crate::{completion::Completion, fields::Raw, request::Endpoint};

/// A request as the worker takes it, with the answer as the client takes it.
#[derive(Debug)]
pub struct Translated<A> {
    pub endpoint: Endpoint,
    pub body: Vec<u8>,
    pub answer: A,
    /// The members of the client's body that have no effect.
    pub ignored: Vec<String>,
}

/// Turns what a worker sends into the answer that a client of some API takes.
///
/// Of a stream it gets each chunk, then once either [`Self::done`] or [`Self::failed`], and appends
/// frames to `out`; of an answer that is one body it gets that in [`Self::whole`].
pub trait Answer: Send + Unpin + 'static {
    /// Of a stream.
    const CONTENT_TYPE: &'static str;
    /// What may be sent while there is nothing else.
    const KEEP_ALIVE: Option<&'static str>;

    /// # Errors
    ///
    /// What came is no chunk.
    fn chunk(&mut self, data: &str, out: &mut String) -> Result<(), Unreadable>;

    /// All chunks have come.
    fn done(&mut self, out: &mut String);

    /// There will be no more chunks, because of `error`.
    fn failed(&mut self, error: &ErrorBody, out: &mut String);

    /// # Errors
    ///
    /// What came is no completion.
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Unreadable>;
}

/// An answer that is never a stream.
pub trait OneBody: Send + Unpin + 'static {
    /// # Errors
    ///
    /// What came is no such answer.
    fn body(&mut self, body: &[u8]) -> Result<Vec<u8>, Unreadable>;
}

impl<A: OneBody> Answer for A {
    const CONTENT_TYPE: &'static str = "application/json";
    const KEEP_ALIVE: Option<&'static str> = None;

    fn chunk(&mut self, _: &str, _: &mut String) -> Result<(), Unreadable> {
        Err(Unreadable(serde_json::Error::custom("a part came where there are none")))
    }

    fn done(&mut self, _: &mut String) {}

    fn failed(&mut self, error: &ErrorBody, out: &mut String) {
        out.push_str(&write(error));
    }

    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Unreadable> {
        self.body(body)
    }
}

/// Something that no server of OpenAI's API should have sent.
#[derive(Debug)]
pub struct Unreadable(serde_json::Error);

impl From<Unreadable> for ErrorBody {
    fn from(Unreadable(error): Unreadable) -> Self {
        Self::new(ErrorCode::BadGateway, format!("the worker's answer cannot be read: {error}"))
    }
}

pub(crate) fn read(data: &[u8]) -> Result<Completion, Unreadable> {
    read_as(data)
}

pub(crate) fn read_as<T: DeserializeOwned>(data: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(data).map_err(Unreadable)
}

/// JSON of an answer's own types.
pub(crate) fn write(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("an answer holds only strings, numbers and JSON")
}

/// Appends a server-sent event.
pub(crate) fn event(out: &mut String, name: &str, data: &impl Serialize) {
    for part in ["event: ", name, "\ndata: ", &write(data), "\n\n"] {
        out.push_str(part);
    }
}

/// A call's arguments as the object that they are; an empty one where the answer ended within them.
pub(crate) fn arguments(text: String) -> Raw {
    let whole = RawValue::from_string(text).ok().filter(|json| json.get().starts_with('{'));
    whole.unwrap_or_else(|| RawValue::from_string("{}".to_owned()).expect("that is JSON"))
}
