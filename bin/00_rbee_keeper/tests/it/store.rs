use std::{
    fs,
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, SystemTime},
};

use serde_json::Value;

use crate::keeper::Keeper;

const OLDER: &str = "aa";
const NEWER: &str = "bb";
const RUNNING: &str = "cc";

/// A checkout with three artifacts: the oldest runs, and the other two are of 3000 bytes each.
struct Checkout {
    keeper: Keeper,
    running: Child,
}

impl Checkout {
    fn new() -> Self {
        let keeper = Keeper::alone();
        let root = keeper.home().join("checkout");
        let keeper = keeper.with("RBEE_SOURCE_ROOT", root.to_str().unwrap());
        keeper.write("checkout/Cargo.toml", "[workspace]\nmembers = [\"xtask\"]\n");
        keeper.write("checkout/bin/10_queen_rbee/Cargo.toml", "");
        keeper.write(
            "checkout/xtask/Cargo.toml",
            "[package]\nname = \"xtask\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        );
        keeper.write("checkout/xtask/src/main.rs", "fn main() {}\n");
        let bytes = "b".repeat(3000);
        keeper.write(&artifact(OLDER), &bytes).write(&artifact(NEWER), &bytes);
        keeper.write(&artifact(RUNNING), "");
        let program = keeper.home().join(artifact(RUNNING));
        fs::copy("/bin/sleep", &program).unwrap();
        let running = Command::new(&program).arg("600").spawn().unwrap();
        for (name, age) in [(RUNNING, 7200), (OLDER, 3600), (NEWER, 60)] {
            // The folder's time says when what it holds was used.
            let path = keeper.home().join(artifact(name));
            let folder = fs::File::open(path.parent().unwrap()).unwrap();
            folder.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        Self { keeper, running }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.keeper.home().join(artifact(name))
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let output = self.keeper.run(&[arguments, &["--json"]].concat()).await.exits(0);
        serde_json::from_str(&output.stdout).unwrap()
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        self.running.kill().unwrap();
        self.running.wait().unwrap();
    }
}

fn artifact(name: &str) -> String {
    format!("checkout/target/.auto-update/store/{}/xtask", name.repeat(32))
}

#[tokio::test]
async fn the_store_is_listed_with_who_runs_what() {
    let checkout = Checkout::new();
    let list = checkout.json(&["store", "list"]).await;
    let hashes: Vec<_> = list["artifacts"].as_array().unwrap().iter().map(|a| &a["hash"]).collect();
    assert_eq!(hashes, [RUNNING, OLDER, NEWER].map(|name| name.repeat(32)).each_ref());
    let [running, older, _] = [0, 1, 2].map(|index| &list["artifacts"][index]);
    assert_eq!(running["pids"], serde_json::json!([checkout.running.id()]));
    assert_eq!((&older["binary"], &older["size"]), (&"xtask".into(), &3000.into()));
    assert_eq!((&older["in_use"], &older["current"]), (&false.into(), &false.into()));
    assert!((3600..4000).contains(&older["idle_s"].as_u64().unwrap()), "{older}");
    let table = checkout.keeper.run(&["store", "list"]).await.exits(0).stdout;
    let row = table.lines().find(|line| line.contains("aaaaaaaaaaaa")).unwrap();
    let words: Vec<_> = row.split_whitespace().collect();
    assert_eq!(words, ["xtask", "aaaaaaaaaaaa", "3.0", "kB", "1h", "0m", "ago"], "{table}");
    let row = table.lines().find(|line| line.contains("cccccccccccc")).unwrap();
    assert!(row.ends_with(&format!(" {}", checkout.running.id())), "{table}");
}

#[tokio::test]
async fn what_was_least_recently_used_goes_first_and_what_runs_stays() {
    let checkout = Checkout::new();
    let size = fs::metadata(checkout.path(RUNNING)).unwrap().len();
    // Room for what runs and one more.
    let keep = (size + 3000).to_string();
    let collected = checkout.json(&["store", "gc", "--keep", &keep]).await;
    assert_eq!(collected["removed"][0]["hash"], OLDER.repeat(32));
    assert_eq!(collected["removed_bytes"], 3000);
    assert_eq!(collected["kept_bytes"], size + 3000);
    assert!(!checkout.path(OLDER).exists() && checkout.path(NEWER).exists());

    let output = checkout.keeper.run(&["store", "gc", "--keep", "0"]).await.exits(0);
    assert!(output.stdout.starts_with("removed xtask bbbbbbbbbbbb (3.0 kB)\n1 removed, 3.0 kB; "));
    assert!(!checkout.path(NEWER).exists() && checkout.path(RUNNING).exists());
    let output = checkout.keeper.run(&["store", "gc"]).await.exits(0);
    assert!(output.stdout.starts_with("0 removed, 0 B; "), "{}", output.stdout);
}

#[tokio::test]
async fn a_size_that_makes_no_sense_and_a_keeper_without_sources_are_refused() {
    let keeper = Keeper::alone();
    let output = keeper.run(&["store", "gc", "--keep", "much"]).await.exits(2);
    assert!(output.stderr.contains("a number of bytes"), "{}", output.stderr);
    let keeper = keeper.with("RBEE_SOURCE_ROOT", "/");
    let code = keeper.run(&["store", "list"]).await.code;
    assert_ne!(code, Some(0));
}
