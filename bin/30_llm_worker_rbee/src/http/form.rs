//! What an answer must look like: `response_format`, and the other names that servers have for it.

use http_guard::ApiError;
use llguidance::api::TopLevelGrammar;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    error::{self, invalid_value},
    fields::Fields,
    schema,
};
use crate::{
    engine::{Form, Rejected},
    guidance,
};

const FORMAT: &str = "response_format";
/// vLLM's, of several kinds.
const STRUCTURED: &str = "structured_outputs";
const CHOICES_MAX: usize = 1000;
const ANY_OBJECT: &str = r#"{"type":"object"}"#;

/// Asks for one kind of form.
type Ask = fn(&str, &Fields) -> Result<Option<Form>, ApiError>;

/// Every field that asks for a form.
const ASKS: [(&str, Ask); 8] = [
    (FORMAT, response_format),
    // llama.cpp's.
    ("json_schema", json_schema),
    ("grammar", grammar),
    // vLLM's.
    ("guided_json", json_schema),
    ("guided_choice", choice),
    ("guided_grammar", grammar),
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

/// The form that the request asks for; `None` for free text.
pub(super) fn read(fields: &Fields) -> Result<Option<Form>, ApiError> {
    read_one(fields, &ASKS)
}

/// The engine does not take a request: because of its form, whose field is at fault then, or otherwise;
/// `prompt` is the field that carries the prompt.
pub(super) fn rejected(error: Rejected, fields: &Fields, prompt: &str) -> ApiError {
    let is_form = matches!(error, Rejected::Form { .. });
    let refused = error::rejected(error, prompt);
    match ASKS.iter().find(|(name, _)| fields.raw(name).is_some()) {
        Some((name, _)) if is_form => refused.param(*name),
        _ => refused,
    }
}

fn read_one(fields: &Fields, asks: &[(&str, Ask)]) -> Result<Option<Form>, ApiError> {
    let mut found: Option<(&str, Form)> = None;
    for (name, ask) in asks {
        let Some(form) = ask(name, fields)? else { continue };
        if let Some((other, _)) = found {
            let message =
                format!("`{other}` and `{name}` cannot both say what an answer looks like");
            return Err(invalid_value(name, message));
        }
        found = Some((name, form));
    }
    Ok(found.map(|(_, form)| form))
}

fn response_format(name: &str, fields: &Fields) -> Result<Option<Form>, ApiError> {
    let Some(format) = fields.get::<ResponseFormat>(name, "an object with a `type`")? else {
        return Ok(None);
    };
    match (format.kind.as_str(), format.json_schema, format.schema) {
        ("text", ..) => Ok(None),
        ("json_object", _, None) => of_schema(ANY_OBJECT, name).map(Some),
        ("json_schema", Some(JsonSchema { schema: Some(schema) }), _)
        | ("json_object", _, Some(schema)) => of_schema(schema.get(), name).map(Some),
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
fn json_schema(name: &str, fields: &Fields) -> Result<Option<Form>, ApiError> {
    let Some(schema) = fields.raw(name) else { return Ok(None) };
    match serde_json::from_str::<String>(schema) {
        Ok(text) => of_schema(&text, name).map(Some),
        Err(_) => of_schema(schema, name).map(Some),
    }
}

/// In llama.cpp's notation, or in llguidance's where its first line says so, as llama.cpp's own server has
/// it.
fn grammar(name: &str, fields: &Fields) -> Result<Option<Form>, ApiError> {
    let Some(grammar) = fields.get::<String>(name, "a grammar in GBNF")? else { return Ok(None) };
    // Programs send an empty one for none.
    if grammar.trim().is_empty() {
        return Ok(None);
    }
    if grammar.trim_start().starts_with("%llguidance") {
        return guided(&grammar, name, |text| Ok(TopLevelGrammar::from_lark(text))).map(Some);
    }
    schema::require_bounded(&grammar, name)?;
    Ok(Some(Form::Gbnf(grammar)))
}

fn choice(name: &str, fields: &Fields) -> Result<Option<Form>, ApiError> {
    let Some(choices) = fields.get::<Vec<String>>(name, "an array of strings")? else {
        return Ok(None);
    };
    if choices.is_empty() || choices.len() > CHOICES_MAX {
        let message = format!("there may be 1 to {CHOICES_MAX} choices, not {}", choices.len());
        return Err(invalid_value(name, message));
    }
    let literals: Vec<_> =
        choices.iter().map(|choice| Value::from(&**choice).to_string()).collect();
    let lark = format!("start: {}\n", literals.join(" | "));
    guided(&lark, name, |text| Ok(TopLevelGrammar::from_lark(text))).map(Some)
}

fn regex(name: &str, fields: &Fields) -> Result<Option<Form>, ApiError> {
    let Some(regex) = fields.get::<String>(name, "a regular expression")? else { return Ok(None) };
    guided(&regex, name, |text| Ok(TopLevelGrammar::from_regex(&text))).map(Some)
}

fn of_schema(schema: &str, name: &str) -> Result<Form, ApiError> {
    guided(schema, name, |text| {
        // Parsing bounds its depth.
        let schema: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        match schema.is_object() {
            true => Ok(guidance::of_schema(schema)),
            false => Err("it is not an object".to_owned()),
        }
    })
}

/// What `read` makes of `text`, which the field `name` has; refused where no answer can be held to it.
fn guided(
    text: &str,
    name: &str,
    read: impl FnOnce(String) -> Result<TopLevelGrammar, String>,
) -> Result<Form, ApiError> {
    let refused = |reason: String| {
        let message = format!("no answer can be held to this `{name}`: {reason}");
        invalid_value(name, message)
    };
    if text.len() > schema::BYTES_MAX {
        return Err(refused(format!(
            "it has {} bytes, of {} at most",
            text.len(),
            schema::BYTES_MAX
        )));
    }
    let grammar = read(text.to_owned()).map_err(refused)?;
    guidance::check(grammar.clone()).map_err(refused)?;
    Ok(Form::Guided(Box::new(grammar)))
}

fn structured(name: &str, fields: &Fields) -> Result<Option<Form>, ApiError> {
    let Some(text) = fields.raw(name) else { return Ok(None) };
    let inner = Fields::parse(text.as_bytes())
        .map_err(|_no_object| invalid_value(name, format!("`{name}` must be an object")))?;
    let any_object: Ask = |name, fields| match fields.flag(name)? {
        true => of_schema(ANY_OBJECT, name).map(Some),
        false => Ok(None),
    };
    let asks: [(&str, Ask); 5] = [
        ("json", json_schema),
        ("json_object", any_object),
        ("choice", choice),
        ("grammar", grammar),
        ("regex", regex),
    ];
    // Within the object the fields have other names; the whole is what the request has.
    read_one(&inner, &asks).map_err(|error| error.param(name))
}
