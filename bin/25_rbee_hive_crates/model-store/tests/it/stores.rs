use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use model_store::Error;

use crate::{
    model::Gguf,
    server::{Answer, Server},
    world::{NOWHERE, World, sha256},
};

const NAME: &str = "hf:org/repo/m.gguf";
const FOLDER: &str = "models/hf%3aorg%2frepo%2fm.gguf";

#[test]
fn the_list_holds_what_is_here_and_the_catalogue() {
    let content = Gguf::whole(1000).bytes();
    let (hash, size) = (sha256(&content), content.len() as u64);
    let server = Server::start(move |request| Answer::file(request, &content, "\"1\""));
    let world = World::new(&server.url());
    let path = world.pull(NAME).unwrap();
    // Neither a model nor in the way.
    fs::create_dir(world.folder.path().join("models/lost+found")).unwrap();
    let models = world.store.list().unwrap();
    let named = |name: &str| models.iter().find(|model| model.name == name).unwrap();
    let here = named(NAME);
    assert_eq!((here.local, here.size_bytes, here.is_approximate), (true, size, false));
    assert_eq!(here.path.as_deref(), path.to_str());
    assert_eq!(here.sha256.as_deref(), Some(hash.as_str()));
    let pinned = named("smollm2:135m");
    assert_eq!((pinned.local, pinned.size_bytes), (false, 98_362_432));
    assert_eq!((pinned.is_approximate, pinned.license.as_deref()), (false, Some("Apache-2.0")));
    let named_by_the_hub = named("qwen3:8b");
    assert!(!named_by_the_hub.local && named_by_the_hub.is_approximate);
    assert_eq!(named_by_the_hub.sha256, None);
}

/// A hub that has one file, and publishes `hash` as what it consists of.
fn hub_that_publishes(hash: &str, content: Vec<u8>) -> Server {
    let size = content.len();
    let listing = format!(
        r#"[{{"type":"file","path":"Qwen3-4B-Q4_K_M.gguf","size":1,"lfs":{{"oid":"{hash}","size":{size}}}}}]"#
    );
    Server::start(move |request| match request.target.contains("/tree/") {
        true => Answer::new(200, listing.clone().into_bytes()),
        false => Answer::file(request, &content, "\"1\""),
    })
}

#[test]
fn a_name_of_the_catalogue_is_what_its_repository_has() {
    let content = Gguf::whole(1000).bytes();
    let server = hub_that_publishes(&sha256(&content), content);
    let world = World::new(&server.url());
    let path = world.pull("Qwen3-4B").unwrap();
    assert_eq!(world.store.find("qwen3:4b").unwrap(), Some(path));
    let asked: Vec<String> =
        server.requests().iter().map(|request| request.target.clone()).collect();
    assert_eq!(
        asked,
        [
            "/api/models/Qwen/Qwen3-4B-GGUF/tree/main?recursive=true",
            "/Qwen/Qwen3-4B-GGUF/resolve/main/Qwen3-4B-Q4_K_M.gguf",
        ]
    );
}

#[test]
fn a_file_that_is_not_what_the_hub_publishes_is_no_model_of_the_catalogue() {
    let hash = sha256(b"another");
    let server = hub_that_publishes(&hash, Gguf::whole(1000).bytes());
    let world = World::new(&server.url());
    let refusal = world.refusal("qwen3:4b");
    assert!(refusal.contains(&hash), "{refusal}");
    assert_eq!(world.store.find("qwen3:4b").unwrap(), None);
}

#[test]
fn a_removed_model_is_gone_and_its_bytes_are_counted() {
    let content = Gguf::whole(1000).bytes();
    let size = content.len() as u64;
    let server = Server::start(move |request| Answer::file(request, &content, "\"1\""));
    let world = World::new(&server.url());
    world.pull(NAME).unwrap();
    let removed = world.store.remove(NAME).unwrap();
    assert_eq!((removed.name.as_str(), removed.freed_bytes), (NAME, size));
    assert_eq!(world.store.find(NAME).unwrap(), None);
    assert!(matches!(world.store.remove(NAME), Err(Error::NotInStore { .. })));
    world.pull(NAME).unwrap();
}

