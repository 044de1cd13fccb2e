//! llguidance: what it is given, and how it knows a model's tokens.

use std::sync::Arc;

use llama_cpp_2::{model::LlamaModel, token::LlamaToken};
use llguidance::{
    JsonCompileOptions, ParserFactory,
    api::{GrammarInit, ParserLimits, TopLevelGrammar},
    toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie},
};
use serde_json::Value;

/// What may stand between the parts of a JSON text: enough for what models write, and not so much that one
/// can go on with it for ever.
const SPACE: &str = r" |\n\n?[ \t]{0,40}";

/// Where a schema has others: in itself, in a list, by name.
const IN_ONE: [&str; 3] = ["items", "additionalItems", "additionalProperties"];
const IN_LISTS: [&str; 5] = ["anyOf", "oneOf", "allOf", "prefixItems", "items"];
const BY_NAME: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];

/// Bytes of one token, and of all, that llguidance's tree of tokens has room for. Real vocabularies have 1,024
/// and 2 million at most; a stranger's file may have anything.
const TOKEN_BYTES_MAX: usize = 1024;
const VOCABULARY_BYTES_MAX: usize = (1 << 22) - 1;

/// States that the texts of one answer may lead to, of 1 to 2 kB each.
const STATES_MAX: usize = 25_000;

/// Follows answers in the tokens of `model`. Looks at its whole vocabulary, which takes a tenth of a second
/// or so.
pub(crate) fn factory(model: &LlamaModel) -> Result<ParserFactory, String> {
    let mut factory =
        ParserFactory::new_simple(&vocabulary(model)?).map_err(|error| format!("{error:#}"))?;
    factory.quiet();
    let limits = factory.limits_mut();
    limits.verbose_errors = false;
    limits.max_lexer_states = STATES_MAX;
    Ok(factory)
}

/// Says why no answer can be held to `grammar`, where none can.
pub(crate) fn check(grammar: TopLevelGrammar) -> Result<(), String> {
    match GrammarInit::Serialized(grammar).to_internal(None, ParserLimits::default()) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// What `schema` describes, which is an object.
///
/// Where it says `oneOf`, one of them is enough. Where it does not say whether an object may have other
/// properties than those it names, it has none, as other servers have it too: models would go on naming them.
pub(crate) fn of_schema(mut schema: Value) -> TopLevelGrammar {
    if !has_joined_objects(&schema) {
        close_objects(&mut schema);
    }
    options().apply_to(&mut schema);
    TopLevelGrammar::from_json_schema(schema)
}

/// Whether somewhere an object is described in several places together, of which each would forbid the
/// properties of the others.
fn has_joined_objects(schema: &Value) -> bool {
    let Some(members) = schema.as_object() else { return false };
    let has = |key: &str| members.contains_key(key);
    let several = |value: &Value| value.as_array().is_some_and(|arms| arms.len() > 1);
    let beside = ["anyOf", "oneOf", "allOf", "$ref"].into_iter().filter(|key| has(key)).count();
    let is_joined = beside > 1
        || (beside > 0 && has("properties"))
        || members.get("allOf").is_some_and(several);
    is_joined || members.iter().any(|(key, value)| within(key, value).any(has_joined_objects))
}

fn close_objects(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    let says = ["additionalProperties", "patternProperties", "unevaluatedProperties"];
    if members.contains_key("properties") && !says.iter().any(|key| members.contains_key(*key)) {
        members.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for (key, value) in members {
        match (key.as_str(), value) {
            (key, Value::Array(items)) if IN_LISTS.contains(&key) => {
                items.iter_mut().for_each(close_objects);
            }
            (key, Value::Object(named)) if BY_NAME.contains(&key) => {
                named.values_mut().for_each(close_objects);
            }
            (key, value) if IN_ONE.contains(&key) => close_objects(value),
            _ => {}
        }
    }
}

/// The schemas in a schema's member `key`.
fn within<'v>(key: &str, value: &'v Value) -> impl Iterator<Item = &'v Value> {
    let one = IN_ONE.contains(&key).then_some(value);
    let list = value.as_array().filter(|_| IN_LISTS.contains(&key));
    let named = value.as_object().filter(|_| BY_NAME.contains(&key));
    one.into_iter()
        .chain(list.into_iter().flatten())
        .chain(named.into_iter().flat_map(|named| named.values()))
}

