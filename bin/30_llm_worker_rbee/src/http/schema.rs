//! JSON schemas of tools to grammars in llama.cpp's notation, and what such a grammar may cost.

use http_guard::ApiError;
use serde_json::{Map, Value, json};

use super::error::invalid_value;

/// llama.cpp converts a schema by recursion, in C++ and on its caller's stack: both the text and
/// the depth of what it is given are bounded.
pub(super) const BYTES_MAX: usize = 64 * 1024;
const PATTERN_DEPTH_MAX: usize = 32;
/// Groups in groups, which llama.cpp reads by recursion too.
const GROUP_DEPTH_MAX: usize = 64;
/// Alternatives and rules are what a step of the grammar looks at. A large form has some hundred.
const RULES_MAX: usize = 1000;
const ALTERNATIVES_MAX: usize = 2000;
/// How often one thing may occur, and all such things together.
const REPETITIONS_MAX: u64 = 2000;
const ALL_REPETITIONS_MAX: u64 = 10_000;

/// What llama.cpp passes over.
const NOT_KEPT: [&str; 16] = [
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
    "contains",
    "minContains",
    "maxContains",
    "multipleOf",
    "unevaluatedItems",
];
/// What it passes over beside alternatives or a reference.
const FORMS: [&str; 12] = [
    "properties",
    "required",
    "additionalProperties",
    "items",
    "prefixItems",
    "enum",
    "const",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
];
const BOUNDS: [&str; 4] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];

/// The grammar of all that `schema` says, which `field` asks for; refused where a grammar cannot say
/// it.
pub(super) fn convert_all(schema: &str, field: &str) -> Result<String, ApiError> {
    let grammar = convert(schema, field)?;
    let value: Value = serde_json::from_str(schema).unwrap_or_default();
    match not_kept(&value, "#") {
        None => Ok(grammar),
        Some(what) => {
            let message = format!(
                "the JSON schema cannot be kept: the worker has no way to hold an answer to {what}"
            );
            Err(invalid_value(field, message))
        }
    }
}

/// The grammar of what `schema` describes, as far as one can say it, which `field` asks for.
pub(super) fn convert(schema: &str, field: &str) -> Result<String, ApiError> {
    let refused =
        |reason: String| invalid_value(field, format!("the JSON schema cannot be used: {reason}"));
    if schema.len() > BYTES_MAX {
        return Err(refused(format!("it has {} bytes, of {BYTES_MAX} at most", schema.len())));
    }
    // Parsing bounds the depth of the schema itself.
    let value: Value = serde_json::from_str(schema).map_err(|error| refused(error.to_string()))?;
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

/// Refuses a grammar, which `field` has, that would be too much work.
pub(super) fn require_bounded(grammar: &str, field: &str) -> Result<(), ApiError> {
    let refused =
        |reason: String| invalid_value(field, format!("the grammar cannot be used: {reason}"));
    if grammar.len() > BYTES_MAX {
        return Err(refused(format!("it has {} bytes, of {BYTES_MAX} at most", grammar.len())));
    }
    let size = Size::of(grammar);
    if size.depth > GROUP_DEPTH_MAX {
        return Err(refused(format!("it nests more than {GROUP_DEPTH_MAX} groups")));
    }
    size.check().map_err(refused)
}

/// What a grammar costs whoever follows it, as far as its text tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Size {
    rules: usize,
    alternatives: usize,
    /// Of everything that may occur several times, the most times.
    repetitions: u64,
    /// Groups in groups.
    depth: usize,
}

