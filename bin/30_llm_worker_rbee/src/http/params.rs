//! The parameters that chat and plain completions share.

use std::collections::HashMap;

use http_guard::ApiError;
use serde::Deserialize;

use super::{error::invalid_value, fields::Fields, foreign, form};
use crate::engine::{Request, Sampling};

/// Stop strings of one request; OpenAI takes four.
const STOPS_MAX: usize = 16;
const STOP_BYTES_MAX: usize = 1024;
/// Alternatives that each token is reported with.
pub(super) const TOP_LOGPROBS_MAX: i64 = 20;
/// Answers of one request. All that wait take a place of the queue.
pub(super) const CHOICES_MAX: usize = 32;
/// Seeds are 32 bits wide, and llama.cpp takes this one for "any".
const SEED_ANY: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Params {
    pub(super) sampling: Sampling,
    pub(super) stop: Vec<String>,
    /// Answers to each prompt.
    pub(super) n: u32,
    pub(super) max_tokens: Option<u32>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) reuse_cache: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

impl Params {
    /// `eog` are the tokens that end a turn.
    pub(super) fn read(fields: &Fields, vocabulary: u32, eog: &[i32]) -> Result<Self, ApiError> {
        drop(fields.get::<String>("model", "a string")?);
        foreign::read(fields)?;
        let n = fields.integer("n", 1..=CHOICES_MAX as i64)?;
        let stream = fields.flag("stream")?;
        let options = fields.get::<StreamOptions>("stream_options", "an object")?;
        if options.is_some() && !stream {
            return Err(invalid_value(
                "stream_options",
                "`stream_options` is only for `stream`: true",
            ));
        }
        let seed = fields.integer("seed", i64::MIN..=i64::MAX)?;
        let cache_prompt = fields.get::<bool>("cache_prompt", "true or false")?;
        Ok(Self {
            sampling: sampling(fields, seed, vocabulary, eog)?,
            stop: stop(fields)?,
            n: n.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
            max_tokens: max_tokens(fields)?,
            stream,
            include_usage: options.and_then(|options| options.include_usage).unwrap_or(false),
            // Who gives a seed wants the same answer again.
            reuse_cache: cache_prompt.unwrap_or(seed.is_none()),
        })
    }
}

impl Params {
    /// Refuses more answers to `prompts` prompts, which `field` has, than one request may have.
    pub(super) fn require_choices(&self, prompts: usize, field: &str) -> Result<(), ApiError> {
        let count = prompts.saturating_mul(self.n as usize);
        if count > CHOICES_MAX {
            let message = format!("one request may have {CHOICES_MAX} answers, not {count}");
            return Err(invalid_value(field, message));
        }
        Ok(())
    }

    /// The request for each of the answers to one prompt. Each has a seed of its own.
    pub(super) fn each(&self, request: Request) -> impl Iterator<Item = Request> + use<> {
        let n = self.n;
        (0..n).map(move |index| {
            let mut request = request.clone();
            request.sampling.seed = nth_seed(request.sampling.seed, index);
            request
        })
    }
}

fn nth_seed(seed: u32, index: u32) -> u32 {
    let seed = seed.wrapping_add(index);
    if seed == SEED_ANY { 0 } else { seed }
}

fn sampling(
    fields: &Fields,
    seed: Option<i64>,
    vocabulary: u32,
    eog: &[i32],
) -> Result<Sampling, ApiError> {
    let usual = Sampling::default();
    // llama.cpp's name, and vLLM's.
    let repeat = fields.number("repeat_penalty", 0.01..=100.0)?;
    let repeat = repeat.or(fields.number("repetition_penalty", 0.01..=100.0)?);
    let top_k = fields.integer("top_k", -1..=i64::from(i32::MAX))?;
    let mut logit_bias = logit_bias(fields, vocabulary)?;
    if fields.flag("ignore_eos")? {
        logit_bias.extend(eog.iter().map(|&token| (token, f32::NEG_INFINITY)));
    }
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(usual.temperature),
        top_k: top_k.and_then(|k| i32::try_from(k.max(0)).ok()).unwrap_or(usual.top_k),
        top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(usual.top_p),
        min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(usual.min_p),
        seed: seed.map_or_else(random_seed, fold_seed),
        repeat_penalty: repeat.unwrap_or(usual.repeat_penalty),
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        logit_bias,
        form: form::read(fields)?,
        holds: usual.holds,
    })
}

fn fold_seed(seed: i64) -> u32 {
    let bits = seed.cast_unsigned();
    let folded = (bits ^ (bits >> 32)) as u32;
    if folded == SEED_ANY { SEED_ANY - 1 } else { folded }
}

fn random_seed() -> u32 {
    let random = uuid::Uuid::now_v7().as_u128();
    // The low half of such an id is random.
    fold_seed((random as u64).cast_signed())
}

fn stop(fields: &Fields) -> Result<Vec<String>, ApiError> {
    let stop = match fields.get("stop", "a string or an array of strings")? {
        None => return Ok(Vec::new()),
        Some(OneOrMany::One(stop)) => vec![stop],
        Some(OneOrMany::Many(stops)) => stops,
    };
    if stop.len() > STOPS_MAX {
        return Err(invalid_value(
            "stop",
            format!("`stop` may have {STOPS_MAX} strings, not {}", stop.len()),
        ));
    }
    if stop.iter().any(|stop| stop.len() > STOP_BYTES_MAX) {
        return Err(invalid_value(
            "stop",
            format!("a string of `stop` may have {STOP_BYTES_MAX} bytes"),
        ));
    }
    Ok(stop)
}

fn max_tokens(fields: &Fields) -> Result<Option<u32>, ApiError> {
    let read = |name: &str| match fields.integer(name, -1..=i64::from(u32::MAX))? {
        // As many as there is room for.
        Some(-1) => Ok(Some(u32::MAX)),
        Some(0) => Err(invalid_value(name, format!("`{name}` must be 1 or more, or -1, not 0"))),
        tokens => Ok(tokens.and_then(|tokens| u32::try_from(tokens).ok())),
    };
    let (newer, older) = (read("max_completion_tokens")?, read("max_tokens")?);
    Ok(newer.or(older))
}

fn logit_bias(fields: &Fields, vocabulary: u32) -> Result<Vec<(i32, f32)>, ApiError> {
    let what = "an object of token ids and numbers";
    let Some(biases) = fields.get::<HashMap<String, f32>>("logit_bias", what)? else {
        return Ok(Vec::new());
    };
    let mut checked = Vec::with_capacity(biases.len());
    for (token, bias) in biases {
        let id = token
            .parse::<i32>()
            .ok()
            .filter(|&id| u32::try_from(id).is_ok_and(|id| id < vocabulary));
        let Some(id) = id else {
            let message =
                format!("`logit_bias` names token `{token}`, and the model has {vocabulary}");
            return Err(invalid_value("logit_bias", message));
        };
        if !(-100.0..=100.0).contains(&bias) {
            let message = format!("a bias must be from -100 to 100, not {bias}");
            return Err(invalid_value("logit_bias", message));
        }
        checked.push((id, bias));
    }
    Ok(checked)
}
