use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use model_store::{Error, PullEvent};

use crate::{
    model::Gguf,
    server::{Answer, Server},
    world::{World, sha256},
};

const NAME: &str = "hf:org/repo/sub/m.Q4_0.gguf";

#[test]
fn a_model_is_downloaded_once_and_then_found() {
    let content = Gguf::whole(300_000).bytes();
    let served = content.clone();
    let server = Server::start(move |request| Answer::file(request, &served, "\"1\""));
    let world = World::new(&server.url());
    assert_eq!(world.store.find(NAME).unwrap(), None);

    let path = world.pull(NAME).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content);
    assert_eq!(server.requests()[0].target, "/org/repo/resolve/main/sub/m.Q4_0.gguf");
    let events = world.events();
    let total = content.len() as u64;
    assert_eq!(events.first(), Some(&PullEvent::Source { description: "127.0.0.1".into() }));
    assert_eq!(
        events[events.len() - 2..],
        [PullEvent::Progress { done: total, total: Some(total) }, PullEvent::Verifying]
    );

    assert_eq!(world.store.find(NAME).unwrap(), Some(path.clone()));
    assert_eq!(world.pull(NAME).unwrap(), path);
    assert_eq!((server.requests().len(), world.events()), (1, vec![]));
    let folder = "hf%3aorg%2frepo%2fsub%2fm.Q4_0.gguf";
    assert_eq!(world.files(), [format!("{folder}/model.gguf"), format!("{folder}/model.json")]);
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(path.with_file_name("model.json")).unwrap()).unwrap();
    assert_eq!(record["name"], NAME);
    assert_eq!(record["source"], server.url() + "/org/repo/resolve/main/sub/m.Q4_0.gguf");
    assert_eq!(record["sha256"], sha256(&content));
    assert_eq!(record["size"], total);
    assert!(record["pulled_at"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_repository_with_one_model_needs_no_file_name() {
    let content = Gguf::whole(1000).bytes();
    let server = repository(&content, &["README.md", "m.Q4_K_M.gguf", "mmproj-f16.gguf"]);
    let world = World::new(&server.url());
    let path = world.pull("hf:org/repo").unwrap();
    assert_eq!(fs::read(path).unwrap(), content);
    let targets: Vec<_> = server.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(
        targets,
        ["/api/models/org/repo/tree/main?recursive=true", "/org/repo/resolve/main/m.Q4_K_M.gguf"]
    );
}

#[test]
fn a_repository_with_several_models_lists_them_until_one_is_meant() {
    let content = Gguf::whole(1000).bytes();
    let server = repository(&content, &["m.Q4_K_M.gguf", "m.Q8_0.gguf"]);
    let world = World::new(&server.url());
    assert_eq!(
        world.refusal("hf:org/repo"),
        "`org/repo` has several models; add one of: `hf:org/repo/m.Q4_K_M.gguf`, \
         `hf:org/repo/m.Q8_0.gguf`"
    );
    world.pull("hf:org/repo:q8_0").unwrap();
    assert_eq!(server.requests().last().unwrap().target, "/org/repo/resolve/main/m.Q8_0.gguf");
    // The quantisation is part of the name, however it is written.
    assert!(world.store.find("hf:org/repo:Q8_0").unwrap().is_some());
    assert_eq!(
        world.refusal("hf:org/repo:Q2_K"),
        "`org/repo` has no GGUF file of the quantisation `Q2_K`"
    );
}

#[test]
fn the_hash_that_a_repository_lists_is_verified() {
    let content = Gguf::whole(1000).bytes();
    let size = content.len();
    let server = Server::start(move |request| match request.target.contains("/tree/") {
        true => Answer::new(200, listing(&["m.gguf"], &sha256(b"another"), size)),
        false => Answer::file(request, &content, "\"1\""),
    });
    let world = World::new(&server.url());
    let Err(Error::WrongHash { expected, .. }) = world.pull("hf:org/repo") else { panic!() };
    assert_eq!(expected, sha256(b"another"));
    assert_eq!(world.files(), [""; 0]);
}

#[test]
fn a_url_is_a_name_and_its_query_is_kept_out_of_sight() {
    let content = Gguf::whole(1000).bytes();
    let server = Server::start(move |request| Answer::file(request, &content, "\"1\""));
    let world = World::new(&server.url());
    let name = format!("{}/m.gguf?token=secret#part", server.url());
    let path = world.pull(&name).unwrap();
    assert_eq!(server.requests()[0].target, "/m.gguf?token=secret");
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(path.with_file_name("model.json")).unwrap()).unwrap();
    assert_eq!(record["source"], server.url() + "/m.gguf");
    assert!(!format!("{:?}", world.events()).contains("secret"));
}

#[test]
fn a_redirect_on_the_same_host_is_followed() {
    let content = Gguf::whole(1000).bytes();
    let served = content.clone();
    let server = Server::start(move |request| match request.target.as_str() {
        "/cdn/1?signature=x" => Answer::file(request, &served, "\"1\""),
        _ => Answer::redirect("/cdn/1?signature=x").with("x-linked-etag", &sha256(&served)),
    });
    let world = World::new(&server.url());
    assert_eq!(fs::read(world.pull(NAME).unwrap()).unwrap(), content);
}

#[test]
fn a_body_of_unknown_length_is_taken_to_its_end() {
    let content = Gguf::whole(1000).bytes();
    let size = format!("{:x}\r\n", content.len()).into_bytes();
    let chunked = [&size, &content[..], b"\r\n0\r\n\r\n"].concat();
    let cut = chunked.len() - 100;
    let server = Server::start(move |request| {
        let answer = Answer::new(200, &chunked[..]).with("transfer-encoding", "chunked");
        if request.number == 0 { answer.cut_after(cut) } else { answer }
    });
    let world = World::new(&server.url());
    assert_eq!(fs::read(world.pull(NAME).unwrap()).unwrap(), content);
    let end = PullEvent::Progress { done: content.len() as u64, total: Some(content.len() as u64) };
    assert!(world.events().contains(&end));
}

#[test]
fn a_path_is_a_name_and_is_used_where_it_is() {
    let world = World::new(crate::world::NOWHERE);
    let path = world.folder.path().join("m.gguf");
    let shown = path.display().to_string();
    assert_eq!(world.store.find(&shown).unwrap(), None);
    assert_eq!(world.refusal(&shown), format!("there is no file `{shown}`"));
    fs::write(&path, Gguf::whole(100).bytes()).unwrap();
    for name in [shown.clone(), format!("file:{shown}"), format!("file://{shown}")] {
        assert_eq!(world.pull(&name).unwrap(), path);
        assert_eq!(world.store.find(&name).unwrap(), Some(path.clone()));
    }
    fs::write(&path, "GGUF").unwrap();
    assert_eq!(
        world.refusal(&shown),
        format!(
            "`{shown}` is not usable: it is truncated: the version at byte 4 needs 4 bytes and \
             the file has 4"
        )
    );
}

#[test]
fn callers_at_the_same_moment_download_once() {
    let content = Gguf::whole(500_000).bytes();
    let served = content.clone();
    let server = Server::start(move |request| Answer::file(request, &served, "\"1\""));
    let world = World::new(&server.url());
    let (barrier, waited) = (Barrier::new(8), AtomicUsize::new(0));
    let store = &world.store;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                let mut tell = |event| {
                    if matches!(event, PullEvent::Source { ref description } if description.contains("another process")) {
                        waited.fetch_add(1, Ordering::Relaxed);
                    }
                };
                let path = store.pull(NAME, &mut tell, &|| false).unwrap();
                assert_eq!(fs::read(path).unwrap(), content);
            });
        }
    });
    assert_eq!(server.requests().len(), 1);
    assert!(waited.into_inner() <= 7);
}

/// A server with one repository whose models all have the same content.
fn repository(content: &[u8], files: &'static [&'static str]) -> Server {
    let content = content.to_vec();
    Server::start(move |request| match request.target.contains("/tree/") {
        true => Answer::new(200, listing(files, &sha256(&content), content.len())),
        false => Answer::file(request, &content, "\"1\""),
    })
}

fn listing(files: &[&str], oid: &str, size: usize) -> String {
    let items = files.iter().map(|path| {
        serde_json::json!({
            "type": "file", "path": path, "size": size, "oid": "git", "lfs": {"oid": oid, "size": size}
        })
    });
    serde_json::Value::from(items.collect::<Vec<_>>()).to_string()
}
