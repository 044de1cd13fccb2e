//! The routes of a queen as an OpenAPI document.

mod routes; // what there is
mod types; // what goes in and out

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use rbee_config::for_here;
use serde_json::{Map, Value, json};

use self::routes::{Answer, ROUTES, Route, Who};

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

/// `GET /openapi.json`
pub(super) async fn serve() -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], DOCUMENT.clone()).into_response()
}

fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let item = paths.entry(route.path.replace("{*", "{")).or_insert_with(|| json!({}));
        item[route.method.to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "rbee",
            "description": "A queen of rbee: the APIs of OpenAI, Anthropic and Ollama, and her own.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": types::schemas(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": for_here("a key of `./rbee key add`, or the token; the same user \
                                             of the machine needs none for most routes"),
                },
                "x-api-key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "summary": route.summary,
        "tags": [route.tag],
        "responses": {
            route.answer.status(): route.answer.described(),
            "default": {
                "description": "a refusal or a failure",
                "content": content(error_of(route.path)),
            },
        },
        "security": security(route.who),
    });
    let parameters = parameters(route);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = route.body {
        operation["requestBody"] = json!({ "required": true, "content": content(body) });
    }
    operation
}

/// Each a way in; the empty one is that of the same user.
fn security(who: Who) -> Value {
    let keys = [json!({ "bearer": [] }), json!({ "x-api-key": [] })];
    match who {
        Who::MayChat | Who::SameUser => json!([{}, keys[0], keys[1]]),
        Who::MayManage => json!(keys),
    }
}

fn parameters(route: &Route) -> Vec<Value> {
    let string = json!({ "type": "string" });
    let in_path = route.path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?;
        Some((name.trim_start_matches('*'), "path"))
    });
    let in_query = route.query.iter().map(|name| (*name, "query"));
    let described = in_path.chain(in_query).map(|(name, place)| {
        json!({ "name": name, "in": place, "required": place == "path", "schema": string })
    });
    described.collect()
}

/// The shape in which the path's API tells errors.
fn error_of(path: &str) -> &'static str {
    use super::apis::Shape;
    match Shape::of(path) {
        Shape::OpenAi => "ErrorBody",
        Shape::Anthropic => "AnthropicError",
        Shape::Ollama => "OllamaError",
    }
}

fn content(schema: &str) -> Value {
    json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}

impl Answer {
    fn status(self) -> &'static str {
        match self {
            Self::Created(_) => "201",
            Self::Nothing => "204",
            Self::Json(_) | Self::Stream | Self::JsonOrStream | Self::Text | Self::Empty => "200",
        }
    }

    fn described(self) -> Value {
        let object = json!({ "schema": { "type": "object" } });
        let text = json!({ "schema": { "type": "string" } });
        match self {
            Self::Json(schema) | Self::Created(schema) => {
                json!({ "description": "the answer", "content": content(schema) })
            }
            Self::Nothing | Self::Empty => json!({ "description": "done" }),
            Self::Stream => {
                let content = json!({ "text/event-stream": text });
                json!({ "description": "server-sent events", "content": content })
            }
            Self::JsonOrStream => json!({
                "description": "one body, or a stream where the request asks for that",
                "content": {
                    "application/json": object,
                    "text/event-stream": text,
                    "application/x-ndjson": text,
                },
            }),
            Self::Text => json!({
                "description": "OpenMetrics",
                "content": { "application/openmetrics-text": text },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rbee_api::paths::CLIENT_ROUTES;
    use serde_json::Value;

    use super::{ROUTES, document};

    #[test]
    fn every_reference_leads_to_a_schema_and_every_schema_is_used() {
        let document = document();
        let (mut used, known) = (BTreeSet::new(), &document["components"]["schemas"]);
        references(&document, &mut used);
        let known: BTreeSet<_> = known.as_object().unwrap().keys().cloned().collect();
        assert_eq!(used, known);
    }

    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let name = reference.strip_prefix("#/components/schemas/").unwrap();
                    into.insert(name.to_owned());
                }
                members.values().for_each(|value| references(value, into));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }

    #[test]
    fn every_route_of_a_client_s_api_is_described() {
        let described: BTreeSet<_> =
            ROUTES.iter().map(|route| (route.method, route.path)).collect();
        assert_eq!(described.len(), ROUTES.len(), "one is there twice");
        for route in CLIENT_ROUTES {
            assert!(described.contains(route), "{route:?}");
        }
    }
}
