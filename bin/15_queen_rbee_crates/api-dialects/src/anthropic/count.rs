use rbee_api::ErrorBody;
use serde::{Deserialize, Serialize};

use super::request;
use crate::{
    answer::{OneBody, Translated, Unreadable, read_as, write},
    request::Endpoint,
};

/// How many tokens the messages of a request take.
#[derive(Debug)]
pub struct Count;

#[derive(Deserialize)]
struct Tokenized {
    count: u64,
}

#[derive(Serialize)]
struct Counted {
    input_tokens: u64,
}

/// A request of `/v1/messages/count_tokens`: one of messages, whose answer nobody wants.
///
/// # Errors
///
/// As [`super::translate`].
pub fn translate(body: &[u8]) -> Result<Translated<Count>, ErrorBody> {
    let (request, _, ignored) = request::read(body)?;
    Ok(Translated { endpoint: Endpoint::Tokenize, body: request.write(), answer: Count, ignored })
}

impl OneBody for Count {
    fn body(&mut self, body: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let Tokenized { count } = read_as(body)?;
        Ok(write(&Counted { input_tokens: count }).into_bytes())
    }
}
