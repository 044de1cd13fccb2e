mod file; // a GGUF file, looked at and open
mod pair; // two texts as a model that ranks reads them
mod purpose; // what it is served for

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use gguf_file::{GgufSummary, Pooling, Purpose, ThoughtTags};
use llama_cpp_2::{
    LlamaCppError,
    llama_backend::LlamaBackend,
    model::{LlamaModel, params::LlamaModelParams},
    token::LlamaToken,
    token_type::LlamaTokenAttr,
};
use llguidance::ParserFactory;

use rbee_api::TemplateSetting;

pub use self::file::ModelFile;
pub(crate) use self::purpose::pooling_type;
use crate::{
    guidance,
    json::Json,
    llama_log,
    prompt::{Controls, Part},
    template::{CHATML, CHATML_NAME, ChatTemplate, TemplateError},
    tools::Notation,
};

/// Where a vocabulary's tokens are shorter, what is not in it may still become one token.
const LONGEST_TOKEN_AT_LEAST: usize = 64;

/// Begins the key of a template that the model's file has beside the usual one.
const NAMED_TEMPLATE: &str = "tokenizer.chat_template.";

/// Why a model cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot load model `{path}`: {reason}")]
    Load { path: PathBuf, reason: String },
    #[error("cannot load model `{path}`")]
    Unfit { path: PathBuf, source: gguf_file::Problem },
    #[error("the chat template that is set does not compile: {reason}")]
    Template { reason: String },
    #[error("no chat template is called `{name}`: there are {known}")]
    UnknownTemplate { name: String, known: String },
    #[error(
        "{layers} layers are to be computed by a GPU, and this build of the worker computes on the \
         CPU only: take `gpu_layers` out"
    )]
    NoGpu { layers: u32 },
    #[error("cannot start llama.cpp")]
    Backend { source: LlamaCppError },
    #[error("cannot make a context of {context} tokens for {parallel} requests: {reason}")]
    Context { context: u32, parallel: u32, reason: String },
    #[error(
        "it makes a vector of each token, and its file does not say how they become one of a text; \
         say so with `--pooling`"
    )]
    Unpooled,
    #[error("it says how well one text answers another, and takes no `--pooling`")]
    Ranks,
    #[error("it says which of several classes a text is of, which this worker does not serve")]
    Classes,
    #[error("the model makes no vector: {reason}")]
    FirstVector { reason: String },
    #[error("the model does not compute its first token")]
    WarmUp { source: LlamaCppError },
    #[error("cannot start the engine's thread")]
    Thread { source: std::io::Error },
    #[error("the engine's thread ended while it started")]
    Died,
}

/// A GGUF file in memory, with its vocabulary and its chat template.
///
/// It is shared: handlers tokenise while the engine computes.
pub struct Model {
    pub(crate) llama: LlamaModel,
    pub(crate) facts: ModelFacts,
    /// What tells its file, in this state, from all others on this machine.
    pub(crate) file: String,
    /// Whether a token sees earlier ones only.
    pub(crate) causal: bool,
    /// The tokens that end a turn.
    pub(crate) eog: Vec<i32>,
    template: ChatTemplate,
    controls: Controls,
    bos: Vec<u8>,
    /// Bytes that one token may stand for.
    longest: usize,
    /// Made once an answer is held to a schema, or why it cannot be.
    guidance: OnceLock<Result<ParserFactory, String>>,
}

/// How a model is loaded, beside from which file.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Layers that a GPU computes; none unless set.
    pub gpu_layers: Option<u32>,
    /// How chats are written down, instead of as the model's file says.
    pub chat_template: Option<TemplateSetting>,
}

/// What an answer begins with, among what a template is rendered with.
pub(crate) const BEGUN_ANSWER: &str = "begun_answer";

/// A conversation as the model reads it.
pub(crate) struct ChatPrompt {
    pub(crate) tokens: Vec<i32>,
    /// Whether the answer begins with thoughts.
    pub(crate) opens_thoughts: bool,
}

/// What a model says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFacts {
    pub parameters: u64,
    /// Bytes of all tensors.
    pub size_bytes: u64,
    /// Tokens of context that it was trained for.
    pub context_train: u32,
    pub vocabulary: u32,
    pub embedding: u32,
    pub purpose: Purpose,
}

