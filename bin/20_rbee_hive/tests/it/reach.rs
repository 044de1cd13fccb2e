use crate::world::{CHUNKS, World};

#[tokio::test]
async fn of_a_path_that_cannot_be_used_nobody_is_told_why() {
    let world = World::new();
    let (path, folder) = (world.model("a"), world.model("folder"));
    std::fs::write(&path, "secret text").unwrap();
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let absent = path.replace("a.gguf", "absent.gguf");
    let mut told = Vec::new();
    for name in [&path, &folder, &absent, "/proc/1/mem", "/dev/zero", "/etc/shadow"] {
        let answer = world.complete(name, false).await;
        assert_eq!(answer.refusal(), (404, "model_not_found".into()), "{name}");
        told.push(answer.body.replace(name, "NAME"));
        let answer = world.pull(name).await;
        told.push(answer.body.replace(name, "NAME"));
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 2, "one answer for a completion and one for a pull: {told:#?}");
}

/// What only who may manage may name, and the file of a model that is there.
fn beyond_reach(world: &World) -> Vec<String> {
    let path = world.model("a");
    let mut names: Vec<_> = ["/etc/shadow", "/dev/zero", "./a.gguf", "../a", "absent/b"]
        .iter()
        .chain(&["hf:org/repo", "hf:org/repo/m.gguf:Q4", "hf:org/repo/m.gguf"])
        .chain(&["https://127.0.0.1:1/m.gguf", "http://[::1]/m", "file:///etc/shadow", "nothing"])
        .map(|name| (*name).to_owned())
        .collect();
    names.extend([format!("file:{path}"), path]);
    names
}

#[tokio::test]
async fn paths_urls_and_downloads_are_for_who_may_manage_and_all_answered_alike() {
    let world = World::new();
    let bearer = format!("Bearer {}", world.token);
    // A queen passes on by its own right what its client may not name.
    let by_the_queen = |reach| [("authorization", bearer.as_str()), ("x-rbee-models", reach)];
    for name in beyond_reach(&world) {
        let senders = [Vec::new(), by_the_queen("stored").into(), by_the_queen("catalogue").into()];
        let mut told = Vec::new();
        for headers in senders {
            let answer = world.complete_with(&name, &headers).await;
            let (status, code) = answer.refusal();
            assert!(matches!(status, 400 | 404), "{name}: {answer:?}");
            assert!(["invalid_model", "model_not_found"].contains(&code.as_str()), "{name}");
            told.push(answer.body);
        }
        told.dedup();
        assert_eq!(told.len(), 1, "{name}: {told:?}");
    }
    // Names of one kind are told apart by nothing but themselves.
    let path = world.model("a");
    let mut told = Vec::new();
    for name in [path.as_str(), "/etc/shadow", "/no/such/file", "hf:org/repo"] {
        told.push(world.complete_with(name, &[]).await.body.replace(name, "NAME"));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(world.machine.state(|machine| machine.spawned.is_empty() && machine.built.is_empty()));
    assert_eq!(world.files_of_the_store(), Vec::<String>::new(), "nothing was downloaded");
}

#[tokio::test]
async fn no_key_that_only_chats_has_a_model_of_the_catalogue_downloaded() {
    // Nothing listens there, and there is no Python: a download that is begun fails.
    let file = "[models]\nhf_endpoint = \"http://127.0.0.1:1\"\n";
    let world = World::configured(|_| file.to_owned());
    let refused = world.complete_with("smollm2:135m", &[("x-rbee-models", "stored")]).await;
    assert_eq!(refused.refusal(), (404, "model_not_found".into()));
    assert_eq!(world.files_of_the_store(), Vec::<String>::new(), "nothing was begun");
    assert_eq!(world.machine.state(|machine| machine.built.len()), 0);
    // Whoever may have it downloaded has the worker built meanwhile.
    world.complete_with("smollm2:135m", &[("x-rbee-models", "catalogue")]).await;
    assert_eq!(world.machine.state(|machine| machine.built.clone()), ["smollm2:135m"]);
    world.store("smollm2:135m", "smollm2%3a135m");
    let answer = world.complete_with("smollm2", &[("x-rbee-models", "stored")]).await;
    assert_eq!(answer.body, CHUNKS);
    assert_eq!(world.machine.state(|machine| machine.built.len()), 1, "there was nothing to get");
}

#[tokio::test]
async fn what_is_in_the_store_and_what_is_configured_is_everybody_s() {
    let world =
        World::configured(|home| format!("[models]\ndefault = {:?}\n", home.join("a.gguf")));
    let default = world.model("a");
    world.store("hf:org/repo/m.gguf", "hf%3aorg%2frepo%2fm.gguf");
    for name in [default.as_str(), "hf:org/repo/m.gguf"] {
        let answer = world.complete_with(name, &[("x-rbee-models", "stored")]).await;
        assert_eq!(answer.body, CHUNKS, "{name}");
    }
    let unnamed = world.ask("POST", "/v1/completions", &[], r#"{"stream":true}"#).await;
    assert_eq!(unnamed.body, CHUNKS);
}

#[tokio::test]
async fn one_model_has_one_worker_however_it_is_spelled() {
    let world = World::new();
    world.store("smollm2:135m", "smollm2%3a135m");
    for name in ["smollm2", "smollm2:135m"] {
        assert_eq!(world.complete_with(name, &[]).await.body, CHUNKS);
    }
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 1);
}

#[tokio::test]
async fn a_model_s_name_that_is_too_long_is_refused_before_it_is_kept() {
    let world = World::new();
    let answer = world.complete(&"/x".repeat(1000), false).await;
    assert_eq!(answer.refusal(), (400, "invalid_model".into()));
    assert!(answer.body.len() < 1000, "{}", answer.body.len());
}
