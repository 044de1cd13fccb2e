use super::{Tool, format::Format};
use crate::json::Json;

/// Calls in one answer at most, where there must be one.
const CALLS_MAX: usize = 8;

/// The JSON schema of one call of one of `tools`, in the format's words.
///
/// Each tool's own schema is a definition of it, and what that one refers to within itself is found
/// there.
pub(crate) fn schema(format: Format, tools: &[&Tool]) -> Json {
    let key = match format {
        Format::Hermes | Format::Mistral => "arguments",
        Format::Llama3 => "parameters",
    };
    let mut definitions = Vec::new();
    let mut calls = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let name = format!("tool{index}");
        let path = format!("#/$defs/{name}");
        let parameters = tool.parameters.clone().unwrap_or_else(no_parameters);
        definitions.push((name, refer_below(parameters, &path)));
        calls.push(Json::object([
            ("type", Json::text("object")),
            (
                "properties",
                Json::object([
                    ("name", Json::object([("const", Json::text(&tool.name))])),
                    (key, Json::object([("$ref", Json::text(path))])),
                ]),
            ),
            ("required", Json::Array(vec![Json::text("name"), Json::text(key)])),
            ("additionalProperties", Json::Bool(false)),
        ]));
    }
    Json::object([("$defs", Json::Object(definitions)), ("anyOf", Json::Array(calls))])
}

/// The grammar of an answer that is nothing but calls, from the grammar of one call's object.
pub(crate) fn of_calls(format: Format, object: &str, parallel: bool) -> String {
    let more = if parallel { CALLS_MAX - 1 } else { 0 };
    let root = match format {
        Format::Hermes => format!(
            "root ::= call ( \"\\n\" call ){{0,{more}}}\n\
             call ::= \"<tool_call>\\n\" object \"\\n</tool_call>\"\n"
        ),
        // Its templates take one call in an answer.
        Format::Llama3 => "root ::= object\n".to_owned(),
        Format::Mistral => {
            format!("root ::= \"[TOOL_CALLS][\" object ( \", \" object ){{0,{more}}} \"]\"\n")
        }
    };
    let rules = object.lines().map(|line| match line.strip_prefix("root ::=") {
        Some(rule) => format!("object ::={rule}\n"),
        None => format!("{line}\n"),
    });
    root + &rules.collect::<String>()
}

fn no_parameters() -> Json {
    Json::object([
        ("type", Json::text("object")),
        ("properties", Json::Object(Vec::new())),
        ("additionalProperties", Json::Bool(false)),
    ])
}

/// A schema whose references to itself are to what stands at `path` now.
fn refer_below(schema: Json, path: &str) -> Json {
    match schema {
        Json::Array(items) => {
            Json::Array(items.into_iter().map(|item| refer_below(item, path)).collect())
        }
        Json::Object(members) => {
            let member = |(name, value): (String, Json)| match value {
                Json::Text(text) if name == "$ref" => {
                    let moved = text.strip_prefix('#').map(|rest| format!("{path}{rest}"));
                    (name, Json::Text(moved.unwrap_or(text)))
                }
                value => (name, refer_below(value, path)),
            };
            Json::Object(members.into_iter().map(member).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_within_a_tools_schema_are_found_in_the_schema_of_calls() {
        let parameters =
            r##"{"properties":{"a":{"$ref":"#/$defs/b"}},"$defs":{"b":{"type":"integer"}}}"##;
        let tool = Tool { name: "f".to_owned(), parameters: serde_json::from_str(parameters).ok() };
        let text = schema(Format::Hermes, &[&tool]).to_text();
        assert!(text.contains(r##""a":{"$ref":"#/$defs/tool0/$defs/b"}"##), "{text}");
        assert!(text.contains(r##""arguments":{"$ref":"#/$defs/tool0"}"##), "{text}");
    }

    #[test]
    fn the_rules_of_one_call_stand_below_those_of_an_answer() {
        let grammar = of_calls(Format::Mistral, "name ::= \"f\"\nroot ::= \"{\" name \"}\"", false);
        assert_eq!(
            grammar,
            "root ::= \"[TOOL_CALLS][\" object ( \", \" object ){0,0} \"]\"\n\
             name ::= \"f\"\nobject ::= \"{\" name \"}\"\n"
        );
    }
}
