//! llama.cpp's `GET /props`.

use axum::{Json, extract::State};
use http_guard::ApiError;
use serde::Serialize;
use worker_service::Asked;

use super::{Service, fields::Fields, params};

/// What a program may want to know before it asks for anything.
#[derive(Serialize)]
pub(super) struct Props {
    default_generation_settings: Settings,
    total_slots: u32,
    model_alias: String,
    /// The model's name: where its file lies is nobody's business.
    model_path: String,
    modalities: Modalities,
    /// The Jinja text by which chats are written down, empty where the model's file has none.
    chat_template: String,
    bos_token: String,
    eos_token: String,
    build_info: String,
}

#[derive(Serialize)]
struct Settings {
    n_ctx: u32,
    params: Sampling,
}

#[derive(Serialize)]
struct Sampling {
    temperature: f32,
    top_k: i32,
    top_p: f32,
    min_p: f32,
    repeat_penalty: f32,
    presence_penalty: f32,
    frequency_penalty: f32,
    /// -1: as many as there is room for.
    n_predict: i64,
}

#[derive(Serialize)]
struct Modalities {
    vision: bool,
    audio: bool,
}

pub(super) async fn props(State(service): State<Service>) -> Result<Json<Props>, ApiError> {
    let (model, config) = (service.work.model(), service.work.config());
    // As a request has it that says nothing.
    let fields = Fields::parse_with(b"{}", &service.defaults, Asked::Chat)?;
    let request = params::Params::read(&fields, model.facts.vocabulary, &model.eog)?;
    let usual = request.sampling;
    let (bos_token, eos_token) = model.end_tokens();
    Ok(Json(Props {
        default_generation_settings: Settings {
            n_ctx: config.context,
            params: Sampling {
                temperature: usual.temperature,
                top_k: usual.top_k,
                top_p: usual.top_p,
                min_p: usual.min_p,
                repeat_penalty: usual.repeat_penalty,
                presence_penalty: usual.presence_penalty,
                frequency_penalty: usual.frequency_penalty,
                n_predict: request.max_tokens.map_or(-1, i64::from),
            },
        },
        total_slots: config.parallel,
        model_alias: service.name.to_string(),
        model_path: service.name.to_string(),
        modalities: Modalities { vision: false, audio: false },
        chat_template: model.template_source().to_owned(),
        bos_token: bos_token.to_owned(),
        eos_token: eos_token.to_owned(),
        build_info: service.fingerprint.to_string(),
    }))
}
