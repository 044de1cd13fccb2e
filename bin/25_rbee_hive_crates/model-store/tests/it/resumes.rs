use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use model_store::{Error, PullEvent};

use crate::{
    model::Gguf,
    server::{Answer, Server},
    world::{PATIENCE, World, chain, sha256},
};

const NAME: &str = "hf:org/repo/m.gguf";

#[test]
fn a_cut_connection_is_resumed_where_it_was_cut() {
    let content = Gguf::whole(400_000).bytes();
    let served = content.clone();
    let server = Server::start(move |request| {
        let answer = Answer::file(request, &served, "\"1\"");
        if request.number < 3 { answer.cut_after(100_000) } else { answer }
    });
    let world = World::new(&server.url());
    let path = world.pull(NAME).unwrap();
    assert_eq!(fs::read(path).unwrap(), content);
    let starts: Vec<_> = server.requests().iter().map(|request| request.start()).collect();
    assert_eq!(starts, [None, Some(100_000), Some(200_000), Some(300_000)]);
    assert_eq!(server.requests()[1].header("if-range"), Some("\"1\""));
    assert_eq!(world.retries(), 3);
}

#[test]
fn a_server_that_cannot_resume_is_taken_from_the_beginning() {
    let content = Gguf::whole(400_000).bytes();
    let served = content.clone();
    let server = Server::start(move |request| {
        let answer = Answer::new(200, &served[..]).with("etag", "\"1\"");
        if request.number == 0 { answer.cut_after(100_000) } else { answer }
    });
    let world = World::new(&server.url());
    assert_eq!(fs::read(world.pull(NAME).unwrap()).unwrap(), content);
}

#[test]
fn a_file_that_changed_meanwhile_is_not_glued_to_the_old_one() {
    let (old, new) = (Gguf::whole(400_000), Gguf::whole(400_000).text("version", "new").bytes());
    let (first, second) = (old.bytes(), new.clone());
    let server = Server::start(move |request| match request.number {
        0 => Answer::file(request, &first, "\"1\"").cut_after(100_000),
        _ => Answer::file(request, &second, "\"2\""),
    });
    let world = World::new(&server.url());
    assert_eq!(fs::read(world.pull(NAME).unwrap()).unwrap(), new);
}

#[test]
fn without_a_validator_nothing_is_resumed() {
    let content = Gguf::whole(400_000).bytes();
    let served = content.clone();
    let server = Server::start(move |request| {
        let answer = Answer::new(200, &served[..]).with("etag", "W/\"weak\"");
        if request.number == 0 { answer.cut_after(100_000) } else { answer }
    });
    let world = World::new(&server.url());
    assert_eq!(fs::read(world.pull(NAME).unwrap()).unwrap(), content);
    assert_eq!(server.requests()[1].header("range"), None);
}

#[test]
fn a_later_pull_goes_on_from_what_a_cancelled_one_left() {
    let content = Gguf::whole(400_000).bytes();
    let served = content.clone();
    let server = Server::start(move |request| {
        let answer = Answer::file(request, &served, "\"1\"");
        if request.number == 0 { answer.stall_after(100_000) } else { answer }
    });
    let world = World::new(&server.url());
    let partial = world.folder.path().join("models/hf%3aorg%2frepo%2fm.gguf/model.gguf.partial");
    let has_begun = || fs::metadata(&partial).is_ok_and(|metadata| metadata.len() == 100_000);
    let cancelled = world.pull_until(NAME, has_begun);
    assert!(matches!(cancelled, Err(Error::Cancelled)));
    assert_eq!(world.store.find(NAME).unwrap(), None);

    assert_eq!(fs::read(world.pull(NAME).unwrap()).unwrap(), content);
    assert_eq!(server.requests()[1].start(), Some(100_000));
    assert_eq!(world.files().len(), 2);
}

