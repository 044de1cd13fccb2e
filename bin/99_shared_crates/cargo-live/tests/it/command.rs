use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Output, Stdio},
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Pid, Signal, kill_process},
};

use crate::world::World;

/// `cargo live` in the package of the binary.
fn live(world: &World, arguments: &[&str]) -> Output {
    world.live("app", arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_exit_code_of_check_says_fresh_stale_or_error() {
    let world = World::chain();
    let stale = live(&world, &["check"]);
    assert_eq!(stale.status.code(), Some(1), "{stale:?}");
    assert!(text(&stale.stdout).contains("`target/debug/app` has not been built"), "{stale:?}");
    assert!(live(&world, &["build", "-q"]).status.success());
    let checked = live(&world, &["check", "--bin", "app"]);
    assert_eq!(checked.status.code(), Some(0));
    assert!(text(&checked.stdout).starts_with("fresh: `app` is "), "{checked:?}");
    world.leaf_says("two");
    let stale = live(&world, &["check"]);
    assert_eq!(stale.status.code(), Some(1));
    let words = "  `leaf/src/lib.rs` changed (in leaf, used by mid, used by app)";
    assert!(text(&stale.stdout).contains(words), "{stale:?}");
    let error = live(&world, &["check", "--bin", "nope"]);
    assert_eq!(error.status.code(), Some(2));
    assert!(text(&error.stderr).contains("no bin target named `nope`; available: app"));
}

#[test]
fn check_as_json_has_verdict_reasons_inputs_and_time() {
    let world = World::chain();
    world.build();
    let parse =
        |output: Output| -> serde_json::Value { serde_json::from_slice(&output.stdout).unwrap() };
    let verdict = parse(live(&world, &["check", "--json"]));
    assert_eq!(verdict["verdict"], "fresh");
    assert_eq!(verdict["asked_cargo"], false);
    assert!(verdict["inputs"].as_u64().unwrap() > 10 && verdict["micros"].is_u64());
    assert_eq!(verdict["artifact"]["hash"].as_str().unwrap().len(), 64);
    world.leaf_says("two");
    let verdict = parse(live(&world, &["check", "--json"]));
    assert_eq!(verdict["verdict"], "stale");
    let reason = &verdict["reasons"][0];
    assert_eq!(reason["change"], "modified");
    assert_eq!(reason["kind"], "source");
    assert_eq!(reason["via"], serde_json::json!(["leaf", "mid", "app"]));
    let built = parse(live(&world, &["build", "-q", "--json"]));
    assert!(built["compiled"] == true && built["identical"] == false, "{built}");
}

#[test]
fn run_builds_what_is_stale_and_becomes_the_program() {
    let world = World::single(
        "fn main() { let a: Vec<String> = std::env::args().skip(1).collect(); print!(\"{a:?}\"); std::process::exit(7) }\n",
    );
    let ran = live(&world, &["run", "--", "--port", "1"]);
    assert_eq!(text(&ran.stdout), "[\"--port\", \"1\"]");
    assert_eq!(ran.status.code(), Some(7));
    assert!(text(&ran.stderr).contains("Compiling app"));
    let again = live(&world, &["run"]);
    assert_eq!((text(&again.stdout).as_str(), again.status.code()), ("[]", Some(7)));
    assert_eq!(text(&again.stderr), "", "cargo was asked though nothing changed");
}

#[test]
fn a_failed_build_shows_cargos_words_each_time_and_exits_as_cargo_does() {
    let world = World::chain();
    world.build();
    world.write("leaf/src/lib.rs", "pub fn text() -> String { 5 }\n");
    for quiet in [&["build"][..], &["build", "-q"], &["build"], &["build", "-q", "--force"]] {
        let failed = live(&world, quiet);
        assert_eq!(failed.status.code(), Some(101));
        let words = text(&failed.stderr);
        assert_eq!(words.matches("error[E0308]").count(), 1, "{words}");
        assert_eq!(words.matches("leaf/src/lib.rs:1:").count(), 1, "{words}");
        assert_eq!(words.contains("Compiling"), quiet == ["build"], "{words}");
        assert!(!words.contains("a short while ago"), "{words}");
    }
}

#[test]
fn explain_says_what_a_file_is_to_the_binary() {
    let world = World::chain();
    world.build();
    let explain = |file: &str| text(&live(&world, &["explain", file]).stdout);
    let words = explain("../leaf/src/lib.rs");
    assert!(words.contains("matters as source, through leaf, used by mid, used by app"), "{words}");
    assert!(explain("../leaf/README.md").contains("does not matter to `app`"));
    assert!(explain("build.rs").contains("must stay absent"));
    let all = text(&live(&world, &["explain"]).stdout);
    assert!(all.contains("`app` is fresh") && all.contains("3 source"), "{all}");
}

#[test]
fn the_store_is_listed_and_tidied() {
    let world = World::chain();
    world.build();
    world.leaf_says("two");
    world.build();
    let list = || text(&live(&world, &["store", "list"]).stdout);
    assert_eq!(list().lines().count(), 2);
    assert!(text(&live(&world, &["store", "gc"]).stdout).starts_with("removed 1 binaries"));
    assert!(list().lines().count() == 1 && list().contains("in use"));
}

#[test]
fn the_usual_options_choose_the_variant() {
    let world = World::single(
        "fn main() { print!(\"{}{}\", cfg!(debug_assertions), cfg!(feature = \"loud\")); }\n",
    );
    world.package("app", "[features]\nloud = []\n");
    let run = |options: &[&str]| text(&live(&world, &[&["run", "-q"], options].concat()).stdout);
    assert_eq!(run(&[]), "truefalse");
    assert_eq!(run(&["--release"]), "falsefalse");
    assert_eq!(run(&["--features", "loud"]), "truetrue");
    assert_eq!(run(&["--all-features", "--profile", "release"]), "falsetrue");
}

/// Says `../said` whose process it is, waits until that is gone, and says so.
const SCRIPT_THAT_OUTLIVES_CARGO: &str = r#"
use std::{os::unix::process::parent_id, thread::sleep, time::{Duration, Instant}};
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let (cargo, began) = (parent_id(), Instant::now());
    std::fs::write("../said", "begun").unwrap();
    while parent_id() == cargo && began.elapsed() < Duration::from_secs(30) {
        sleep(Duration::from_millis(10));
    }
    std::fs::write("../said", if parent_id() == cargo { "kept" } else { "left alone" }).unwrap();
}
"#;

#[test]
fn cargo_ends_with_whoever_started_it() {
    for signal in [Signal::TERM, Signal::KILL] {
        let world = World::single("fn main() {}\n");
        world.write("app/build.rs", SCRIPT_THAT_OUTLIVES_CARGO);
        let said = world.path("said");
        mknodat(CWD, &said, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let mut command = world.command(env!("CARGO_BIN_EXE_cargo-live"), "app");
        let mut live = command.args(["live", "run"]).stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(world.read("said"), "begun");
        kill_process(Pid::from_child(&live), signal).unwrap();
        assert_eq!(live.wait().unwrap().signal(), Some(signal.as_raw()));
        assert_eq!(world.read("said"), "left alone");
    }
}
