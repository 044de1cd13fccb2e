//! OpenAI's request, as far as translations write it.

use rbee_api::KeepAlive;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Number;

use crate::fields::Raw;

/// Where the translated request is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    ChatCompletions,
    Completions,
    Embeddings,
    Tokenize,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct ChatRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) messages: Vec<Message>,
    /// Of a plain completion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt: Option<String>,
    /// What stands behind the text that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suffix: Option<String>,
    #[serde(flatten)]
    pub(crate) stream: Stream,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<Number>,
    #[serde(flatten)]
    pub(crate) sampling: Sampling,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Tool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_choice: Option<ToolChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_format: Option<ResponseFormat>,
    #[serde(flatten)]
    pub(crate) last: Last,
    /// How long the model is to stay loaded; rbee's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_alive: Option<KeepAlive>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning_effort: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chat_template_kwargs: Option<TemplateSwitches>,
}

/// Whether the answer is a stream; its usage is then asked for too.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Stream(pub(crate) bool);

/// What becomes of a last message that is the assistant's; nothing is said where it is not.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Last {
    #[serde(skip_serializing_if = "Option::is_none")]
    continue_final_message: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    add_generation_prompt: Option<bool>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Sampling {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_k: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min_p: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repeat_penalty: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) presence_penalty: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frequency_penalty: Option<Number>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Message {
    pub(crate) role: &'static str,
    /// None of an assistant that only called tools.
    pub(crate) content: Option<Content>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<Call>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_call_id: Option<String>,
    /// Of the tool whose result it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part {
    Text { text: String },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Debug, Serialize)]
pub(crate) struct ImageUrl {
    pub(crate) url: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Call {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: Function,
    pub(crate) function: CalledFunction,
}

#[derive(Debug, Serialize)]
pub(crate) struct CalledFunction {
    pub(crate) name: String,
    /// JSON text.
    pub(crate) arguments: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Tool {
    #[serde(rename = "type")]
    pub(crate) kind: Function,
    pub(crate) function: ToolFunction,
}

#[derive(Debug, Serialize)]
pub(crate) struct ToolFunction {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<Raw>,
}

/// The only type of tool that there is.
#[derive(Debug, Default, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Function {
    #[default]
    Function,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    Auto,
    None,
    Required,
    One(String),
}

/// What the answer must look like.
#[derive(Debug)]
pub(crate) enum ResponseFormat {
    AnyObject,
    Schema(Raw),
}

/// What chat templates of models that reason look at.
#[derive(Debug, Serialize)]
pub(crate) struct TemplateSwitches {
    pub(crate) enable_thinking: bool,
    /// The same, as DeepSeek's templates call it.
    pub(crate) thinking: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning_effort: Option<String>,
}

impl ChatRequest {
    /// Has a model reason or not, as far as its template knows how to.
    pub(crate) fn think(&mut self, thinking: bool, effort: Option<String>) {
        self.reasoning_effort.clone_from(&effort);
        self.chat_template_kwargs = Some(TemplateSwitches {
            enable_thinking: thinking,
            thinking,
            reasoning_effort: effort,
        });
    }

    /// Has the answer go on with a last message of the assistant's, or be another one.
    pub(crate) fn go_on(&mut self, goes_on: bool) {
        if self.messages.last().is_some_and(|last| last.role == "assistant") {
            self.last = Last {
                continue_final_message: Some(goes_on),
                add_generation_prompt: Some(!goes_on),
            };
        }
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a request holds only strings, numbers and JSON")
    }
}

impl Message {
    /// Whether it is an answer that can be gone on with.
    pub(crate) fn is_begun_answer(&self) -> bool {
        let is_text = matches!(&self.content, Some(Content::Text(text)) if !text.is_empty());
        self.role == "assistant" && is_text && self.tool_calls.is_empty()
    }

    pub(crate) fn text(role: &'static str, text: String) -> Self {
        Self { role, content: Some(Content::Text(text)), ..Self::default() }
    }
}

impl Content {
    /// Of one string where that is possible; `None` of no parts.
    pub(crate) fn of(parts: Vec<Part>) -> Option<Self> {
        if parts.is_empty() {
            return None;
        }
        if parts.iter().any(|part| matches!(part, Part::ImageUrl { .. })) {
            return Some(Self::Parts(parts));
        }
        let texts = parts.into_iter().filter_map(|part| match part {
            Part::Text { text } => Some(text),
            Part::ImageUrl { .. } => None,
        });
        Some(Self::Text(texts.collect::<Vec<_>>().join("\n")))
    }
}

impl Call {
    pub(crate) fn new(id: String, name: String, arguments: String) -> Self {
        Self { id, kind: Function::Function, function: CalledFunction { name, arguments } }
    }
}

impl Tool {
    pub(crate) fn new(name: String, description: Option<String>, parameters: Option<Raw>) -> Self {
        let function = ToolFunction { name, description, parameters };
        Self { kind: Function::Function, function }
    }
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Options {
            include_usage: bool,
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("stream", &self.0)?;
        if self.0 {
            map.serialize_entry("stream_options", &Options { include_usage: true })?;
        }
        map.end()
    }
}

impl Serialize for ToolChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Named<'a> {
            name: &'a str,
        }
        let name = match self {
            Self::Auto => return serializer.serialize_str("auto"),
            Self::None => return serializer.serialize_str("none"),
            Self::Required => return serializer.serialize_str("required"),
            Self::One(name) => name,
        };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("type", "function")?;
        map.serialize_entry("function", &Named { name })?;
        map.end()
    }
}

impl Serialize for ResponseFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Named<'a> {
            name: &'static str,
            strict: bool,
            schema: &'a Raw,
        }
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::AnyObject => map.serialize_entry("type", "json_object")?,
            Self::Schema(schema) => {
                map.serialize_entry("type", "json_schema")?;
                let schema = Named { name: "answer", strict: true, schema };
                map.serialize_entry("json_schema", &schema)?;
            }
        }
        map.end()
    }
}
