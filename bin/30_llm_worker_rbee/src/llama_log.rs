//! llama.cpp's log, as tracing events.

use std::sync::{Arc, Mutex, Once, PoisonError};

use llama_cpp_2::{LogOptions, send_logs_to_tracing};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, Registry, layer::Context, prelude::*};

/// Sends what llama.cpp logs to tracing from now on, under the target `llama-cpp-2`.
///
/// Before the first call it goes to stderr.
pub fn forward_llama_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| send_logs_to_tracing(LogOptions::default()));
}

/// Runs `work`, and returns with its result what llama.cpp called an error meanwhile.
///
/// llama.cpp answers a failed load with a null pointer and gives the reason only in its log. What
/// it says on this thread is repeated as debug events.
pub(crate) fn with_errors<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    forward_llama_log();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let subscriber = Registry::default().with(Collect(Arc::clone(&lines)));
    let result = tracing::subscriber::with_default(subscriber, work);
    let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
    let mut errors = Vec::new();
    for (level, line) in lines {
        tracing::debug!(target: "llama-cpp-2", "{line}");
        if level == Level::ERROR {
            errors.push(line);
        }
    }
    (result, errors)
}

/// Keeps every event of one thread for a while.
struct Collect(Arc<Mutex<Vec<(Level, String)>>>);

impl<S: Subscriber> Layer<S> for Collect {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Message(String::new());
        event.record(&mut line);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push((*event.metadata().level(), line.0));
    }
}

struct Message(String);

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.trim_end().clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
