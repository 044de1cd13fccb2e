//! What an answer must look like, as a grammar: `response_format`, and the other names that servers
//! have for it.

use http_guard::ApiError;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    error::{invalid_value, unsupported},
    fields::Fields,
    schema,
};

const FORMAT: &str = "response_format";
/// vLLM's, of several kinds.
const STRUCTURED: &str = "structured_outputs";
const CHOICES_MAX: usize = 1000;
const ANY_OBJECT: &str = r#"{"type":"object"}"#;

/// Asks for one kind of form.
type Ask = fn(&str, &Fields) -> Result<Option<String>, ApiError>;

/// Every field that asks for a form.
const ASKS: [(&str, Ask); 8] = [
    (FORMAT, response_format),
    // llama.cpp's.
    ("json_schema", json_schema),
    ("grammar", gbnf),
    // vLLM's.
    ("guided_json", json_schema),
    ("guided_choice", choice),
    ("guided_grammar", gbnf),
    ("guided_regex", regex),
    (STRUCTURED, structured),
];

#[derive(Deserialize)]
struct ResponseFormat {
    #[serde(rename = "type")]
    kind: String,
    json_schema: Option<JsonSchema>,
    /// llama.cpp's, beside `json_object`.
    schema: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct JsonSchema {
    // As the client wrote it: the order of its properties is the order of the answer's.
    schema: Option<Box<RawValue>>,
}

/// The grammar that the request asks for; `None` for free text.
pub(super) fn read(fields: &Fields) -> Result<Option<String>, ApiError> {
    read_one(fields, &ASKS)
}

fn read_one(fields: &Fields, asks: &[(&str, Ask)]) -> Result<Option<String>, ApiError> {
    let mut found: Option<(&str, String)> = None;
    for (name, ask) in asks {
        let Some(grammar) = ask(name, fields)? else { continue };
        if let Some((other, _)) = found {
            let message =
                format!("`{other}` and `{name}` cannot both say what an answer looks like");
            return Err(invalid_value(name, message));
        }
        found = Some((name, grammar));
    }
    Ok(found.map(|(_, grammar)| grammar))
}

fn response_format(name: &str, fields: &Fields) -> Result<Option<String>, ApiError> {
    let Some(format) = fields.get::<ResponseFormat>(name, "an object with a `type`")? else {
        return Ok(None);
    };
    match (format.kind.as_str(), format.json_schema, format.schema) {
        ("text", ..) => Ok(None),
        ("json_object", _, None) => schema::convert(ANY_OBJECT, name).map(Some),
        ("json_schema", Some(JsonSchema { schema: Some(schema) }), _)
        | ("json_object", _, Some(schema)) => schema::convert_all(schema.get(), name).map(Some),
        ("json_schema", ..) => {
            let message = "`json_schema` needs `response_format.json_schema.schema`";
            Err(invalid_value(name, message))
        }
        (other, ..) => {
            let message = format!(
                "`{other}` is no response format: there are `text`, `json_object` and `json_schema`"
            );
            Err(invalid_value(name, message))
        }
    }
}

/// A schema as it is, or as text.
fn json_schema(name: &str, fields: &Fields) -> Result<Option<String>, ApiError> {
    let Some(schema) = fields.raw(name) else { return Ok(None) };
    match serde_json::from_str::<String>(schema) {
        Ok(text) => schema::convert_all(&text, name).map(Some),
        Err(_) => schema::convert_all(schema, name).map(Some),
    }
}

fn gbnf(name: &str, fields: &Fields) -> Result<Option<String>, ApiError> {
    let Some(grammar) = fields.get::<String>(name, "a grammar in GBNF")? else { return Ok(None) };
    // Programs send an empty one for none.
    if grammar.trim().is_empty() {
        return Ok(None);
    }
    schema::require_bounded(&grammar, name)?;
    Ok(Some(grammar))
}

fn choice(name: &str, fields: &Fields) -> Result<Option<String>, ApiError> {
    let Some(choices) = fields.get::<Vec<String>>(name, "an array of strings")? else {
        return Ok(None);
    };
    if choices.is_empty() || choices.len() > CHOICES_MAX {
        let message = format!("there may be 1 to {CHOICES_MAX} choices, not {}", choices.len());
        return Err(invalid_value(name, message));
    }
    let literals: Vec<_> = choices.iter().map(|choice| literal(choice)).collect();
    let grammar = format!("root ::= {}\n", literals.join(" | "));
    schema::require_bounded(&grammar, name)?;
    Ok(Some(grammar))
}

fn regex(name: &str, fields: &Fields) -> Result<Option<String>, ApiError> {
    match fields.raw(name) {
        None => Ok(None),
        Some(_) => {
            let message = "the worker does not know regular expressions: write a `grammar`";
            Err(unsupported(name, message))
        }
    }
}

fn structured(name: &str, fields: &Fields) -> Result<Option<String>, ApiError> {
    let Some(text) = fields.raw(name) else { return Ok(None) };
    let inner = Fields::parse(text.as_bytes())
        .map_err(|_no_object| invalid_value(name, format!("`{name}` must be an object")))?;
    let any_object: Ask = |name, fields| match fields.flag(name)? {
        true => schema::convert(ANY_OBJECT, name).map(Some),
        false => Ok(None),
    };
    let asks: [(&str, Ask); 5] = [
        ("json", json_schema),
        ("json_object", any_object),
        ("choice", choice),
        ("grammar", gbnf),
        ("regex", regex),
    ];
    // Within the object the fields have other names; the whole is what the request has.
    read_one(&inner, &asks).map_err(|error| error.param(name))
}

/// A text in a grammar.
fn literal(text: &str) -> String {
    let mut written = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => written.extend(['\\', char]),
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\t' => written.push_str("\\t"),
            char => written.push(char),
        }
    }
    written.push('"');
    written
}
