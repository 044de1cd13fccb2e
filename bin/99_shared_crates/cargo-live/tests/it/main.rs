//! What `cargo live` does, beside what cargo does, in workspaces that the tests make.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world; // a workspace of a test's own
mod parity; // the same as cargo, place by place
mod examples; // what they say of themselves
mod command; // verbs, options, answers
mod watched; // `cargo live watch`, and what it says
mod watch; // which process runs, and when
