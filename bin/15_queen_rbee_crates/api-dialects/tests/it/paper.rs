use std::fs;

use api_dialects::{Translated, anthropic, ollama, responses};
use rbee_api::ErrorBody;
use serde_json::{Value, json};

/// What is said of one member of a request.
struct Row {
    member: String,
    example: Value,
    becomes: String,
}

/// The rows of the table below the heading of that route.
#[track_caller]
fn rows(route: &str) -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/apis.md");
    let paper = fs::read_to_string(path).unwrap();
    let (_, section) = paper.split_once(&format!("\n### `{route}`\n")).unwrap();
    let section = section.split("\n#").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    let row = |line: &str| {
        let (member, rest) = line.split_once("` | `").unwrap();
        let (example, becomes) = rest.split_once("` | ").unwrap();
        let example =
            serde_json::from_str(example).unwrap_or_else(|error| panic!("{line}: {error}"));
        Row { member: member.to_owned(), example, becomes: becomes.to_owned() }
    };
    let rows: Vec<_> = cells.map(row).collect();
    assert!(rows.len() > 3, "{route} has a table");
    rows
}

/// The body with the row's example in it.
fn with(mut body: Value, Row { member, example, .. }: &Row) -> Vec<u8> {
    // An example of a member of an element is the whole array.
    let name = member.split('[').next().unwrap();
    match name.split_once('.') {
        Some((outer, inner)) => body[outer][inner] = example.clone(),
        None => body[name] = example.clone(),
    }
    body.to_string().into_bytes()
}

#[track_caller]
fn holds<A>(
    route: &str,
    body: &Value,
    translate: impl Fn(&[u8]) -> Result<Translated<A>, ErrorBody>,
) {
    for row in rows(route) {
        let Row { member, becomes, .. } = &row;
        match translate(&with(body.clone(), &row)) {
            Ok(Translated { ignored, .. }) if becomes.starts_with("no effect") => {
                assert_eq!(ignored, [member.as_str()], "{route} {member}");
            }
            Ok(Translated { ignored, .. }) => {
                assert!(becomes.starts_with("taken"), "{route} {member} is taken");
                assert_eq!(ignored, Vec::<String>::new(), "{route} {member}");
            }
            Err(refusal) => {
                assert!(becomes.starts_with("refused"), "{route} {member}: {refusal:?}");
                assert_eq!(refusal.error.param.as_ref(), Some(member), "{route}");
                assert_eq!(refusal.error.status, Some(400));
            }
        }
    }
}

#[test]
fn docs_apis_md_says_what_becomes_of_each_member() {
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let body = json!({ "model": "m", "max_tokens": 9, "messages": messages });
    holds("/v1/messages", &body, anthropic::translate);
    let body = json!({ "model": "m", "messages": messages });
    holds("/api/chat", &body, ollama::translate_chat);
    holds("/api/generate", &json!({ "model": "m", "prompt": "Hi" }), ollama::translate_generate);
    let body = json!({ "model": "m", "input": "Hi" });
    holds("/api/embed", &body, ollama::translate_embed);
    holds("/v1/responses", &json!({ "model": "m", "input": "Hi" }), responses::translate);
}
