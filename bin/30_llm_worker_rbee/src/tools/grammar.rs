use super::{Tool, format::Format, named::Named, notation::Notation};
use crate::json::Json;

/// Calls in one answer at most, where there must be one.
const CALLS_MAX: usize = 8;

/// The JSON schema of one call of one of `tools`, in the format's words.
///
/// Each tool's own schema is a definition of it, and what that one refers to within itself is found
/// there.
fn schema(format: Format, tools: &[&Tool]) -> Json {
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

/// The grammar of an answer that is nothing but calls of `tools`. `convert` makes a grammar of a JSON
/// schema.
pub(crate) fn of_calls<E>(
    notation: Notation,
    tools: &[&Tool],
    parallel: bool,
    convert: impl Fn(&Json) -> Result<String, E>,
) -> Result<String, E> {
    let more = if parallel { CALLS_MAX - 1 } else { 0 };
    let format = match notation {
        Notation::Object(format) => format,
        Notation::Named(named) => return of_named(named, tools, more, convert),
    };
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
    Ok(below(&root, &convert(&schema(format, tools))?))
}

/// The grammar of what follows an opener of calls of `tools`, up to the end of the first JSON value;
/// `None` where there is no such grammar.
pub(crate) fn of_opened<E>(
    notation: Notation,
    tools: &[&Tool],
    parallel: bool,
    convert: impl Fn(&Json) -> Result<String, E>,
) -> Result<Option<String>, E> {
    let more = if parallel { CALLS_MAX - 1 } else { 0 };
    let (calls, format) = match notation {
        Notation::Object(format @ Format::Mistral) => {
            (format!("\"[\" object ( \", \" object ){{0,{more}}} \"]\""), format)
        }
        Notation::Object(format) => ("object".to_owned(), format),
        // The prompt has the first opener, and text has one too; the other's name ends like an array.
        Notation::Named(Named::Recipient | Named::Mistral) => return Ok(None),
        Notation::Named(named) if named.quote().is_some() => return Ok(None),
        Notation::Named(named) => {
            let (names, rules) = named_rules(tools, convert)?;
            let heads = names.iter().flat_map(|(name, rule)| match named {
                Named::DeepSeek => vec![
                    format!("\"{name}<\u{ff5c}tool\u{2581}sep\u{ff5c}>\" {rule}"),
                    format!(
                        "\"function<\u{ff5c}tool\u{2581}sep\u{ff5c}>{name}\\n```json\\n\" {rule}"
                    ),
                ],
                Named::Channel => vec![
                    format!("\"{name} <|constrain|>json<|message|>\" {rule}"),
                    format!("\"{name}<|channel|>commentary json<|message|>\" {rule}"),
                ],
                _ => vec![format!("\"{name}>\" {rule}")],
            });
            let heads: Vec<_> = heads.collect();
            return Ok(Some(format!("root ::= [ \\n]{{0,4}} ( {} )\n{rules}", heads.join(" | "))));
        }
    };
    let root = format!("root ::= [ \\n]{{0,4}} {calls}\n");
    Ok(Some(below(&root, &convert(&schema(format, tools))?)))
}

/// The grammar of an answer that is nothing but calls that name their function.
fn of_named<E>(
    named: Named,
    tools: &[&Tool],
    more: usize,
    convert: impl Fn(&Json) -> Result<String, E>,
) -> Result<String, E> {
    let (names, rules) = match named.quote() {
        None => named_rules(tools, convert)?,
        // Of arguments that are not JSON only the notation is held.
        Some(quote) => {
            let names = tools.iter().map(|tool| (tool.name.as_str(), "object".to_owned()));
            (names.collect(), UNQUOTED.replace("QUOTE", &quote.replace('"', "\\\"")))
        }
    };
    let calls = names.iter().map(|(name, rule)| match named {
        Named::DeepSeek => format!(
            "\"<\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>\" ( \"{name}<\u{ff5c}tool\u{2581}sep\u{ff5c}>\" {rule} | \
             \"function<\u{ff5c}tool\u{2581}sep\u{ff5c}>{name}\\n```json\\n\" {rule} \"\\n```\" ) \"<\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}>\""
        ),
        Named::Function => format!("\"<function={name}>\" {rule} \"</function>\""),
        Named::Recipient => format!("\"{name}\\n\" {rule}"),
        Named::Channel => format!(
            "\"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>\" {rule}"
        ),
        Named::Mistral => format!("\"[TOOL_CALLS]{name}[ARGS]\" {rule}"),
        Named::Gemma4 => format!("\"<|tool_call>call:{name}\" {rule} \"<tool_call|>\""),
        Named::FunctionGemma => {
            format!("\"<start_function_call>call:{name}\" {rule} \"<end_function_call>\"")
        }
    });
    let calls = calls.collect::<Vec<_>>().join(" | ");
    // What ends one of these ends the answer.
    let more = if named == Named::Channel { 0 } else { more };
    let (begin, between, end) = match named {
        Named::DeepSeek => (
            "\"<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}>\"",
            "\"\\n\"?",
            "\"<\u{ff5c}tool\u{2581}calls\u{2581}end\u{ff5c}>\"",
        ),
        // The prompt has the first one.
        Named::Recipient => ("", "\">>>\"", ""),
        _ => ("", "", ""),
    };
    Ok(format!(
        "root ::= {begin} call ( {between} call ){{0,{more}}} {end}\ncall ::= {calls}\n{rules}"
    ))
}

/// Arguments in Gemma's notation.
const UNQUOTED: &str = r#"object ::= "{" ( pair ( "," pair )* )? "}"
pair ::= [A-Za-z_] [A-Za-z0-9_-]* ":" value
value ::= "QUOTE" [^<]* "QUOTE" | "-"? [0-9]+ ( "." [0-9]+ )? | "true" | "false" | "null" | object | "[" ( value ( "," value )* )? "]"
"#;

/// Tools' names, each with the rule of its arguments.
type Names<'t> = Vec<(&'t str, String)>;

