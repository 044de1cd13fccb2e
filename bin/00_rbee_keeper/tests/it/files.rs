use std::{fs, io::Write as _};

use insta::assert_snapshot;
use serde_json::Value;

use crate::keeper::Keeper;

/// A line as a daemon logs it, at the second `at`.
fn line(at: u8, text: &str) -> String {
    format!("2026-11-29T05:59:{at:02}.5Z  INFO rbee: {text}\n")
}

#[tokio::test]
async fn the_last_lines_of_all_levels_are_merged_in_local_time() {
    let keeper = Keeper::alone().with("TZ", "XXX-2");
    keeper.write("state/logs/queen-8500.log", &[line(1, "one"), line(4, "four")].concat());
    keeper.write("state/logs/hive-a.log", &[line(2, "two"), line(3, "three")].concat());
    let output = keeper.run(&["logs", "-n", "3"]).await.exits(0);
    assert_snapshot!(output.stdout, @r"
    2026-11-29 07:59:02  hive a          INFO   rbee: two
    2026-11-29 07:59:03  hive a          INFO   rbee: three
    2026-11-29 07:59:04  queen           INFO   rbee: four
    ");
    assert_eq!(output.stderr, "");
    let output = keeper.run(&["logs", "queen", "-n", "1", "--utc"]).await.exits(0);
    assert_snapshot!(output.stdout, @"2026-11-29 05:59:04  queen           INFO   rbee: four");
    let output = keeper.run(&["logs", "queen", "-n", "1", "--raw"]).await.exits(0);
    assert_eq!(output.stdout, line(4, "four"));
    let output = keeper.run(&["logs", "queen", "-n", "1", "--json"]).await.exits(0);
    let logged: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(logged["message"], "rbee: four");
}

#[tokio::test]
async fn who_has_logged_nothing_is_a_failure_with_a_hint() {
    let output = Keeper::alone().run(&["logs", "worker"]).await.exits(1);
    assert_snapshot!(output.stderr, @r"
    error: the worker has logged nothing yet
    hint: `./rbee status` shows what runs
    ");
    let output = Keeper::alone().run(&["logs"]).await.exits(1);
    assert!(output.stderr.starts_with("error: the chain has logged nothing yet\n"));
}

#[tokio::test]
async fn a_followed_log_goes_on_until_the_interrupt() {
    let keeper = Keeper::alone();
    keeper.write("state/logs/queen-8500.log", "old\n");
    let mut running = keeper.spawn(&["logs", "queen", "-f", "--raw"]);
    running.says("old\n").await;
    let path = keeper.home().join("state/logs/queen-8500.log");
    let mut log = fs::OpenOptions::new().append(true).open(&path).unwrap();
    log.write_all(b"new\n").unwrap();
    running.says("new\n").await;
    fs::rename(&path, path.with_extension("log.1")).unwrap();
    fs::write(&path, "rotated\n").unwrap();
    running.says("rotated\n").await;
    running.interrupt();
    assert_eq!(running.finish().await.exits(130).stderr, "");
}

#[tokio::test]
async fn every_value_is_listed_with_its_origin() {
    let keeper = Keeper::alone();
    keeper.write("config.toml", "[models]\ndefault = \"mine\"\n");
    let output = keeper.run(&["config", "--json", "--narration", "off"]).await.exits(0);
    let values: Vec<Value> = serde_json::from_str(&output.stdout).unwrap();
    let origin = |key: &str| {
        let value = values.iter().find(|value| value["key"] == key).unwrap();
        let origin = value["origin"].as_str().unwrap();
        origin.replace(&keeper.home().display().to_string(), "HOME")
    };
    assert_eq!(origin("queen.port"), "environment RBEE_QUEEN_PORT");
    assert_eq!(origin("models.default"), "HOME/config.toml:2");
    assert_eq!(origin("narration"), "flag --narration");
    assert_eq!(origin("worker.parallel"), "default");
    let table = keeper.run(&["config"]).await.exits(0).stdout;
    assert!(table.starts_with("KEY"), "{table}");
    assert_eq!(table.lines().count(), values.len() + 1);
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_with_its_place() {
    let keeper = Keeper::alone();
    keeper.write("config.toml", "[queen]\nprot = 1\n");
    let output = keeper.run(&["status"]).await.exits(2);
    let stderr = output.stderr.replace(&keeper.home().display().to_string(), "HOME");
    assert_snapshot!(stderr, @r"
    error: HOME/config.toml:2: unknown key `queen.prot`; did you mean `queen.port`?
    hint: `./rbee doctor` goes through everything
    ");
}

#[tokio::test]
async fn a_check_where_nothing_is_built_finds_nothing_stale() {
    let output = Keeper::alone().run(&["update", "--check", "--json"]).await.exits(0);
    assert_eq!(output.stdout, "{\n  \"levels\": []\n}\n");
    assert!(output.stderr.starts_with("auto-update is off"), "{}", output.stderr);
}
