//! Narrations as a process's owner sees them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use narration_core::{Level, Narration, NarrationLayer, human, job_span, json, lines};
use tracing_subscriber::layer::SubscriberExt as _;

#[test]
fn contract_lines_are_rendered_to_the_letter() {
    let rendered: Vec<String> = narrated(|| {
        lines::checking("queen-rbee").emit();
        lines::rebuilding("queen-rbee").emit();
        lines::rebuilt("queen-rbee").emit();
        lines::up_to_date("queen-rbee").emit();
        let args = ["--port".to_owned(), "8500".to_owned()];
        lines::spawning("target/debug/queen-rbee", &args).emit();
    })
    .iter()
    .map(human)
    .collect();
    assert_eq!(
        rendered,
        [
            "[dmn-life] auto_update: Checking if 'queen-rbee' needs rebuild...",
            "[dmn-life] auto_rebuild: 🔨 Rebuilding 'queen-rbee'...",
            "[dmn-life] auto_rebuild: ✅ Rebuild complete",
            "[dmn-life] auto_update: ✅ 'queen-rbee' is up to date",
            "[dmn-life] spawn: Spawning daemon: target/debug/queen-rbee with args: [\"--port\", \"8500\"]",
        ]
    );
}

#[test]
fn every_field_survives_tracing() {
    let mut sent = Narration::new("hive", "model_pull", "pulled `x`\nin two lines")
        .about("x")
        .took(std::time::Duration::from_millis(12))
        .level(Level::Warn);
    let copy = sent.clone();
    let received = narrated(|| job_span("job-7").in_scope(|| copy.emit()));
    sent.job_id = Some("job-7".into());
    assert_eq!(received, [sent]);
}

#[test]
fn the_innermost_job_owns_a_narration() {
    let received = narrated(|| {
        job_span("outer").in_scope(|| {
            job_span("inner").in_scope(|| {
                tracing::info_span!("plain").in_scope(|| Narration::new("a", "b", "c").emit());
            });
            Narration::new("a", "b", "c").emit();
        });
        Narration::new("a", "b", "c").emit();
    });
    let jobs: Vec<_> = received.iter().map(|n| n.job_id.as_deref()).collect();
    assert_eq!(jobs, [Some("inner"), Some("outer"), None]);
}

#[test]
fn other_tracing_events_are_not_narrated() {
    assert_eq!(narrated(|| tracing::info!(human = "no", "not this")), []);
}

#[test]
fn output_of_another_program_is_rendered_as_it_was() {
    let line = "   Compiling queen-rbee v0.1.0";
    assert_eq!(human(&Narration::verbatim("dmn-life", line)), line);
}

#[test]
fn json_reads_back_as_the_same_narration() {
    let sent = Narration::new("queen", "route", "to `h`").about("h");
    assert_eq!(serde_json::from_str::<Narration>(&json(&sent)).unwrap(), sent);
}

/// What a layer hands to its sink while `act` runs.
fn narrated(act: impl FnOnce()) -> Vec<Narration> {
    let received = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&received);
    let layer = NarrationLayer::new(move |n| sink.lock().unwrap().push(n));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), act);
    Arc::into_inner(received).unwrap().into_inner().unwrap()
}
