use rbee_api::{ErrorBody, KeepAlive};
use serde_json::Number;

use crate::{
    answer::Translated,
    fields::{Fields, Raw, invalid},
    ollama::answer::{Kind, Lines},
    request::{ChatRequest, Endpoint, Message, ResponseFormat, Stream},
};

/// What loading is asked for by: the answer is one token, which nobody sees.
const LEAST: &str = ".";

/// A request whose own part, messages or a prompt, is yet to be read.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) fields: Fields,
    pub(super) request: ChatRequest,
    model: String,
    /// The members of `options` that have no effect.
    ignored: Vec<String>,
}

impl Common {
    pub(super) fn read(body: &[u8]) -> Result<Self, ErrorBody> {
        let mut fields = Fields::parse(body)?;
        let model: String = fields.require("model")?;
        let mut request = ChatRequest {
            model: Some(model.clone()),
            stream: Stream(fields.flag("stream")?.unwrap_or(true)),
            ..ChatRequest::default()
        };
        let ignored = options(fields.object("options", "options.")?, &mut request)?;
        request.response_format = format(&mut fields)?;
        think(&mut fields, &mut request)?;
        request.keep_alive = keep_alive(&mut fields)?;
        fields.refuse("logprobs", &["false"], "Ollama's form of them is not written here")?;
        fields.refuse("top_logprobs", &["0"], "Ollama's form of them is not written here")?;
        Ok(Self { fields, request, model, ignored })
    }

    pub(super) fn finish(mut self, endpoint: Endpoint, kind: Kind) -> Translated<Lines> {
        self.ignored.extend(self.fields.rest());
        Translated {
            endpoint,
            body: self.request.write(),
            answer: Lines::new(kind, self.model),
            ignored: self.ignored,
        }
    }

    /// A request that says nothing: the model is only to be loaded, or to stay for another time.
    pub(super) fn load(mut self, kind: Kind) -> Translated<Lines> {
        self.request.stream = Stream(false);
        self.request.max_tokens = Some(1.into());
        self.request.messages = vec![Message::text("user", LEAST.to_owned())];
        let mut translated = self.finish(Endpoint::ChatCompletions, kind);
        translated.answer.loads();
        translated
    }
}

/// # Errors
///
/// It is no time.
pub(super) fn keep_alive(fields: &mut Fields) -> Result<Option<KeepAlive>, ErrorBody> {
    let Some(told) = fields.raw("keep_alive") else { return Ok(None) };
    serde_json::from_str(told.get()).map(Some).map_err(|error| {
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default();
        invalid("keep_alive", format!("`keep_alive` cannot be read: {why}"))
    })
}

/// What the model is loaded with is the configuration's, so such options have no effect; sampling that a
/// worker does not do would change the answer, and is refused.
fn options(mut options: Fields, request: &mut ChatRequest) -> Result<Vec<String>, ErrorBody> {
    request.max_tokens = match options.take::<i64>("num_predict")? {
        // Until the model ends it, or its context is full.
        None | Some(-2 | -1) => None,
        Some(tokens) => Some(Number::from(tokens)),
    };
    let sampling = &mut request.sampling;
    sampling.temperature = options.take("temperature")?;
    sampling.top_p = options.take("top_p")?;
    sampling.top_k = options.take("top_k")?;
    sampling.min_p = options.take("min_p")?;
    sampling.seed = options.take("seed")?;
    sampling.repeat_penalty = options.take("repeat_penalty")?;
    sampling.presence_penalty = options.take("presence_penalty")?;
    sampling.frequency_penalty = options.take("frequency_penalty")?;
    request.stop = match options.raw("stop") {
        None => Vec::new(),
        Some(stop) => stops(&stop)?,
    };
    let missing = "workers do not sample so";
    options.refuse("typical_p", &["1", "1.0"], missing)?;
    options.refuse("tfs_z", &["1", "1.0"], missing)?;
    options.refuse("mirostat", &["0"], missing)?;
    // The window that they have.
    options.refuse("repeat_last_n", &["64"], missing)?;
    Ok(options.rest())
}

fn stops(stop: &Raw) -> Result<Vec<String>, ErrorBody> {
    let stops = match serde_json::from_str(stop.get()) {
        Ok(one) => Ok(vec![one]),
        Err(_) => serde_json::from_str(stop.get()),
    };
    let wrong =
        |_| invalid("options.stop", "`options.stop` must be a string or an array of strings");
    stops.map_err(wrong)
}

fn format(fields: &mut Fields) -> Result<Option<ResponseFormat>, ErrorBody> {
    let Some(format) = fields.raw("format") else { return Ok(None) };
    match format.get() {
        "\"\"" => Ok(None),
        "\"json\"" => Ok(Some(ResponseFormat::AnyObject)),
        schema if schema.starts_with('{') => Ok(Some(ResponseFormat::Schema(format))),
        _ => Err(invalid("format", "`format` can be `json` and a JSON schema")),
    }
}

fn think(fields: &mut Fields, request: &mut ChatRequest) -> Result<(), ErrorBody> {
    let Some(think) = fields.raw("think") else { return Ok(()) };
    match think.get().trim_matches('"') {
        "true" => request.think(true, None),
        "false" => request.think(false, None),
        effort @ ("low" | "medium" | "high") => request.think(true, Some(effort.to_owned())),
        _ => {
            let message = "`think` can be true, false, `low`, `medium` and `high`";
            return Err(invalid("think", message));
        }
    }
    Ok(())
}
