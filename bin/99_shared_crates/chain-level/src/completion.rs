use std::{borrow::Cow, sync::Arc};

use axum::{
    Extension, Router,
    extract::{MatchedPath, State},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http_guard::{ApiBytes, ApiError, ApiQuery};
use job_client::cancel;
use job_server::{JobEmitter, JobId};
use rbee_api::{
    ErrorBody, HEADER_CALLER, HEADER_EVENTS, HEADER_FRESH, HEADER_REQUEST_ID, ModelReach, Origin,
    paths,
};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Again, Attempt, Form, Head, Held, Level, NextLevel, Pool, Relays, Start,
    drive::Subject,
    respond,
    suspect::Suspect,
    wanted::{Completion, Wanted},
};

/// The endpoints, which are the same on every level.
const ENDPOINTS: [&str; 8] = [
    paths::CHAT_COMPLETIONS,
    paths::COMPLETIONS,
    paths::EMBEDDINGS,
    paths::RERANK,
    paths::SCORE,
    paths::TOKENIZE,
    paths::DETOKENIZE,
    paths::APPLY_TEMPLATE,
];

/// OpenAI's endpoints: has the next level answer the request. The body goes to it as it came.
pub fn completion_routes<L: Level>(relays: Relays<Pool<L>>) -> Router {
    let others = paths::OTHER_SPELLINGS.iter().map(|(spelling, _)| *spelling);
    let routes = ENDPOINTS
        .into_iter()
        .chain(others)
        .fold(Router::new(), |routes, path| routes.route(path, post(complete::<L>)));
    routes.route(paths::PROPS, get(props::<L>)).with_state(relays)
}

#[derive(Deserialize)]
struct OfModel {
    model: Option<String>,
}

/// What is known of a model, which its worker says.
async fn props<L: Level>(
    State(relays): State<Relays<Pool<L>>>,
    Extension(reach): Extension<ModelReach>,
    headers: HeaderMap,
    ApiQuery(OfModel { model }): ApiQuery<OfModel>,
) -> Response {
    let begun = Head::of_model(&headers, model).and_then(|head| {
        let path = paths::of_model(paths::PROPS, head.model.as_deref()).into();
        Ok(relays.ask("props".into(), Method::GET, path, head, reach, Bytes::new())?)
    });
    match begun {
        Ok(id) => respond(relays.jobs(), id, Form::Json).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn complete<L: Level>(
    State(relays): State<Relays<Pool<L>>>,
    Extension(reach): Extension<ModelReach>,
    matched: MatchedPath,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Response {
    let other = paths::OTHER_SPELLINGS.iter().find(|(other, _)| *other == matched.as_str());
    let path = other.map_or(matched.as_str(), |(_, path)| path);
    let path = ENDPOINTS.into_iter().find(|endpoint| *endpoint == path);
    let path = path.expect("it is routed from these");
    let begun = Head::read(&headers, &body).and_then(|head| {
        let form = head.form;
        Ok((relays.complete("completion", path, head, reach, body)?, form))
    });
    match begun {
        Ok((id, form)) => respond(relays.jobs(), id, form).await,
        Err(refusal) => refusal.into_response(),
    }
}

impl<L: Level> NextLevel for Pool<L> {
    const CONTINUES: bool = L::CAN_CONTINUE;

    async fn has_read(&self, upstream: &Origin) {
        if self.level().keeps_answers(self.places(), &upstream.at) {
            cancel(self, upstream).await;
        }
    }

    async fn go_on(
        &self,
        completion: Completion,
        delivered: Vec<Box<RawValue>>,
        suspect: Suspect,
        job: JobEmitter,
    ) -> Result<Attempt<Self::Held>, ErrorBody> {
        let completion = completion.continued(delivered).map_err(ApiError::internal)?;
        let again = Again { failed: 1, suspect: Some(suspect), ..Again::default() };
        self.attempt(completion, job, again).await
    }
}

impl<L: Level> Relays<Pool<L>> {
    /// Begins a completion; `path` is the endpoint's.
    ///
    /// # Errors
    ///
    /// When there is no room for another job.
    pub fn complete<'a>(
        &self,
        start: impl Into<Start<'a>>,
        path: &'static str,
        head: Head,
        reach: ModelReach,
        body: Bytes,
    ) -> Result<JobId, job_server::Error> {
        self.ask(start.into(), Method::POST, path.into(), head, reach, body)
    }

    fn ask(
        &self,
        start: Start<'_>,
        method: Method,
        path: Cow<'static, str>,
        head: Head,
        reach: ModelReach,
        body: Bytes,
    ) -> Result<JobId, job_server::Error> {
        let pool = self.next().clone();
        let model = head.model.clone().unwrap_or_else(|| pool.level().default_model());
        let events = head.form != Form::Json;
        // A query is no endpoint of its own.
        let endpoint = ENDPOINTS.into_iter().find(|endpoint| *endpoint == path);
        let endpoint = endpoint.unwrap_or(paths::PROPS);
        let measured = pool.level().metrics().request(endpoint, &model);
        let Head { fresh, keep_alive, id, caller, .. } = head;
        let completion =
            Completion { method, path, model, fresh, events, reach, caller, keep_alive, id, body };
        // Only of a stream something has come before all of it has.
        let asked = Some(completion.clone()).filter(|completion| completion.events);
        let subject = Subject { from: None, asked, measured: Some(measured) };
        self.begin_about(start, subject, move |job, again| {
            job.about(&completion.model);
            let (pool, completion) = (pool.clone(), completion.clone());
            async move { pool.attempt(completion, job, again).await }
        })
    }
}

impl<L: Level> Pool<L> {
    async fn attempt(
        &self,
        completion: Completion,
        job: JobEmitter,
        Again { failed, suspect, without }: Again,
    ) -> Result<Attempt<Held<L::Handle>>, ErrorBody> {
        let wanted = Wanted::of(completion.fresh, failed > 0);
        let (reach, caller) = (completion.reach, Some(Arc::clone(&completion.caller)));
        let wanted = Wanted { suspect, reach, caller, job: Some(job), ..wanted };
        let (handle, busy) = self.acquire_for(&completion.model, wanted, &without).await?;
        let request = self.level().completion(&handle, &completion);
        let request = request
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(HEADER_EVENTS, flag(completion.events))
            .header(HEADER_FRESH, flag(completion.fresh))
            .header(HEADER_CALLER, &*completion.caller)
            .body(completion.body);
        let request = match completion.id {
            Some(id) => request.header(HEADER_REQUEST_ID, id),
            None => request,
        };
        let (at, elsewhere) = (L::id(&handle).to_owned(), L::CHOOSES);
        Ok(Attempt { request, at, guard: L::hold(busy), elsewhere })
    }
}

fn flag(set: bool) -> HeaderValue {
    HeaderValue::from_static(if set { "1" } else { "0" })
}
