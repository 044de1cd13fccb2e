//! Serves one model over OpenAI's HTTP format: text of a language model, or vectors of texts.
//!
//! A worker is one process with one GGUF file. Its [`Engine`] owns llama.cpp's context on a thread
//! of its own and advances every running request by one token a step; HTTP handlers only prepare
//! requests and write down what comes back. It knows no hive and no queen: whoever starts it
//! renews its lease, and passes its bytes on as they are.

mod args; // the command line
mod carry; // conversations, to and from other workers
mod engine; // one thread, one context, many sequences
mod http; // OpenAI's format at the rim
mod guidance; // what holds answers to schemas
mod json; // JSON in the order in which it was written
mod llama_log; // llama.cpp's log, as tracing events
mod model; // a GGUF file, loaded
mod overlap; // a text's end that may be another's beginning
mod sandbox; // what the process may still do with a stranger's file in it
mod prompt; // what of a prompt may be control tokens
mod template; // messages to prompt, by the model's own template
mod thoughts; // what a model thinks before it answers
mod tools; // functions that a model may call, in its text

pub use crate::{
    args::{Args, Device},
    carry::Carrier,
    engine::{
        BatchCost, Embedded, Embedder, Engine, EngineConfig, EngineThread, Event, Finish,
        FinishReason, Form, Holds, Rejected, Request, Sampling, Speculative, TokenLogprob, Usage,
    },
    http::{Service, Work, router},
    llama_log::forward_llama_log,
    model::{LoadError, LoadOptions, Model, ModelFacts, ModelFile},
    sandbox::{Enforced, Sandbox},
};
pub use gguf_file::{Pooling, Purpose};
