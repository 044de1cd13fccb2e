use rbee_api::paths;

/// One of the queen's routes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) method: &'static str,
    /// As the router has it.
    pub(super) path: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: &'static [&'static str],
    /// The schema of what is sent.
    pub(super) body: Option<&'static str>,
    pub(super) answer: Answer,
    pub(super) who: Who,
}

/// What comes back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// Of this schema.
    Json(&'static str),
    Created(&'static str),
    /// Status 204.
    Nothing,
    /// Status 200, and no body.
    Empty,
    Stream,
    JsonOrStream,
    Text,
}

/// Who may ask.
#[derive(Debug, Clone, Copy)]
pub(super) enum Who {
    /// The same user, and who has a key.
    MayChat,
    /// The same user, and who may manage.
    SameUser,
    MayManage,
}

use Answer::{Created, Empty, Json, JsonOrStream, Nothing, Stream, Text};
use Who::{MayChat, MayManage, SameUser};

const fn get(path: &'static str, tag: &'static str, summary: &'static str) -> Route {
    let (query, answer): (&[&str], _) = (&[], Json("Any"));
    Route { method: "GET", path, tag, summary, query, body: None, answer, who: MayChat }
}

const fn post(
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    body: &'static str,
) -> Route {
    Route { method: "POST", body: Some(body), ..get(path, tag, summary) }
}

const fn delete(path: &'static str, tag: &'static str, summary: &'static str) -> Route {
    Route { method: "DELETE", who: MayManage, ..get(path, tag, summary) }
}

impl Route {
    const fn of(self, who: Who, answer: Answer) -> Self {
        Self { who, answer, ..self }
    }

    const fn asking(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }
}

const OPENAI: &str = "OpenAI";
const ANTHROPIC: &str = "Anthropic";
const OLLAMA: &str = "Ollama";
const RANKS: &str = "Jina, Cohere, vLLM";
const LLAMA_CPP: &str = "llama.cpp";
const CHAIN: &str = "chain";
const JOBS: &str = "jobs";
const KEYS: &str = "keys";

pub(super) const ROUTES: &[Route] = &[
    get(paths::MODELS, OPENAI, "The models that a request can name"),
    get(paths::MODEL, OPENAI, "One of them"),
    post(paths::CHAT_COMPLETIONS, OPENAI, "Goes on with a chat", "ChatCompletion")
        .of(MayChat, JsonOrStream),
    post(paths::COMPLETIONS, OPENAI, "Goes on with a text", "Completion").of(MayChat, JsonOrStream),
    post(paths::EMBEDDINGS, OPENAI, "Vectors of texts", "Embeddings"),
    post(paths::RERANK, RANKS, "How well documents answer a query", "Rerank"),
    post(paths::SCORE, RANKS, "How well texts answer others", "Score"),
    post(paths::RESPONSES, OPENAI, "Answers an input", "Responses").of(MayChat, JsonOrStream),
    post(paths::MESSAGES, ANTHROPIC, "Goes on with a chat", "Messages").of(MayChat, JsonOrStream),
    post(paths::MESSAGES_COUNT, ANTHROPIC, "How many tokens a chat takes", "CountTokens"),
    post(paths::OLLAMA_CHAT, OLLAMA, "Goes on with a chat", "OllamaChat").of(MayChat, JsonOrStream),
    post(paths::OLLAMA_GENERATE, OLLAMA, "Goes on with a text", "OllamaGenerate")
        .of(MayChat, JsonOrStream),
    post(paths::OLLAMA_EMBED, OLLAMA, "Vectors of texts", "OllamaEmbed"),
    post(paths::OLLAMA_EMBEDDINGS, OLLAMA, "The vector of a text", "OllamaEmbeddings"),
    get(paths::OLLAMA_TAGS, OLLAMA, "The models that are on a disk"),
    post(paths::OLLAMA_SHOW, OLLAMA, "What is known of a model", "OllamaModel"),
    get(paths::OLLAMA_PS, OLLAMA, "The models that are loaded").of(SameUser, Json("Any")),
    post(paths::OLLAMA_PULL, OLLAMA, "Brings a model into the first hive's store", "OllamaModel")
        .of(MayManage, JsonOrStream),
    post(paths::OLLAMA_COPY, OLLAMA, "Gives a model another name", "OllamaCopy")
        .of(MayManage, Empty),
    Route {
        body: Some("OllamaModel"),
        answer: Empty,
        ..delete(paths::OLLAMA_DELETE, OLLAMA, "Deletes a model's file")
    },
    get(paths::OLLAMA_VERSION, OLLAMA, "The version of Ollama's API that is spoken"),
    post(paths::TOKENIZE, LLAMA_CPP, "The tokens of a text or a chat", "Tokenize"),
    post(paths::DETOKENIZE, LLAMA_CPP, "The text of tokens", "Detokenize"),
    post(paths::APPLY_TEMPLATE, LLAMA_CPP, "The text that a model reads of a chat", "Chat"),
    get(paths::PROPS, LLAMA_CPP, "What is known of a model").asking(&["model"]),
    get(paths::HEALTH, CHAIN, "Whether the queen answers, and which").of(MayChat, Json("Health")),
    get(paths::METRICS, CHAIN, "What is counted, for Prometheus").of(SameUser, Text),
    get(paths::OPENAPI, CHAIN, "This document"),
    get(paths::EVENTS, CHAIN, "What happens in the chain, from now on").of(SameUser, Stream),
    get(paths::HIVES, CHAIN, "The hives, with what they have").of(SameUser, Json("HiveList")),
    get(paths::WORKERS, CHAIN, "The workers of all hives").of(SameUser, Json("WorkerList")),
    get(paths::MODEL_STORE, CHAIN, "The models of a hive's store")
        .of(SameUser, Json("ModelList"))
        .asking(&["hive"]),
    post(paths::MODEL_UNLOAD, CHAIN, "Ends the worker of a model", "OllamaModel")
        .of(MayManage, Json("Any"))
        .asking(&["hive"]),
    get(paths::STORED_MODEL, CHAIN, "What is known of a model of the store")
        .of(SameUser, Json("Any"))
        .asking(&["hive"]),
    delete(paths::STORED_MODEL, CHAIN, "Deletes a model's file")
        .of(MayManage, Json("ModelRemoved"))
        .asking(&["hive"]),
    get(paths::JOBS, JOBS, "All jobs").of(MayManage, Json("JobList")),
    post(paths::JOBS, JOBS, "Begins a job", "JobRequest").of(MayManage, Created("JobCreated")),
    get(paths::JOB, JOBS, "One of them").of(MayChat, Json("JobInfo")),
    Route {
        method: "PUT",
        body: Some("JobRemains"),
        ..get(paths::JOB, JOBS, "Goes on with a job of a queen that died")
    }
    .of(MayManage, Nothing),
    delete(paths::JOB, JOBS, "Ends a job").of(MayManage, Nothing),
    get(paths::JOB_STREAM, JOBS, "The job's events, from the one behind `Last-Event-ID`")
        .of(MayChat, Stream),
    Route { method: "POST", ..get(paths::JOB_RELEASE, JOBS, "Lets a job go to a later queen") }
        .of(MayManage, Json("Any")),
    get(paths::KEYS, KEYS, "All keys, without their secrets").of(MayManage, Json("KeyList")),
    post(paths::KEYS, KEYS, "Makes a key, and tells its secret once", "KeyRequest")
        .of(MayManage, Created("KeyCreated")),
    delete(paths::KEY, KEYS, "Revokes a key").of(MayManage, Nothing),
];
