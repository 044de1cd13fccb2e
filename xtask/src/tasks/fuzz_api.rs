//! `./rbee fuzz-api`: the test of random requests, for as long as wanted.

use std::path::Path;

use crate::tasks::fuzz::{self, Subject};

const API: Subject = Subject {
    task: "fuzz-api",
    package: "chain-tests",
    test: "test(requests_of_any_kind_are_answered_as_the_document_describes)",
    count: ("--examples", "CHAIN_TESTS_EXAMPLES"),
    seed: "CHAIN_TESTS_SEED",
    uses_model: true,
};

/// Has `examples` requests made of each route, decided by `seed` or by the time.
///
/// Fails where one of them met a fault, had no answer, or had one that `/openapi.json` does not describe.
pub fn run(root: &Path, examples: u64, seed: Option<u64>) -> anyhow::Result<()> {
    fuzz::run(root, API, examples, seed)
}
