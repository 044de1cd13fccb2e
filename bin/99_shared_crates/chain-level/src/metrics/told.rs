use serde::Deserialize;

/// The tokens of a request, as its answer tells them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) prompt: u64,
    pub(super) cached: u64,
    pub(super) generated: u64,
}

/// What has been told of a request's tokens so far.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// In OpenAI's words; of all choices.
    usage: Option<Tokens>,
    /// In llama.cpp's words; of each choice that has ended.
    timings: Option<Tokens>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    timings: Option<Timings>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Timings {
    #[serde(default)]
    cache_n: u64,
    #[serde(default)]
    prompt_n: u64,
    #[serde(default)]
    predicted_n: u64,
}

impl Told {
    /// A chunk of a stream. Counts are an object at its end, if it has any.
    pub(super) fn chunk(&mut self, chunk: &str) {
        if chunk.ends_with("}}") {
            self.whole(chunk.as_bytes());
        }
    }

    /// A body that is an answer, or a part of one. What cannot be read tells nothing.
    pub(super) fn whole(&mut self, body: &[u8]) {
        let Ok(Counts { usage, timings }) = serde_json::from_slice(body) else { return };
        if let Some(usage) = usage {
            let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens);
            self.usage = Some(Tokens {
                prompt: usage.prompt_tokens,
                cached: cached.unwrap_or_default(),
                generated: usage.completion_tokens,
            });
        }
        if let Some(Timings { cache_n, prompt_n, predicted_n }) = timings {
            // The choices share their prompt.
            let (prompt, cached) = (cache_n.saturating_add(prompt_n), cache_n);
            let first = Tokens { prompt, cached, generated: 0 };
            let told = self.timings.get_or_insert(first);
            told.generated = told.generated.saturating_add(predicted_n);
        }
    }

    pub(super) fn tokens(&self) -> Option<Tokens> {
        self.usage.or(self.timings)
    }
}

/// Whether a chunk has a piece of an answer: the first one of a chat only names a role, the last ones
/// tell why it ends and what was used. What stands within a text has its quotes escaped.
pub(super) fn has_piece(chunk: &str) -> bool {
    let is_end = chunk.contains("\"finish_reason\":\"") || chunk.contains("\"choices\":[]");
    let is_start = chunk.contains("\"role\":\"") && chunk.contains("\"content\":\"\"");
    !is_end && !is_start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_openai_s_clients_are_told_wins() {
        let mut told = Told::default();
        told.chunk(r#"{"choices":[{"delta":{"content":"a"}}]}"#);
        assert_eq!(told.tokens(), None);
        told.chunk(r#"{"choices":[{}],"timings":{"cache_n":2,"prompt_n":5,"predicted_n":9}}"#);
        told.chunk(r#"{"choices":[{}],"timings":{"cache_n":7,"prompt_n":0,"predicted_n":1}}"#);
        assert_eq!(told.tokens(), Some(Tokens { prompt: 7, cached: 2, generated: 10 }));
        told.chunk(
            r#"{"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":3}}}"#,
        );
        assert_eq!(told.tokens(), Some(Tokens { prompt: 8, cached: 3, generated: 10 }));
    }

    #[test]
    fn another_server_s_answer_is_read_as_far_as_it_goes() {
        for (body, tokens) in [
            (r#"{"usage":null}"#, None),
            ("[1]", None),
            (r#"{"usage":{"prompt_tokens":4,"total_tokens":4}}"#, Some((4, 0))),
            (r#"{"usage":{"prompt_tokens":4,"completion_tokens":2,"x":{"y":{}}}}"#, Some((4, 2))),
        ] {
            let mut told = Told::default();
            told.whole(body.as_bytes());
            let told = told.tokens().map(|tokens| (tokens.prompt, tokens.generated));
            assert_eq!(told, tokens, "{body}");
        }
    }

    #[test]
    fn a_role_and_an_end_are_no_pieces() {
        for (chunk, is_piece) in [
            (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, false),
            (r#"{"choices":[{"delta":{"role":"assistant","content":"Hi"}}]}"#, true),
            (r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#, true),
            (r#"{"choices":[{"delta":{"content":"\"role\":\"\""}}]}"#, true),
            (r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, false),
            (r#"{"choices":[],"usage":{}}"#, false),
            (r#"{"choices":[{"text":"a","finish_reason":null}]}"#, true),
        ] {
            assert_eq!(has_piece(chunk), is_piece, "{chunk}");
        }
    }
}
