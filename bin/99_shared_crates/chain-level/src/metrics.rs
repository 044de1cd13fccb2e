//! What a process counts, for Prometheus.

mod measured; // one request
mod told; // what an answer says of its tokens

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};
use daemon_lifecycle::Outcome;
use http_guard::{ApiError, Token, require_token_of_others};
use narration_core::{Level as Severity, Narration};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};
use rbee_api::paths;

pub(crate) use self::measured::{Ended, Measured};

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// How many models are told apart: names come from clients.
const MODELS_MAX: usize = 200;
/// What the models beyond those are called together.
const OTHERS: &str = "(others)";

/// vLLM's buckets, so that its dashboards fit; in seconds.
const FIRST_TOKEN: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 60.0];
const BETWEEN_TOKENS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 5.0];
const WHOLE: [f64; 14] =
    [0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 20.0, 60.0, 300.0, 1200.0];

/// What a queen or a hive counts of its requests and of the processes that it uses. Clones count
/// together. The names are those of vLLM's server where it has such a thing.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// Of all that is in it.
    names: Vec<&'static str>,
    requests: Family<OfRequest, Counter>,
    running: Gauge,
    waiting: Gauge,
    first_token: Histograms,
    between_tokens: Histograms,
    whole: Histograms,
    prompt_tokens: Family<OfModel, Counter>,
    cached_tokens: Family<OfModel, Counter>,
    generated_tokens: Family<OfModel, Counter>,
    starts: Family<OfPlace, Counter>,
    replacements: Family<OfReplacement, Counter>,
    ends: Family<OfEnd, Counter>,
    rebuilds: Family<OfBuild, Counter>,
    /// The models that have a name here.
    models: Mutex<BTreeSet<String>>,
}

