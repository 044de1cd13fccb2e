//! Clients that nobody here wrote, against the real worker.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use chain_tests::{Chain, node_with, python_with};

/// Whether the program is there; says so where it is not.
#[expect(clippy::print_stdout, reason = "what was skipped is to be seen")]
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("SKIPPED: no `{program}`, so none of its clients was tried");
    }
    found
}

/// The test model under three names: for text, for text that comes to an end, and for vectors.
fn chain() -> Chain {
    let chain = Chain::real();
    let model = Chain::model();
    chain.configure(&format!(
        "[models]\ndefault = \"words\"\n[model.words]\nsource = {model:?}\ncontext = 1024\n\
         temperature = 0.0\n\
         [model.brief]\nsource = {model:?}\ncontext = 1024\ntemperature = 0.0\nstop = [\".\", \"!\", \"?\"]\n\
         [model.vectors]\nsource = {model:?}\nargs = [\"--pooling\", \"mean\"]\n"
    ));
    chain.succeed(&["infer", "--max-tokens", "2", "Say hello."]);
    chain
}

#[track_caller]
fn passes(command: &mut Command) -> String {
    let checked = command.output().unwrap();
    let (out, err) = (&checked.stdout, &checked.stderr);
    let said = format!("{}{}", String::from_utf8_lossy(err), String::from_utf8_lossy(out));
    assert!(checked.status.success(), "{said}");
    said
}

fn script(name: &str) -> String {
    format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn clients_of_anthropic_ollama_and_openai_are_served() {
    let chain = chain();
    let python = python_with("api-clients", &["anthropic", "ollama", "openai"]);
    let said = passes(Command::new(python).arg(script("api_clients.py")).arg(chain.queen()));
    assert!(said.ends_with("all checks passed\n"), "{said}");
}

#[test]
fn llm_is_served_from_its_command_line_and_as_a_library() {
    let chain = chain();
    let python = python_with("llm", &["llm==0.36"]);
    let said = passes(Command::new(python).arg(script("llm_client.py")).arg(chain.queen()));
    assert!(said.ends_with("all checks passed\n"), "{said}");
}

#[test]
fn clients_in_node_are_served() {
    if !has("node") || !has("npm") {
        return;
    }
    let chain = chain();
    let packages = ["openai@6.49.0", "ai@6.0.325", "@ai-sdk/openai-compatible@2.0.92"];
    let folder = node_with("node-clients", &packages);
    // Packages are looked for beside the script.
    let own = folder.join("clients.mjs");
    fs::copy(Path::new(&script("clients.mjs")), &own).unwrap();
    let said = passes(Command::new("node").arg(own).arg(chain.queen()));
    assert!(said.ends_with("all checks passed\n"), "{said}");
}

#[test]
fn litellm_is_served_by_each_api_that_it_takes_a_queen_for() {
    let chain = chain();
    let said =
        passes(Command::new(frameworks()).arg(script("litellm_client.py")).arg(chain.queen()));
    assert!(said.ends_with("all checks passed\n"), "{said}");
}

#[test]
fn langchain_is_served_by_its_packages_for_openai_ollama_and_anthropic() {
    let chain = chain();
    let said =
        passes(Command::new(frameworks()).arg(script("langchain_client.py")).arg(chain.queen()));
    assert!(said.ends_with("all checks passed\n"), "{said}");
}

/// One environment, since they need mostly the same.
fn frameworks() -> PathBuf {
    let packages = [
        "litellm==1.110.2",
        "langchain-openai==1.7.4",
        "langchain-ollama==1.1.0",
        "langchain-anthropic==1.7.10",
    ];
    python_with("frameworks", &packages)
}

#[test]
fn answers_comply_with_the_formats_that_they_are_of() {
    let chain = chain();
    let python = python_with("llm-comply", &["llm-comply==0.5.0"]);
    let said = passes(Command::new(python).arg(script("comply_client.py")).arg(chain.queen()));
    assert!(said.ends_with("all checks passed\n"), "{said}");
}
