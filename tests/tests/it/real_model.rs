use std::process::Command;

use chain_tests::{Chain, python_with};

#[test]
fn a_real_worker_answers_and_openai_clients_are_served() {
    let chain = Chain::real();
    let model = Chain::model();
    chain.configure(&format!(
        "[models]\ndefault = \"words\"\n[model.words]\nsource = {model:?}\n[model.vectors]\nsource = {model:?}\nargs = [\"--pooling\", \"mean\"]\n"
    ));
    let run = chain.succeed(&["infer", "--max-tokens", "24", "Say hello."]);
    assert!(!run.stdout.trim().is_empty(), "{}", run.stderr);

    let queen = chain.queen();
    let python = python_with("openai", &["openai"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openai_client.py");
    let checked = Command::new(python).arg(script).arg(&queen).output().unwrap();
    let (out, err) = (&checked.stdout, &checked.stderr);
    let said = format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    assert!(checked.status.success(), "{said}");
    assert!(said.ends_with("all checks passed\n"), "{said}");

    let body = r#"{"stream":true,"max_tokens":8,"messages":[{"role":"user","content":"Hi"}]}"#;
    let url = format!("{queen}/v1/chat/completions");
    let curl = Command::new("curl")
        .args(["-sN", "-H", "content-type: application/json", "-d", body, &url])
        .output()
        .unwrap();
    let frames = String::from_utf8(curl.stdout).unwrap();
    assert!(frames.starts_with("data: {"), "{frames}");
    assert!(frames.ends_with("data: [DONE]\n\n"), "{frames}");
    let unknown = frames.lines().find(|line| !line.is_empty() && !line.starts_with("data: "));
    assert_eq!(unknown, None, "only OpenAI's frames");
}
