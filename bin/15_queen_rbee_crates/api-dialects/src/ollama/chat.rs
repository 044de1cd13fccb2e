use std::collections::VecDeque;

use rbee_api::ErrorBody;
use serde::Deserialize;

use super::{
    answer::{Kind, Lines},
    request::Common,
};
use crate::{
    answer::Translated,
    fields::{Raw, invalid},
    image,
    request::{Call, Content, Endpoint, Message, Part, Tool},
};

#[derive(Debug, Deserialize)]
struct Given {
    role: String,
    #[serde(default)]
    content: String,
    thinking: Option<String>,
    images: Option<Vec<String>>,
    tool_calls: Option<Vec<GivenCall>>,
    tool_name: Option<String>,
    tool_call_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct GivenCall {
    id: Option<String>,
    function: GivenFunction,
}

#[derive(Debug, Deserialize)]
struct GivenFunction {
    name: String,
    arguments: Option<Raw>,
}

#[derive(Debug, Deserialize)]
struct GivenTool {
    function: ToolFunction,
}

#[derive(Debug, Deserialize)]
struct ToolFunction {
    name: String,
    description: Option<String>,
    parameters: Option<Raw>,
}

/// A request of `/api/chat`.
///
/// # Errors
///
/// What is missing, not as it should be, or not supported; by name.
pub fn translate(body: &[u8]) -> Result<Translated<Lines>, ErrorBody> {
    let mut common = Common::read(body)?;
    let given = common.fields.take::<Vec<Given>>("messages")?.unwrap_or_default();
    let tools = common.fields.take::<Vec<GivenTool>>("tools")?.unwrap_or_default();
    if given.is_empty() {
        return Ok(common.load(Kind::Chat));
    }
    common.request.messages = messages(given)?;
    let goes_on = common.request.messages.last().is_some_and(Message::is_begun_answer);
    common.request.go_on(goes_on);
    common.request.tools = tools
        .into_iter()
        .map(|GivenTool { function: ToolFunction { name, description, parameters } }| {
            Tool::new(name, description, parameters)
        })
        .collect();
    Ok(common.finish(Endpoint::ChatCompletions, Kind::Chat))
}

fn messages(given: Vec<Given>) -> Result<Vec<Message>, ErrorBody> {
    let mut open = OpenCalls::default();
    let message = |(index, given): (usize, Given)| {
        let at = format!("messages[{index}]");
        let role = match given.role.as_str() {
            "system" => "system",
            "user" => "user",
            "assistant" => "assistant",
            "tool" => "tool",
            _ => {
                let at = format!("{at}.role");
                let message = format!("`{at}` can be `system`, `user`, `assistant` and `tool`");
                return Err(invalid(&at, message));
            }
        };
        let calls = given.tool_calls.unwrap_or_default();
        let tool_calls = calls.into_iter().map(|call| open.add(call)).collect();
        let id = (role == "tool").then(|| open.close(given.tool_name.as_deref()));
        Ok(Message {
            role,
            content: Some(content(given.content, given.images.unwrap_or_default())),
            reasoning_content: given.thinking,
            tool_calls,
            tool_call_id: given.tool_call_id.or(id.flatten()),
            name: given.tool_name,
        })
    };
    given.into_iter().enumerate().map(message).collect()
}

pub(super) fn content(text: String, images: Vec<String>) -> Content {
    if images.is_empty() {
        return Content::Text(text);
    }
    let images = images.iter().map(|data| image::of_base64(data));
    let text = Some(Part::Text { text })
        .filter(|part| !matches!(part, Part::Text { text } if text.is_empty()));
    Content::Parts(images.chain(text).collect())
}

/// The calls whose results have not come: Ollama's clients tell those apart by the tool's name and by
/// their order, OpenAI's by ids.
#[derive(Debug, Default)]
struct OpenCalls {
    calls: VecDeque<(String, String)>,
    count: usize,
}

impl OpenCalls {
    fn add(
        &mut self,
        GivenCall { id, function: GivenFunction { name, arguments } }: GivenCall,
    ) -> Call {
        self.count += 1;
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{}", self.count));
        self.calls.push_back((id.clone(), name.clone()));
        let arguments = arguments.map_or_else(|| "{}".to_owned(), |given| given.get().to_owned());
        Call::new(id, name, arguments)
    }

    /// The id of the call that the next result of that tool is of.
    fn close(&mut self, tool: Option<&str>) -> Option<String> {
        let of_tool = |(_, name): &(String, String)| tool.is_none_or(|tool| tool == name);
        let place = self.calls.iter().position(of_tool)?;
        self.calls.remove(place).map(|(id, _)| id)
    }
}
