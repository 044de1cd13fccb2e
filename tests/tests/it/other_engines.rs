use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use chain_tests::Chain;
use rbee_api::{HiveList, WorkerKind};

use crate::engines::{Infer, engine, folders, is_python, server, wait_until};

const LEVELS: [&str; 4] = ["rbee-keeper", "queen-rbee", "rbee-hive", "vllm-worker"];

const STAND_IN: &str = "bin/30_llm_worker_rbee/engine-adapter/tests/it/stand_in.py";

/// A chain whose model `tiny` is a folder of Hugging Face's, with a program in vLLM's place.
pub(crate) fn chain() -> Chain {
    chain_with("", "")
}

/// The same with more in the tables `[worker.vllm]` and `[model.tiny]`.
pub(crate) fn chain_with(vllm_table: &str, model_table: &str) -> Chain {
    let chain = Chain::new();
    let (vllm, model) = (chain.home().join("vllm"), chain.home().join("model"));
    let stand_in = chain.checkout().path(STAND_IN);
    fs::write(&vllm, format!("#!/bin/sh\nexec python3 {} \"$@\"\n", stand_in.display())).unwrap();
    fs::set_permissions(&vllm, fs::Permissions::from_mode(0o755)).unwrap();
    // What is in no file of the folder itself is no part of the model.
    fs::create_dir_all(model.join("marks")).unwrap();
    fs::write(model.join("config.json"), "{}").unwrap();
    let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let weights = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
    fs::write(model.join("model.safetensors"), weights).unwrap();
    chain.configure(&format!(
        "[worker.vllm]\ncommand = {vllm:?}\nkv_cache = 1\n{vllm_table}\n\
         [model.tiny]\nsource = {model:?}\n{model_table}\n"
    ));
    chain
}

pub(crate) fn words(count: usize) -> String {
    (0..count).map(|word| format!("w{word} ")).collect::<String>().trim_end().to_owned()
}

/// A file for as long as this lives, so that a test that fails does not wait for what it holds.
pub(crate) struct Mark(pub(crate) PathBuf);

