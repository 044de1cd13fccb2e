//! What a model is told of tools whose template shows none.

use crate::json::Json;

/// Tells of `tools` in the first message, and of calls and their results as text, in the notation
/// of [`super::Format::Hermes`].
pub(crate) fn tell(messages: Vec<Json>, tools: &[Json]) -> Vec<Json> {
    let mut told: Vec<Json> = Vec::with_capacity(messages.len() + 1);
    let mut after_result = false;
    for mut message in messages {
        let role = message.get("role").and_then(Json::as_str).unwrap_or_default().to_owned();
        let content = text(&message);
        let is_result = role == "tool";
        if is_result {
            let result = format!("<tool_response>\n{content}\n</tool_response>");
            if let Some(last) = told.last_mut().filter(|_| after_result) {
                let both = format!("{}\n{result}", text(last));
                last.set("content", Json::Text(both));
            } else {
                told.push(said("user", result));
            }
        } else {
            let calls = message.get("tool_calls").and_then(Json::as_array).unwrap_or_default();
            let calls = calls.iter().filter_map(|call| call.get("function")).map(|function| {
                let member = |name| function.get(name).cloned().unwrap_or(Json::Null);
                let (name, arguments) = (member("name"), member("arguments"));
                let call = Json::object([("name", name), ("arguments", arguments)]);
                format!("<tool_call>\n{}\n</tool_call>", call.to_text())
            });
            let parts: Vec<_> =
                Some(content).filter(|text| !text.is_empty()).into_iter().chain(calls).collect();
            message.set("content", Json::Text(parts.join("\n")));
            told.push(message);
        }
        after_result = is_result;
    }
    if !tools.is_empty() {
        let tools = tools.iter().map(|tool| tool.to_text() + "\n").collect::<String>();
        let tools = format!(
            "You may call functions. These are their signatures, as JSON:\n<tools>\n{tools}</tools>\n\n\
             To call one, answer with its name and its arguments as JSON:\n<tool_call>\n\
             {{\"name\": NAME, \"arguments\": ARGUMENTS}}\n</tool_call>"
        );
        let system =
            |message: &&mut Json| message.get("role").and_then(Json::as_str) == Some("system");
        match told.first_mut().filter(system) {
            Some(first) => {
                let both = format!("{}\n\n{tools}", text(first));
                first.set("content", Json::Text(both));
            }
            None => told.insert(0, said("system", tools)),
        }
    }
    told
}

fn said(role: &str, content: String) -> Json {
    Json::object([("role", Json::text(role)), ("content", Json::Text(content))])
}

fn text(message: &Json) -> String {
    message.get("content").and_then(Json::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn calls_and_results_become_text_and_tools_a_part_of_the_first_message() {
        let call = json!({ "id": "1", "type": "function", "function": { "name": "f", "arguments": { "a": 1 } } });
        let messages = [
            json!({ "role": "user", "content": "Hi" }),
            json!({ "role": "assistant", "content": "Well.", "tool_calls": [call] }),
            json!({ "role": "tool", "content": "one" }),
            json!({ "role": "tool", "content": "two" }),
        ];
        let tools = [Json::from(json!({ "type": "function" }))];
        let told = tell(messages.map(Json::from).into(), &tools);
        let told: Vec<_> = told
            .iter()
            .map(|message| (message.get("role").unwrap().as_str().unwrap(), text(message)))
            .collect();
        assert!(told[0].1.contains("<tools>\n{\"type\":\"function\"}\n</tools>"), "{told:?}");
        assert_eq!(
            told[1..],
            [
                ("user", "Hi".to_owned()),
                ("assistant", "Well.\n<tool_call>\n{\"name\":\"f\",\"arguments\":{\"a\":1}}\n</tool_call>".to_owned()),
                ("user", "<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response>".to_owned()),
            ]
        );
    }

    #[test]
    fn a_system_message_stays_the_first_one() {
        let messages = vec![said("system", "Be short.".to_owned())];
        let told = tell(messages, &[Json::Null]);
        assert!(
            told.len() == 1 && text(&told[0]).starts_with("Be short.\n\nYou may call"),
            "{told:?}"
        );
    }
}
