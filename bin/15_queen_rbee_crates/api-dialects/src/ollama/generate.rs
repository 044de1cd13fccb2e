use rbee_api::ErrorBody;

use super::{
    answer::{Kind, Lines},
    chat::content,
    request::Common,
};
use crate::{
    answer::Translated,
    fields::unsupported,
    request::{Endpoint, Message},
};

/// A request of `/api/generate`: a chat of one message, or with `raw` the text that goes before the
/// model's; with `suffix` the text behind that too.
///
/// # Errors
///
/// What is missing, not as it should be, or not supported; by name.
pub fn translate(body: &[u8]) -> Result<Translated<Lines>, ErrorBody> {
    let mut common = Common::read(body)?;
    let fields = &mut common.fields;
    fields.refuse("template", &["\"\""], "a model has the template of its file")?;
    fields.refuse("context", &["[]"], "send the conversation to `/api/chat`")?;
    let prompt = fields.take::<String>("prompt")?.unwrap_or_default();
    let system = fields.take::<String>("system")?.filter(|system| !system.is_empty());
    let images = fields.take::<Vec<String>>("images")?.unwrap_or_default();
    let suffix = fields.take::<String>("suffix")?.filter(|suffix| !suffix.is_empty());
    let raw = fields.flag("raw")?.unwrap_or(false);
    if prompt.is_empty() && images.is_empty() && suffix.is_none() {
        return Ok(common.load(Kind::Generate));
    }
    if !raw && suffix.is_none() {
        let system = system.map(|system| Message::text("system", system));
        let prompt =
            Message { role: "user", content: Some(content(prompt, images)), ..Message::default() };
        common.request.messages = system.into_iter().chain([prompt]).collect();
        return Ok(common.finish(Endpoint::ChatCompletions, Kind::Generate));
    }
    if system.is_some() {
        return Err(unsupported("system", "`system` has no place beside `raw` or `suffix`"));
    }
    if !images.is_empty() {
        return Err(unsupported("images", "`images` have no place beside `raw` or `suffix`"));
    }
    (common.request.prompt, common.request.suffix) = (Some(prompt), suffix);
    // OpenAI's own bound on plain completions is 16 tokens, Ollama has none.
    common.request.max_tokens.get_or_insert_with(|| u32::MAX.into());
    Ok(common.finish(Endpoint::Completions, Kind::Generate))
}
