//! OpenAI's responses: `POST /v1/responses`. None is kept, so each request brings its conversation.

mod request; // from a body
mod items; // its input
mod output; // what an answer consists of
mod answer; // to a response, event by event or whole

pub use crate::responses::{answer::Responses, request::translate};
