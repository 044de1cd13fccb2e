use model_store::Error;

use crate::{
    model::Gguf,
    server::{Answer, Server},
    world::{NOWHERE, World, sha256},
};

const NAME: &str = "hf:org/repo/m.gguf";

#[test]
fn content_with_another_hash_is_deleted_and_both_hashes_are_named() {
    let content = Gguf::whole(1000).bytes();
    let (found, expected) = (sha256(&content), sha256(b"what was promised"));
    let promised = expected.clone();
    let server = Server::start(move |request| {
        Answer::file(request, &content, "\"1\"").with("x-linked-etag", &promised)
    });
    let world = World::new(&server.url());
    let url = format!("{}/org/repo/resolve/main/m.gguf", server.url());
    assert_eq!(
        world.refusal(NAME),
        format!(
            "what came from {url} is not what was asked for: its SHA-256 is {found} and not \
             {expected}"
        )
    );
    assert_eq!(world.files(), [""; 0]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_pinned_model_is_refused_before_it_is_downloaded_when_the_server_has_another() {
    let server = Server::start(|_| {
        Answer::new(200, vec![0; 1000])
            .with("x-linked-etag", &sha256(b"another"))
            .with("content-length", "98362432")
            .stall_after(10)
    });
    let world = World::new(&server.url());
    let refusal = world.refusal("smollm2:135m");
    assert!(refusal.contains(&sha256(b"another")), "{refusal}");
    assert!(refusal.contains("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"));
}

#[test]
fn a_pinned_model_of_another_size_is_refused_before_it_is_downloaded() {
    let server = Server::start(|_| Answer::new(200, vec![0; 1000]).stall_after(10));
    let refusal = World::new(&server.url()).refusal("smollm2:135m");
    let expected = "`127.0.0.1` offers 1000 bytes where 98362432 were expected";
    assert!(refusal.contains(expected), "{refusal}");
}

#[test]
fn what_is_no_model_does_not_land() {
    for (content, why) in [
        (b"<html>please sign in</html>".to_vec(), "it is no GGUF file: it begins with `<htm`"),
        (b"GGUF".to_vec(), "it is truncated"),
    ] {
        let server = Server::start(move |request| Answer::file(request, &content, "\"1\""));
        let world = World::new(&server.url());
        let refusal = world.refusal(NAME);
        let url = format!("`{}/org/repo/resolve/main/m.gguf` is not usable: ", server.url());
        assert!(refusal.starts_with(&url) && refusal.contains(why), "{refusal}");
        assert_eq!(world.files(), [""; 0]);
    }
}

#[test]
fn answers_that_will_not_change_are_not_repeated() {
    for (status, meaning) in [
        (404, " (there is no such file)"),
        (403, " (it asks for a sign-in, which is not supported)"),
        (410, ""),
    ] {
        let server = Server::start(move |_| Answer::new(status, ""));
        let world = World::new(&server.url());
        let url = format!("{}/org/repo/resolve/main/m.gguf", server.url());
        assert_eq!(world.refusal(NAME), format!("`{url}` answered {status}{meaning}"));
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn this_host_and_its_network_are_out_of_reach() {
    let world = World::new(NOWHERE);
    for url in [
        "https://127.0.0.1/m.gguf",
        "https://localhost:8500/m.gguf",
        "https://a.localhost/m.gguf",
        "https://[::1]/m.gguf",
        "https://[::ffff:10.0.0.1]/m.gguf",
        "https://169.254.169.254/m.gguf",
        "https://192.168.1.1/m.gguf",
        "https://0x7f000001/m.gguf",
        "https://127.1/m.gguf",
    ] {
        let refusal = world.refusal(url);
        assert!(
            refusal.ends_with("may not be downloaded: its address is not a public one"),
            "{refusal}"
        );
    }
    let refusal = world.refusal("http://example.org/m.gguf");
    assert!(refusal.ends_with("may not be downloaded: it is not an `https` URL"), "{refusal}");
}

#[test]
fn a_redirect_leads_nowhere_that_a_name_may_not() {
    let other = Server::start(|_| Answer::new(200, "secret"));
    let target = other.url() + "/m.gguf";
    for target in
        [target.as_str(), "https://127.0.0.1/m.gguf", "https://10.0.0.1/", "file:///etc/passwd"]
    {
        let to = target.to_owned();
        let server = Server::start(move |_| Answer::redirect(&to));
        let world = World::new(&server.url());
        assert!(matches!(world.pull(NAME), Err(Error::Forbidden { .. })), "{target}");
    }
    assert_eq!(other.requests().len(), 0);
}

#[test]
fn a_redirect_without_end_is_given_up() {
    let server = Server::start(|_| Answer::redirect("/again"));
    let world = World::new(&server.url());
    assert_eq!(
        world.refusal(NAME),
        "the answer of `127.0.0.1` makes no sense: it redirects without end"
    );
    assert_eq!(server.requests().len(), 11);
}

#[test]
fn a_file_that_the_disk_has_no_room_for_is_not_begun() {
    let server = Server::start(|_| {
        Answer::new(200, vec![0; 1000])
            .with("content-length", &(1_u64 << 60).to_string())
            .stall_after(10)
    });
    let world = World::new(&server.url());
    assert!(matches!(world.pull(NAME), Err(Error::NoSpace { .. })));
}

#[test]
fn a_listing_that_makes_no_sense_is_refused() {
    for body in ["{}".to_owned(), "[".to_owned(), format!("[{}]", " ".repeat(9 << 20))] {
        let server = Server::start(move |_| Answer::new(200, body.clone()));
        let refusal = World::new(&server.url()).refusal("hf:org/repo");
        assert!(refusal.starts_with("the answer of `127.0.0.1` makes no sense: "), "{refusal}");
    }
}

#[test]
fn a_server_that_sends_another_range_is_refused() {
    let content = Gguf::whole(400_000).bytes();
    let server = Server::start(move |request| match request.number {
        0 => Answer::file(request, &content, "\"1\"").cut_after(1000),
        _ => Answer::new(206, &content[..10]).with("content-range", "bytes 0-9/10"),
    });
    assert_eq!(
        World::new(&server.url()).refusal(NAME),
        "the answer of `127.0.0.1` makes no sense: it sends another range than it was asked for"
    );
}