#[test]
fn a_file_outside_of_the_store_is_never_removed() {
    let world = World::new(NOWHERE);
    let path = world.folder.path().join("m.gguf");
    fs::write(&path, Gguf::whole(100).bytes()).unwrap();
    let refused = world.store.remove(path.to_str().unwrap());
    assert!(matches!(refused, Err(Error::OutsideOfStore { .. })));
    assert!(path.exists());
}

#[test]
fn a_model_is_not_removed_while_it_is_pulled() {
    let server = Server::start(|_| Answer::new(200, vec![0; 10]).stall_after(0));
    let world = World::new(&server.url());
    let pulled = world.pull_until(NAME, || {
        let is_pulling = !server.requests().is_empty();
        if is_pulling {
            assert!(matches!(world.store.remove(NAME), Err(Error::Busy { .. })));
        }
        is_pulling
    });
    assert!(matches!(pulled, Err(Error::Cancelled)));
    world.store.remove(NAME).unwrap();
}

#[test]
fn a_file_that_lost_bytes_is_not_served_but_pulled_again() {
    let content = Gguf::whole(1000).bytes();
    let served = content.clone();
    let server = Server::start(move |request| Answer::file(request, &served, "\"1\""));
    let world = World::new(&server.url());
    let path = world.pull(NAME).unwrap();
    fs::write(&path, &content[..500]).unwrap();
    assert_eq!(world.store.find(NAME).unwrap(), None);
    assert_eq!(fs::read(world.pull(NAME).unwrap()).unwrap(), content);
}

#[test]
fn a_file_without_its_record_is_pulled_again() {
    let content = Gguf::whole(1000).bytes();
    let server = Server::start(move |request| Answer::file(request, &content, "\"1\""));
    let world = World::new(&server.url());
    let path = world.pull(NAME).unwrap();
    fs::write(path.with_file_name("model.json"), "{").unwrap();
    assert_eq!(world.store.find(NAME).unwrap(), None);
    world.pull(NAME).unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_link_in_the_store_is_not_followed() {
    let content = Gguf::whole(1000).bytes();
    let server = Server::start(move |request| Answer::file(request, &content, "\"1\""));
    let world = World::new(&server.url());
    let path = world.pull(NAME).unwrap();
    let outside = world.folder.path().join("outside");
    fs::rename(&path, &outside).unwrap();
    symlink(&outside, &path).unwrap();
    assert_eq!(world.store.find(NAME).unwrap(), None);
    world.store.remove(NAME).unwrap();
    assert!(outside.exists());

    // A partial file that was replaced by a link is removed, not written through.
    let precious = world.folder.path().join("precious");
    fs::write(&precious, "keep").unwrap();
    fs::create_dir(world.folder.path().join(FOLDER)).unwrap();
    let partial = world.folder.path().join(FOLDER).join("model.gguf.partial");
    symlink(&precious, partial).unwrap();
    world.pull(NAME).unwrap();
    assert_eq!(fs::read_to_string(precious).unwrap(), "keep");
}

#[test]
fn the_store_is_its_owners_only() {
    let world = World::new(NOWHERE);
    let mode = fs::metadata(world.folder.path().join("models")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn long_names_and_alike_names_have_folders_of_their_own() {
    let content = Gguf::whole(1000).bytes();
    let server = Server::start(move |request| Answer::file(request, &content, "\"1\""));
    let world = World::new(&server.url());
    let long = "n".repeat(300);
    let names = [
        "hf:org/repo/a_b.gguf".to_owned(),
        "hf:org/repo/a/b.gguf".to_owned(),
        "hf:org/repo/a%2fb.gguf".to_owned(),
        format!("hf:org/repo/{long}1.gguf"),
        format!("hf:org/repo/{long}2.gguf"),
    ];
    for name in &names {
        world.pull(name).unwrap();
    }
    assert_eq!(server.requests().len(), names.len());
    assert_eq!(world.store.list().unwrap().iter().filter(|model| model.local).count(), names.len());
}