fn options() -> JsonCompileOptions {
    JsonCompileOptions {
        whitespace_pattern: Some(SPACE.to_owned()),
        coerce_one_of: true,
        ..JsonCompileOptions::default()
    }
}

/// The bytes of each token. A control token has none: a text's bytes never are one.
fn vocabulary(model: &LlamaModel) -> Result<TokEnv, String> {
    let vocab = model.vocab();
    let count = model.n_vocab().cast_unsigned();
    let tokens = || (0..model.n_vocab()).map(LlamaToken);
    let ends: Vec<u32> = tokens()
        .filter(|&token| vocab.is_eog(token))
        .map(|token| token.0.cast_unsigned())
        .collect();
    let words: Vec<_> = tokens().map(|token| vocab.token_to_piece(token, false, None)).collect();
    if words.iter().any(|word| word.len() > TOKEN_BYTES_MAX)
        || words.iter().map(Vec::len).sum::<usize>() > VOCABULARY_BYTES_MAX
    {
        return Err("the model's vocabulary has tokens that are too long".to_owned());
    }
    let &end = ends.first().ok_or("the model's vocabulary has no token that ends an answer")?;
    let trie = TokTrie::from(&TokRxInfo::new(count, end), &words).with_eos_tokens(&ends);
    Ok(Arc::new(ApproximateTokEnv::new(trie)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn closed(mut schema: Value) -> Value {
        assert!(!has_joined_objects(&schema), "{schema}");
        close_objects(&mut schema);
        schema
    }

    #[test]
    fn objects_have_no_other_properties_where_nothing_is_said_of_these() {
        let leaf = || json!({ "properties": { "a": {} } });
        let shut = || json!({ "properties": { "a": {} }, "additionalProperties": false });
        assert_eq!(closed(leaf()), shut());
        for said in [json!(true), json!({ "type": "string" })] {
            let schema = json!({ "properties": {}, "additionalProperties": said });
            assert_eq!(closed(schema.clone()), schema);
        }
        assert_eq!(
            closed(json!({ "type": "array", "items": leaf(), "$defs": { "d": leaf() } })),
            json!({ "type": "array", "items": shut(), "$defs": { "d": shut() } })
        );
        assert_eq!(
            closed(json!({ "anyOf": [leaf(), { "allOf": [leaf()] }], "items": [leaf()] })),
            json!({ "anyOf": [shut(), { "allOf": [shut()] }], "items": [shut()] })
        );
        // What only looks like a schema.
        let schema = json!({ "const": leaf(), "enum": [leaf()], "default": leaf() });
        assert_eq!(closed(schema.clone()), schema);
    }

    #[test]
    fn objects_that_are_described_in_several_places_are_left_open() {
        for schema in [
            json!({ "properties": {}, "$ref": "#/$defs/a" }),
            json!({ "allOf": [{ "$ref": "#/$defs/a" }, {}] }),
            json!({ "items": { "properties": {}, "anyOf": [{}] } }),
            json!({ "$defs": { "a": { "oneOf": [{}], "anyOf": [{}] } } }),
        ] {
            assert!(has_joined_objects(&schema), "{schema}");
        }
        assert!(!has_joined_objects(
            &json!({ "properties": { "$ref": { "const": { "allOf": [1, 2] } } } })
        ));
    }

    #[test]
    fn what_no_answer_can_be_held_to_is_named() {
        for (schema, word) in [
            (json!({ "not": {} }), "not"),
            (json!({ "type": "array", "uniqueItems": true }), "uniqueItems"),
            (json!({ "properties": { "a": { "if": {} } } }), "if"),
            (json!({ "type": "string", "pattern": "(?=a)b" }), "look-around"),
            (json!({ "$ref": "#/$defs/none" }), "none"),
        ] {
            let told = check(of_schema(schema.clone())).unwrap_err();
            assert!(told.contains(word), "{schema}: {told}");
        }
    }
}
