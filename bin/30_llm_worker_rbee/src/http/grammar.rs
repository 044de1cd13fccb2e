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
/// Alternatives and rules are what a step of the grammar looks at. A large form has some hundred.
const RULES_MAX: usize = 1000;
const ALTERNATIVES_MAX: usize = 2000;
/// How often one thing may occur, and all such things together.
const REPETITIONS_MAX: u64 = 2000;
const ALL_REPETITIONS_MAX: u64 = 10_000;
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
        ("json_object", _) => convert(ANY_OBJECT, FIELD).map(Some),
        ("json_schema", Some(JsonSchema { schema: Some(schema) })) => {
            convert(schema.get(), FIELD).map(Some)
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

/// The grammar of what `schema` describes, which `field` asks for.
pub(super) fn convert(schema: &str, field: &str) -> Result<String, ApiError> {
    let refused =
        |reason: String| invalid_value(field, format!("the JSON schema cannot be used: {reason}"));
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
    let longest = most_repeated(&value);
    if longest > REPETITIONS_MAX {
        return Err(refused(format!(
            "something may occur {longest} times in it, of {REPETITIONS_MAX} at most"
        )));
    }
    let grammar = llama_cpp_2::json_schema_to_grammar(schema)
        .map_err(|_ffi| refused("llama.cpp cannot express it as a grammar".to_owned()))?;
    Size::of(&grammar).check().map_err(refused)?;
    Ok(grammar)
}

/// What a grammar costs whoever follows it, as far as its text tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Size {
    rules: usize,
    alternatives: usize,
    /// Of everything that may occur several times, the most times.
    repetitions: u64,
}

impl Size {
    fn of(grammar: &str) -> Self {
        let mut size = Self::default();
        let mut chars = grammar.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '"' | '[' => {
                    let end = if char == '"' { '"' } else { ']' };
                    while let Some(inner) = chars.next() {
                        match inner {
                            '\\' => drop(chars.next()),
                            inner if inner == end => break,
                            _ => {}
                        }
                    }
                }
                ':' if chars.peek() == Some(&':') => {
                    chars.next();
                    size.rules += 1;
                    size.alternatives += 1;
                }
                '|' => size.alternatives += 1,
                '{' => {
                    let bounds: String = chars.by_ref().take_while(|&c| c != '}').collect();
                    let most = bounds.split(',').filter_map(|n| n.trim().parse::<u64>().ok()).max();
                    size.repetitions = size.repetitions.saturating_add(most.unwrap_or(0));
                }
                _ => {}
            }
        }
        size
    }

    fn check(&self) -> Result<(), String> {
        let Self { rules, alternatives, repetitions } = *self;
        if rules > RULES_MAX {
            return Err(format!("it becomes {rules} rules, of {RULES_MAX} at most"));
        }
        if alternatives > ALTERNATIVES_MAX {
            return Err(format!(
                "it has {alternatives} alternatives, of {ALTERNATIVES_MAX} at most"
            ));
        }
        if repetitions > ALL_REPETITIONS_MAX {
            return Err(format!(
                "things may occur {repetitions} times in it, of {ALL_REPETITIONS_MAX} at most"
            ));
        }
        Ok(())
    }
}

/// The largest number in the schema that says how often something may occur: llama.cpp writes out as
/// many copies, before anybody sees a grammar.
fn most_repeated(schema: &serde_json::Value) -> u64 {
    const COUNTS: [&str; 4] = ["minLength", "maxLength", "minItems", "maxItems"];
    match schema {
        serde_json::Value::Object(members) => members
            .iter()
            .map(|(name, value)| match value {
                serde_json::Value::Number(number) if COUNTS.contains(&name.as_str()) => {
                    number.as_u64().unwrap_or(u64::MAX)
                }
                serde_json::Value::String(pattern) if name == "pattern" => in_braces(pattern),
                _ => most_repeated(value),
            })
            .max()
            .unwrap_or(0),
        serde_json::Value::Array(items) => items.iter().map(most_repeated).max().unwrap_or(0),
        _ => 0,
    }
}

/// The largest number in braces: `a{2,30}`. One that is no number of ours is too large.
fn in_braces(pattern: &str) -> u64 {
    let braces = pattern.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    let numbers = braces.flat_map(|bounds| bounds.split(','));
    let digits = numbers
        .filter(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    digits.map(|number| number.parse().unwrap_or(u64::MAX)).max().unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grammar_is_measured_outside_of_its_texts() {
        let grammar = r#"root ::= "a|b::\"{9}" | [|{\]:] x{2,30}
x ::= "y"{4,} | ("z" | "w"){7}"#;
        assert_eq!(Size::of(grammar), Size { rules: 2, alternatives: 5, repetitions: 41 });
        assert_eq!(Size::of("\"never ends"), Size::default());
    }

    #[test]
    fn what_may_occur_often_is_found_wherever_the_schema_says_so() {
        let schema = serde_json::json!({ "items": { "anyOf": [{ "maxLength": 7 },
            { "pattern": "^a{2,9}(b{3}){11}$" }] }, "title": "maxLength", "const": 99 });
        assert_eq!(most_repeated(&schema), 11);
        assert_eq!(most_repeated(&serde_json::json!({ "minItems": 1e30 })), u64::MAX);
        assert_eq!(in_braces("a{99999999999999999999999}"), u64::MAX);
        assert_eq!(in_braces("[{]a{,}"), 0);
    }
}