/// The rule of each tool's arguments, and all of them.
fn named_rules<'t, E>(
    tools: &[&'t Tool],
    convert: impl Fn(&Json) -> Result<String, E>,
) -> Result<(Names<'t>, String), E> {
    let (mut names, mut rules) = (Vec::new(), String::new());
    for (index, tool) in tools.iter().enumerate() {
        let schema = tool.parameters.clone().unwrap_or_else(no_parameters);
        let prefix = format!("tool{index}-");
        rules.push_str(&prefixed(&convert(&schema)?, &prefix));
        names.push((tool.name.as_str(), format!("{prefix}root")));
    }
    Ok((names, rules))
}

/// The same grammar with `prefix` before each of its rules' names.
fn prefixed(grammar: &str, prefix: &str) -> String {
    let mut written = String::with_capacity(grammar.len() * 2);
    let mut chars = grammar.chars().peekable();
    let mut in_name = false;
    while let Some(char) = chars.next() {
        let end = match char {
            '"' => '"',
            '[' => ']',
            '{' => '}',
            _ => {
                let named = char.is_ascii_alphanumeric() || char == '-';
                if named && !in_name {
                    written.push_str(prefix);
                }
                in_name = named;
                written.push(char);
                continue;
            }
        };
        in_name = false;
        written.push(char);
        while let Some(inner) = chars.next() {
            written.push(inner);
            if inner == '\\' && end != '}' {
                written.extend(chars.next());
            } else if inner == end {
                break;
            }
        }
    }
    if !written.ends_with('\n') {
        written.push('\n');
    }
    written
}

/// `root`, with the rules of the grammar of an object below it.
fn below(root: &str, object: &str) -> String {
    let rules = object.lines().map(|line| match line.strip_prefix("root ::=") {
        Some(rule) => format!("object ::={rule}\n"),
        None => format!("{line}\n"),
    });
    root.to_owned() + &rules.collect::<String>()
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

    const OBJECT: &str = "name ::= \"f\"\nroot ::= \"{\" name \"}\"";

    fn tool() -> Tool {
        Tool { name: "f".to_owned(), parameters: None }
    }

    #[test]
    fn the_rules_of_one_call_stand_below_those_of_an_answer() {
        let notation = Notation::Object(Format::Mistral);
        let convert = |_: &Json| Ok::<_, ()>(OBJECT.to_owned());
        assert_eq!(
            of_calls(notation, &[&tool()], false, convert).unwrap(),
            "root ::= \"[TOOL_CALLS][\" object ( \", \" object ){0,0} \"]\"\n\
             name ::= \"f\"\nobject ::= \"{\" name \"}\"\n"
        );
        assert_eq!(
            of_opened(Notation::Object(Format::Hermes), &[&tool()], true, convert)
                .unwrap()
                .unwrap(),
            "root ::= [ \\n]{0,4} object\nname ::= \"f\"\nobject ::= \"{\" name \"}\"\n"
        );
    }

    #[test]
    fn the_rules_of_several_tools_have_names_of_their_own() {
        let grammar = "root ::= \"{ root \\\"\" a-b [^\\]a-z]{2,3} (a-b | root)?\na-b ::= \"x\"";
        assert_eq!(
            prefixed(grammar, "t1-"),
            "t1-root ::= \"{ root \\\"\" t1-a-b [^\\]a-z]{2,3} (t1-a-b | t1-root)?\nt1-a-b ::= \"x\"\n"
        );
    }
}
