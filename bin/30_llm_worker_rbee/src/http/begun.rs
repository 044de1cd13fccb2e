use http_guard::ApiError;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    error::{not_continuable, rejected},
    params::Params,
    reader::{Part, Reader},
    voice::Voice,
};
use crate::{
    Engine,
    engine::{Finish, FinishReason, Request, TextStream, Usage},
    tools::Piece,
};

/// What a client has of an answer.
#[derive(Debug, Default)]
pub(super) struct Begun {
    pub(super) id: String,
    pub(super) created: u64,
    /// The text of each chunk that has some.
    pieces: Vec<String>,
    /// Why that does not say what the model has written.
    unknown: Option<&'static str>,
    /// What it took, where it was told already how it ended.
    finished: Option<Usage>,
    /// Whether that was told too.
    pub(super) is_counted: bool,
}

/// As much of a chunk as says where an answer was.
#[derive(Deserialize)]
struct Chunk {
    id: String,
    created: u64,
    choices: Vec<Choice>,
    usage: Option<IgnoredAny>,
    timings: Option<Timings>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
    text: Option<String>,
    finish_reason: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<IgnoredAny>,
    tool_calls: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Timings {
    cache_n: u32,
    prompt_n: u32,
    predicted_n: u32,
}

impl Begun {
    /// Reads the chunks that have come.
    pub(super) fn read(delivered: &[Box<RawValue>]) -> Result<Self, ApiError> {
        let mut begun = Self::default();
        for chunk in delivered {
            let Chunk { id, created, choices, usage, timings } = serde_json::from_str(chunk.get())
                .map_err(|error| not_continuable(format!("a chunk cannot be read: {error}")))?;
            (begun.id, begun.created) = (id, created);
            begun.is_counted |= usage.is_some();
            for Choice { delta, text, finish_reason } in choices {
                if let Some(Timings { cache_n, prompt_n, predicted_n }) = timings.as_ref()
                    && finish_reason.is_some()
                {
                    begun.finished = Some(Usage {
                        prompt_tokens: cache_n.saturating_add(*prompt_n),
                        cached_tokens: *cache_n,
                        completion_tokens: *predicted_n,
                        ..Usage::default()
                    });
                } else if finish_reason.is_some() {
                    return Err(not_continuable("it has ended, and does not say what it took"));
                }
                let Delta { content, reasoning_content, tool_calls } = delta.unwrap_or_default();
                if tool_calls.is_some() {
                    begun.unknown = Some("calls do not say how the model wrote them");
                }
                if reasoning_content.is_some() {
                    begun.unknown = Some("thoughts do not say how the model wrote them");
                }
                begun.pieces.extend(text.or(content).filter(|text| !text.is_empty()));
            }
        }
        match begun.id.is_empty() {
            true => Err(not_continuable("nothing has come of it")),
            false => Ok(begun),
        }
    }

    /// Has the engine go on with `request`, in whose answer `reader` tells text from what is none; what
    /// is `echoed` of the prompt stands before the answer.
    pub(super) fn go_on(
        &self,
        engine: &Engine,
        params: &Params,
        mut request: Request,
        mut reader: Reader,
        echoed: Option<&str>,
    ) -> Result<Voice, ApiError> {
        if !params.stream {
            return Err(not_continuable("it is no stream"));
        }
        if params.n != 1 {
            return Err(not_continuable("it has several answers"));
        }
        if let Some(usage) = self.finished.clone() {
            // Only the client's own words depend on the reason, and it has them.
            return Ok(Voice::ended(Finish { reason: FinishReason::Stop, stop: None, usage }));
        }
        if request.logprobs.is_some() {
            return Err(not_continuable("its tokens are told with their probabilities"));
        }
        if let Some(why) = self.unknown {
            return Err(not_continuable(why));
        }
        let pieces = match echoed.filter(|echoed| !echoed.is_empty()) {
            None => &self.pieces[..],
            Some(echoed) => match self.pieces.split_first() {
                Some((first, rest)) if first == echoed => rest,
                Some(_) => return Err(not_continuable("it begins with another prompt")),
                None => &[],
            },
        };
        let mut text = TextStream::new(request.stop.clone());
        let (mut said, mut repeats) = (String::new(), String::new());
        for piece in pieces {
            let Some(tokens) = engine.model().tokens_within(piece, &request.shown) else {
                return Err(not_continuable("the vocabulary has no tokens for its text"));
            };
            request.begun.extend(tokens);
            let pushed = text.push(piece.as_bytes());
            if pushed.stopped.is_some() {
                return Err(not_continuable("its text has a stop string"));
            }
            said.push_str(&pushed.text);
            repeats.push_str(piece);
        }
        for part in reader.push(said) {
            match part {
                Part::Said(Piece::Text(text)) if repeats.starts_with(&text) => {
                    repeats.drain(..text.len());
                }
                _ => return Err(not_continuable("its text is not all that the model wrote")),
            }
        }
        let events = engine.submit(request).map_err(|error| rejected(error, "delivered"))?;
        Ok(Voice::repeating(events, reader, repeats))
    }
}

#[cfg(test)]
mod tests {
    use rbee_api::ErrorBody;
    use serde_json::{Value, json};

    use super::*;

    fn read(choices: &[Value]) -> Result<Begun, String> {
        let chunks = choices.iter().map(|choice| {
            let chunk = json!({"id": "cmpl-1", "created": 7, "choices": [choice]});
            RawValue::from_string(chunk.to_string()).unwrap()
        });
        Begun::read(&chunks.collect::<Vec<_>>())
            .map_err(|error| ErrorBody::from(error).error.message)
    }

    #[test]
    fn what_has_come_is_the_text_of_the_chunks() {
        let begun = read(&[
            json!({"delta": {"role": "assistant", "content": ""}, "finish_reason": null}),
            json!({"delta": {"content": "a"}, "finish_reason": null}),
            json!({"text": " b", "finish_reason": null}),
        ]);
        let Begun { id, created, pieces, finished, .. } = begun.unwrap();
        assert_eq!((id.as_str(), created, finished), ("cmpl-1", 7, None));
        assert_eq!(pieces, ["a", " b"]);
    }

    #[test]
    fn what_does_not_say_how_the_model_wrote_it_is_refused() {
        for (choice, says) in [
            (json!({"delta": {}, "finish_reason": "stop"}), "does not say what it took"),
            (json!({"delta": 1}), "a chunk cannot be read"),
        ] {
            let error = read(&[choice]).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(read(&[]).unwrap_err(), "nothing has come of it");
        for delta in [json!({"tool_calls": [{}]}), json!({"reasoning_content": "Hm."})] {
            let begun = read(&[json!({ "delta": delta })]).unwrap();
            assert!(begun.unknown.unwrap().contains("do not say how the model wrote"));
        }
    }
}
