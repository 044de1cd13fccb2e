//! The chain with a real vLLM: `./rbee test --vllm`.

mod model; // one that says the alphabet

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use chain_tests::Chain;

use self::model::letters_after;
use crate::engines::{Infer, engine, folders, is_python, server, wait_at_most, wait_until};

const STREAMS: usize = 4;

/// Of each stream: more than are said while every level is built and replaced, on any machine.
const LETTERS: usize = 100_000;

/// By which a stream has to have grown after that.
const GROWTH: usize = 200;

/// Within which nothing is left of an engine whose server was killed.
const ORPHAN_LIMIT: Duration = Duration::from_secs(10);

/// One test, since each start of vLLM takes about a minute.
#[test]
fn vllm_outlives_edits_and_its_server_s_death_and_gives_way_to_an_upgrade_only_if_that_starts() {
    let chain = chain();
    let shared_memory = shared_memory();
    let first = an_edit_of_a_shared_crate_leaves_the_engine_as_it_is(&chain);
    an_upgrade_that_fails_changes_nothing(&chain, &first);
    let second = an_upgrade_takes_the_engine_s_place(&chain, &first);
    let third = a_killed_server_leaves_nothing_and_is_started_again(&chain, &second);

    chain.succeed(&["queen", "stop"]);
    wait_until("something of the engine is left", || have_ended(&third));
    wait_until("a folder of an engine is left", || folders(&chain).is_empty());
    // What others had there may have gone meanwhile.
    let left: Vec<_> = self::shared_memory().difference(&shared_memory).cloned().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A chain with the model `abc`, and vLLM's environment under a name of its own.
fn chain() -> Chain {
    let chain = Chain::new();
    symlink(installed(), chain.home().join("vllm")).unwrap();
    model::write(&chain.home().join("abc"));
    let (vllm, model) = (chain.home().join("vllm"), chain.home().join("abc"));
    chain.configure(&format!(
        "[worker]\nparallel = {}\n\
         [worker.vllm]\ncommand = {vllm:?}\nkv_cache = 1\nargs = [\"--enforce-eager\"]\n\
         [model.abc]\nsource = {model:?}\n",
        // One more may ask meanwhile.
        STREAMS + 1
    ));
    chain
}

#[expect(clippy::disallowed_methods, reason = "`./rbee test --vllm` says where vLLM is")]
fn installed() -> PathBuf {
    let path = std::env::var_os("RBEE_TEST_VLLM").map(PathBuf::from);
    path.expect("`./rbee test --vllm` sets RBEE_TEST_VLLM").canonicalize().unwrap()
}

fn an_edit_of_a_shared_crate_leaves_the_engine_as_it_is(chain: &Chain) -> BTreeSet<u32> {
    told("from nothing, the chain's build included, to an answer", || says(chain, "d", 5));
    let before = engine(chain);
    assert!(before.len() >= 3, "a server and two processes of vLLM's, and not {before:?}");
    let levels = chain.healths();
    assert_eq!(levels[2].role, "vllm-worker");

    let mut streams = streams(chain);
    chain.checkout().edit_to_something_new();
    let what = "from an edit under four streams to an answer by the new worker";
    let run = told(what, || chain.succeed(&infer("m", "3")));
    assert_eq!(run.stdout.trim_end(), "nop");
    for (before, after) in levels.iter().zip(chain.healths()) {
        assert_ne!(before.exe_hash, after.exe_hash, "{} was not replaced", after.role);
    }
    let so_far: Vec<usize> = streams.iter().map(|stream| stream.text().len()).collect();
    for (stream, so_far) in streams.iter_mut().zip(so_far) {
        assert!(stream.0.try_wait().unwrap().is_none(), "a stream ended, at {so_far}");
        wait_until("a stream stands still", || stream.text().len() > so_far + GROWTH);
    }
    for stream in &streams {
        let pid = stream.0.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.0.wait().unwrap();
        assert_is_beginning(&stream.text(), number);
    }
    assert_eq!(engine(chain), before, "the engine was loaded anew\n{}", run.stderr);
    before
}

fn an_upgrade_that_fails_changes_nothing(chain: &Chain, running: &BTreeSet<u32>) {
    let python = installed().join("bin/python");
    let program = format!("#!{}\nimport a_library_that_is_not_there\n", python.display());
    upgrade(chain, "broken", &program);
    let what = "from an upgrade that does not start to its refusal";
    let failed = told(what, || chain.rbee(&infer("a", "3")));
    assert_ne!(failed.code, Some(0), "{}", failed.stderr);
    let why = "No module named 'a_library_that_is_not_there'";
    assert!(failed.stderr.contains(why), "{}", failed.stderr);
    assert_eq!(engine(chain), *running, "what served is gone");
    // Who does not ask for what is new is answered by what there is.
    let body = serde_json::json!({
        "model": "abc", "max_tokens": 4, "messages": [{"role": "user", "content": "u"}],
    });
    let url = format!("{}/v1/chat/completions", chain.queen());
    let answer: serde_json::Value = chain_tests::post(&url, &body);
    assert_eq!(answer["choices"][0]["message"]["content"], "vwxy");
}

fn an_upgrade_takes_the_engine_s_place(chain: &Chain, old: &BTreeSet<u32>) -> BTreeSet<u32> {
    let program = fs::read_to_string(installed().join("bin/vllm")).unwrap();
    upgrade(chain, "upgraded", &format!("{program}# upgraded\n"));
    told("from an upgrade to an answer by it", || says(chain, "e", 5));
    wait_until("the old engine is left", || have_ended(old));
    let new = engine(chain);
    assert!(new.is_disjoint(old));
    new
}

fn a_killed_server_leaves_nothing_and_is_started_again(
    chain: &Chain,
    engine: &BTreeSet<u32>,
) -> BTreeSet<u32> {
    // They have vLLM's other processes compute, which would go on with it.
    let mut streams = streams(chain);
    let pid = server(engine).to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    told("from the server's death to that of its last process", || {
        wait_at_most(ORPHAN_LIMIT, "something of the engine is left", || have_ended(engine));
    });
    for (number, stream) in streams.iter_mut().enumerate() {
        assert!(!stream.0.wait().unwrap().success(), "a part was given out as the whole");
        assert_is_beginning(&stream.text(), number);
    }
    told("from the question after a server's death to the answer", || says(chain, "h", 5));
    let healed = self::engine(chain);
    assert!(healed.is_disjoint(engine));
    healed
}

/// Says how long something took, for whoever runs this to measure it (`--no-capture`).
#[expect(clippy::print_stderr, reason = "a test's output is shown where somebody asks for it")]
fn told<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    eprintln!("{what}: {:.1} s", began.elapsed().as_secs_f64());
    done
}

