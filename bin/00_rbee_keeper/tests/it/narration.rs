use insta::assert_snapshot;
use narration_core::{Level, Narration, lines};

use crate::{
    keeper::Keeper,
    queen::{Queen, Step, answer_of, narrated, progress},
};

/// A rebuild, a download and an answer.
fn steps() -> Vec<Step> {
    let mut warning = Narration::new("queen", "route", "the hive is slow").level(Level::Warn);
    warning.at_ms = 1;
    let mut steps = vec![
        narrated(1, &lines::rebuilding("rbee-hive")),
        narrated(2, &Narration::verbatim("dmn-life", "   Compiling serde v1.0.228")),
        narrated(2, &Narration::verbatim("dmn-life", "   Compiling rbee-hive v0.1.0 (/bin/hive)")),
        narrated(3, &warning),
    ];
    steps.extend((0..=100).map(|percent| progress(4 + percent, percent * 10)));
    steps.extend(answer_of(200, "Hello"));
    steps
}

#[tokio::test]
async fn human_narration_is_the_contract_and_goes_to_standard_error() {
    let queen = Queen::saying(steps()).await;
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(0);
    assert_eq!(output.stdout, "Hello\n");
    let expected = lines::rebuilding("rbee-hive").human;
    let shown = output.stderr.replace(&expected, "REBUILDING");
    assert_snapshot!(shown, @r"
    [dmn-life] auto_rebuild: REBUILDING
       Compiling rbee-hive v0.1.0 (/bin/hive)
    [queen] route: the hive is slow
    m: 0% (0 B of 1.0 kB)
    m: 10% (100 B of 1.0 kB)
    m: 20% (200 B of 1.0 kB)
    m: 30% (300 B of 1.0 kB)
    m: 40% (400 B of 1.0 kB)
    m: 50% (500 B of 1.0 kB)
    m: 60% (600 B of 1.0 kB)
    m: 70% (700 B of 1.0 kB)
    m: 80% (800 B of 1.0 kB)
    m: 90% (900 B of 1.0 kB)
    m: 100% (1.0 kB of 1.0 kB)
    ");
}

#[tokio::test]
async fn json_narration_is_one_object_a_line() {
    let queen = Queen::saying(steps()).await;
    let output = Keeper::of(&queen).run(&["infer", "--narration", "json", "hi"]).await.exits(0);
    assert_eq!(output.stdout, "Hello\n");
    let lines: Vec<serde_json::Value> =
        output.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4 + 11);
    assert_eq!(lines[0]["action"], "auto_rebuild");
    assert_eq!(lines[1]["level"], "verbatim");
    assert_eq!(lines[3]["at_ms"], 1);
    assert_eq!(lines[4]["done_bytes"], 0);
    assert_eq!(lines[14]["done_bytes"], 1000);
}

#[tokio::test]
async fn without_narration_standard_error_is_empty() {
    let queen = Queen::saying(steps()).await;
    let output = Keeper::of(&queen).run(&["--narration=off", "infer", "hi"]).await.exits(0);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("Hello\n", ""));
}

#[tokio::test]
async fn the_mode_may_be_configured_and_the_flag_wins() {
    let queen = Queen::saying(steps()).await;
    let keeper = Keeper::of(&queen).with("RBEE_NARRATION", "off");
    assert_eq!(keeper.run(&["infer", "hi"]).await.exits(0).stderr, "");
    let output = keeper.run(&["infer", "hi", "--narration", "human"]).await.exits(0);
    assert!(output.stderr.starts_with("[dmn-life] auto_rebuild:"), "{}", output.stderr);
}

#[tokio::test]
async fn the_keepers_own_log_is_shown_only_when_asked_for() {
    let queen = Queen::saying(answer_of(1, "Hello")).await;
    let keeper = Keeper::of(&queen);
    assert_eq!(keeper.run(&["infer", "hi"]).await.exits(0).stderr, "");
    let output = keeper.run(&["-v", "infer", "hi"]).await.exits(0);
    assert_eq!(output.stdout, "Hello\n");
    assert!(output.stderr.contains("DEBUG"), "{}", output.stderr);
}

#[tokio::test]
async fn a_variable_that_sets_nothing_is_warned_about() {
    let queen = Queen::saying(answer_of(1, "Hello")).await;
    let keeper = Keeper::of(&queen).with("RBEE_NARATION", "off");
    let output = keeper.run(&["infer", "hi"]).await.exits(0);
    assert_snapshot!(output.stderr, @"[keeper] config: the environment variable `RBEE_NARATION` sets nothing; did you mean `RBEE_NARRATION`?");
}

#[tokio::test]
async fn nothing_is_coloured_that_is_not_a_terminal() {
    let queen = Queen::saying(steps()).await;
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(0);
    assert!(!output.stderr.contains('\u{1b}'), "{}", output.stderr);
}
