//! What every HTTP listener of rbee puts before its routes.
//!
//! A server on loopback is within reach of every web page that its user opens. [`Guard`] refuses
//! what a page can send: names that were rebound to this address, foreign origins, bodies that need
//! no preflight. [`Token`] proves that a client is the same user. [`ApiError`] is the one shape in
//! which anything is refused, here and in the handlers behind.
//!
//! Nothing here knows what is being served.

mod hosts; // by which names a listener is addressed
mod bodies; // how much of them is taken in
mod cors; // pages of other origins that may
mod guard; // the checks, as a layer
mod token; // a secret in a file of the user's
mod peer; // which user has the other end
mod keys; // secrets that the owner gave to others
mod access; // who is let in, and for what
mod authorize; // the token, demanded of requests
mod ignored; // what had no effect
mod request_id; // what a request is called in logs
mod error; // refusals in OpenAI's envelope
mod extract; // axum's extractors with those refusals

pub use crate::{
    access::{Access, Keyless},
    authorize::{Authorized, RequireToken, require_token, require_token_of_others},
    bodies::{BodyLimits, MAX_BODY_BYTES},
    error::ApiError,
    extract::{ApiBytes, ApiJson, ApiPath, ApiQuery, fallbacks, wrong_methods},
    guard::{Guard, GuardLayer, Guarded},
    hosts::{Names, ReachedAt},
    ignored::{list_ignored, say_ignored}, // (names, Response) -> Response
    keys::{Key, Keys, KeysError},
    peer::Peer,
    request_id::with_request_id, // a middleware
    token::{Token, TokenError},
};
