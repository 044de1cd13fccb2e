//! Where things are asked for: each path once, as routers take it, and filled in as clients send it.

pub const HEALTH: &str = "/health";
/// What is counted, for Prometheus.
pub const METRICS: &str = "/metrics";
/// All routes of a queen, for programs.
pub const OPENAPI: &str = "/openapi.json";

/// OpenAI's list of models.
pub const MODELS: &str = "/v1/models";
pub const CHAT_COMPLETIONS: &str = "/v1/chat/completions";
pub const COMPLETIONS: &str = "/v1/completions";
pub const EMBEDDINGS: &str = "/v1/embeddings";
/// Jina's, Cohere's, llama.cpp's and vLLM's: how well documents answer a query.
pub const RERANK: &str = "/v1/rerank";
/// vLLM's: the same of texts by twos.
pub const SCORE: &str = "/v1/score";
/// How some of them also spell a path.
pub const OTHER_SPELLINGS: &[(&str, &str)] = &[
    ("/rerank", RERANK),
    ("/reranking", RERANK),
    ("/v1/reranking", RERANK),
    ("/v2/rerank", RERANK),
    ("/score", SCORE),
];
/// The rest of a stream whose worker has ended: a [`crate::Continuation`].
pub const CONTINUATIONS: &str = "/v1/continuations";
pub const RESPONSES: &str = "/v1/responses";
/// One of [`MODELS`]; the name may hold slashes.
pub const MODEL: &str = "/v1/models/{*name}";

/// llama.cpp's, and vLLM's: a text or a chat to tokens, and back.
pub const TOKENIZE: &str = "/tokenize";
pub const DETOKENIZE: &str = "/detokenize";
/// llama.cpp's: a chat to the text that the model reads.
pub const APPLY_TEMPLATE: &str = "/apply-template";
/// llama.cpp's: what is known of a model.
pub const PROPS: &str = "/props";

/// Anthropic's.
pub const MESSAGES: &str = "/v1/messages";
pub const MESSAGES_COUNT: &str = "/v1/messages/count_tokens";

/// What all of Ollama's lie below.
pub const OLLAMA: &str = "/api";
pub const OLLAMA_CHAT: &str = "/api/chat";
pub const OLLAMA_GENERATE: &str = "/api/generate";
pub const OLLAMA_EMBED: &str = "/api/embed";
/// The older one, of one text.
pub const OLLAMA_EMBEDDINGS: &str = "/api/embeddings";
pub const OLLAMA_TAGS: &str = "/api/tags";
pub const OLLAMA_SHOW: &str = "/api/show";
pub const OLLAMA_PS: &str = "/api/ps";
pub const OLLAMA_PULL: &str = "/api/pull";
pub const OLLAMA_COPY: &str = "/api/copy";
pub const OLLAMA_DELETE: &str = "/api/delete";
pub const OLLAMA_VERSION: &str = "/api/version";

pub const JOBS: &str = "/v1/jobs";
pub const JOB: &str = "/v1/jobs/{id}";
pub const JOB_STREAM: &str = "/v1/jobs/{id}/stream";
/// Lets a job go to a later generation of the process.
pub const JOB_RELEASE: &str = "/v1/jobs/{id}/release";

/// What happens, for whoever looks on.
pub const EVENTS: &str = "/v1/events";

/// The generations of a hive that it has replaced: a list of [`crate::Leaving`].
pub const LEAVING: &str = "/v1/leaving";

pub const HIVES: &str = "/v1/hives";
pub const CAPABILITIES: &str = "/v1/capabilities";

pub const WORKERS: &str = "/v1/workers";
pub const WORKERS_UPDATE: &str = "/v1/workers/update";
/// Tells a worker that it is still wanted.
pub const LEASE: &str = "/v1/lease";
/// The program that computes a worker's tokens.
pub const ENGINE: &str = "/v1/engine";

pub const MODEL_STORE: &str = "/v1/models/store";
/// The name may hold slashes.
pub const STORED_MODEL: &str = "/v1/models/store/{*name}";
/// Secrets that let others in.
pub const KEYS: &str = "/v1/keys";
pub const KEY: &str = "/v1/keys/{name}";

pub const MODEL_PULL: &str = "/v1/models/pull";
pub const MODEL_LOAD: &str = "/v1/models/load";
pub const MODEL_UNLOAD: &str = "/v1/models/unload";

