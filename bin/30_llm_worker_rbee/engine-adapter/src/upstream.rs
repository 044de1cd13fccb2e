//! HTTP to the engine.

use std::{collections::BTreeMap, error::Error as _, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http_guard::ApiError;
use rbee_api::{ErrorBody, ErrorCode, error_kind};
use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json, value::RawValue};
use worker_service::{Asked, Defaults};

use crate::plan::Address;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const PING_LIMIT: Duration = Duration::from_secs(10);
/// An engine that loads may take connections and not answer; it is asked again.
const READY_LIMIT: Duration = Duration::from_secs(1);
/// Of an error that an engine did not write as JSON, as much is passed on.
const ERROR_CHARS: usize = 2000;

#[derive(Debug)]
pub(crate) struct Upstream {
    http: reqwest::Client,
    base: String,
    title: String,
    model: String,
}

/// What an engine says of itself.
#[derive(Debug)]
pub(crate) enum Ping {
    Well,
    /// It takes no connection, or answers with an error.
    Refused(String),
    /// Nothing in time.
    Silent,
}

impl Upstream {
    pub(crate) fn new(address: &Address, title: &str, model: &str) -> anyhow::Result<Self> {
        let builder = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_LIMIT);
        let (builder, base) = match address {
            Address::Unix(path) => {
                (builder.unix_socket(path.as_path()), "http://localhost".to_owned())
            }
            Address::Port(port) => (builder, format!("http://127.0.0.1:{port}")),
        };
        let http = builder.build().context("cannot make an HTTP client")?;
        Ok(Self { http, base, title: title.to_owned(), model: model.to_owned() })
    }

    pub(crate) async fn is_ready(&self, path: &str) -> bool {
        matches!(self.ping_within(path, READY_LIMIT).await, Ping::Well)
    }

    pub(crate) async fn ping(&self, path: &str) -> Ping {
        self.ping_within(path, PING_LIMIT).await
    }

    async fn ping_within(&self, path: &str, limit: Duration) -> Ping {
        let asked = self.http.get(format!("{}{path}", self.base)).timeout(limit).send();
        match asked.await {
            Ok(response) if response.status().is_success() => Ping::Well,
            Ok(response) => {
                Ping::Refused(format!("`{path}` is answered with {}", response.status()))
            }
            Err(error) if error.is_timeout() => Ping::Silent,
            Err(error) => Ping::Refused(rbee_api::causes(&error)),
        }
    }

    /// Puts a request to the engine; what it refuses is an error in its own words. Dropping what is
    /// given here closes the connection, which ends the request in the engine.
    pub(crate) async fn ask(
        &self,
        path: &str,
        body: Bytes,
    ) -> Result<reqwest::Response, ErrorBody> {
        let request = self.http.post(format!("{}{path}", self.base));
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let response = request.send().await.map_err(|error| self.lost(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(refusal(status, &body))
    }

    /// The connection broke.
    pub(crate) fn lost(&self, error: &reqwest::Error) -> ErrorBody {
        let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        ErrorBody::new(ErrorCode::UpstreamLost, format!("{} broke off{cause}", self.title))
    }

    /// The body, with the model named as the engine knows it and with what it says nothing of.
    pub(crate) fn addressed(
        &self,
        body: &Bytes,
        asked: Option<Asked>,
        defaults: &Defaults,
    ) -> Result<(Bytes, bool), ApiError> {
        let mut fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(body).map_err(|error| {
                let code =
                    if error.is_data() { ErrorCode::InvalidBody } else { ErrorCode::InvalidJson };
                ApiError::new(code, format!("the body is not a JSON object: {error}"))
            })?;
        let streams = match fields.get("stream").map(|value| value.get()) {
            None | Some("null" | "false") => false,
            Some("true") => true,
            Some(_) => {
                let message = "`stream` must be true or false";
                return Err(ApiError::new(ErrorCode::InvalidType, message).param("stream"));
            }
        };
        let model = serde_json::to_string(&self.model).unwrap_or_default();
        let asked = asked.filter(|_| !defaults.settings().is_empty());
        if asked.is_none() && fields.get("model").is_some_and(|named| named.get() == model) {
            return Ok((body.clone(), streams));
        }
        if let Some(asked) = asked {
            defaults.fill(&mut fields, asked);
        }
        let model = RawValue::from_string(model).map_err(ApiError::internal)?;
        fields.insert("model".to_owned(), model);
        let body = serde_json::to_vec(&fields).map_err(ApiError::internal)?;
        Ok((body.into(), streams))
    }
}

/// What an engine says in an answer of that status, in the form of rbee's own errors.
pub(crate) fn refusal(status: StatusCode, body: &[u8]) -> ErrorBody {
    let status = status.as_u16();
    if let Ok(said) = serde_json::from_slice::<Value>(body)
        && let Some(body) = said_error(&said, status)
    {
        return body;
    }
    let text: String = String::from_utf8_lossy(body).trim().chars().take(ERROR_CHARS).collect();
    let message = if text.is_empty() { format!("the engine answered {status}") } else { text };
    let said = json!({ "message": message });
    said_error(&said, status)
        .unwrap_or_else(|| ErrorBody::new(ErrorCode::BadGateway, "the engine refused"))
}

/// The error in a JSON body: `{"error": {..}}`, or the older `{"message": ..}`, or FastAPI's
/// `{"detail": ..}`. Its message and code are passed on as they are.
pub(crate) fn said_error(said: &Value, status: u16) -> Option<ErrorBody> {
    let detail = said.get("error").filter(|error| !error.is_null()).unwrap_or(said);
    let message = match detail {
        Value::String(text) => text.clone(),
        _ => match detail.get("message").or_else(|| said.get("detail"))? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
    };
    let code = detail.get("code").filter(|code| !code.is_null()).cloned();
    let error = json!({
        "message": message,
        "type": detail.get("type").and_then(Value::as_str).unwrap_or(error_kind(status)),
        "code": code.unwrap_or_else(|| json!(status)),
        "param": detail.get("param").and_then(Value::as_str),
        "status": status,
    });
    serde_json::from_value(json!({ "error": error })).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream() -> Upstream {
        Upstream::new(&Address::Port(1), "an engine", "m").unwrap()
    }

    #[test]
    fn a_body_goes_on_as_it_came_but_for_another_name_of_the_model() {
        let as_it_came = Bytes::from_static(b"{ \"model\" : \"m\", \"x\": 1e0, \"stream\":true }");
        let addressed =
            |body: &Bytes| upstream().addressed(body, Some(Asked::Chat), &Defaults::default());
        assert_eq!(addressed(&as_it_came).unwrap(), (as_it_came.clone(), true));
        for body in [r#"{"model":"other","x":1e0}"#, r#"{"x":1e0}"#] {
            let (body, streams) = addressed(&Bytes::from_static(body.as_bytes())).unwrap();
            assert_eq!((body, streams), (Bytes::from_static(br#"{"model":"m","x":1e0}"#), false));
        }
        for body in ["", "[]", "{", r#"{"stream":1}"#] {
            assert!(addressed(&Bytes::from_static(body.as_bytes())).is_err(), "{body}");
        }
    }

    #[test]
    fn a_request_is_given_what_is_set_for_the_model() {
        let settings = r#"{"system":"Be brief.","members":{"temperature":0.2}}"#;
        let defaults = Defaults::new(serde_json::from_str(settings).unwrap());
        let body = Bytes::from_static(br#"{"messages":[{"role":"user"}],"model":"m","prompt":""}"#);
        for (asked, system, temperature) in [
            (Some(Asked::Chat), true, true),
            (Some(Asked::Completion), false, true),
            (Some(Asked::Prompt), true, false),
            (None, false, false),
        ] {
            let (sent, _) = upstream().addressed(&body, asked, &defaults).unwrap();
            let sent = String::from_utf8(sent.to_vec()).unwrap();
            assert_eq!(sent.contains("Be brief."), system, "{sent}");
            assert_eq!(sent.contains(r#""temperature":0.2"#), temperature, "{sent}");
        }
    }

    #[test]
    fn an_engine_s_refusal_is_passed_on_in_its_words() {
        for (body, message, code) in [
            (
                r#"{"error":{"message":"too long","type":"BadRequestError","param":null,"code":400}}"#,
                "too long",
                "400",
            ),
            (
                r#"{"object":"error","message":"no model","type":"NotFoundError","param":null,"code":404}"#,
                "no model",
                "404",
            ),
            (
                r#"{"detail":[{"loc":["body"],"msg":"missing"}]}"#,
                r#"[{"loc":["body"],"msg":"missing"}]"#,
                "400",
            ),
            (r#"{"error":"busy"}"#, "busy", "400"),
            ("<html>", "<html>", "400"),
            ("", "the engine answered 400", "400"),
        ] {
            let said = refusal(StatusCode::BAD_REQUEST, body.as_bytes());
            assert_eq!(said.error.message, message, "{body}");
            assert_eq!(said.error.code.to_string(), code, "{body}");
            assert_eq!(said.error.status, Some(400));
        }
    }
}
