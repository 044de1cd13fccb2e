use crate::world::{Reply, World};

const STORE: &str = r#"{"models":[{"name":"m","size_bytes":1,"local":true,"path":null,"sha256":null,"license":null,"description":null}]}"#;

#[tokio::test]
async fn the_queen_says_who_she_is() {
    let (world, hive) = World::one().await;
    let health = world.get("/health").await.json();
    assert_eq!((&health["status"], &health["role"]), (&"ok".into(), &"queen-rbee".into()));
    assert_eq!(health["pid"], std::process::id());
    assert_eq!(hive.starts(), 0);
}

#[tokio::test]
async fn looking_at_hives_starts_none() {
    let world = World::of(&["a", "b"]).await;
    let hives = world.get("/v1/hives").await.json();
    for (nth, alias) in ["a", "b"].into_iter().enumerate() {
        assert_eq!(hives["hives"][nth]["alias"], alias);
        assert_eq!(hives["hives"][nth]["state"], "stopped");
        assert_eq!(world.hives[alias].starts(), 0);
    }
    assert_eq!(world.get("/v1/workers").await.json()["workers"], serde_json::json!([]));
}

#[tokio::test]
async fn a_hive_that_runs_and_does_not_answer_has_failed() {
    let (world, hive) = World::one().await;
    hive.runs().on("GET /health", Reply::json(500, "<html>"));
    let hives = world.get("/v1/hives").await.json();
    assert_eq!(hives["hives"][0]["state"], "failed");
    assert!(hives["hives"][0]["detail"].as_str().unwrap().contains("500"), "{hives}");
}

#[tokio::test]
async fn the_list_of_models_is_openai_s_and_names_each_once() {
    let world = World::of(&["a", "b"]).await;
    for hive in world.hives.values() {
        hive.on("GET /v1/models/store", Reply::json(200, STORE));
    }
    let models = world.get("/v1/models").await.json();
    assert_eq!(models["object"], "list");
    assert_eq!(models["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&models["data"][0]["id"], &models["data"][0]["object"]),
        (&"m".into(), &"model".into())
    );
}

#[tokio::test]
async fn the_default_model_is_listed_first_and_nothing_that_would_have_to_be_fetched_beside_it() {
    let (world, hive) = World::one().await;
    let model = |name: &str, local: bool| {
        serde_json::json!({
            "name": name, "size_bytes": 1, "local": local, "path": null, "sha256": null,
            "license": null, "description": null,
        })
    };
    let models = [model("a", true), model("b", false), model("smollm2:135m", false)];
    let store = serde_json::json!({ "models": models }).to_string();
    hive.runs().on("GET /v1/models/store", Reply::json(200, &store));
    let listed = world.get("/v1/models").await.json();
    let names: Vec<_> = listed["data"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(names, ["smollm2:135m", "a"]);
}

#[tokio::test]
async fn a_store_is_the_first_hive_s_unless_another_is_named() {
    let world = World::of(&["a", "b"]).await;
    for hive in world.hives.values() {
        hive.on("GET /v1/models/store", Reply::json(200, STORE));
    }
    world.get("/v1/models/store").await;
    world.get("/v1/models/store?hive=b").await;
    for hive in world.hives.values() {
        assert_eq!(hive.seen("GET /v1/models/store").len(), 1);
    }
    let unknown = world.get("/v1/models/store?hive=x").await;
    assert_eq!(unknown.refusal(), (404, "hive_not_found".into()));
}

#[tokio::test]
async fn a_model_of_any_name_is_removed_by_that_name() {
    for (path, sent) in [
        ("/v1/models/store/hf:o/r/f.gguf", "DELETE /v1/models/store/hf:o%2Fr%2Ff.gguf"),
        ("/v1/models/store/a%20b%3Fc%23d", "DELETE /v1/models/store/a%20b%3Fc%23d"),
    ] {
        let (world, hive) = World::one().await;
        hive.on(sent, Reply::json(200, r#"{"name":"n","freed_bytes":3}"#));
        let removed = world.manage("DELETE", path, "").await;
        assert_eq!(removed.json()["freed_bytes"], 3, "{removed:?}");
        let seen = &hive.seen(sent)[0];
        assert_eq!(seen.headers["authorization"], format!("Bearer {}", world.token));
    }
}

#[tokio::test]
async fn a_removal_that_the_hive_refuses_is_refused_in_its_words() {
    let (world, hive) = World::one().await;
    let refusal =
        r#"{"error":{"message":"it is in use","type":"t","code":"model_busy","status":409}}"#;
    hive.on("DELETE /v1/models/store/m", Reply::json(409, refusal));
    let answer = world.manage("DELETE", "/v1/models/store/m", "").await;
    assert_eq!(answer.refusal(), (409, "model_busy".into()));
}
