//! Requests that a program makes of what `/openapi.json` describes, and of what it does not.

use std::{fs, process::Command};

use chain_tests::{Chain, python_with};

/// Requests of each route, unless `CHAIN_TESTS_EXAMPLES` says otherwise, and what decides them, unless
/// `CHAIN_TESTS_SEED` does. New ones are for `./rbee fuzz-api`, and each bound of each member, and
/// requests that follow from others' answers.
const EXAMPLES: u64 = 5;
const SEED: u64 = 7;
const QUICK: &str = "fuzzing";
const ALL: &str = "coverage,fuzzing,stateful";

/// What an answer is looked at for.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method,\
                      allow_header_conformance";

/// Seconds after which a request counts as one that has no answer.
const TIMEOUT: &str = "60";

#[expect(clippy::disallowed_methods, reason = "`./rbee fuzz-api` says how long and from where")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn requests_of_any_kind_are_answered_as_the_document_describes() {
    let seed = number("CHAIN_TESTS_SEED").unwrap_or(SEED).to_string();
    let wanted = number("CHAIN_TESTS_EXAMPLES");
    let examples = wanted.unwrap_or(EXAMPLES).to_string();
    let phases = if wanted.is_some() { ALL } else { QUICK };
    let chain = Chain::real();
    let model = Chain::model();
    chain.configure(&format!(
        "[models]\ndefault = \"words\"\n[model.words]\nsource = {model:?}\ncontext = 512\n\
         max_tokens = 4\npinned = true\n[model.vectors]\nsource = {model:?}\n\
         args = [\"--pooling\", \"mean\"]\n"
    ));
    chain.succeed(&["infer", "--max-tokens", "2", "Say hello."]);
    let before = chain.pid("queen-rbee");
    let token = fs::read_to_string(chain.home().join("state/token")).unwrap();

    let python = python_with("schemathesis", &["schemathesis==4.32.5"]);
    let folder = tempfile::tempdir().unwrap();
    fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzzed.py"),
        folder.path().join("fuzzed.py"),
    )
    .unwrap();
    let output = Command::new(python.with_file_name("schemathesis"))
        .arg("run")
        .arg(format!("{}/openapi.json", chain.queen()))
        .args(["--max-examples", &examples, "--seed", &seed, "--request-timeout", TIMEOUT])
        .args(["--phases", phases, "--checks", CHECKS, "--continue-on-failure", "--no-color"])
        .args(["--generation-database", "none", "--suppress-health-check", "all"])
        .args(["--warnings", "off"])
        // It has no end.
        .args(["--exclude-path", "/v1/events"])
        .arg("--header")
        .arg(format!("Authorization: Bearer {}", token.trim()))
        .env("SCHEMATHESIS_HOOKS", "fuzzed")
        .env("PYTHONPATH", folder.path())
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // Her hive may have been stopped by a request, but she never.
    assert_eq!(before, chain.pid("queen-rbee"), "the queen was replaced\n{said}");
    eprintln!("{said}");
}
