use std::{fs, path::Path, process::Command, time::Duration};

use chain_tests::{Chain, python_with};
use serde_json::Value;

const ASSETS: &str = "bin/15_queen_rbee_crates/queen-page/assets";
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// From an edit to the end of what it replaces, builds included.
const FOLLOWS: Duration = Duration::from_secs(240);

#[expect(clippy::print_stdout, reason = "what was skipped, and what was measured, is to be seen")]
fn say(words: &str) {
    println!("{words}");
}

fn has_browser() -> bool {
    let is_there = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    let found = BROWSERS.iter().any(is_there);
    if !found {
        say("SKIPPED: no Chromium (`apt-get install chromium`), so the page was not tried in one");
    }
    found
}

fn drive(args: &[&str]) {
    let python = python_with("browser", &["playwright"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/page.py");
    let driven = Command::new(python).arg(script).args(args).output().unwrap();
    let (out, err) = (&driven.stdout, &driven.stderr);
    let said = format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    assert!(driven.status.success(), "{said}");
    assert!(said.ends_with("all checks passed\n"), "{said}");
    say(&said);
}

#[test]
fn the_page_shows_a_chain_and_its_talks_outlast_replacements() {
    if has_browser() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        drive(&["stub", root.join(ASSETS).to_str().unwrap()]);
    }
}

#[test]
fn an_edit_of_the_page_replaces_the_queen_and_is_shown_under_a_running_answer() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one two"]);
    let key = chain.succeed(&["key", "add", "page", "--scope", "manage"]).stdout;
    chain.configure_queen("local = \"key\"");
    let (queen, before, processes) = (chain.queen(), builds(&chain), chain.daemons());
    let asset = chain.checkout().path(ASSETS).join("page.css");
    if has_browser() {
        drive(&["chain", &format!("{queen}/"), key.trim(), asset.to_str().unwrap()]);
    } else {
        edit(&asset);
        let replaced = processes.iter().find(|process| process.name == "queen-rbee").unwrap();
        assert!(replaced.ends_within(FOLLOWS), "{replaced:?} was not replaced");
    }
    let after = builds(&chain);
    assert_ne!(before[0], after[0], "the page is in the queen");
    assert_eq!(before[1..], after[1..], "and in nobody else");
    let shown = ureq::get(format!("{queen}/page/page.css")).call().unwrap();
    let shown = shown.into_body().read_to_string().unwrap();
    assert_eq!(shown, fs::read_to_string(asset).unwrap());
}

fn edit(asset: &Path) {
    let text = fs::read_to_string(asset).unwrap();
    fs::write(asset, format!("{text}/* edited */\n")).unwrap();
}

/// What each process runs.
fn builds(chain: &Chain) -> Vec<Value> {
    let status = chain.succeed(&["status", "--json"]).stdout;
    let status: Value = serde_json::from_str(&status).unwrap();
    let levels = status["levels"].as_array().unwrap().iter();
    levels.map(|level| level["exe_hash"].clone()).collect()
}