type Histograms = Family<OfModel, Histogram, fn() -> Histogram>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    endpoint: &'static str,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfModel {
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPlace {
    level: &'static str,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReplacement {
    level: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfEnd {
    level: &'static str,
    why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBuild {
    binary: String,
    outcome: &'static str,
}

impl Metrics {
    /// A request that begins now. Nothing is kept of the model's name before something has answered for
    /// it.
    pub(crate) fn request(&self, endpoint: &'static str, model: &str) -> Measured {
        Measured::new(self.clone(), endpoint, model)
    }

    /// How a process came to answer in the place `name`, or that none did.
    pub(crate) fn brought_up(&self, level: &'static str, name: &str, outcome: Option<&Outcome>) {
        let inner = &self.0;
        if matches!(outcome, Some(Outcome::Started | Outcome::Replaced { .. })) {
            let of = OfPlace { level, name: self.known(name) };
            inner.starts.get_or_create(&of).inc();
        }
        let outcome = match outcome {
            // Nothing was to be replaced.
            Some(Outcome::Started | Outcome::Reused) => return,
            Some(Outcome::Replaced { .. }) => "replaced",
            Some(Outcome::RolledBack { .. }) => "rolled_back",
            Some(Outcome::Stale { .. }) => "stale",
            None => "failed",
        };
        inner.replacements.get_or_create(&OfReplacement { level, outcome }).inc();
    }

    /// A process of the next level is ended, or left to end.
    pub fn ended(&self, level: &'static str, why: Why) {
        let why = match why {
            Why::MakesRoom => "evicted",
            Why::Unused => "unused",
            Why::Hung => "hung",
            Why::Replaced => "replaced",
        };
        self.0.ends.get_or_create(&OfEnd { level, why }).inc();
    }

    /// Counts a build that has ended, where that is what is told.
    pub(crate) fn narrated(&self, narration: &Narration) {
        if narration.action != "auto_rebuild" {
            return;
        }
        let outcome = match (narration.level, narration.duration_ms) {
            (Severity::Error, _) => "failed",
            (_, Some(_)) => "built",
            // It begins.
            (_, None) => return,
        };
        // One of rbee's own binaries.
        let binary = narration.target.clone().unwrap_or_default();
        self.0.rebuilds.get_or_create(&OfBuild { binary, outcome }).inc();
    }

    /// Everything in OpenMetrics' text.
    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    fn of_model(&self, model: &str) -> OfModel {
        OfModel { model: self.known(model) }
    }

    /// The name, or that of all others where there are too many.
    fn known(&self, name: &str) -> String {
        let mut models = self.0.models.lock().unwrap_or_else(PoisonError::into_inner);
        if models.contains(name) || models.len() < MODELS_MAX && models.insert(name.to_owned()) {
            name.to_owned()
        } else {
            OTHERS.to_owned()
        }
    }
}

/// Why a process of the next level is not needed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Another model needs its memory.
    MakesRoom,
    /// Nobody has asked it anything for long.
    Unused,
    Hung,
    /// Another one is in its place.
    Replaced,
}

impl Default for Inner {
    fn default() -> Self {
        let histogram = Histograms::new_with_constructor;
        let mut inner = Self {
            registry: Registry::with_prefix("rbee"),
            names: Vec::new(),
            requests: Family::default(),
            running: Gauge::default(),
            waiting: Gauge::default(),
            first_token: histogram(|| Histogram::new(FIRST_TOKEN)),
            between_tokens: histogram(|| Histogram::new(BETWEEN_TOKENS)),
            whole: histogram(|| Histogram::new(WHOLE)),
            prompt_tokens: Family::default(),
            cached_tokens: Family::default(),
            generated_tokens: Family::default(),
            starts: Family::default(),
            replacements: Family::default(),
            ends: Family::default(),
            rebuilds: Family::default(),
            models: Mutex::default(),
        };
        inner.register();
        inner
    }
}

impl Inner {
    /// Names everything; OpenMetrics writes `_total` behind the name of what only grows.
    fn register(&mut self) {
        self.add(
            "requests",
            "Requests that have ended, by endpoint and by how: completed, cancelled, moved to a later \
             process, or the code of the error",
            self.requests.clone(),
        );
        self.add(
            "num_requests_running",
            "Requests whose answer has begun and has not ended",
            self.running.clone(),
        );
        self.add(
            "num_requests_waiting",
            "Requests whose answer has not begun: queued, or waiting for a process or a model",
            self.waiting.clone(),
        );
        self.add(
            "time_to_first_token_seconds",
            "From a streamed request to the first piece of its answer",
            self.first_token.clone(),
        );
        self.add(
            "inter_token_latency_seconds",
            "Between two pieces of a streamed answer, which mostly are one token each",
            self.between_tokens.clone(),
        );
        self.add(
            "e2e_request_latency_seconds",
            "From a request to the end of its answer, of those that completed",
            self.whole.clone(),
        );
        self.add(
            "prompt_tokens",
            "Tokens of prompts, as workers tell them",
            self.prompt_tokens.clone(),
        );
        self.add(
            "prompt_tokens_cached",
            "Those among them that a worker had from an earlier request",
            self.cached_tokens.clone(),
        );
        self.add(
            "generation_tokens",
            "Tokens of answers, as workers tell them",
            self.generated_tokens.clone(),
        );
        self.add(
            "starts",
            "Processes of the next level that were started, by place: of a worker, models loaded",
            self.starts.clone(),
        );
        self.add(
            "replacements",
            "Attempts to put a fresh process of the next level into a place, by how they ended",
            self.replacements.clone(),
        );
        self.add(
            "ends",
            "Processes of the next level that were ended or left to end, by why: evicted made room",
            self.ends.clone(),
        );
        self.add(
            "rebuilds",
            "Builds that this process had made, by binary and outcome",
            self.rebuilds.clone(),
        );
    }

    fn add(&mut self, name: &'static str, help: &str, metric: impl Metric) {
        self.names.push(name);
        self.registry.register(name, help, metric);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// `GET /metrics`, for the same user and who may manage: it names models.
pub fn metrics_route(metrics: Metrics, token: Token) -> Router {
    Router::new()
        .route(paths::METRICS, get(expose))
        .route_layer(require_token_of_others(token))
        .with_state(metrics)
}

async fn expose(State(metrics): State<Metrics>) -> Result<Response, ApiError> {
    let text = metrics.text().map_err(ApiError::internal)?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_metrics_md_lists_every_name() {
        let paper = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/metrics.md");
        let paper = std::fs::read_to_string(paper).unwrap();
        let rows = paper.lines().filter_map(|line| line.strip_prefix("| `rbee_"));
        let listed = rows.map(|row| row.split('`').next().unwrap().trim_end_matches("_total"));
        assert_eq!(listed.collect::<Vec<_>>(), Metrics::default().0.names);
    }

    #[test]
    fn only_so_many_models_are_told_apart() {
        let metrics = Metrics::default();
        for nth in 0..MODELS_MAX + 5 {
            metrics.brought_up("worker", &nth.to_string(), Some(&Outcome::Started));
        }
        let text = metrics.text().unwrap();
        assert!(text.contains(r#"rbee_starts_total{level="worker",name="7"} 1"#), "{text}");
        assert!(text.contains(r#"rbee_starts_total{level="worker",name="(others)"} 5"#), "{text}");
    }

    #[test]
    fn a_replacement_is_counted_by_how_it_ended() {
        let metrics = Metrics::default();
        let why = String::new();
        for outcome in [
            Some(Outcome::Started),
            Some(Outcome::Reused),
            Some(Outcome::RolledBack { why: why.clone() }),
            Some(Outcome::Stale { build_error: why }),
            None,
        ] {
            metrics.brought_up("hive", "a", outcome.as_ref());
        }
        let text = metrics.text().unwrap();
        for (outcome, count) in [("rolled_back", 1), ("stale", 1), ("failed", 1)] {
            let line =
                format!(r#"rbee_replacements_total{{level="hive",outcome="{outcome}"}} {count}"#);
            assert!(text.contains(&line), "{line}: {text}");
        }
        assert!(!text.contains(r#"outcome="replaced""#), "{text}");
        assert!(text.contains(r#"rbee_starts_total{level="hive",name="a"} 1"#), "{text}");
    }

    #[test]
    fn a_build_is_counted_once_and_when_it_has_ended() {
        use narration_core::lines;
        let metrics = Metrics::default();
        metrics.narrated(&lines::rebuilding("rbee-hive"));
        metrics.narrated(&lines::rebuilt("rbee-hive").took(std::time::Duration::from_secs(2)));
        metrics.narrated(&lines::rebuild_failed("rbee-hive"));
        metrics.narrated(&lines::up_to_date("rbee-hive"));
        let text = metrics.text().unwrap();
        for outcome in ["built", "failed"] {
            let line =
                format!(r#"rbee_rebuilds_total{{binary="rbee-hive",outcome="{outcome}"}} 1"#);
            assert!(text.contains(&line), "{text}");
        }
    }
}
