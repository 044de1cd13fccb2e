use crate::world::World;

const ID: &str = "0199f5a0-0000-7000-8000-000000000000";

#[tokio::test]
async fn what_changes_something_needs_the_token() {
    let world = World::new();
    for (method, path, body) in [
        ("GET", "/v1/jobs".to_owned(), ""),
        ("GET", "/v1/events".to_owned(), ""),
        ("POST", "/v1/models/pull".to_owned(), r#"{"model":"m"}"#),
        ("DELETE", "/v1/models/store/m".to_owned(), ""),
        ("POST", "/v1/workers/update".to_owned(), ""),
        ("DELETE", format!("/v1/jobs/{ID}"), ""),
        ("PUT", format!("/v1/jobs/{ID}"), "{}"),
        ("POST", format!("/v1/jobs/{ID}/release"), ""),
    ] {
        let without = world.ask(method, &path, &[], body).await;
        assert_eq!(without.refusal(), (401, "token_missing".into()), "{method} {path}");
        let wrong = world.ask(method, &path, &[("authorization", "Bearer 00")], body).await;
        assert_eq!(wrong.refusal(), (401, "token_wrong".into()), "{method} {path}");
    }
}

#[tokio::test]
async fn what_no_route_answers_brings_up_no_worker() {
    let world = World::new();
    let body = format!(r#"{{"model":"{}","query":"x","documents":["y"]}}"#, world.model("a"));
    let answer = world.ask("POST", "/v1/audio/speech", &[], &body).await;
    assert_eq!(answer.refusal(), (404, "unknown_path".into()));
    assert!(world.machine.state(|machine| machine.spawned.is_empty()));
}

#[tokio::test]
async fn a_body_that_is_no_request_brings_up_no_worker() {
    let world = World::new();
    for body in ["{", "[]", r#"{"model":1}"#, r#"{"stream":"yes"}"#] {
        let answer = world.ask("POST", "/v1/chat/completions", &[], body).await;
        assert_eq!(answer.refusal(), (400, "invalid_json".into()), "{body}");
    }
    assert!(world.machine.state(|machine| machine.spawned.is_empty()));
}

#[tokio::test]
async fn a_model_that_there_is_not_brings_up_no_worker() {
    let world = World::new();
    let answer = world.complete("no-such-model", false).await;
    assert_eq!(answer.refusal(), (404, "model_not_found".into()));
    assert!(world.machine.state(|machine| machine.spawned.is_empty()));
}

#[tokio::test]
async fn a_file_that_is_no_model_brings_up_no_worker() {
    let world = World::new();
    let path = world.model("a");
    std::fs::write(&path, "text").unwrap();
    let answer = world.complete(&path, false).await;
    assert_eq!(answer.refusal(), (404, "model_not_found".into()));
    assert!(world.machine.state(|machine| machine.spawned.is_empty()));
}

#[tokio::test]
async fn a_pull_s_body_names_the_field_at_fault() {
    let world = World::new();
    let answer = world.manage("POST", "/v1/models/pull", r#"{"model":1}"#).await;
    assert_eq!(answer.refusal(), (400, "invalid_body".into()));
    assert_eq!(answer.json()["error"]["param"], "model");
}

#[tokio::test]
async fn jobs_that_are_not_there_are_said_not_to_be_there() {
    let world = World::new();
    for path in [format!("/v1/jobs/{ID}"), format!("/v1/jobs/{ID}/stream"), "/v1/jobs/x".into()] {
        let answer = world.ask("GET", &path, &[], "").await;
        assert_eq!(answer.refusal(), (404, "job_not_found".into()), "{path}");
    }
}

#[tokio::test]
async fn the_hive_says_who_it_is_and_what_it_has() {
    let world = World::new();
    let health = world.ask("GET", "/health", &[], "").await.json();
    assert_eq!((&health["status"], &health["role"]), (&"ok".into(), &"rbee-hive".into()));
    let capabilities = world.ask("GET", "/v1/capabilities", &[], "").await.json();
    assert_eq!(capabilities["devices"][0]["id"], "cpu");
    assert_eq!(world.ask("GET", "/v1/workers", &[], "").await.body, r#"{"workers":[]}"#);
}
