//! Fields that other servers know and this worker does not: refused by name where they ask for something.

use http_guard::ApiError;
use serde_json::Value;

use super::{error::unsupported, fields::Fields};

/// What of a field asks for nothing.
#[derive(Debug, Clone, Copy)]
enum Nothing {
    /// No value.
    Never,
    /// An empty array, object or text.
    Empty,
    False,
    True,
    /// This number.
    Is(f64),
    /// This one, or less.
    UpTo(f64),
    /// Exactly this.
    Json(&'static str),
}

use Nothing::{Empty, False, Is, Json, Never, True, UpTo};

const FOREIGN: [(&str, Nothing, &str); 42] = [
    // OpenAI's.
    ("audio", Never, "the worker makes text only"),
    ("modalities", Json("[\"text\"]"), "the worker makes text only"),
    ("prediction", Never, "no answer is predicted"),
    ("web_search_options", Never, "the worker searches no web"),
    // llama.cpp's.
    ("mirostat", Is(0.0), "this way of sampling is not known"),
    ("typical_p", Is(1.0), "this way of sampling is not known"),
    ("tfs_z", Is(1.0), "this way of sampling is not known"),
    ("top_a", Is(0.0), "this way of sampling is not known"),
    ("top_n_sigma", UpTo(0.0), "this way of sampling is not known"),
    ("xtc_probability", Is(0.0), "this way of sampling is not known"),
    ("dry_multiplier", Is(0.0), "this way of sampling is not known"),
    ("dynatemp_range", Is(0.0), "the temperature does not change within an answer"),
    ("adaptive_target", UpTo(0.0), "this way of sampling is not known"),
    ("samplers", Never, "the order of sampling is fixed: top_k, top_p, min_p, temperature"),
    ("min_keep", Is(0.0), "no number of candidates is kept"),
    ("repeat_last_n", Is(64.0), "the window of repetitions is 64 tokens"),
    ("n_probs", Is(0.0), "ask for `logprobs`"),
    ("post_sampling_probs", False, "probabilities are those before sampling"),
    ("lora", Empty, "the worker loads no adapters"),
    ("id_slot", UpTo(-1.0), "the worker chooses the place itself"),
    ("n_indent", Is(0.0), "no indentation is held"),
    ("t_max_predict_ms", UpTo(0.0), "bound an answer by `max_tokens`"),
    ("return_tokens", False, "answers are text: `/tokenize` gives its tokens"),
    ("response_fields", Empty, "answers have all of their fields"),
    ("grammar_lazy", False, "a grammar holds from the beginning"),
    ("preserved_tokens", Empty, "control tokens are no text"),
    // vLLM's.
    ("use_beam_search", False, "the worker samples, and searches no beams"),
    ("length_penalty", Is(1.0), "it belongs to beam search"),
    ("early_stopping", False, "it belongs to beam search"),
    ("min_tokens", Is(0.0), "an answer ends when the model ends it"),
    ("stop_token_ids", Empty, "write `stop` as texts"),
    ("bad_words", Empty, "forbid tokens by `logit_bias`"),
    ("allowed_token_ids", Empty, "hold an answer by a `grammar`"),
    ("prompt_logprobs", Never, "the worker knows no probabilities of a prompt"),
    ("truncate_prompt_tokens", Never, "a prompt that is too long is refused"),
    ("skip_special_tokens", True, "control tokens are no text"),
    ("include_stop_str_in_output", False, "an answer ends before the text that stops it"),
    ("return_token_ids", False, "answers are text: `/tokenize` gives its tokens"),
    ("return_tokens_as_token_ids", False, "answers are text"),
    ("chat_template", Never, "a chat is written by the model's own template"),
    ("documents", Empty, "write documents into `messages`"),
    ("prompt_embeds", Never, "a prompt is text or tokens"),
];

const GENERATION: &str = "add_generation_prompt";

/// Those that say who asks, what for, or how it is paid for: there is nothing for the worker to do.
const FOR_OTHERS: [&str; 7] = [
    "user",
    "keep_alive",
    "metadata",
    "safety_identifier",
    "store",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// Refuses what asks for something that the worker does not do.
pub(super) fn read(fields: &Fields) -> Result<(), ApiError> {
    for (name, nothing, instead) in FOREIGN {
        let Some(text) = fields.raw(name) else { continue };
        if !nothing.is(text) {
            return Err(unsupported(name, format!("`{name}` is not supported: {instead}")));
        }
    }
    // Where the last message is an answer that goes on, none is begun.
    let goes_on = fields.peek("continue_final_message") == Some("true");
    match fields.raw(GENERATION) {
        None | Some("true") => {}
        Some("false") if goes_on => {}
        Some(_) => {
            let message = format!("`{GENERATION}` is not supported: an answer follows the chat");
            return Err(unsupported(GENERATION, message));
        }
    }
    for name in FOR_OTHERS {
        fields.raw(name);
    }
    // Others than these are told of as what has no effect.
    if fields.peek("service_tier").is_some_and(|tier| matches!(tier, "\"auto\"" | "\"default\"")) {
        fields.raw("service_tier");
    }
    Ok(())
}

impl Nothing {
    fn is(self, text: &str) -> bool {
        let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
        match (self, &value) {
            (Never, _) => false,
            (Empty, Value::Array(values)) => values.is_empty(),
            (Empty, Value::Object(members)) => members.is_empty(),
            (Empty, Value::String(text)) => text.is_empty(),
            (False, Value::Bool(value)) => !value,
            (True, Value::Bool(value)) => *value,
            (Is(nothing), value) => value.as_f64() == Some(nothing),
            (UpTo(most), value) => value.as_f64().is_some_and(|value| value <= most),
            (Json(nothing), value) => {
                serde_json::from_str::<Value>(nothing).is_ok_and(|nothing| nothing == *value)
            }
            (Empty | False | True, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(body: &str) -> Result<Vec<String>, ApiError> {
        let fields = Fields::parse(body.as_bytes())?;
        read(&fields)?;
        Ok(fields.unread())
    }

    #[test]
    fn what_asks_for_something_is_refused_by_name() {
        for (name, nothing, _) in FOREIGN {
            // Of no kind that a field could have.
            let refused = read_of(&format!(r#"{{"{name}":{{"x":"y"}}}}"#)).unwrap_err();
            assert!(refused.message().contains(&format!("`{name}`")), "{refused}");
            assert_eq!(refused.code(), &rbee_api::ErrorCode::UnsupportedParameter, "{name}");
            let harmless = match nothing {
                Never => "null".to_owned(),
                Empty => "[]".to_owned(),
                False => "false".to_owned(),
                True => "true".to_owned(),
                Is(number) | UpTo(number) => number.to_string(),
                Json(text) => text.to_owned(),
            };
            let read = read_of(&format!(r#"{{"{name}":{harmless}}}"#)).unwrap();
            assert!(read.is_empty(), "{name}: {read:?}");
        }
    }

    #[test]
    fn no_answer_is_begun_where_the_last_one_goes_on() {
        assert!(read_of(r#"{"add_generation_prompt":false}"#).is_err());
        assert!(read_of(r#"{"add_generation_prompt":true}"#).is_ok());
        let body = r#"{"add_generation_prompt":false,"continue_final_message":true}"#;
        assert_eq!(read_of(body).unwrap(), ["continue_final_message"]);
    }

    #[test]
    fn what_nobody_knows_is_told_and_what_is_for_others_is_not() {
        let body = r#"{"zeal":1,"ardour":{},"nothing":null,"user":"u","store":true,"service_tier":"flex"}"#;
        assert_eq!(read_of(body).unwrap(), ["ardour", "service_tier", "zeal"]);
        assert_eq!(read_of(r#"{"service_tier":"auto"}"#).unwrap(), [""; 0]);
    }
}
