use rbee_api::ErrorBody;
use serde::Deserialize;

use super::{
    answer::Messages,
    messages::{Blocks, Turn, messages, system},
};
use crate::{
    answer::Translated,
    fields::{Fields, Raw, invalid, missing, unsupported},
    request::{ChatRequest, Endpoint, ResponseFormat, Sampling, Stream, Tool, ToolChoice},
};

#[derive(Debug, Deserialize)]
struct GivenTool {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: String,
    description: Option<String>,
    input_schema: Option<Raw>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Thinking {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct OutputFormat {
    #[serde(rename = "type")]
    kind: String,
    schema: Option<Raw>,
}

#[derive(Debug, Default, Deserialize)]
struct OutputConfig {
    format: Option<OutputFormat>,
    effort: Option<String>,
}

/// A request of Anthropic's messages.
///
/// # Errors
///
/// What is missing, not as it should be, or not supported; by name.
pub fn translate(body: &[u8]) -> Result<Translated<Messages>, ErrorBody> {
    let (request, model, ignored) = read(body)?;
    if request.max_tokens.is_none() {
        return Err(missing("max_tokens"));
    }
    let answer = Messages::new(model, request.stop.clone());
    Ok(Translated { endpoint: Endpoint::ChatCompletions, body: request.write(), answer, ignored })
}

/// The request, its model's name, and what has no effect.
pub(super) fn read(body: &[u8]) -> Result<(ChatRequest, String, Vec<String>), ErrorBody> {
    let mut fields = Fields::parse(body)?;
    let model: String = fields.require("model")?;
    let mut request = ChatRequest {
        model: Some(model.clone()),
        max_tokens: fields.take("max_tokens")?,
        stream: Stream(fields.flag("stream")?.unwrap_or(false)),
        stop: fields.take("stop_sequences")?.unwrap_or_default(),
        sampling: Sampling {
            temperature: fields.take("temperature")?,
            top_p: fields.take("top_p")?,
            top_k: fields.take("top_k")?,
            ..Sampling::default()
        },
        ..ChatRequest::default()
    };
    request.messages.extend(system(fields.take::<Blocks>("system")?)?);
    request.messages.extend(messages(fields.require::<Vec<Turn>>("messages")?)?);
    request.go_on(true);
    tools(&mut fields, &mut request)?;
    thinking(&mut fields, &mut request)?;
    let hints =
        ["metadata", "service_tier", "inference_geo", "cache_control", "context_management"];
    fields.hints(&hints);
    fields.refuse("container", &[], "there are no containers here")?;
    fields.refuse("mcp_servers", &["[]"], "no other servers are asked from here")?;
    Ok((request, model, fields.rest()))
}

fn tools(fields: &mut Fields, request: &mut ChatRequest) -> Result<(), ErrorBody> {
    let given = fields.take::<Vec<GivenTool>>("tools")?.unwrap_or_default();
    for (index, GivenTool { kind, name, description, input_schema }) in
        given.into_iter().enumerate()
    {
        if let Some(kind) = kind.filter(|kind| kind != "custom") {
            let at = format!("tools[{index}].type");
            let message = format!("`{at}` is `{kind}`: only tools of the client's own are called");
            return Err(unsupported(&at, message));
        }
        request.tools.push(Tool::new(name, description, input_schema));
    }
    let Some(Choice { kind, name, disable_parallel_tool_use }) = fields.take("tool_choice")? else {
        return Ok(());
    };
    request.parallel_tool_calls = disable_parallel_tool_use.map(|disabled| !disabled);
    request.tool_choice = Some(match (kind.as_str(), name) {
        ("auto", _) => ToolChoice::Auto,
        ("any", _) => ToolChoice::Required,
        ("none", _) => ToolChoice::None,
        ("tool", Some(name)) => ToolChoice::One(name),
        ("tool", None) => return Err(invalid("tool_choice.name", "`tool_choice.name` is missing")),
        _ => {
            let message = "`tool_choice.type` can be `auto`, `any`, `tool` and `none`";
            return Err(invalid("tool_choice.type", message));
        }
    });
    Ok(())
}

/// Whether the model is to reason first, and what its answer must look like.
fn thinking(fields: &mut Fields, request: &mut ChatRequest) -> Result<(), ErrorBody> {
    let OutputConfig { format, effort } = fields.take("output_config")?.unwrap_or_default();
    let format = match format {
        None => fields.take("output_format")?,
        format => format,
    };
    match fields.take::<Thinking>("thinking")?.as_ref().map(|thinking| thinking.kind.as_str()) {
        Some("enabled" | "adaptive") => request.think(true, effort),
        Some("disabled") => request.think(false, None),
        Some(_) => {
            let message = "`thinking.type` can be `enabled`, `adaptive` and `disabled`";
            return Err(invalid("thinking.type", message));
        }
        None => request.reasoning_effort = effort,
    }
    request.response_format = match format {
        Some(OutputFormat { kind, schema: Some(schema) }) if kind == "json_schema" => {
            Some(ResponseFormat::Schema(schema))
        }
        Some(_) => {
            let message = "the format of the output can be a `json_schema` with its `schema`";
            return Err(invalid("output_config.format", message));
        }
        None => None,
    };
    Ok(())
}
