//! `POST /v1/rerank` and `POST /v1/score`: how well texts answer a query.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http_guard::{ApiBytes, ApiError, list_ignored};
use rbee_api::ErrorCode;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use worker_service::Hold;

use super::{
    Service, blocking,
    error::{engine_failed, invalid_value, rejected},
    fields::Fields,
};
use crate::{Embedder, engine::Embedded};

const QUERY: &str = "query";
const DOCUMENTS: &str = "documents";
const TEXTS: [&str; 2] = ["text_1", "text_2"];
const A_TEXT: &str = "a string";
/// Pairs of texts in one request.
const PAIRS_MAX: usize = 2048;

/// A document as clients write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Text(String),
    Object { text: String },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

#[derive(Serialize)]
struct Ranking {
    object: &'static str,
    model: String,
    results: Vec<Ranked>,
    usage: Usage,
}

#[derive(Serialize)]
struct Ranked {
    /// Its place among the documents of the request.
    index: usize,
    /// From 0 to 1.
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Written>,
}

#[derive(Serialize)]
struct Written {
    text: String,
}

#[derive(Serialize)]
struct Scores {
    object: &'static str,
    model: String,
    data: Vec<Score>,
    usage: Usage,
}

#[derive(Serialize)]
struct Score {
    object: &'static str,
    index: usize,
    score: f32,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// A request for ranks that is under way.
struct Begun {
    answer: mpsc::Receiver<Embedded>,
    usage: Usage,
    ignored: Vec<String>,
}

/// What came of it, with what else its own part was read as.
struct Ranks<T> {
    scores: Vec<f32>,
    usage: Usage,
    ignored: Vec<String>,
    read: T,
    _hold: Hold,
}

pub(super) async fn rerank(
    State(service): State<Service>,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    let ranks = ranks(&service, body, |fields, embedder| {
        let query: String = required(fields, QUERY, A_TEXT)?;
        let what = "an array of strings, or of objects with a string `text`";
        let documents: Vec<Document> = required(fields, DOCUMENTS, what)?;
        let documents: Vec<_> = documents.into_iter().map(Document::text).collect();
        let top = fields.integer("top_n", 0..=i64::MAX)?.filter(|top| *top > 0);
        let shown = fields.get::<bool>("return_documents", "true or false")?.unwrap_or(true);
        let pairs = documents.iter().map(|document| (query.as_str(), document.as_str()));
        let begun = begin(fields, embedder, &pairs.collect::<Vec<_>>(), DOCUMENTS)?;
        Ok((begun, (documents, top, shown)))
    });
    let Ranks { scores, usage, ignored, read: (documents, top, shown), _hold } = ranks.await?;
    let mut results: Vec<_> = scores.into_iter().enumerate().collect();
    // Those of one score stay in their order.
    results.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    results.truncate(top.and_then(|top| usize::try_from(top).ok()).unwrap_or(usize::MAX));
    let results = results.into_iter().map(|(index, relevance_score)| {
        let document = shown.then(|| Written { text: documents[index].clone() });
        Ranked { index, relevance_score, document }
    });
    let (results, model) = (results.collect(), service.name.to_string());
    let ranking = Ranking { object: "list", model, results, usage };
    Ok(list_ignored(&ignored, Json(ranking).into_response()))
}

pub(super) async fn score(
    State(service): State<Service>,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    let ranks = ranks(&service, body, |fields, embedder| {
        let read = |name| required::<Texts>(fields, name, "a string or an array of strings");
        let (first, second) = (read(TEXTS[0])?, read(TEXTS[1])?);
        Ok((begin(fields, embedder, &pairs(&first, &second)?, TEXTS[1])?, ()))
    });
    let Ranks { scores, usage, ignored, read: (), _hold } = ranks.await?;
    let data = scores.into_iter().enumerate();
    let data = data.map(|(index, score)| Score { object: "score", index, score }).collect();
    let scores = Scores { object: "list", model: service.name.to_string(), data, usage };
    Ok(list_ignored(&ignored, Json(scores).into_response()))
}

/// What comes of a request whose own part `read` takes, and has begun with.
async fn ranks<T: Send + 'static>(
    service: &Service,
    body: Bytes,
    read: impl FnOnce(&Fields, &Embedder) -> Result<(Begun, T), ApiError> + Send + 'static,
) -> Result<Ranks<T>, ApiError> {
    let hold = service.worker.hold();
    let embedder = service.ranks()?.clone();
    let begun = blocking(move || {
        let fields = Fields::parse(&body)?;
        read(&fields, &embedder)
    });
    let (Begun { mut answer, usage, ignored }, read) = begun.await?;
    let ranks = answer.recv().await.ok_or_else(|| engine_failed("the engine has stopped"))?;
    let scores = ranks.map_err(engine_failed)?.iter().map(|rank| relevance(rank)).collect();
    Ok(Ranks { scores, usage, ignored, read, _hold: hold })
}

/// One text with each of the others, or each with its counterpart.
fn pairs<'t>(first: &'t Texts, second: &'t Texts) -> Result<Vec<(&'t str, &'t str)>, ApiError> {
    let (first, second) = (first.all(), second.all());
    match first.as_slice() {
        [one] => Ok(second.into_iter().map(|other| (*one, other)).collect()),
        many if many.len() == second.len() => Ok(first.into_iter().zip(second).collect()),
        many => {
            let [name, other] = TEXTS;
            let (count, others) = (many.len(), second.len());
            let message = format!("`{name}` has {count} texts, and `{other}` {others}");
            Err(invalid_value(name, message))
        }
    }
}

/// Has the pairs ranked; `field` is where their second texts are from.
fn begin(
    fields: &Fields,
    embedder: &Embedder,
    pairs: &[(&str, &str)],
    field: &str,
) -> Result<Begun, ApiError> {
    drop(fields.get::<String>("model", A_TEXT)?);
    if pairs.is_empty() || pairs.len() > PAIRS_MAX {
        let message = format!("there may be 1 to {PAIRS_MAX} texts, not {}", pairs.len());
        return Err(invalid_value(field, message));
    }
    let tokens = pairs.iter().map(|(query, text)| {
        let fits = embedder.require_room(query.len() + text.len());
        fits.map_err(|error| rejected(error, field))?;
        Ok(embedder.model().pair(query, text))
    });
    let tokens = tokens.collect::<Result<Vec<_>, ApiError>>()?;
    let count = tokens.iter().map(Vec::len).sum();
    let answer = embedder.submit(tokens).map_err(|error| rejected(error, field))?;
    // What it is paid for, and how long the model stays, is for others.
    for name in ["user", "keep_alive"] {
        fields.raw(name);
    }
    let usage = Usage { prompt_tokens: count, total_tokens: count };
    Ok(Begun { answer, usage, ignored: fields.unread() })
}

/// From 0 to 1. A model makes one number without bounds, or the shares of "yes" and "no".
fn relevance(rank: &[f32]) -> f32 {
    match rank {
        [number] => 1.0 / (1.0 + (-number).exp()),
        shares => shares.first().copied().unwrap_or_default(),
    }
}

fn required<T: serde::de::DeserializeOwned>(
    fields: &Fields,
    name: &str,
    what: &str,
) -> Result<T, ApiError> {
    fields.get(name, what)?.ok_or_else(|| {
        ApiError::new(ErrorCode::MissingParameter, format!("`{name}` is missing")).param(name)
    })
}

impl Document {
    fn text(self) -> String {
        match self {
            Self::Text(text) | Self::Object { text } => text,
        }
    }
}

impl Texts {
    fn all(&self) -> Vec<&str> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts.iter().map(String::as_str).collect(),
        }
    }
}
