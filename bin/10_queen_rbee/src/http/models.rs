use axum::{Json, extract::State};
use chain_level::{Busy, Wanted};
use http_guard::{ApiError, ApiPath, ApiQuery};
use rbee_api::{ErrorBody, ModelList, ModelRemoved, paths};
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
struct OpenAiModel {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

/// The models that a request can name: those on disk, and those that would be fetched for it.
pub(super) async fn openai_list(
    State(queen): State<Queen>,
) -> Result<Json<OpenAiModels>, ApiError> {
    let mut data: Vec<OpenAiModel> = Vec::new();
    for alias in queen.hives.aliases() {
        let (hive, _guard) = reach(&queen, &alias).await?;
        let list: ModelList = queen.hives.get(&hive, paths::MODEL_STORE).await?;
        for model in list.models {
            if data.iter().all(|known| known.id != model.name) {
                let (id, owned_by) = (model.name, "rbee");
                data.push(OpenAiModel { id, object: "model", created: 0, owned_by });
            }
        }
    }
    Ok(Json(OpenAiModels { object: "list", data }))
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

/// The hive, brought up if need be.
async fn reach(queen: &Queen, alias: &str) -> Result<(HiveHandle, Busy<HiveHandle>), ErrorBody> {
    queen.pool.acquire(alias, Wanted::default()).await
}
