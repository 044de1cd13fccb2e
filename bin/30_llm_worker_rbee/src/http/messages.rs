//! A chat's messages, as the template sees them.

use serde_json::{Map, Value};

use http_guard::ApiError;
use rbee_api::ErrorCode;

use super::{
    error::{invalid_value, unsupported},
    fields::Fields,
};

const FIELD: &str = "messages";
const MESSAGES_MAX: usize = 4096;

/// What the chat template is rendered with.
pub(super) fn template_context(fields: &Fields) -> Result<Value, ApiError> {
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
    let messages = messages
        .into_iter()
        .enumerate()
        .map(|(index, message)| normalise(index, message))
        .collect::<Result<Vec<_>, _>>()?;
    let extra = fields.get::<Map<String, Value>>("chat_template_kwargs", "an object")?;
    let mut context = extra.unwrap_or_default();
    context.insert("messages".to_owned(), Value::Array(messages));
    context.insert("add_generation_prompt".to_owned(), Value::Bool(true));
    // Templates written for Python ask whether this is None.
    context.insert("tools".to_owned(), Value::Null);
    Ok(Value::Object(context))
}

/// One message with a role that templates know and its content as one string.
fn normalise(index: usize, message: Value) -> Result<Value, ApiError> {
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
    Ok(Value::Object(message))
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
