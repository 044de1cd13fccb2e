//! Repositories whose model is several files.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use model_store::{Error, PullEvent};

use crate::{
    server::{Answer, Request, Server},
    world::{World, sha256},
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FOLDER: &str = "hf%3aorg%2frepo/hf";

/// A file of weights with one tensor of `data` bytes.
fn weights(data: usize) -> Vec<u8> {
    let header = format!(r#"{{"w":{{"dtype":"U8","shape":[{data}],"data_offsets":[0,{data}]}}}}"#);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![7; data]].concat()
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let index = r#"{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#;
    vec![
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"[1]".to_vec()),
        ("model.safetensors.index.json", index.into()),
        ("model-1.safetensors", weights(40_000)),
        ("model-2.safetensors", weights(50_000)),
    ]
}

/// Files that a set does not have: code, pickles, what lies deeper.
const OTHERS: [&str; 5] = [
    "modeling.py",
    "pytorch_model.bin",
    "README.md",
    "original/consolidated.safetensors",
    "consolidated.safetensors",
];

fn listing() -> String {
    let mut items: Vec<_> =
        OTHERS.map(|path| format!(r#"{{"type":"file","path":"{path}","size":9}}"#)).into();
    for (path, content) in files() {
        let (size, hash) = (content.len(), sha256(&content));
        let lfs = match path.ends_with(".safetensors") {
            true => format!(r#","lfs":{{"oid":"{hash}","size":{size}}}"#),
            false => String::new(),
        };
        items.push(format!(r#"{{"type":"file","path":"{path}","size":{size}{lfs}}}"#));
    }
    format!("[{}]", items.join(","))
}

/// The repository; `change` may answer otherwise.
fn answer(request: &Request) -> Answer {
    let target = request.target.as_str();
    if target == "/api/models/org/repo/revision/main" {
        return Answer::new(200, format!(r#"{{"sha":"{COMMIT}","tags":[]}}"#));
    }
    let tree = |revision: &str| format!("/api/models/org/repo/tree/{revision}?recursive=true");
    if target == tree("main") || target == tree(COMMIT) {
        return Answer::new(200, listing());
    }
    let file = target.strip_prefix(&format!("/org/repo/resolve/{COMMIT}/"));
    match files().into_iter().find(|(name, _)| Some(*name) == file) {
        Some((name, content)) => Answer::file(request, &content, &format!("\"{name}\"")),
        None => Answer::new(404, ""),
    }
}

fn asked(server: &Server, name: &str) -> usize {
    server.requests().iter().filter(|request| request.target.ends_with(name)).count()
}

#[test]
fn a_repository_without_gguf_is_brought_as_a_folder_of_one_commit_without_code() {
    let server = Server::start(answer);
    let world = World::new(&server.url());
    let path = world.pull("hf:org/repo").unwrap();
    for (name, content) in files() {
        assert_eq!(fs::read(path.join(name)).unwrap(), content, "{name}");
    }
    let mut expected: Vec<_> = files().iter().map(|(name, _)| format!("{FOLDER}/{name}")).collect();
    expected.push("hf%3aorg%2frepo/model.json".to_owned());
    expected.sort();
    assert_eq!(world.files(), expected);
    let total: u64 = files().iter().map(|(_, content)| content.len() as u64).sum();
    let events = world.events();
    assert!(
        events.contains(&PullEvent::Progress { done: total, total: Some(total) }),
        "{events:?}"
    );

    assert_eq!(world.store.find("hf:org/repo").unwrap(), Some(path.clone()));
    let before = server.requests().len();
    assert_eq!(world.pull("hf:org/repo").unwrap(), path);
    assert_eq!(server.requests().len(), before);
    let listed = world.store.list().unwrap();
    let model = listed.iter().find(|model| model.name == "hf:org/repo").unwrap();
    assert_eq!((model.size_bytes, model.path.as_deref()), (total, path.to_str()));

    fs::write(path.join("tokenizer.json"), "[1, 2]").unwrap();
    assert_eq!(world.store.find("hf:org/repo").unwrap(), None, "it is not what was verified");
    assert_eq!(world.store.remove("hf:org/repo").unwrap().freed_bytes, total + 3);
    assert_eq!(world.files(), [""; 0]);
}

#[test]
fn what_was_cut_goes_on_file_by_file_from_where_it_stopped() {
    static CUT: AtomicBool = AtomicBool::new(true);
    let server = Server::start(|request| {
        let is_last = request.target.ends_with("model-2.safetensors");
        match (is_last && CUT.load(Ordering::SeqCst), request.start()) {
            (true, None) => answer(request).cut_after(10_000),
            (true, Some(_)) => Answer::new(503, ""),
            (false, _) => answer(request),
        }
    });
    let world = World::new(&server.url());
    world.pull("hf:org/repo").unwrap_err();
    assert_eq!(world.store.find("hf:org/repo").unwrap(), None);
    let first = server.requests().len();
    CUT.store(false, Ordering::SeqCst);
    let path = world.pull("hf:org/repo").unwrap();
    assert_eq!(fs::read(path.join("model-2.safetensors")).unwrap(), weights(50_000));
    assert_eq!(asked(&server, "model-1.safetensors"), 1, "it was whole");
    let later = server.requests().split_off(first);
    let resumed = later.iter().find(|request| request.target.ends_with("model-2.safetensors"));
    assert!(resumed.unwrap().start().is_some_and(|start| start > 0), "{later:?}");
}

#[test]
fn a_set_with_a_file_that_is_not_the_listed_one_is_not_landed() {
    let server = Server::start(|request| match request.target.ends_with("model-1.safetensors") {
        true => Answer::file(request, &weights(40_001)[1..], "\"x\""),
        false => answer(request),
    });
    let world = World::new(&server.url());
    let error = world.pull("hf:org/repo").unwrap_err();
    assert!(matches!(error, Error::WrongHash { .. } | Error::WrongSize { .. }), "{error}");
    assert_eq!(world.store.find("hf:org/repo").unwrap(), None);
}

#[test]
fn a_commit_that_is_none_is_refused_before_it_becomes_a_path() {
    let server = Server::start(|request| match request.target.contains("/revision/") {
        true => Answer::new(200, r#"{"sha":"../../../x"}"#),
        false => answer(request),
    });
    let world = World::new(&server.url());
    assert!(world.refusal("hf:org/repo").contains("what it calls a commit is none"));
}

#[test]
fn a_folder_of_this_host_is_a_model_when_it_is_whole() {
    let world = World::new(crate::world::NOWHERE);
    let folder = world.folder.path().join("model");
    fs::create_dir(&folder).unwrap();
    let name = folder.display().to_string();
    assert_eq!(world.store.find(&name).unwrap(), None);
    for (name, content) in files() {
        fs::write(folder.join(name), content).unwrap();
    }
    assert_eq!(world.store.find(&name).unwrap(), Some(folder.clone()));
    assert_eq!(world.pull(&name).unwrap(), folder);
    fs::write(folder.join("model-1.safetensors"), &weights(40_000)[..100]).unwrap();
    assert!(world.refusal(&name).contains("`model-1.safetensors`"));
}
