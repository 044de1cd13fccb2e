//! `response_format`: what an answer must look like, as a grammar.

use http_guard::ApiError;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{error::invalid_value, fields::Fields};

const FIELD: &str = "response_format";
/// llama.cpp converts a schema by recursion, in C++ and on its caller's stack: both the text and
/// the depth of what it is given are bounded.
const SCHEMA_BYTES_MAX: usize = 64 * 1024;
const PATTERN_DEPTH_MAX: usize = 32;
const ANY_OBJECT: &str = r#"{"type":"object"}"#;

#[derive(Deserialize)]
struct ResponseFormat {
    #[serde(rename = "type")]
    kind: String,
    json_schema: Option<JsonSchema>,
}

#[derive(Deserialize)]
struct JsonSchema {
    // As the client wrote it: the order of its properties is the order of the answer's.
    schema: Option<Box<RawValue>>,
}

/// The grammar that the request asks for; `None` for free text.
pub(super) fn read(fields: &Fields) -> Result<Option<String>, ApiError> {
    let Some(format) = fields.get::<ResponseFormat>(FIELD, "an object with a `type`")? else {
        return Ok(None);
    };
    match (format.kind.as_str(), format.json_schema) {
        ("text", _) => Ok(None),
        ("json_object", _) => convert(ANY_OBJECT).map(Some),
        ("json_schema", Some(JsonSchema { schema: Some(schema) })) => {
            convert(schema.get()).map(Some)
        }
        ("json_schema", _) => {
            let message = "`json_schema` needs `response_format.json_schema.schema`";
            Err(invalid_value(FIELD, message))
        }
        (other, _) => {
            let message = format!(
                "`{other}` is no response format: there are `text`, `json_object` and `json_schema`"
            );
            Err(invalid_value(FIELD, message))
        }
    }
}

fn convert(schema: &str) -> Result<String, ApiError> {
    let refused =
        |reason: String| invalid_value(FIELD, format!("the JSON schema cannot be used: {reason}"));
    if schema.len() > SCHEMA_BYTES_MAX {
        return Err(refused(format!(
            "it has {} bytes, of {SCHEMA_BYTES_MAX} at most",
            schema.len()
        )));
    }
    // Parsing bounds the depth of the schema itself.
    let value: serde_json::Value =
        serde_json::from_str(schema).map_err(|error| refused(error.to_string()))?;
    if !value.is_object() {
        return Err(refused("it is not an object".to_owned()));
    }
    if deepest_group(&value) > PATTERN_DEPTH_MAX {
        return Err(refused(format!("a pattern nests more than {PATTERN_DEPTH_MAX} groups")));
    }
    llama_cpp_2::json_schema_to_grammar(schema)
        .map_err(|_ffi| refused("llama.cpp cannot express it as a grammar".to_owned()))
}

/// The deepest nesting of parentheses in any `pattern`.
fn deepest_group(schema: &serde_json::Value) -> usize {
    match schema {
        serde_json::Value::Object(members) => members
            .iter()
            .map(|(name, value)| match value.as_str() {
                Some(pattern) if name == "pattern" => depth(pattern),
                _ => deepest_group(value),
            })
            .max()
            .unwrap_or(0),
        serde_json::Value::Array(items) => items.iter().map(deepest_group).max().unwrap_or(0),
        _ => 0,
    }
}

fn depth(pattern: &str) -> usize {
    let (mut now, mut deepest) = (0_usize, 0);
    for byte in pattern.bytes() {
        match byte {
            b'(' => now += 1,
            b')' => now = now.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(now);
    }
    deepest
}
