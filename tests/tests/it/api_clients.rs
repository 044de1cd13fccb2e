use std::process::Command;

use chain_tests::{Chain, python_with};

#[test]
fn clients_of_anthropic_ollama_and_openai_are_served() {
    let chain = Chain::real();
    let model = Chain::model();
    chain.configure(&format!(
        "[models]\ndefault = \"words\"\n[model.words]\nsource = {model:?}\n[model.vectors]\nsource = {model:?}\nargs = [\"--pooling\", \"mean\"]\n"
    ));
    chain.succeed(&["infer", "--max-tokens", "2", "Say hello."]);
    let python = python_with("api-clients", &["anthropic", "ollama", "openai"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api_clients.py");
    let checked = Command::new(python).arg(script).arg(chain.queen()).output().unwrap();
    let (out, err) = (&checked.stdout, &checked.stderr);
    let said = format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    assert!(checked.status.success(), "{said}");
    assert!(said.ends_with("all checks passed\n"), "{said}");
}
