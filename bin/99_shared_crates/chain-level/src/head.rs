use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue};
use http_guard::ApiError;
use rbee_api::{
    ErrorCode, HEADER_CALLER, HEADER_EVENTS, HEADER_FRESH, HEADER_REQUEST_ID, KeepAlive,
};
use serde::Deserialize;

use crate::Form;

/// The longest name of a model, in bytes. Longer ones are refused before anybody keeps them.
const MODEL_NAME_MAX: usize = 1024;

/// The longest name of who asks, in bytes.
const CALLER_MAX: usize = 128;

/// What a level of the chain needs to know of a completion request; the rest is the worker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// `None` when the body names no model.
    pub model: Option<String>,
    pub form: Form,
    /// Whether the answer must come from processes whose binaries are fresh.
    pub fresh: bool,
    /// How long the model is to stay loaded afterwards, where the client says it.
    pub keep_alive: Option<KeepAlive>,
    /// What the request is called in logs.
    pub id: Option<HeaderValue>,
    /// Who asks, as far as turns go.
    pub caller: Arc<str>,
}

impl Head {
    /// Reads the head of a request from its headers and its body.
    ///
    /// # Errors
    ///
    /// When the body is not a JSON object, or `model` or `stream` is not of its type.
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        Self::of(headers, body, is_set(headers, HEADER_EVENTS), is_set(headers, HEADER_FRESH))
    }

    /// Reads the head of a request that came as a job's: it gets events, from fresh processes.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn of_job(headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        Self::of(headers, body, true, true)
    }

    /// The head of a request without a body, whose model is named otherwise. It has one answer, whole.
    pub(crate) fn of_model(headers: &HeaderMap, model: Option<String>) -> Result<Self, ApiError> {
        require_short(model.as_deref())?;
        let (fresh, id) = (is_set(headers, HEADER_FRESH), id(headers));
        let caller = caller(headers);
        Ok(Self { model, form: Form::Json, fresh, keep_alive: None, id, caller })
    }

    fn of(headers: &HeaderMap, body: &[u8], events: bool, fresh: bool) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Body {
            model: Option<String>,
            #[serde(default)]
            stream: Option<bool>,
            keep_alive: Option<serde_json::Value>,
        }
        let Body { model, stream, keep_alive } = serde_json::from_slice(body).map_err(|error| {
            ApiError::new(ErrorCode::InvalidJson, format!("the body cannot be read: {error}"))
        })?;
        require_short(model.as_deref())?;
        let form = match (stream.unwrap_or(false), events) {
            (true, true) => Form::Events,
            (true, false) => Form::OpenAiStream,
            (false, _) => Form::Json,
        };
        let keep_alive = keep_alive.map(|keep| keep_alive_of(&keep)).transpose()?;
        let (id, caller) = (id(headers), caller(headers));
        Ok(Self { model, form, fresh, keep_alive, id, caller })
    }
}

fn require_short(model: Option<&str>) -> Result<(), ApiError> {
    if model.is_some_and(|model| model.len() > MODEL_NAME_MAX) {
        let message = format!("a model's name has {MODEL_NAME_MAX} bytes at most");
        return Err(ApiError::new(ErrorCode::InvalidModel, message).param("model"));
    }
    Ok(())
}

fn keep_alive_of(told: &serde_json::Value) -> Result<KeepAlive, ApiError> {
    KeepAlive::deserialize(told).map_err(|error| {
        let message = format!("`keep_alive` cannot be read: {error}");
        ApiError::new(ErrorCode::InvalidValue, message).param("keep_alive")
    })
}

fn id(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(HEADER_REQUEST_ID).cloned()
}

/// As the guard has it, or the level before: nobody's own word counts.
fn caller(headers: &HeaderMap) -> Arc<str> {
    let caller = headers.get(HEADER_CALLER).and_then(|caller| caller.to_str().ok());
    caller.filter(|caller| caller.len() <= CALLER_MAX).unwrap_or_default().into()
}

fn is_set(headers: &HeaderMap, name: &str) -> bool {
    headers.get(name).is_some_and(|value| value.as_bytes() == b"1")
}