impl Model {
    /// Loads the file at `path`.
    ///
    /// The file is mapped, not read: it must not change while the model lives.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::open(path)?.load()
    }

    /// A token with which any text may begin, for a first run that touches every weight.
    pub(crate) fn any_token(&self) -> LlamaToken {
        let vocab = self.llama.vocab();
        let special = [vocab.bos(), vocab.eos()].into_iter().find(|token| token.0 >= 0);
        special.unwrap_or(LlamaToken::new(0))
    }

    /// Opens the file at `path`, to be loaded later.
    pub fn open(path: &Path) -> Result<ModelFile, LoadError> {
        ModelFile::open(path)
    }

    /// How it makes vectors where it is served for them, and `None` where it is served for text. `wanted`
    /// is what whoever starts the worker says.
    pub fn served(&self, wanted: Option<Pooling>) -> Result<Option<Pooling>, LoadError> {
        purpose::served(self.facts.purpose, wanted)
    }

    /// What llama.cpp makes of the file at `path`, which has been looked at.
    fn load_file(
        path: &Path,
        file: String,
        summary: &GgufSummary,
        options: &LoadOptions,
        failed: &impl Fn(String) -> LoadError,
    ) -> Result<Self, LoadError> {
        let backend = backend()?;
        let layers = options.gpu_layers.unwrap_or(0);
        if layers > 0 && !backend.supports_gpu_offload() {
            return Err(LoadError::NoGpu { layers });
        }
        if let Some(TemplateSetting::Text(text)) = &options.chat_template {
            require_template(text)?;
        }
        let parameters = LlamaModelParams::default().with_n_gpu_layers(layers);
        let (loaded, errors) =
            llama_log::with_errors(|| LlamaModel::load_from_file(backend, path, &parameters));
        let llama = loaded.map_err(|error| {
            failed(if errors.is_empty() { error.to_string() } else { errors.join("; ") })
        })?;
        let template = match &options.chat_template {
            None => None,
            Some(template) => Some(chosen_template(&llama, template)?),
        };
        Self::describe(llama, file, summary, template).map_err(failed)
    }

    /// `template` is one that it has instead of its file's.
    fn describe(
        llama: LlamaModel,
        file: String,
        summary: &GgufSummary,
        template: Option<String>,
    ) -> Result<Self, String> {
        if llama.is_recurrent() && llama.n_ctx_train() == 0 {
            return Err("it states no context length".to_owned());
        }
        let vocab = llama.vocab();
        let vocabulary = u32::try_from(vocab.n_tokens()).unwrap_or(0);
        if vocabulary == 0 {
            return Err("it has no vocabulary".to_owned());
        }
        let piece = |token: LlamaToken| {
            if token.0 < 0 { Vec::new() } else { vocab.token_to_piece(token, true, None) }
        };
        let (bos, eos) = (piece(vocab.bos()), piece(vocab.eos()));
        let source = template.or_else(|| file_template(&llama, None));
        let template = ChatTemplate::new(
            source,
            String::from_utf8_lossy(&bos).into_owned(),
            String::from_utf8_lossy(&eos).into_owned(),
        );
        let GgufSummary { purpose, causal, .. } = *summary;
        let facts = ModelFacts {
            parameters: llama.n_params(),
            size_bytes: llama.size(),
            context_train: llama.n_ctx_train(),
            vocabulary,
            embedding: u32::try_from(llama.n_embd_out()).unwrap_or(0),
            purpose,
        };
        let eog =
            vocab.tokens().filter(|&token| vocab.is_eog(token)).map(|token| token.0).collect();
        let controls = Controls::new(
            vocab
                .tokens()
                .filter(|&token| {
                    let kind = vocab.attr(token);
                    kind.contains(LlamaTokenAttr::Control) || kind.contains(LlamaTokenAttr::Unknown)
                })
                .filter_map(|token| vocab.text(token)?.to_str().ok().map(str::to_owned)),
        );
        let bos = if vocab.should_add_bos() { bos } else { Vec::new() };
        let longest =
            vocab.tokens().filter_map(|token| vocab.text(token)).map(|text| text.to_bytes().len());
        let longest = longest.max().unwrap_or(1).max(LONGEST_TOKEN_AT_LEAST);
        let guidance = OnceLock::new();
        Ok(Self { llama, facts, file, causal, eog, template, controls, bos, longest, guidance })
    }

    #[must_use]
    pub fn facts(&self) -> &ModelFacts {
        &self.facts
    }

    /// How the model writes that it calls a function.
    pub(crate) fn notation(&self) -> Notation {
        self.template.notation
    }

    /// Whether its template shows tools; else the model has to be told of them in a message.
    pub(crate) fn template_knows_tools(&self) -> bool {
        self.template.knows_tools
    }

    /// What the model's thoughts stand between, where it has any.
    pub(crate) fn thoughts(&self) -> Option<ThoughtTags> {
        self.template.thoughts
    }

    /// The token that stands for all of `text`, where there is one.
    pub(crate) fn token_of(&self, text: &str) -> Option<i32> {
        match self.llama.vocab().tokenize(text.as_bytes(), false, true)[..] {
            [token] => Some(token.0),
            _ => None,
        }
    }

    /// The most bytes of text that can become no more than `tokens` tokens.
    pub(crate) fn bytes_of(&self, tokens: u32) -> usize {
        self.longest.saturating_mul(tokens as usize)
    }

    /// The prompt that the model's own template makes of a conversation: an object with `messages` and
    /// whatever else the template may use, and perhaps with a [`BEGUN_ANSWER`].
    ///
    /// What looks like a control token in it is text; only the template writes control tokens. The
    /// rendered text is shown to `fits` before any of it is tokenized.
    pub(crate) fn chat_prompt<E: From<TemplateError>>(
        &self,
        context: &Json,
        fits: impl FnOnce(usize) -> Result<(), E>,
    ) -> Result<ChatPrompt, E> {
        let (context, shielded) = self.controls.shield(context);
        let rendered = self.render(&context)?;
        fits(rendered.len())?;
        let opens_thoughts = self.thoughts().is_some_and(|tags| tags.opened_in(&rendered));
        let tokens = self.tokens_of_parts(&self.controls.parts(&rendered, &shielded));
        Ok(ChatPrompt { tokens, opens_thoughts })
    }

    fn tokens_of_parts(&self, parts: &[Part]) -> Vec<i32> {
        if let [Part::Template(whole)] = parts {
            return self.tokenize(whole);
        }
        let vocab = self.llama.vocab();
        let mut tokens = Vec::new();
        let written = matches!(parts, [Part::Template(first), ..]
            if first.as_bytes().starts_with(&self.bos));
        if !self.bos.is_empty() && !written {
            tokens.push(vocab.bos());
        }
        for part in parts {
            tokens.extend(match part {
                Part::Template(text) => vocab.tokenize(text.as_bytes(), false, true),
                Part::Plain(text) => vocab.tokenize(text.as_bytes(), false, false),
            });
        }
        tokens.into_iter().map(|token| token.0).collect()
    }

    /// The text that the model's own template makes of a conversation.
    pub(crate) fn chat_text(&self, context: &Json) -> Result<String, TemplateError> {
        self.render(context)
    }

    fn render(&self, context: &Json) -> Result<String, TemplateError> {
        let mut rendered = self.template.render(context)?;
        if let Some(begun) = context.get(BEGUN_ANSWER).and_then(Json::as_str) {
            // Whoever has begun to answer thinks no more.
            if let Some(tags) = self.thoughts().filter(|tags| tags.opened_in(&rendered)) {
                rendered.push_str(tags.close);
                rendered.push_str("\n\n");
            }
            rendered.push_str(begun);
        }
        Ok(rendered)
    }

    /// The template's own text, empty where the model has none.
    pub(crate) fn template_source(&self) -> &str {
        &self.template.source
    }

    /// What begins a text and what ends one, as text.
    pub(crate) fn end_tokens(&self) -> (&str, &str) {
        (&self.template.bos, &self.template.eos)
    }

    /// The tokens of a prompt that names its special tokens, as chat templates write them.
    ///
    /// A beginning-of-text token that the template wrote is not doubled.
    #[must_use]
    pub fn tokenize(&self, text: &str) -> Vec<i32> {
        let mut bytes = text.as_bytes();
        if !self.bos.is_empty() {
            bytes = bytes.strip_prefix(self.bos.as_slice()).unwrap_or(bytes);
        }
        self.llama.vocab().tokenize(bytes, true, true).into_iter().map(|token| token.0).collect()
    }

    /// The tokens of a text that somebody reads: none of it is a control token, and where the model
    /// wants such around a text, they are.
    pub(crate) fn tokenize_plain(&self, text: &str) -> Vec<i32> {
        self.tokens_of(text, true, false)
    }

    /// The tokens of a text, with `special` ones around it where the model wants them, and where the
    /// names of control tokens in it are `parsed` as these.
    pub(crate) fn tokens_of(&self, text: &str, special: bool, parsed: bool) -> Vec<i32> {
        let tokens = self.llama.vocab().tokenize(text.as_bytes(), special, parsed);
        tokens.into_iter().map(|token| token.0).collect()
    }

    /// The tokens that stand for just this text within a longer one, in which these control tokens are
    /// `shown`; `None` where no tokens do.
    pub(crate) fn tokens_within(&self, text: &str, shown: &[i32]) -> Option<Vec<i32>> {
        // Some vocabularies put white space before a text, which is not in front of this one.
        const BEFORE: &str = "\n";
        const BEFORE_TOKENS: usize = 8;
        let are = |tokens: &[i32], special: bool| {
            let mut bytes = Vec::new();
            tokens.iter().for_each(|&id| self.piece(LlamaToken::new(id), special, &mut bytes));
            bytes == text.as_bytes()
        };
        if let Some(&token) = shown.iter().find(|token| are(&[**token], true)) {
            return Some(vec![token]);
        }
        let plain = self.tokens_of(text, false, false);
        if are(&plain, false) {
            return Some(plain);
        }
        let behind = self.tokens_of(&format!("{BEFORE}{text}"), false, false);
        let first = (1..=BEFORE_TOKENS.min(behind.len())).find(|&at| are(&behind[at..], false))?;
        Some(behind[first..].to_vec())
    }

    /// The tokens of a prompt for what lies between two texts; `None` for a model that was not made for
    /// that.
    pub(crate) fn between(&self, before: &str, behind: &str) -> Option<Vec<i32>> {
        let vocab = self.llama.vocab();
        let [prefix, suffix, middle] = [vocab.fim_pre(), vocab.fim_suf(), vocab.fim_mid()];
        if [prefix, suffix, middle].iter().any(|token| token.0 < 0) {
            return None;
        }
        let mut tokens = vec![prefix.0];
        if !self.bos.is_empty() {
            tokens.insert(0, vocab.bos().0);
        }
        tokens.extend(self.tokens_of(before, false, false));
        tokens.push(suffix.0);
        tokens.extend(self.tokens_of(behind, false, false));
        tokens.push(middle.0);
        Some(tokens)
    }

    /// What holds answers to schemas and regular expressions; makes it the first time, which takes a while.
    pub(crate) fn guidance(&self) -> Result<&ParserFactory, String> {
        self.guidance.get_or_init(|| guidance::factory(&self.llama)).as_ref().map_err(String::clone)
    }

    /// The bytes that `token` stands for, which may be part of a character.
    pub(crate) fn piece(&self, token: LlamaToken, special: bool, into: &mut Vec<u8>) {
        self.llama.vocab().token_to_piece_into(token, into, special, None);
    }
}