impl Size {
    fn of(grammar: &str) -> Self {
        let mut size = Self::default();
        let mut depth: usize = 0;
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
                '(' => {
                    depth += 1;
                    size.depth = size.depth.max(depth);
                }
                ')' => depth = depth.saturating_sub(1),
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
        let Self { rules, alternatives, repetitions, .. } = *self;
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

/// What `schema`, which stands at `path`, says and no grammar of llama.cpp's keeps.
fn not_kept(schema: &Value, path: &str) -> Option<String> {
    let schema = schema.as_object()?;
    let has = |key: &str| schema.contains_key(key);
    let at = |key: &str| Some(format!("`{path}/{key}`"));
    if let Some(key) = NOT_KEPT.into_iter().find(|key| has(key)) {
        return at(key);
    }
    if schema.get("uniqueItems").is_some_and(|unique| *unique != json!(false)) {
        return at("uniqueItems");
    }
    let alone = ["$ref", "anyOf", "oneOf"].into_iter().find(|key| has(key));
    let beside = FORMS
        .into_iter()
        .chain(["allOf", "anyOf", "oneOf"])
        .find(|key| has(key) && Some(*key) != alone);
    if let (Some(alone), Some(beside)) = (alone, beside) {
        return Some(format!("`{path}/{beside}` beside `{alone}`"));
    }
    if has("allOf") && has("properties") {
        return Some(format!("`{path}/allOf` beside `properties`"));
    }
    if has("items") && has("prefixItems") {
        return Some(format!("`{path}/items` beside `prefixItems`"));
    }
    if let Some(key) = BOUNDS.into_iter().find(|key| has(key))
        && !is_integer(schema)
    {
        return Some(format!("`{path}/{key}` of what is no integer"));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        if has("minLength") || has("maxLength") {
            return Some(format!("`{path}/pattern` beside a length"));
        }
        if !keeps_pattern(pattern) {
            return Some(format!("the pattern `{pattern}` at `{path}`"));
        }
    }
    if let Some(name) = unknown_required(schema) {
        return Some(format!("`{path}/required`, which names `{name}`, no property"));
    }
    let single = ["items", "additionalProperties"];
    let lists = ["anyOf", "oneOf", "allOf", "prefixItems", "items"];
    let named = ["properties", "$defs", "definitions"];
    let within = |key: &str, inner: &Value| not_kept(inner, &format!("{path}/{key}"));
    let in_single = single.iter().filter_map(|key| within(key, schema.get(*key)?));
    let in_lists = lists.iter().filter_map(|key| {
        let items = schema.get(*key)?.as_array()?.iter().enumerate();
        items.filter_map(|(index, item)| within(&format!("{key}/{index}"), item)).next()
    });
    let in_named = named.iter().filter_map(|key| {
        let members = schema.get(*key)?.as_object()?.iter();
        members.filter_map(|(name, member)| within(&format!("{key}/{name}"), member)).next()
    });
    in_single.chain(in_lists).chain(in_named).next()
}

fn is_integer(schema: &Map<String, Value>) -> bool {
    match schema.get("type") {
        Some(Value::Array(types)) => types.iter().all(|one| one != "number"),
        Some(one) => one != "number",
        None => false,
    }
}

fn unknown_required(schema: &Map<String, Value>) -> Option<&str> {
    let known = schema.get("properties").and_then(Value::as_object);
    let required = schema.get("required")?.as_array()?.iter().filter_map(Value::as_str);
    required.into_iter().find(|name| !known.is_some_and(|known| known.contains_key(*name)))
}

/// llama.cpp takes any text for a pattern that it does not know.
fn keeps_pattern(pattern: &str) -> bool {
    let schema = json!({ "type": "string", "pattern": pattern }).to_string();
    llama_cpp_2::json_schema_to_grammar(&schema)
        .is_ok_and(|grammar| grammar.lines().all(|line| line.trim_end() != "root ::= string"))
}

/// The largest number in the schema that says how often something may occur: llama.cpp writes out as
/// many copies, before anybody sees a grammar.
fn most_repeated(schema: &Value) -> u64 {
    const COUNTS: [&str; 4] = ["minLength", "maxLength", "minItems", "maxItems"];
    match schema {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match value {
                Value::Number(number) if COUNTS.contains(&name.as_str()) => {
                    number.as_u64().unwrap_or(u64::MAX)
                }
                Value::String(pattern) if name == "pattern" => in_braces(pattern),
                _ => most_repeated(value),
            })
            .max()
            .unwrap_or(0),
        Value::Array(items) => items.iter().map(most_repeated).max().unwrap_or(0),
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
fn deepest_group(schema: &Value) -> usize {
    match schema {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match value.as_str() {
                Some(pattern) if name == "pattern" => depth(pattern),
                _ => deepest_group(value),
            })
            .max()
            .unwrap_or(0),
        Value::Array(items) => items.iter().map(deepest_group).max().unwrap_or(0),
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
        assert_eq!(
            Size::of(grammar),
            Size { rules: 2, alternatives: 5, repetitions: 41, depth: 1 }
        );
        assert_eq!(Size::of("\"never ends"), Size::default());
    }

    #[test]
    fn what_no_grammar_keeps_is_named_with_its_place() {
        for (schema, what) in [
            (json!({ "type": "object", "properties": { "not": { "type": "string" } } }), None),
            (
                json!({ "type": "string", "pattern": "^[a-z]{2,3}-\\\\d?$".replace("\\\\d", "[0-9]") }),
                None,
            ),
            (json!({ "type": ["integer", "null"], "minimum": 1 }), None),
            (
                json!({ "anyOf": [{ "type": "string" }, { "type": "null" }], "description": "x" }),
                None,
            ),
            (json!({ "type": "string", "format": "email" }), None),
            (json!({ "items": { "pattern": "abc" } }), Some("the pattern `abc` at `#/items`")),
            (json!({ "pattern": "^(?=a)b$" }), Some("the pattern `^(?=a)b$` at `#`")),
            (json!({ "pattern": "^a$", "maxLength": 3 }), Some("`#/pattern` beside a length")),
            (
                json!({ "type": "number", "maximum": 1.5 }),
                Some("`#/maximum` of what is no integer"),
            ),
            (json!({ "type": "integer", "multipleOf": 5 }), Some("`#/multipleOf`")),
            (
                json!({ "properties": { "a": { "anyOf": [{ "type": "null" }, { "type": "array", "uniqueItems": true }] } } }),
                Some("`#/properties/a/anyOf/1/uniqueItems`"),
            ),
            (
                json!({ "properties": { "a": {} }, "anyOf": [{ "required": ["a"] }] }),
                Some("`#/properties` beside `anyOf`"),
            ),
            (
                json!({ "properties": { "a": {} }, "required": ["b"] }),
                Some("`#/required`, which names `b`, no property"),
            ),
            (json!({ "$defs": { "d": { "not": {} } } }), Some("`#/$defs/d/not`")),
        ] {
            assert_eq!(not_kept(&schema, "#").as_deref(), what, "{schema}");
        }
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
