use std::time::Instant;

use prometheus_client::metrics::histogram::Histogram;
use rbee_api::ErrorCode;

use super::{
    Metrics, OfRequest,
    told::{Told, has_piece},
};

/// A request, from its beginning to its end. One that is dropped before was abandoned.
#[derive(Debug)]
pub(crate) struct Measured {
    metrics: Metrics,
    endpoint: &'static str,
    model: String,
    begun: Instant,
    first: Option<Instant>,
    last: Option<Instant>,
    /// Since its first piece.
    between: Option<Histogram>,
    is_answered: bool,
    told: Told,
    outcome: Option<String>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    Completed,
    /// Its client went away, or somebody ended it.
    Cancelled,
    /// It goes on in a later process.
    Moved,
    Failed(ErrorCode),
}

impl Measured {
    pub(super) fn new(metrics: Metrics, endpoint: &'static str, model: &str) -> Self {
        metrics.0.waiting.inc();
        Self {
            metrics,
            endpoint,
            model: model.to_owned(),
            begun: Instant::now(),
            first: None,
            last: None,
            between: None,
            is_answered: false,
            told: Told::default(),
            outcome: None,
        }
    }

    /// A chunk has come.
    pub(crate) fn chunk(&mut self, chunk: &str) {
        self.answered();
        self.told.chunk(chunk);
        if !has_piece(chunk) {
            return;
        }
        let now = Instant::now();
        match (self.last.replace(now), &self.between) {
            (Some(last), Some(between)) => between.observe((now - last).as_secs_f64()),
            _ => {
                self.first = Some(now);
                let (inner, of) = (&self.metrics.0, self.metrics.of_model(&self.model));
                let waited = (now - self.begun).as_secs_f64();
                inner.first_token.get_or_create(&of).observe(waited);
                self.between = Some(inner.between_tokens.get_or_create_owned(&of));
            }
        }
    }

    /// The answer has come, as one body.
    pub(crate) fn whole(&mut self, body: &[u8]) {
        self.answered();
        self.told.whole(body);
    }

    /// Whatever is beyond the answer's beginning.
    pub(crate) fn end(mut self, ended: &Ended) {
        self.outcome = Some(match ended {
            Ended::Completed => "completed".to_owned(),
            Ended::Cancelled => "cancelled".to_owned(),
            Ended::Moved => "moved".to_owned(),
            // Another server's codes are beyond number.
            Ended::Failed(ErrorCode::Foreign(_)) => "foreign".to_owned(),
            Ended::Failed(code) => code.as_str().to_owned(),
        });
        let (inner, taken) = (&self.metrics.0, self.begun.elapsed());
        let tokens = self.told.tokens().unwrap_or_default();
        if self.is_answered {
            let of = self.metrics.of_model(&self.model);
            inner.prompt_tokens.get_or_create(&of).inc_by(tokens.prompt);
            inner.cached_tokens.get_or_create(&of).inc_by(tokens.cached);
            inner.generated_tokens.get_or_create(&of).inc_by(tokens.generated);
            if *ended == Ended::Completed {
                inner.whole.get_or_create(&of).observe(taken.as_secs_f64());
            }
        }
        let first = self.first.map(|first| (first - self.begun).as_millis() as u64);
        tracing::info!(
            endpoint = self.endpoint,
            model = self.model,
            outcome = self.outcome,
            first_token_ms = first,
            ms = taken.as_millis() as u64,
            prompt_tokens = tokens.prompt,
            generation_tokens = tokens.generated,
            "a request has ended"
        );
    }

    fn answered(&mut self) {
        if !std::mem::replace(&mut self.is_answered, true) {
            self.metrics.0.waiting.dec();
            self.metrics.0.running.inc();
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let inner = &self.metrics.0;
        let gauge = if self.is_answered { &inner.running } else { &inner.waiting };
        gauge.dec();
        let outcome = self.outcome.take().unwrap_or_else(|| "abandoned".to_owned());
        inner.requests.get_or_create(&OfRequest { endpoint: self.endpoint, outcome }).inc();
    }
}
