use std::{path::Path, process::Command};

use chain_tests::python_with;

const ASSETS: &str = "bin/15_queen_rbee_crates/queen-page/assets";
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

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
