use rbee_api::ErrorBody;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    fields::{Raw, invalid, missing, unsupported},
    image,
    request::{Call, Content, Message, Part},
};

/// Text alone stands for one message of the user's.
#[derive(Debug)]
pub(super) struct Input(Vec<Item>);

/// An item of any type, with the members of all of them.
#[derive(Debug, Default, Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: Option<String>,
    role: Option<String>,
    content: Option<Parts>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    output: Option<Parts>,
    #[serde(default)]
    summary: Vec<GivenPart>,
}

/// Text alone stands for one part of it.
#[derive(Debug, Default)]
struct Parts(Vec<GivenPart>);

#[derive(Debug, Default, Deserialize)]
struct GivenPart {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    image_url: Option<String>,
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        let read = if raw.get().starts_with('"') {
            serde_json::from_str(raw.get()).map(|content| {
                let (role, content) = (Some("user".to_owned()), Some(content));
                vec![Item { role, content, ..Item::default() }]
            })
        } else {
            serde_json::from_str(raw.get())
        };
        read.map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        let read = if raw.get().starts_with('"') {
            let kind = "input_text".to_owned();
            serde_json::from_str(raw.get())
                .map(|text| vec![GivenPart { kind, text: Some(text), image_url: None }])
        } else {
            serde_json::from_str(raw.get())
        };
        read.map(Self).map_err(D::Error::custom)
    }
}

/// What the model reasoned, said and called in one go is one message.
pub(super) fn messages(Input(items): Input) -> Result<Vec<Message>, ErrorBody> {
    if items.is_empty() {
        return Err(invalid("input", "`input` is empty"));
    }
    let mut messages: Vec<Message> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let at = format!("input[{index}]");
        match item.kind.as_deref().unwrap_or("message") {
            "message" => message(item, &at, &mut messages)?,
            "reasoning" => {
                // What is hidden is for nobody here; a summary is better than nothing.
                let said = item.content.map(|Parts(parts)| parts).filter(|parts| !parts.is_empty());
                let parts = said.unwrap_or(item.summary);
                let texts: Vec<_> = parts.into_iter().filter_map(|part| part.text).collect();
                if !texts.is_empty() {
                    messages.push(Message {
                        reasoning_content: Some(texts.join("\n")),
                        ..Message::text("assistant", String::new())
                    });
                }
            }
            "function_call" => {
                let id = item.call_id.ok_or_else(|| missing(&format!("{at}.call_id")))?;
                let name = item.name.ok_or_else(|| missing(&format!("{at}.name")))?;
                let call = Call::new(id, name, item.arguments.unwrap_or_default());
                turn(&mut messages).tool_calls.push(call);
            }
            "function_call_output" => {
                let id = item.call_id.ok_or_else(|| missing(&format!("{at}.call_id")))?;
                let output = item.output.ok_or_else(|| missing(&format!("{at}.output")))?;
                messages.push(Message {
                    role: "tool",
                    content: Some(content(output, &format!("{at}.output"))?),
                    tool_call_id: Some(id),
                    ..Message::default()
                });
            }
            kind => {
                let message = format!("`{at}` is `{kind}`, which is not supported here");
                return Err(unsupported(&at, message));
            }
        }
    }
    Ok(messages)
}

fn message(item: Item, at: &str, messages: &mut Vec<Message>) -> Result<(), ErrorBody> {
    let given = item.content.ok_or_else(|| missing(&format!("{at}.content")))?;
    let content = content(given, &format!("{at}.content"))?;
    let role = match item.role.as_deref() {
        Some("user") => "user",
        Some("system" | "developer") => "system",
        Some("assistant") => {
            let open = messages.last_mut().filter(|last| {
                let silent = matches!(&last.content, Some(Content::Text(text)) if text.is_empty());
                last.role == "assistant" && silent && last.tool_calls.is_empty()
            });
            if let Some(open) = open {
                open.content = Some(content);
                return Ok(());
            }
            "assistant"
        }
        Some(_) | None => {
            let at = format!("{at}.role");
            let message = format!("`{at}` can be `user`, `assistant`, `system` and `developer`");
            return Err(invalid(&at, message));
        }
    };
    messages.push(Message { role, content: Some(content), ..Message::default() });
    Ok(())
}

/// The assistant's message that is under way.
fn turn(messages: &mut Vec<Message>) -> &mut Message {
    if messages.last().is_none_or(|last| last.role != "assistant") {
        messages.push(Message::text("assistant", String::new()));
    }
    messages.last_mut().expect("there is one now")
}

fn content(Parts(parts): Parts, at: &str) -> Result<Content, ErrorBody> {
    let mut read = Vec::with_capacity(parts.len());
    for (index, GivenPart { kind, text, image_url }) in parts.into_iter().enumerate() {
        let at = format!("{at}[{index}]");
        match kind.as_str() {
            "input_text" | "output_text" | "text" => {
                let text = text.ok_or_else(|| missing(&format!("{at}.text")))?;
                read.push(Part::Text { text });
            }
            "refusal" => {}
            "input_image" => {
                let url = image_url.ok_or_else(|| missing(&format!("{at}.image_url")))?;
                read.push(image::of_url(url));
            }
            _ => {
                let message = format!("`{at}` is `{kind}`, which is not supported here");
                return Err(unsupported(&at, message));
            }
        }
    }
    Ok(Content::of(read).unwrap_or_else(|| Content::Text(String::new())))
}