impl Drop for Mark {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

#[test]
fn an_edit_of_a_shared_crate_replaces_vllm_s_worker_and_every_other_level_and_not_the_engine() {
    let chain = chain();
    let first = chain.succeed(&["infer", "--model", "tiny", "count 3"]);
    assert_eq!(first.stdout.trim_end(), words(3));
    let before = engine(&chain);
    assert!(before.len() >= 3, "a server and two processes of vLLM's, and not {before:?}");
    let workers = |chain: &Chain| {
        let hives: HiveList = chain_tests::get(&format!("{}/v1/hives", chain.queen()));
        hives.hives[0].workers.workers.clone()
    };
    let worker = workers(&chain).remove(0);
    assert_eq!(worker.kind, WorkerKind::VLlm);
    let health = worker.health.expect("the worker answers");
    assert_eq!(health.role, "vllm-worker");
    let of_python: u64 = before.iter().map(|_| 4 << 20).sum();
    assert!(
        worker.memory_bytes.is_some_and(|bytes| bytes > of_python),
        "{:?}",
        worker.memory_bytes
    );

    let held = chain.home().join("model/marks/held");
    fs::write(&held, "").unwrap();
    let held = Mark(held);
    let start = |n| Infer::start(&chain, &["--model", "tiny", "held 400"], &format!("stream-{n}"));
    let mut streams: Vec<_> = (0..2).map(start).collect();
    for stream in &streams {
        wait_until("a stream begins", || stream.text().contains("w1 "));
    }
    chain.checkout().edit_to_something_new();
    let run = chain.succeed(&["infer", "--model", "tiny", "count 2"]);
    assert_eq!(run.stdout.trim_end(), words(2));
    for level in LEVELS {
        let checking = format!("[dmn-life] auto_update: Checking if '{level}' needs rebuild...");
        assert!(run.stderr.contains(&checking), "no `{checking}` in\n{}", run.stderr);
    }
    let after = workers(&chain).remove(0).health.expect("the worker answers");
    assert_ne!(after.exe_hash, health.exe_hash, "{}", run.stderr);
    assert_eq!(engine(&chain), before, "the engine was loaded anew\n{}", run.stderr);
    assert!(streams.iter().all(|stream| !stream.text().contains("w2 ")));
    drop(held);
    for stream in &mut streams {
        assert!(stream.0.wait().unwrap().success());
        assert_eq!(stream.text().trim_end(), words(400));
    }

    // The server alone: vLLM's other processes would go on computing.
    let killed = server(&before);
    assert!(Command::new("kill").args(["-9", &killed.to_string()]).status().unwrap().success());
    wait_until("something of the engine is left", || before.iter().all(|&pid| !is_python(pid)));
    let healed = chain.succeed(&["infer", "--model", "tiny", "count 3"]);
    assert_eq!(healed.stdout.trim_end(), words(3));
    let after = engine(&chain);
    assert!(after.is_disjoint(&before));

    chain.succeed(&["queen", "stop"]);
    wait_until("something of the engine is left", || after.iter().all(|&pid| !is_python(pid)));
    wait_until("a folder of an engine is left", || folders(&chain).is_empty());
}

#[test]
fn an_upgraded_engine_replaces_the_old_one_and_one_that_fails_does_not() {
    let chain = chain();
    chain.succeed(&["infer", "--model", "tiny", "count 1"]);
    let before = engine(&chain);
    let upgraded = chain.home().join("upgraded");
    let text = fs::read_to_string(chain.home().join("vllm")).unwrap();
    let install = |path: &Path, text: &str| {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    // Another program under the same name, as pip would put it there.
    install(&upgraded, &format!("{text}# upgraded\n"));
    fs::rename(&upgraded, chain.home().join("vllm")).unwrap();
    chain.succeed(&["infer", "--model", "tiny", "count 2"]);
    wait_until("the old engine is left", || before.iter().all(|&pid| !is_python(pid)));
    let second = engine(&chain);
    assert!(second.is_disjoint(&before));

    install(&upgraded, "#!/bin/sh\necho 'ImportError: a broken upgrade' >&2\nexit 1\n");
    fs::rename(&upgraded, chain.home().join("vllm")).unwrap();
    let failed = chain.rbee(&["infer", "--model", "tiny", "count 2"]);
    assert_ne!(failed.code, Some(0), "{}", failed.stderr);
    assert!(failed.stderr.contains("ImportError: a broken upgrade"), "{}", failed.stderr);
    assert_eq!(engine(&chain), second, "what served is gone");
    let body =
        serde_json::json!({"model": "tiny", "messages": [{"role": "user", "content": "count 2"}]});
    let url = format!("{}/v1/chat/completions", chain.queen());
    let answer: serde_json::Value = chain_tests::post(&url, &body);
    assert_eq!(answer["choices"][0]["message"]["content"], "w0 w1 ");
    // The request has had the hive look once more, beside it.
    wait_until("another worker is still there", || {
        chain.processes().iter().filter(|process| process.name == "vllm-worker").count() == 1
    });
}

#[test]
fn an_edit_of_one_worker_s_own_files_leaves_the_other_s_fresh_and_llama_cpp_is_in_one_only() {
    const LLAMACPP: &str = "bin/30_llm_worker_rbee/src/main.rs";
    const ADAPTER: &str = "bin/30_llm_worker_rbee/engine-adapter/src/run.rs";
    let chain = chain();
    // Nothing is built but by the two who ask for answers.
    chain.configure("[auto_update]\nwatch = false");
    chain.succeed(&["infer", "--model", "tiny", "count 1"]);
    chain.succeed(&["infer", "one"]);
    let stale = || {
        let report = chain.rbee(&["update", "--check", "--json"]).stdout;
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let levels = report["levels"].as_array().unwrap().clone();
        // Another test may have built this one here.
        let levels = levels.iter().filter(|level| level["binary"] != "external-worker");
        let stale = levels.filter(|level| level["freshness"] != "fresh");
        stale.map(|level| level["binary"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(stale(), [""; 0]);
    chain.checkout().edit(LLAMACPP, "a stand-in loads nothing", "it loads nothing");
    assert_eq!(stale(), ["llamacpp-worker"]);
    chain.checkout().edit(LLAMACPP, "it loads nothing", "a stand-in loads nothing");
    assert_eq!(stale(), [""; 0]);
    chain.checkout().edit(ADAPTER, "the worker is ready", "the worker is up");
    assert_eq!(stale(), ["vllm-worker"]);

    let compiled = |package: &str| {
        let tree = Command::new("cargo")
            .args(["tree", "--package", package, "--edges", "normal,build", "--prefix", "none"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .unwrap();
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        String::from_utf8(tree.stdout).unwrap()
    };
    assert!(compiled("llm-worker-rbee").contains("llama-cpp-sys"));
    let adapter = compiled("engine-adapter");
    assert!(adapter.contains("daemon-lifecycle") && !adapter.contains("llama-cpp"), "{adapter}");
}
