//! Part of the scripted daemon: notes each edge that it passes, and at one of them dies or hangs.

#![expect(clippy::disallowed_methods, reason = "the test says where by the environment")]

use std::{fmt::Debug, fs::File, io::Write as _, path::PathBuf};

use rustix::process::Signal;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

#[expect(unsafe_code, reason = "no safe wrapper signals the calling thread")]
mod c {
    // SAFETY: the C library has this function, with this signature.
    unsafe extern "C" {
        pub(super) safe fn raise(signal: i32) -> i32;
    }
}

const TARGET: &str = "daemon_lifecycle::edge";
const PHASES: &str = "daemon_lifecycle::phase";

/// What becomes of this process at an edge.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) at: String,
    pub(crate) signal: Signal,
}

/// One phase of a generation's life after another.
#[derive(Default)]
struct Entered {
    from: String,
    event: String,
    to: String,
}

impl Visit for Entered {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            value.clone_into(&mut self.event);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "from" => self.from = format!("{value:?}"),
            "to" => self.to = format!("{value:?}"),
            _ => {}
        }
    }
}

struct Edges {
    party: String,
    world: PathBuf,
    fault: Option<Fault>,
}

/// Writes each edge to `edges` in the folder that `FAKE_EDGES` names, as a line `PARTY EDGE`, and
/// each change of phase to `phases`, as a row of the table in the paper behind the party.
///
/// The fault happens once for all processes of that party; then there is a file `hit-PARTY`.
pub(crate) fn watch_edges(party: &str, fault: Option<Fault>) {
    let Some(world) = std::env::var_os("FAKE_EDGES").map(PathBuf::from) else { return };
    let edges = Edges { party: party.to_owned(), world, fault };
    tracing::subscriber::set_global_default(edges).expect("nobody else has set one");
}

/// The first edge of all: nothing is read yet of what a starter has left.
pub(crate) fn begun() {
    tracing::trace!(target: "daemon_lifecycle::edge", at = "begun");
}

impl Edges {
    fn note(&self, file: &str, line: &str) {
        let mut open = File::options();
        let file = open.create(true).append(true).open(self.world.join(file));
        // The disk may be full.
        drop(file.and_then(|mut file| file.write_all(line.as_bytes())));
    }

    fn passed(&self, at: &str) {
        self.note("edges", &format!("{} {at}\n", self.party));
        let Some(fault) = self.fault.as_ref().filter(|fault| fault.at == at) else { return };
        if File::create_new(self.world.join(format!("hit-{}", self.party))).is_ok() {
            // To this thread, so that it does not come to what follows the edge. Any other might
            // be the one that acts on a signal to the process, a moment later.
            assert_eq!(c::raise(fault.signal.as_raw()), 0, "a thread may signal itself");
        }
    }
}

impl Subscriber for Edges {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        matches!(metadata.target(), TARGET | PHASES)
    }

    fn event(&self, event: &Event<'_>) {
        struct At<'a>(&'a Edges);
        impl Visit for At<'_> {
            fn record_str(&mut self, field: &Field, value: &str) {
                if field.name() == "at" {
                    self.0.passed(value);
                }
            }

            fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
        }
        if event.metadata().target() == TARGET {
            return event.record(&mut At(self));
        }
        let mut entered = Entered::default();
        event.record(&mut entered);
        let Entered { from, event, to } = entered;
        self.note("phases", &format!("{} | `{from}` | `{event}` | `{to}` |\n", self.party));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
