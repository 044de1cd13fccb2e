use rbee_api::ErrorBody;
use serde::Deserialize;
use serde_json::Number;

use super::{
    answer::{Echo, EchoedTool, Responses},
    items::{Input, messages},
};
use crate::{
    answer::Translated,
    fields::{Fields, Raw, invalid, unsupported},
    request::{ChatRequest, Endpoint, Message, ResponseFormat, Sampling, Stream, Tool, ToolChoice},
};

#[derive(Debug, Deserialize)]
struct GivenTool {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    name: String,
    description: Option<String>,
    parameters: Option<Raw>,
    strict: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Text {
    format: Option<Format>,
}

#[derive(Debug, Deserialize)]
struct Format {
    #[serde(rename = "type")]
    kind: String,
    schema: Option<Raw>,
}

#[derive(Debug, Default, Deserialize)]
struct Reasoning {
    effort: Option<String>,
}

/// A request of OpenAI's responses.
///
/// # Errors
///
/// What is missing, not as it should be, or not supported; by name.
pub fn translate(body: &[u8]) -> Result<Translated<Responses>, ErrorBody> {
    let mut fields = Fields::parse(body)?;
    refuse(&mut fields)?;
    let instructions = fields.take::<String>("instructions")?;
    let mut request = ChatRequest {
        model: fields.take("model")?,
        max_tokens: fields.take::<Number>("max_output_tokens")?,
        stream: Stream(fields.flag("stream")?.unwrap_or(false)),
        sampling: Sampling {
            temperature: fields.take("temperature")?,
            top_p: fields.take("top_p")?,
            ..Sampling::default()
        },
        parallel_tool_calls: fields.flag("parallel_tool_calls")?,
        ..ChatRequest::default()
    };
    let system = instructions.clone().map(|text| Message::text("system", text));
    let said = messages(fields.require::<Input>("input")?)?;
    request.messages = system.into_iter().chain(said).collect();
    request.go_on(false);
    let echo = Echo {
        instructions,
        model: request.model.clone(),
        max_output_tokens: request.max_tokens.clone(),
        temperature: request.sampling.temperature.clone(),
        top_p: request.sampling.top_p.clone(),
        parallel_tool_calls: request.parallel_tool_calls.unwrap_or(true),
        tools: tools(&mut fields, &mut request)?,
        tool_choice: copy(&mut fields, "tool_choice", |fields| choice(fields, &mut request))?,
        text: copy(&mut fields, "text", |fields| text(fields, &mut request))?,
        reasoning: copy(&mut fields, "reasoning", |fields| reasoning(fields, &mut request))?,
        metadata: fields.raw("metadata"),
    };
    Ok(Translated {
        endpoint: Endpoint::ChatCompletions,
        body: request.write(),
        answer: Responses::new(echo),
        ignored: fields.rest(),
    })
}

/// Reads a member that the response repeats as it came.
fn copy(
    fields: &mut Fields,
    name: &str,
    read: impl FnOnce(&mut Fields) -> Result<(), ErrorBody>,
) -> Result<Option<Raw>, ErrorBody> {
    let text = fields.peek(name);
    read(fields)?;
    Ok(text)
}

fn refuse(fields: &mut Fields) -> Result<(), ErrorBody> {
    let kept = "no response is kept; send the whole conversation as `input`";
    fields.refuse("previous_response_id", &[], kept)?;
    fields.refuse("conversation", &[], kept)?;
    fields.refuse("prompt", &[], "there are no stored prompts")?;
    fields.refuse("background", &["false"], "an answer ends with its client")?;
    fields.refuse("truncation", &["\"disabled\""], "no part of a conversation is left out")?;
    fields.refuse("max_tool_calls", &[], "only the client's own tools are called")?;
    fields.refuse("top_logprobs", &["0"], "no probabilities are told of a response")?;
    let include = fields.take::<Vec<String>>("include")?.unwrap_or_default();
    if include.iter().any(|what| what == "message.output_text.logprobs") {
        let message = "`include`: no probabilities are told of a response";
        return Err(unsupported("include", message));
    }
    fields.hints(&[
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream_options",
        "user",
    ]);
    Ok(())
}

fn tools(fields: &mut Fields, request: &mut ChatRequest) -> Result<Vec<EchoedTool>, ErrorBody> {
    let given = fields.take::<Vec<GivenTool>>("tools")?.unwrap_or_default();
    let mut echoed = Vec::with_capacity(given.len());
    for (index, tool) in given.into_iter().enumerate() {
        let GivenTool { kind, name, description, parameters, strict } = tool;
        if kind != "function" {
            let at = format!("tools[{index}].type");
            let message =
                format!("`{at}` is `{kind}`: only functions of the client's own are called");
            return Err(unsupported(&at, message));
        }
        let (copy, about) = (parameters.clone(), description.clone());
        request.tools.push(Tool::new(name.clone(), about, copy));
        echoed.push(EchoedTool { kind, name, description, parameters, strict });
    }
    Ok(echoed)
}

fn choice(fields: &mut Fields, request: &mut ChatRequest) -> Result<(), ErrorBody> {
    let Some(choice) = fields.raw("tool_choice") else { return Ok(()) };
    let wrong = || {
        let message = "`tool_choice` can be `none`, `auto`, `required`, or name a function";
        unsupported("tool_choice", message)
    };
    request.tool_choice = Some(match choice.get() {
        "\"none\"" => ToolChoice::None,
        "\"auto\"" => ToolChoice::Auto,
        "\"required\"" => ToolChoice::Required,
        other => match serde_json::from_str(other) {
            Ok(Choice { kind, name: Some(name) }) if kind == "function" => ToolChoice::One(name),
            _ => return Err(wrong()),
        },
    });
    Ok(())
}

fn text(fields: &mut Fields, request: &mut ChatRequest) -> Result<(), ErrorBody> {
    let Text { format } = fields.take("text")?.unwrap_or_default();
    request.response_format = match format {
        None => None,
        Some(Format { kind, schema }) => match (kind.as_str(), schema) {
            ("text", _) => None,
            ("json_object", _) => Some(ResponseFormat::AnyObject),
            ("json_schema", Some(schema)) => Some(ResponseFormat::Schema(schema)),
            _ => {
                let message = "`text.format` can be `text`, `json_object`, and `json_schema` with its \
                               `schema`";
                return Err(invalid("text.format", message));
            }
        },
    };
    Ok(())
}

fn reasoning(fields: &mut Fields, request: &mut ChatRequest) -> Result<(), ErrorBody> {
    match fields.take::<Reasoning>("reasoning")?.unwrap_or_default().effort {
        None => {}
        Some(effort) if effort == "none" => request.think(false, None),
        Some(effort) => request.think(true, Some(effort)),
    }
    Ok(())
}