/// Puts another environment, with the same packages, under the name of the one in use.
fn upgrade(chain: &Chain, name: &str, program: &str) {
    let folder = chain.home().join(name);
    fs::create_dir_all(folder.join("bin")).unwrap();
    let settings = fs::read_to_string(installed().join("pyvenv.cfg")).unwrap();
    fs::write(folder.join("pyvenv.cfg"), settings).unwrap();
    symlink(installed().join("lib"), folder.join("lib")).unwrap();
    write_executable(&folder.join("bin/vllm"), program);
    let draft = chain.home().join("vllm.new");
    symlink(&folder, &draft).unwrap();
    fs::rename(draft, chain.home().join("vllm")).unwrap();
}

fn write_executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Streams of which each has begun.
fn streams(chain: &Chain) -> Vec<Infer> {
    let letters = LETTERS.to_string();
    let start = |number: usize| {
        let letter = first_letter(number).to_string();
        let args = infer(&letter, &letters);
        Infer::start(chain, &args[1..], &format!("stream-{number}"))
    };
    let streams: Vec<_> = (0..STREAMS).map(start).collect();
    for stream in &streams {
        wait_until("a stream begins", || stream.text().len() > 1);
    }
    streams
}

#[track_caller]
fn assert_is_beginning(text: &str, stream: usize) {
    let whole = letters_after(first_letter(stream), LETTERS);
    assert!(whole.starts_with(text.trim_end()), "{text}");
}

fn first_letter(stream: usize) -> char {
    char::from(b'a' + u8::try_from(stream).unwrap())
}

fn infer<'a>(prompt: &'a str, letters: &'a str) -> [&'a str; 6] {
    ["infer", "--model", "abc", "--max-tokens", letters, prompt]
}

#[track_caller]
fn says(chain: &Chain, prompt: &str, letters: usize) {
    let run = chain.succeed(&infer(prompt, &letters.to_string()));
    let last = prompt.chars().last().unwrap();
    assert_eq!(run.stdout.trim_end(), letters_after(last, letters), "{}", run.stderr);
}

fn have_ended(engine: &BTreeSet<u32>) -> bool {
    engine.iter().all(|&pid| !is_python(pid))
}

/// What Python's processes share: what they leave here stays until the machine restarts.
fn shared_memory() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.path());
    let is_python_s = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("psm_"))
    };
    entries.filter(is_python_s).collect()
}
