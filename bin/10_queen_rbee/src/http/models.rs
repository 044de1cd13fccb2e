use api_dialects::anthropic;
use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use chain_level::{Busy, Wanted};
use http_guard::{ApiError, ApiJson, ApiPath, ApiQuery};
use rbee_api::{
    ErrorBody, ErrorCode, Model, ModelList, ModelRemoved, ModelUnloaded, UnloadRequest, paths,
};
use rbee_config::{ConfigFile, ModelEntry};
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

/// The models that are on a disk, and before them the one for requests that name none: what a program
/// offers its user is not to begin with a download, and many take the first. The others of the
/// catalogue can be named all the same. In Anthropic's form for who names a version of that API.
pub(super) async fn public_list(
    State(queen): State<Queen>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let default = queen.config.current().models.default.clone();
    let is_default = |model: &Model| model.name.eq_ignore_ascii_case(&default);
    let mut all = all(&queen).await?;
    all.retain(|model| model.local || is_default(model));
    all.sort_by_key(|model| !is_default(model));
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

pub(super) async fn show(
    State(queen): State<Queen>,
    ApiPath(name): ApiPath<String>,
    ApiQuery(of): ApiQuery<OfHive>,
) -> Result<Json<Model>, ApiError> {
    Ok(Json(stored(&queen, of.hive.as_deref(), &name).await?))
}

/// The model as a hive knows it, by any of its spellings.
async fn stored(queen: &Queen, alias: Option<&str>, name: &str) -> Result<Model, ErrorBody> {
    let alias = queen.hives.alias(alias)?;
    let (hive, _guard) = reach(queen, &alias).await?;
    queen.hives.get(&hive, &paths::stored_model(name)).await
}

pub(super) async fn remove(
    State(queen): State<Queen>,
    ApiPath(name): ApiPath<String>,
    ApiQuery(of): ApiQuery<OfHive>,
) -> Result<Json<ModelRemoved>, ApiError> {
    Ok(Json(remove_stored(&queen, of.hive.as_deref(), &name).await?))
}

pub(super) async fn remove_stored(
    queen: &Queen,
    alias: Option<&str>,
    name: &str,
) -> Result<ModelRemoved, ErrorBody> {
    let alias = queen.hives.alias(alias)?;
    let (hive, _guard) = reach(queen, &alias).await?;
    let request = queen.hives.managing(&hive, Method::DELETE, &paths::stored_model(name));
    queen.hives.read(&hive, request).await
}

pub(super) async fn unload(
    State(queen): State<Queen>,
    ApiQuery(of): ApiQuery<OfHive>,
    ApiJson(UnloadRequest { model, .. }): ApiJson<UnloadRequest>,
) -> Result<Json<ModelUnloaded>, ApiError> {
    Ok(Json(queen.unload(of.hive.as_deref(), &model).await?))
}

/// Makes `to` a second name of `from`: a table of the configuration.
pub(super) async fn copy(queen: &Queen, from: &str, to: &str) -> Result<(), ApiError> {
    let from = stored(queen, None, from).await?.name;
    match stored(queen, None, to).await {
        Ok(there) => {
            let message = format!("there is a model `{}` already", there.name);
            return Err(ApiError::new(ErrorCode::InvalidModel, message).param("destination"));
        }
        Err(body) if body.error.code != ErrorCode::ModelNotFound => return Err(body.into()),
        Err(_) => {}
    }
    let mut file = ConfigFile::open(&queen.config.current()).map_err(ApiError::internal)?;
    file.copy(&from, to);
    file.save().map_err(ApiError::internal)
}

/// Removes the table of a second name; `false` where the name is of no such table.
pub(super) fn remove_copy(queen: &Queen, name: &str) -> Result<bool, ApiError> {
    let config = queen.config.current();
    let is_copy = |(own, entry): &(&str, &ModelEntry)| {
        own.eq_ignore_ascii_case(name) && entry.source.is_some()
    };
    let copied = config.model_called(name).filter(is_copy);
    let Some((name, _)) = copied else { return Ok(false) };
    let mut file = ConfigFile::open(&config).map_err(ApiError::internal)?;
    let removed = file.remove(name);
    file.save().map_err(ApiError::internal)?;
    Ok(removed)
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
