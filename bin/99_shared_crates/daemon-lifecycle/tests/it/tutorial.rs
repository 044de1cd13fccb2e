//! `docs/tutorial.md`, as somebody types it.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{http::Client, world::within};

/// On busy cores, with all that axum is made from.
const BUILD_DEADLINE: Duration = Duration::from_secs(400);

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorials_server_is_replaced_on_save_and_no_request_is_lost() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = crate_dir.join("../../..");
    let page = fs::read_to_string(root.join("docs/tutorial.md")).unwrap();
    let code = |language: &str| {
        let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir_all(at("server/src")).unwrap();
    let there = code("toml")
        .replace("../rbee/bin/99_shared_crates/daemon-lifecycle", crate_dir.to_str().unwrap());
    fs::write(at("server/Cargo.toml"), there).unwrap();
    fs::copy(root.join("Cargo.lock"), at("server/Cargo.lock")).unwrap();
    // Any port that is free.
    let program = code("rust").replace("3000", "0");
    fs::write(at("server/src/main.rs"), &program).unwrap();

    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["run", "--quiet", "--offline", "--"]).args(args);
        command.current_dir(at("server")).env("XDG_STATE_HOME", at("state"));
        // What is compiled of others' crates is there for the next time.
        command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("tutorial"));
        command.env("CARGO_PROFILE_DEV_DEBUG", "false");
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{}", output.status);
        String::from_utf8(output.stdout).unwrap()
    };
    let said = run(&[]);
    let address = said.trim().strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
    let mut client = Client::new(&address);
    assert_eq!(client.get("/").await.unwrap(), (200, "one\n".to_owned()));

    fs::write(at("server/src/main.rs"), program.replace("\"one\\n\"", "\"two\\n\"")).unwrap();
    let mut answers = 0;
    within(BUILD_DEADLINE, "the edit answers", async || {
        let (status, body) = client.get("/").await.expect("no request is lost");
        answers += 1;
        assert!(status == 200 && (body == "one\n" || body == "two\n"), "{status}: {body}");
        body == "two\n"
    })
    .await;
    assert!(answers > 1, "the old one has answered meanwhile");
    // The old one stands by and leaves: the new one answers all the while.
    for _ in 0..100 {
        assert_eq!(client.get("/").await.unwrap(), (200, "two\n".to_owned()));
    }
    run(&["stop"]);
    assert!(client.get("/").await.is_err());
}
