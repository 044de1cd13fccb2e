use api_dialects::anthropic;
use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use chain_level::{Busy, Wanted};
use http_guard::{ApiError, ApiPath, ApiQuery};
use rbee_api::{ErrorBody, ErrorCode, Model, ModelList, ModelRemoved, paths};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{Queen, hives::HiveHandle};

#[derive(Debug, Deserialize)]
pub(super) struct OfHive {
    hive: Option<String>,
}

/// OpenAI's list.
#[derive(Debug, Serialize)]
pub(super) struct OpenAiModels {
    object: &'static str,
    data: Vec<OpenAiModel>,
}

#[derive(Debug, Serialize)]
pub(super) struct OpenAiModel {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

/// The models that a request can name: those on disk, and those that would be fetched for it. In
/// Anthropic's form for who names a version of that API.
pub(super) async fn public_list(
    State(queen): State<Queen>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let all = all(&queen).await?;
    if headers.contains_key(anthropic::VERSION_HEADER) {
        let names = all.iter().map(|model| model.name.as_str());
        return Ok(Json(anthropic::models(names)).into_response());
    }
    let data = all.into_iter().map(OpenAiModel::of).collect();
    Ok(Json(OpenAiModels { object: "list", data }).into_response())
}

pub(super) async fn openai_model(
    State(queen): State<Queen>,
    ApiPath(name): ApiPath<String>,
) -> Result<Json<OpenAiModel>, ApiError> {
    named(&queen, &name).await.map(OpenAiModel::of).map(Json)
}

/// The models of all hives, each once.
pub(super) async fn all(queen: &Queen) -> Result<Vec<Model>, ApiError> {
    let mut all: Vec<Model> = Vec::new();
    for alias in queen.hives.aliases() {
        let (hive, _guard) = reach(queen, &alias).await?;
        let list: ModelList = queen.hives.get(&hive, paths::MODEL_STORE).await?;
        for model in list.models {
            match all.iter_mut().find(|known| known.name == model.name) {
                // Here rather than to be fetched.
                Some(known) if model.local && !known.local => *known = model,
                Some(_) => {}
                None => all.push(model),
            }
        }
    }
    Ok(all)
}

/// The model of that name, in whichever case its letters are.
pub(super) async fn named(queen: &Queen, name: &str) -> Result<Model, ApiError> {
    let found = all(queen).await?.into_iter().find(|model| model.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| {
        ApiError::new(ErrorCode::ModelNotFound, format!("there is no model `{name}`"))
    })
}

pub(super) async fn list(
    State(queen): State<Queen>,
    ApiQuery(of): ApiQuery<OfHive>,
) -> Result<Json<ModelList>, ApiError> {
    let alias = queen.hives.alias(of.hive.as_deref())?;
    let (hive, _guard) = reach(&queen, &alias).await?;
    Ok(Json(queen.hives.get(&hive, paths::MODEL_STORE).await?))
}

pub(super) async fn remove(
    State(queen): State<Queen>,
    ApiPath(name): ApiPath<String>,
    ApiQuery(of): ApiQuery<OfHive>,
) -> Result<Json<ModelRemoved>, ApiError> {
    let alias = queen.hives.alias(of.hive.as_deref())?;
    let (hive, _guard) = reach(&queen, &alias).await?;
    let request = queen.hives.managing(&hive, Method::DELETE, &paths::stored_model(&name));
    Ok(Json(queen.hives.read(&hive, request).await?))
}

impl OpenAiModel {
    fn of(model: Model) -> Self {
        Self { id: model.name, object: "model", created: 0, owned_by: "rbee" }
    }
}

/// The hive, brought up if need be.
async fn reach(queen: &Queen, alias: &str) -> Result<(HiveHandle, Busy<HiveHandle>), ErrorBody> {
    queen.pool.acquire(alias, Wanted::default()).await
}
