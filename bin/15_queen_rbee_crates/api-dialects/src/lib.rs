//! The APIs that people's programs speak, from and to the one that workers speak: OpenAI's chat
//! completions.
//!
//! Each API is a module with a `translate`: a request's body becomes a [`Translated`] one, together with
//! the [`Answer`] that turns what comes back, chunk by chunk or whole, into that API's own. Nothing here
//! performs I/O or waits. What an API has and a worker does not is refused by the name of the field;
//! what is not known at all has no effect, and is listed.

mod fields; // a body's members, read one by one
mod request; // the chat completion that is asked for
mod completion; // what comes back of it
mod answer; // what all translations of an answer can do
mod image; // pictures, as OpenAI has them
pub mod anthropic; // Anthropic's messages
pub mod ollama; // Ollama's chat, generate, and what it lists
pub mod responses; // OpenAI's responses

pub use crate::{
    answer::{Answer, Translated, Unreadable},
    request::Endpoint,
};
