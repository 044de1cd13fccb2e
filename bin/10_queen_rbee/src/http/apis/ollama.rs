use std::time::Duration;

use api_dialects::ollama::{self, Copy, LINES, Named, Pull, Pulled, Unload, VERSION, Version};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::StreamExt as _;
use http_guard::{ApiBytes, ApiError, list_ignored};
use jiff::Timestamp;
use job_server::{Encoder, End, Ends, Event, JobState, Subscription, frames_response};
use rbee_api::{ErrorBody, ErrorCode, JobRequest, StreamEvent};
use serde::{Deserialize, Serialize};

use super::Asked;
use crate::{Queen, http::models};

pub(in crate::http) async fn chat(asked: Asked) -> Result<Response, ApiError> {
    match Unload::read(&asked.body, true) {
        Some(unload) => unloaded(&asked.queen, &unload).await,
        None => asked.answer(ollama::translate_chat).await,
    }
}

pub(in crate::http) async fn generate(asked: Asked) -> Result<Response, ApiError> {
    match Unload::read(&asked.body, false) {
        Some(unload) => unloaded(&asked.queen, &unload).await,
        None => asked.answer(ollama::translate_generate).await,
    }
}

pub(in crate::http) async fn embed(asked: Asked) -> Result<Response, ApiError> {
    asked.answer(ollama::translate_embed).await
}

pub(in crate::http) async fn embeddings(asked: Asked) -> Result<Response, ApiError> {
    asked.answer(ollama::translate_embeddings).await
}

pub(in crate::http) async fn version() -> Json<Version> {
    Json(VERSION)
}

pub(in crate::http) async fn tags(State(queen): State<Queen>) -> Result<Response, ApiError> {
    let models = models::all(&queen).await?;
    Ok(Json(ollama::tags(&models)).into_response())
}

pub(in crate::http) async fn running(State(queen): State<Queen>) -> Response {
    let workers = queen.hives.workers(queen.pool.places()).await.workers;
    Json(ollama::running(&workers, Timestamp::now())).into_response()
}

async fn unloaded(queen: &Queen, unload: &Unload) -> Result<Response, ApiError> {
    queen.unload(None, &unload.model).await?;
    Ok(Json(unload.done(Timestamp::now())).into_response())
}

/// Gives a model a second name.
pub(in crate::http) async fn copy(
    State(queen): State<Queen>,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    let Copy { source, destination, ignored } = Copy::read(&body)?;
    models::copy(&queen, &source, &destination).await?;
    Ok(list_ignored(&ignored, StatusCode::OK.into_response()))
}

/// Removes a second name, or else a model from the first hive's store.
pub(in crate::http) async fn delete(
    State(queen): State<Queen>,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    let Named { model, ignored } = Named::read(&body)?;
    if !models::remove_copy(&queen, &model)? {
        models::remove_stored(&queen, None, &model).await?;
    }
    Ok(list_ignored(&ignored, StatusCode::OK.into_response()))
}

pub(in crate::http) async fn show(
    State(queen): State<Queen>,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    let Named { model, ignored } = Named::read(&body)?;
    let model = models::named(&queen, &model).await?;
    Ok(list_ignored(&ignored, Json(ollama::show(&model)).into_response()))
}

/// Brings a model into the first hive's store. A client that goes away ends the download, which a later
/// one takes up where it stopped.
pub(in crate::http) async fn pull(
    State(queen): State<Queen>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    let Pull { model, stream, ignored } = Pull::read(&body)?;
    let status = format!("pulling {model}");
    let id = queen.begin_watched(&headers, JobRequest::ModelPull { hive: None, model })?;
    let jobs = queen.relays.jobs();
    let events = jobs.subscribe(&id, None)?.cancel_on_drop(Duration::ZERO);
    let response = if stream {
        // What ends before anything has been told has a status of its own.
        let first = jobs.subscribe(&id, None)?.next().await.transpose()?;
        if let Some(StreamEvent::Error(body)) = first.as_ref().and_then(decoded) {
            return Err(body.into());
        }
        frames_response(events, LINES, Pulling { status })
    } else {
        pulled(events).await?;
        Json(Pulled::SUCCESS).into_response()
    };
    Ok(list_ignored(&ignored, chain_level::of_job(id, response)))
}

/// Waits until the model is there.
async fn pulled(mut events: Subscription) -> Result<(), ApiError> {
    while let Some(event) = events.next().await {
        if let Some(StreamEvent::Error(body)) = decoded(&event?) {
            return Err(body.into());
        }
    }
    match events.state() {
        JobState::Completed => Ok(()),
        _ => Err(ApiError::new(ErrorCode::Cancelled, "the download was ended before it was whole")),
    }
}

/// Tells a client of Ollama's of a download.
#[derive(Debug)]
struct Pulling {
    /// Of every line about bytes.
    status: String,
}

#[derive(Deserialize)]
struct Narrated {
    human: String,
}

impl Encoder for Pulling {
    fn event(&mut self, event: &Event) -> Option<Bytes> {
        match decoded(event)? {
            StreamEvent::Progress(progress) => {
                Some(line(&Pulled::progress(&self.status, &progress)))
            }
            StreamEvent::Narration(told) => {
                let Narrated { human } = serde_json::from_str(told.get()).ok()?;
                Some(line(&Pulled::status(&human)))
            }
            StreamEvent::Error(body) => Some(line(&ollama::error(&body))),
            _ => None,
        }
    }

    fn overtaken(&mut self, error: ErrorBody) -> Option<Bytes> {
        Some(line(&ollama::error(&error)))
    }

    fn end(&mut self, end: &End) -> (Option<Bytes>, Ends) {
        match end.state {
            JobState::Completed => (Some(line(&Pulled::SUCCESS)), Ends::Whole),
            _ => (None, Ends::CutOff),
        }
    }

    fn keep_alive(&self) -> Option<(Duration, Bytes)> {
        None
    }
}

/// What is not understood is not told.
fn decoded(event: &Event) -> Option<StreamEvent> {
    let data = String::from_utf8_lossy(&event.data).into_owned();
    StreamEvent::decode(event.name.unwrap_or_default(), data).ok().flatten()
}

fn line(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).expect("a line holds only strings and numbers");
    line.push(b'\n');
    line.into()
}
