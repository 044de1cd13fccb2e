use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The body of `POST /v1/continuations`: what was asked of a worker that has ended, and what the client
/// has of its answer. The response is the rest of the stream.
///
/// Only a worker reads the request and the chunks; everybody before it passes them on as they came.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Continuation {
    /// The endpoint that was asked, such as [`crate::paths::CHAT_COMPLETIONS`].
    pub path: String,
    /// The body that it was asked with.
    pub request: Box<RawValue>,
    /// The chunks that have come, in their order.
    pub delivered: Vec<Box<RawValue>>,
}

#[cfg(test)]
mod tests {
    use super::Continuation;

    #[test]
    fn the_request_and_the_chunks_stay_as_they_came() {
        let text = r#"{"path":"/v1/completions","request":{"a": 1e0,  "b":"\u00e9"},"delivered":[{"n": 1},2]}"#;
        let continuation: Continuation = serde_json::from_str(text).unwrap();
        assert_eq!(continuation.request.get(), r#"{"a": 1e0,  "b":"\u00e9"}"#);
        assert_eq!(continuation.delivered[0].get(), r#"{"n": 1}"#);
        assert_eq!(serde_json::to_string(&continuation).unwrap(), text);
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        for (text, says) in [
            (r#"{"path":"/","delivered":[]}"#, "missing field `request`"),
            (r#"{"path":"/","request":{}}"#, "missing field `delivered`"),
            (r#"{"path":"/","request":{},"delivered":[],"n":1}"#, "unknown field `n`"),
        ] {
            let error = serde_json::from_str::<Continuation>(text).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