/// What programs of others speak to a queen: the routes of OpenAI's, Anthropic's and Ollama's APIs, and
/// of llama.cpp's server, each with its method.
pub const CLIENT_ROUTES: &[(&str, &str)] = &[
    ("GET", MODELS),
    ("POST", CHAT_COMPLETIONS),
    ("POST", COMPLETIONS),
    ("POST", EMBEDDINGS),
    ("POST", RERANK),
    ("POST", SCORE),
    ("POST", TOKENIZE),
    ("POST", DETOKENIZE),
    ("POST", APPLY_TEMPLATE),
    ("GET", PROPS),
    ("POST", RESPONSES),
    ("GET", MODEL),
    ("POST", MESSAGES),
    ("POST", MESSAGES_COUNT),
    ("POST", OLLAMA_CHAT),
    ("POST", OLLAMA_GENERATE),
    ("POST", OLLAMA_EMBED),
    ("POST", OLLAMA_EMBEDDINGS),
    ("GET", OLLAMA_TAGS),
    ("POST", OLLAMA_SHOW),
    ("GET", OLLAMA_PS),
    ("POST", OLLAMA_PULL),
    ("POST", OLLAMA_COPY),
    ("DELETE", OLLAMA_DELETE),
    ("GET", OLLAMA_VERSION),
];

/// [`JOB`] of that id.
pub fn job(id: impl ToString) -> String {
    fill(JOB, &id.to_string())
}

/// [`JOB_STREAM`] of that id.
pub fn job_stream(id: impl ToString) -> String {
    fill(JOB_STREAM, &id.to_string())
}

/// [`JOB_RELEASE`] of that id.
pub fn job_release(id: impl ToString) -> String {
    fill(JOB_RELEASE, &id.to_string())
}

/// [`KEY`] of that name.
pub fn key(name: &str) -> String {
    fill(KEY, name)
}

/// [`STORED_MODEL`] of that name.
pub fn stored_model(name: &str) -> String {
    fill(STORED_MODEL, name)
}

/// `path` for the hive of that alias; for the first hive when there is none.
pub fn of_hive(path: &str, alias: Option<&str>) -> String {
    match alias {
        Some(alias) => format!("{path}?hive={}", escape(alias)),
        None => path.to_owned(),
    }
}

/// `path` for the model of that name; for the default one when there is none.
pub fn of_model(path: &str, model: Option<&str>) -> String {
    match model {
        Some(model) => format!("{path}?model={}", escape(model)),
        None => path.to_owned(),
    }
}

/// Puts `value` in the place of the template's one parameter.
fn fill(template: &str, value: &str) -> String {
    let (before, rest) = template.split_once('{').expect("a template has a parameter");
    let (_, after) = rest.split_once('}').expect("a parameter ends");
    format!("{before}{}{after}", escape(value))
}

/// Percent-encodes what may not stand in one segment of a path or in a query's value.
fn escape(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].map(|nibble| {
                char::from_digit(nibble.into(), 16)
                    .expect("a nibble is a digit")
                    .to_ascii_uppercase()
            }));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::{MODEL_STORE, PROPS, escape, job_release, of_hive, of_model, stored_model};

    #[test]
    fn a_model_name_is_one_segment_of_a_path() {
        assert_eq!(escape("hf:org/repo"), "hf:org%2Frepo");
        assert_eq!(escape("smollm2:135m"), "smollm2:135m");
        assert_eq!(escape("../a b?\u{e9}"), "..%2Fa%20b%3F%C3%A9");
        assert_eq!(stored_model("hf:org/repo?"), "/v1/models/store/hf:org%2Frepo%3F");
    }

    #[test]
    fn a_job_s_id_stays_within_its_segment() {
        assert_eq!(job_release("../x"), "/v1/jobs/..%2Fx/release");
    }

    #[test]
    fn the_hive_is_named_only_when_it_is_chosen() {
        assert_eq!(of_hive(MODEL_STORE, None), "/v1/models/store");
        assert_eq!(of_hive(MODEL_STORE, Some("a&b")), "/v1/models/store?hive=a%26b");
    }

    #[test]
    fn the_model_is_named_only_when_it_is_chosen() {
        assert_eq!(of_model(PROPS, None), "/props");
        assert_eq!(of_model(PROPS, Some("hf:a/b&c")), "/props?model=hf:a%2Fb%26c");
    }
}
