//! A chat's messages, as the template sees them.

use serde_json::{Map, Value};

use http_guard::ApiError;
use rbee_api::ErrorCode;

use super::{
    error::{invalid_value, unsupported},
    fields::Fields,
    reasoning,
    tools::Tools,
};
use crate::{json::Json, model::BEGUN_ANSWER, tools};

const FIELD: &str = "messages";
const MESSAGES_MAX: usize = 4096;
const CONTINUE: &str = "continue_final_message";

/// What the chat template is rendered with. A template that `knows_tools` shows them itself.
pub(super) fn template_context(
    fields: &Fields,
    tools: Tools,
    knows_tools: bool,
) -> Result<Json, ApiError> {
    let Some(messages) = fields.get::<Vec<Value>>(FIELD, "an array of messages")? else {
        return Err(
            ApiError::new(ErrorCode::MissingParameter, "`messages` is missing").param(FIELD)
        );
    };
    if messages.is_empty() {
        return Err(invalid_value(FIELD, "`messages` is empty"));
    }
    if messages.len() > MESSAGES_MAX {
        let message = format!("there may be {MESSAGES_MAX} messages, not {}", messages.len());
        return Err(invalid_value(FIELD, message));
    }
    let mut messages = messages
        .into_iter()
        .enumerate()
        .map(|(index, message)| normalise(index, message))
        .collect::<Result<Vec<_>, _>>()?;
    let begun = begun_answer(fields, &mut messages)?;
    let extra = fields.get::<Map<String, Value>>("chat_template_kwargs", "an object")?;
    let mut context = Json::from(Value::Object(extra.unwrap_or_default()));
    reasoning::tell(fields, &mut context)?;
    let (messages, tools) = match knows_tools {
        true => (messages, tools.shown),
        false => (tools::tell(messages, &tools.shown), Vec::new()),
    };
    context.set("messages", Json::Array(messages));
    context.set("add_generation_prompt", Json::Bool(true));
    if let Some(begun) = begun {
        context.set(BEGUN_ANSWER, Json::Text(begun));
    }
    // Templates written for Python ask whether this is None.
    context.set("tools", if tools.is_empty() { Json::Null } else { Json::Array(tools) });
    Ok(context)
}

/// Takes out the assistant's last message where that is what the answer begins with, as llama.cpp's
/// server does unless it is asked otherwise.
fn begun_answer(fields: &Fields, messages: &mut Vec<Json>) -> Result<Option<String>, ApiError> {
    let asked = fields.get::<bool>(CONTINUE, "true or false")?;
    let text = |message: &Json| {
        let is_text = message.get("role").and_then(Json::as_str) == Some("assistant")
            && message.get("tool_calls").is_none();
        let content = message.get("content").and_then(Json::as_str);
        content.filter(|content| is_text && !content.is_empty()).map(str::to_owned)
    };
    let begun = messages.last().and_then(text);
    match (asked, begun) {
        (Some(false), _) | (None, None) => Ok(None),
        (Some(true), None) => {
            Err(invalid_value(CONTINUE, "the last message is no text of the assistant's"))
        }
        (_, Some(begun)) => {
            messages.pop();
            Ok(Some(begun))
        }
    }
}

