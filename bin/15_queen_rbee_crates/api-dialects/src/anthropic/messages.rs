use rbee_api::ErrorBody;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    fields::{Raw, invalid, missing, unsupported},
    image,
    request::{Call, Content, Message, Part},
};

#[derive(Debug, Deserialize)]
pub(super) struct Turn {
    role: String,
    content: Blocks,
}

/// Text alone stands for one block of it.
#[derive(Debug)]
pub(super) struct Blocks(Vec<Block>);

/// A block of any type, with the members of all of them.
#[derive(Debug, Default, Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    thinking: Option<String>,
    source: Option<Source>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Raw>,
    tool_use_id: Option<String>,
    content: Option<Blocks>,
    is_error: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    media_type: Option<String>,
    data: Option<String>,
    url: Option<String>,
}

impl<'de> Deserialize<'de> for Blocks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        let read = if raw.get().starts_with('"') {
            serde_json::from_str(raw.get()).map(|text| {
                vec![Block { kind: "text".to_owned(), text: Some(text), ..Block::default() }]
            })
        } else {
            serde_json::from_str(raw.get())
        };
        read.map(Self).map_err(D::Error::custom)
    }
}

/// What stands before the conversation, if anything does.
pub(super) fn system(blocks: Option<Blocks>) -> Result<Option<Message>, ErrorBody> {
    let Some(blocks) = blocks else { return Ok(None) };
    Ok(Content::of(texts(blocks, "system")?).map(|content| Message {
        role: "system",
        content: Some(content),
        ..Message::default()
    }))
}

pub(super) fn messages(turns: Vec<Turn>) -> Result<Vec<Message>, ErrorBody> {
    if turns.is_empty() {
        return Err(invalid("messages", "`messages` is empty"));
    }
    let mut messages = Vec::with_capacity(turns.len());
    for (index, Turn { role, content }) in turns.into_iter().enumerate() {
        let at = format!("messages[{index}]");
        match role.as_str() {
            "user" => user(content, &at, &mut messages)?,
            "assistant" => messages.push(assistant(content, &at)?),
            "system" => {
                let content = Content::of(texts(content, &format!("{at}.content"))?);
                messages.push(Message { role: "system", content, ..Message::default() });
            }
            _ => {
                let at = format!("{at}.role");
                let message = format!("`{at}` can be `user`, `assistant` and `system`");
                return Err(invalid(&at, message));
            }
        }
    }
    if messages.last().is_some_and(|last| last.role == "assistant" && !last.is_begun_answer()) {
        let message = "the last of `messages` is the assistant's, and no text to go on with";
        return Err(invalid("messages", message));
    }
    Ok(messages)
}

/// Results of tools are messages of their own, where they stand among the others.
fn user(Blocks(blocks): Blocks, at: &str, messages: &mut Vec<Message>) -> Result<(), ErrorBody> {
    let (mut parts, mut any) = (Vec::new(), false);
    let said = |parts: &mut Vec<Part>, messages: &mut Vec<Message>| {
        if let Some(content) = Content::of(std::mem::take(parts)) {
            messages.push(Message { role: "user", content: Some(content), ..Message::default() });
        }
    };
    for (index, block) in blocks.into_iter().enumerate() {
        let at = format!("{at}.content[{index}]");
        any = true;
        match block.kind.as_str() {
            "text" => parts.push(text(block, &at)?),
            "image" => parts.push(picture(block, &at)?),
            "tool_result" => {
                said(&mut parts, messages);
                messages.push(result(block, &at)?);
            }
            _ => return Err(unknown(&block.kind, &at)),
        }
    }
    said(&mut parts, messages);
    if any { Ok(()) } else { Err(invalid(&format!("{at}.content"), "a message is empty")) }
}

fn assistant(Blocks(blocks): Blocks, at: &str) -> Result<Message, ErrorBody> {
    let (mut parts, mut reasoning, mut tool_calls) = (Vec::new(), None, Vec::new());
    for (index, block) in blocks.into_iter().enumerate() {
        let at = format!("{at}.content[{index}]");
        match block.kind.as_str() {
            "text" => parts.push(text(block, &at)?),
            "thinking" => reasoning = block.thinking,
            // What nobody but its author can read.
            "redacted_thinking" => {}
            "tool_use" => {
                let id = block.id.ok_or_else(|| missing(&format!("{at}.id")))?;
                let name = block.name.ok_or_else(|| missing(&format!("{at}.name")))?;
                let input =
                    block.input.map_or_else(|| "{}".to_owned(), |input| input.get().to_owned());
                tool_calls.push(Call::new(id, name, input));
            }
            _ => return Err(unknown(&block.kind, &at)),
        }
    }
    Ok(Message {
        role: "assistant",
        content: Content::of(parts),
        reasoning_content: reasoning,
        tool_calls,
        ..Message::default()
    })
}

fn result(block: Block, at: &str) -> Result<Message, ErrorBody> {
    let id = block.tool_use_id.ok_or_else(|| missing(&format!("{at}.tool_use_id")))?;
    let parts = match block.content {
        Some(blocks) => texts(blocks, &format!("{at}.content"))?,
        None => Vec::new(),
    };
    let mut said = match Content::of(parts) {
        Some(Content::Text(text)) => text,
        Some(Content::Parts(_)) | None => String::new(),
    };
    if block.is_error == Some(true) {
        said.insert_str(0, "error: ");
    }
    Ok(Message { tool_call_id: Some(id), ..Message::text("tool", said) })
}

/// Blocks that can be text only.
fn texts(Blocks(blocks): Blocks, at: &str) -> Result<Vec<Part>, ErrorBody> {
    let part = |(index, block): (usize, Block)| {
        let at = format!("{at}[{index}]");
        if block.kind == "text" { text(block, &at) } else { Err(unknown(&block.kind, &at)) }
    };
    blocks.into_iter().enumerate().map(part).collect()
}

fn text(block: Block, at: &str) -> Result<Part, ErrorBody> {
    let text = block.text.ok_or_else(|| missing(&format!("{at}.text")))?;
    Ok(Part::Text { text })
}

fn picture(block: Block, at: &str) -> Result<Part, ErrorBody> {
    let at = format!("{at}.source");
    let Source { kind, media_type, data, url } = block.source.ok_or_else(|| missing(&at))?;
    match (kind.as_str(), media_type, data, url) {
        ("base64", Some(media_type), Some(data), _) => Ok(image::of_media(&media_type, &data)),
        ("url", _, _, Some(url)) => Ok(image::of_url(url)),
        _ => Err(unsupported(&at, format!("`{at}` can be of `base64` and `url`"))),
    }
}

fn unknown(kind: &str, at: &str) -> ErrorBody {
    unsupported(at, format!("`{at}` is `{kind}`, which is not supported here"))
}
