use std::fmt;

use tracing::{
    Event, Span, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::{
    TARGET,
    event::{Level, Narration},
};

/// A span whose narrations belong to the job `job_id`.
///
/// ```
/// # use narration_core::{Narration, job_span};
/// let span = job_span("job-1");
/// span.in_scope(|| Narration::new("queen", "route", "chose a hive").emit());
/// ```
pub fn job_span(job_id: &str) -> Span {
    tracing::info_span!(target: TARGET, "job", job_id)
}

/// Gives each narration of the process to `sink`, with the innermost job around it.
pub struct NarrationLayer<F> {
    sink: F,
}

impl<F: Fn(Narration)> NarrationLayer<F> {
    /// `sink` is called on the thread that narrates; it must not block and must not narrate.
    pub fn new(sink: F) -> Self {
        Self { sink }
    }
}

impl<F> fmt::Debug for NarrationLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NarrationLayer").finish_non_exhaustive()
    }
}

struct JobOfSpan(String);

impl<S, F> Layer<S> for NarrationLayer<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: Fn(Narration) + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        if attributes.metadata().target() != TARGET {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(job_id), Some(span)) = (fields.job_id, ctx.span(id)) {
            span.extensions_mut().insert(JobOfSpan(job_id));
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let job_id = fields.job_id.take().or_else(|| {
            let mut scope = ctx.event_scope(event)?;
            scope.find_map(|span| span.extensions().get::<JobOfSpan>().map(|job| job.0.clone()))
        });
        (self.sink)(Narration {
            actor: fields.actor,
            action: fields.action,
            human: fields.human,
            level: fields.level,
            target: fields.target_name,
            job_id,
            duration_ms: fields.duration_ms,
            at_ms: fields.at_ms,
        });
    }
}

#[derive(Default)]
struct Fields {
    actor: String,
    action: String,
    human: String,
    level: Level,
    target_name: Option<String>,
    job_id: Option<String>,
    duration_ms: Option<u64>,
    at_ms: u64,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = value.to_owned();
        match field.name() {
            "actor" => self.actor = value,
            "action" => self.action = value,
            "human" => self.human = value,
            "level" => {
                self.level = match value.as_str() {
                    "warn" => Level::Warn,
                    "error" => Level::Error,
                    "progress" => Level::Progress,
                    "verbatim" => Level::Verbatim,
                    _ => Level::Info,
                }
            }
            "target_name" => self.target_name = Some(value),
            "job_id" => self.job_id = Some(value),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "duration_ms" => self.duration_ms = Some(value),
            "at_ms" => self.at_ms = value,
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