/// One message with a role that templates know and its content as one string.
fn normalise(index: usize, message: Value) -> Result<Json, ApiError> {
    let at = format!("{FIELD}[{index}]");
    let Value::Object(mut message) = message else {
        return Err(
            ApiError::new(ErrorCode::InvalidType, format!("`{at}` must be an object")).param(&at)
        );
    };
    let role = match message.get("role") {
        Some(Value::String(role)) => role.as_str(),
        Some(_) => {
            let error =
                ApiError::new(ErrorCode::InvalidType, format!("`{at}.role` must be a string"));
            return Err(error.param(format!("{at}.role")));
        }
        None => {
            let error =
                ApiError::new(ErrorCode::MissingParameter, format!("`{at}.role` is missing"));
            return Err(error.param(format!("{at}.role")));
        }
    };
    let role = match role {
        "system" | "user" | "assistant" | "tool" => role,
        // Newer clients' name for the same thing.
        "developer" => "system",
        "function" => "tool",
        other => {
            let message = format!(
                "`{at}.role` is `{other}`: there are system, developer, user, assistant and tool"
            );
            return Err(invalid_value(&format!("{at}.role"), message));
        }
    };
    let content = text_of(&at, role, message.get("content"))?;
    let role = Value::String(role.to_owned());
    message.insert("role".to_owned(), role);
    message.insert("content".to_owned(), Value::String(content));
    // Some servers call thoughts so.
    if let Some(thoughts @ Value::String(_)) = message.remove("reasoning") {
        message.entry("reasoning_content").or_insert(thoughts);
    }
    let calls = message.remove("tool_calls").filter(|calls| !calls.is_null());
    let mut message = Json::from(Value::Object(message));
    let calls = calls.map_or(Ok(Vec::new()), |calls| calls_of(&at, calls))?;
    // Templates ask whether there is such a member.
    if !calls.is_empty() {
        message.set("tool_calls", Json::Array(calls));
    }
    Ok(message)
}

/// An assistant's calls, with arguments that are not text but what that text says.
fn calls_of(at: &str, calls: Value) -> Result<Vec<Json>, ApiError> {
    let at = format!("{at}.tool_calls");
    let wrong = |what: &str| {
        ApiError::new(ErrorCode::InvalidType, format!("`{at}` must be {what}")).param(&at)
    };
    let Json::Array(mut calls) = Json::from(calls) else { return Err(wrong("an array")) };
    for call in &mut calls {
        let mut function = call.get("function").cloned().unwrap_or(Json::Null);
        if function.get("name").and_then(Json::as_str).is_none() {
            return Err(wrong("an array of calls, each with a `function` that has a `name`"));
        }
        let arguments = function.get("arguments").cloned().unwrap_or(Json::Null);
        let arguments = match arguments.as_str() {
            // An earlier answer that was cut off may have written no whole JSON.
            Some(text) => serde_json::from_str(text).unwrap_or(arguments),
            None => arguments,
        };
        function.set("arguments", arguments);
        call.set("function", function);
    }
    Ok(calls)
}

fn text_of(at: &str, role: &str, content: Option<&Value>) -> Result<String, ApiError> {
    let param = format!("{at}.content");
    match content {
        Some(Value::String(text)) => Ok(text.clone()),
        // An assistant that only called tools said nothing.
        Some(Value::Null) | None if role == "assistant" => Ok(String::new()),
        Some(Value::Null) | None => {
            Err(ApiError::new(ErrorCode::MissingParameter, format!("`{param}` is missing"))
                .param(&param))
        }
        Some(Value::Array(parts)) => {
            let mut text = String::new();
            for (index, part) in parts.iter().enumerate() {
                let at = format!("{param}[{index}]");
                match (
                    part.get("type").and_then(Value::as_str),
                    part.get("text").and_then(Value::as_str),
                ) {
                    (Some("text"), Some(more)) => text.push_str(more),
                    (Some("refusal"), _) => {}
                    (Some("text"), None) => {
                        return Err(ApiError::new(
                            ErrorCode::InvalidType,
                            format!("`{at}.text` must be a string"),
                        )
                        .param(&at));
                    }
                    (Some(kind), _) => {
                        let message = format!("`{at}` is `{kind}`: the model reads text only");
                        return Err(unsupported(&at, message));
                    }
                    (None, _) => {
                        let message = format!("`{at}` must be an object with a `type`");
                        return Err(ApiError::new(ErrorCode::InvalidType, message).param(&at));
                    }
                }
            }
            Ok(text)
        }
        Some(_) => {
            let message = format!("`{param}` must be a string or an array of parts");
            Err(ApiError::new(ErrorCode::InvalidType, message).param(&param))
        }
    }
}