/// The Jinja text of a template that somebody has chosen.
fn chosen_template(llama: &LlamaModel, chosen: &TemplateSetting) -> Result<String, LoadError> {
    let source = match chosen {
        TemplateSetting::Text(text) => text.clone(),
        TemplateSetting::Named(name) if name == CHATML_NAME => CHATML.to_owned(),
        TemplateSetting::Named(name) => file_template(llama, Some(name)).ok_or_else(|| {
            let known = [CHATML_NAME.to_owned()].into_iter().chain(template_names(llama));
            let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
            LoadError::UnknownTemplate { name: name.clone(), known: known.join(", ") }
        })?,
    };
    require_template(&source)?;
    Ok(source)
}

fn require_template(source: &str) -> Result<(), LoadError> {
    match ChatTemplate::new(Some(source.to_owned()), String::new(), String::new()).broken() {
        Some(reason) => Err(LoadError::Template { reason: reason.to_owned() }),
        None => Ok(()),
    }
}

/// The template that the model's file has by that name, or without one.
fn file_template(llama: &LlamaModel, name: Option<&str>) -> Option<String> {
    match name {
        // `chat_template` gives a name on to llama.cpp that it has freed by then.
        Some(name) => llama.meta_val_str(&format!("{NAMED_TEMPLATE}{name}")).ok(),
        None => llama.chat_template(None).ok()?.to_string().ok(),
    }
}

/// What the templates are called that the model's file has beside the usual one.
fn template_names(llama: &LlamaModel) -> Vec<String> {
    let keys = (0..llama.meta_count()).filter_map(|index| llama.meta_key_by_index(index).ok());
    keys.filter_map(|key| key.strip_prefix(NAMED_TEMPLATE).map(str::to_owned)).collect()
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// llama.cpp is started once in a process and never stopped.
pub(crate) fn backend() -> Result<&'static LlamaBackend, LoadError> {
    static BACKEND: OnceLock<Result<LlamaBackend, LlamaCppError>> = OnceLock::new();
    llama_log::forward_llama_log();
    match BACKEND.get_or_init(LlamaBackend::init) {
        Ok(backend) => Ok(backend),
        Err(_) => Err(LoadError::Backend { source: LlamaCppError::BackendAlreadyInitialized }),
    }
}