#[test]
fn what_is_complete_already_is_only_verified() {
    let content = Gguf::whole(1000).bytes();
    let (served, hash) = (content.clone(), sha256(&content));
    let server = Server::start(move |request| {
        Answer::file(request, &served, "\"1\"").with("x-linked-etag", &hash)
    });
    let world = World::new(&server.url());
    let folder = world.folder.path().join("models/hf%3aorg%2frepo%2fm.gguf");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("model.gguf.partial"), &content).unwrap();
    let url = format!("{}/org/repo/resolve/main/m.gguf", server.url());
    let validator = serde_json::json!({ "url": url, "etag": "\"1\"", "sha256": null });
    fs::write(folder.join("model.gguf.partial.json"), validator.to_string()).unwrap();
    assert_eq!(fs::read(world.pull(NAME).unwrap()).unwrap(), content);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.requests()[0].start(), Some(content.len()));
}

#[test]
fn more_than_there_is_is_thrown_away() {
    let content = Gguf::whole(1000).bytes();
    let served = content.clone();
    let server = Server::start(move |request| Answer::file(request, &served, "\"1\""));
    let world = World::new(&server.url());
    let folder = world.folder.path().join("models/hf%3aorg%2frepo%2fm.gguf");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("model.gguf.partial"), vec![0; content.len() + 1]).unwrap();
    let url = format!("{}/org/repo/resolve/main/m.gguf", server.url());
    let validator = serde_json::json!({ "url": url, "etag": "\"1\"", "sha256": null });
    fs::write(folder.join("model.gguf.partial.json"), validator.to_string()).unwrap();
    assert_eq!(fs::read(world.pull(NAME).unwrap()).unwrap(), content);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_server_that_falls_silent_is_given_up_and_asked_again() {
    let content = Gguf::whole(400_000).bytes();
    let served = content.clone();
    let server = Server::start(move |request| {
        let answer = Answer::file(request, &served, "\"1\"");
        if request.number == 0 { answer.stall_after(100_000) } else { answer }
    });
    let world = World::impatient(&server.url());
    assert_eq!(fs::read(world.pull(NAME).unwrap()).unwrap(), content);
    assert_eq!(server.requests()[1].start(), Some(100_000));
}

#[test]
fn errors_that_pass_are_waited_out() {
    let content = Gguf::whole(1000).bytes();
    let server = Server::start(move |request| match request.number {
        0 => Answer::new(500, ""),
        1 => Answer::new(503, "").with("retry-after", "0"),
        2 => Answer::new(429, ""),
        _ => Answer::file(request, &content, "\"1\""),
    });
    let world = World::new(&server.url());
    world.pull(NAME).unwrap();
    let whys: Vec<_> = world
        .events()
        .into_iter()
        .filter_map(|event| match event {
            PullEvent::Retry { why, .. } => why.split(' ').nth(2).map(str::to_owned),
            _ => None,
        })
        .collect();
    assert_eq!(whys, ["500", "503", "429"]);
}

#[test]
fn errors_that_stay_end_the_pull() {
    let server = Server::start(|_| Answer::new(502, ""));
    let world = World::new(&server.url());
    let url = format!("{}/org/repo/resolve/main/m.gguf", server.url());
    assert_eq!(world.refusal(NAME), format!("`{url}` answered 502"));
    assert_eq!((server.requests().len(), world.retries()), (4, 3));
}

#[test]
fn a_host_that_is_not_there_is_named() {
    let world = World::new(crate::world::NOWHERE);
    let refusal = world.refusal(NAME);
    assert!(refusal.starts_with("`127.0.0.1` cannot be reached: "), "{refusal}");
    assert_eq!(world.retries(), 3);
}

#[test]
fn a_silent_server_does_not_delay_a_cancel() {
    let server = Server::start(|_| Answer::new(200, vec![0; 10]).stall_after(0));
    let world = World::new(&server.url());
    let asked = Arc::new(AtomicBool::new(false));
    let since = Instant::now();
    let error = world.pull_until(NAME, || {
        let is_waiting = !server.requests().is_empty();
        asked.store(is_waiting, Ordering::Relaxed);
        is_waiting
    });
    assert!(matches!(error, Err(Error::Cancelled)), "{}", chain(&error.unwrap_err()));
    assert!(asked.load(Ordering::Relaxed));
    assert!(since.elapsed() < PATIENCE.stall / 2);
}
