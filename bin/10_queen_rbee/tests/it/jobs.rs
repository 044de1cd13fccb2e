use axum::http::StatusCode;

use crate::world::{CHUNKS, Reply, World};

const CHAT: &str = "POST /v1/chat/completions";
const ID: &str = "0199f5a0-0000-7000-8000-000000000000";

#[tokio::test]
async fn a_job_s_request_reaches_the_hive_byte_for_byte() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS));
    let body = r#"{"stream": true,  "properties": {"name": 1, "age": 2}, "n": 1e0}"#;
    let request = format!(r#"{{"operation":"chat_completion","request":{body}}}"#);
    let answer = world.job(&request).await;
    assert!(answer.body.ends_with("event: end\ndata: {\"state\":\"completed\"}\n\n"), "{answer:?}");
    assert_eq!(hive.seen(CHAT)[0].body, body);
}

#[tokio::test]
async fn a_job_s_completion_is_answered_by_fresh_processes_only() {
    let (world, hive) = World::one().await;
    hive.on("POST /v1/completions", Reply::stream(CHUNKS));
    world.job(r#"{"operation":"completion","request":{"stream":true}}"#).await;
    let seen = hive.seen("POST /v1/completions");
    assert_eq!(seen[0].headers["x-rbee-fresh"], "1");
    assert_eq!(seen[0].headers["x-rbee-events"], "1");
}

#[tokio::test]
async fn a_job_whose_model_is_no_name_is_refused_at_once() {
    let (world, hive) = World::one().await;
    for request in [r#"{"model":7}"#, r#"{"stream":"yes"}"#, "[]", "7"] {
        let body = format!(r#"{{"operation":"chat_completion","request":{request}}}"#);
        let answer = world.manage("POST", "/v1/jobs", &body).await;
        assert_eq!(answer.refusal(), (400, "invalid_json".into()), "{request}");
    }
    assert_eq!(hive.starts(), 0);
}

#[tokio::test]
async fn an_operation_that_there_is_not_is_refused() {
    let (world, _) = World::one().await;
    for body in [r#"{"operation":"dance"}"#, r#"{"operation":"chain_update","x":1}"#, "{}"] {
        let answer = world.manage("POST", "/v1/jobs", body).await;
        assert_eq!(answer.refusal(), (400, "invalid_body".into()), "{body}");
    }
}

#[tokio::test]
async fn a_job_that_is_not_there_is_said_not_to_be_there() {
    let (world, _) = World::one().await;
    for path in [format!("/v1/jobs/{ID}"), format!("/v1/jobs/{ID}/stream"), "/v1/jobs/x".into()] {
        assert_eq!(world.get(&path).await.refusal(), (404, "job_not_found".into()), "{path}");
    }
    let cancelled = world.manage("DELETE", &format!("/v1/jobs/{ID}"), "").await;
    assert_eq!(cancelled.refusal(), (404, "job_not_found".into()));
    let released = world.manage("POST", &format!("/v1/jobs/{ID}/release"), "").await;
    assert_eq!(released.refusal(), (404, "job_not_found".into()));
}

#[tokio::test]
async fn a_job_that_has_ended_is_listed_and_cannot_be_cancelled() {
    let (world, _) = World::one().await;
    world.job(r#"{"operation":"chain_update"}"#).await;
    let list = world.manage("GET", "/v1/jobs", "").await.json();
    assert_eq!(list["jobs"][0]["operation"], "chain_update");
    assert_eq!(list["jobs"][0]["state"], "completed");
    let path = format!("/v1/jobs/{}", list["jobs"][0]["job_id"].as_str().unwrap());
    assert_eq!(world.get(&path).await.json(), list["jobs"][0]);
    let cancelled = world.manage("DELETE", &path, "").await;
    assert_eq!(cancelled.refusal(), (409, "job_ended".into()));
}

#[tokio::test]
async fn a_stream_goes_on_behind_the_last_event_seen() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS));
    let request = r#"{"operation":"chat_completion","request":{"stream":true}}"#;
    let created = world.manage("POST", "/v1/jobs", request).await.json();
    let url = created["sse_url"].as_str().unwrap();
    let whole = world.get(url).await.body;
    let seen = whole.find("id: 3").unwrap();
    let rest = world.ask("GET", url, &[("last-event-id", "2")], "").await;
    assert_eq!(rest.body, whole[seen..]);
    let ahead = world.ask("GET", url, &[("last-event-id", "99")], "").await;
    assert_eq!(ahead.refusal(), (400, "invalid_last_event_id".into()));
    let word = world.ask("GET", url, &[("last-event-id", "x")], "").await;
    assert_eq!(word.refusal(), (400, "invalid_last_event_id".into()));
}

#[tokio::test]
async fn a_hive_is_started_and_stopped_by_name() {
    let world = World::of(&["a", "b"]).await;
    let hive = &world.hives["b"];
    hive.on("GET /health", Reply::json(503, "{}"));
    let started = world.job(r#"{"operation":"hive_start","alias":"b"}"#).await;
    assert!(started.body.contains("event: result\ndata: {\"alias\":\"b\""), "{started:?}");
    assert_eq!((hive.starts(), world.hives["a"].starts()), (1, 0));
    let stopped = world.job(r#"{"operation":"hive_stop","alias":"b","now":true}"#).await;
    assert!(stopped.body.contains("event: result\ndata: [\"hive-b\"]"), "{stopped:?}");
}

#[tokio::test]
async fn a_hive_that_is_not_configured_fails_its_job() {
    let (world, _) = World::one().await;
    for request in [
        r#"{"operation":"hive_start","alias":"x"}"#,
        r#"{"operation":"hive_stop","alias":"x"}"#,
        r#"{"operation":"model_pull","hive":"x","model":"m"}"#,
    ] {
        let answer = world.job(request).await;
        assert!(answer.body.contains("\"code\":\"hive_not_found\""), "{answer:?}");
        assert!(answer.body.ends_with("data: {\"state\":\"failed\"}\n\n"), "{answer:?}");
    }
}

#[tokio::test]
async fn nothing_is_brought_to_or_removed_from_this_machine() {
    let (world, hive) = World::one().await;
    for request in [
        r#"{"operation":"hive_install","alias":"a"}"#,
        r#"{"operation":"hive_uninstall","alias":"a","models":true}"#,
    ] {
        let answer = world.job(request).await;
        assert!(answer.body.contains("the hive `a` is on this machine"), "{answer:?}");
        assert!(answer.body.ends_with("data: {\"state\":\"failed\"}\n\n"), "{answer:?}");
    }
    assert_eq!(hive.starts(), 0);
}

#[tokio::test]
async fn a_pull_passes_on_what_the_hive_tells() {
    let (world, hive) = World::one().await;
    let progress = r#"{"target":"m","done_bytes":1,"total_bytes":2}"#;
    let told = format!("event: progress\ndata: {progress}\n\nevent: result\ndata: {{}}\n\n");
    let end = "event: end\ndata: {\"state\":\"completed\"}\n\n";
    hive.on("POST /v1/models/pull", Reply::stream(&format!("{told}{end}")));
    let answer = world.job(r#"{"operation":"model_pull","hive":null,"model":"m"}"#).await;
    assert!(answer.body.contains(&format!("event: progress\ndata: {progress}\n\n")));
    assert!(answer.body.ends_with("data: {\"state\":\"completed\"}\n\n"), "{answer:?}");
    let seen = &hive.seen("POST /v1/models/pull")[0];
    assert_eq!(seen.body, r#"{"model":"m"}"#);
    assert_eq!(seen.headers["authorization"], format!("Bearer {}", world.token));
}

#[tokio::test]
async fn an_update_reaches_the_hives_that_run_and_starts_none() {
    let world = World::of(&["a", "b"]).await;
    let (running, stopped) = (&world.hives["a"], &world.hives["b"]);
    let end = "event: end\ndata: {\"state\":\"completed\"}\n\n";
    running.runs().on("POST /v1/workers/update", Reply::stream(end));
    let answer = world.job(r#"{"operation":"chain_update"}"#).await;
    assert!(answer.body.ends_with("data: {\"state\":\"completed\"}\n\n"), "{answer:?}");
    assert_eq!(running.seen("POST /v1/workers/update").len(), 1);
    assert_eq!(stopped.starts(), 0);
}

#[tokio::test]
async fn an_update_that_a_hive_refuses_fails_in_its_words() {
    let (world, hive) = World::one().await;
    let refusal =
        r#"{"error":{"message":"no","type":"server_error","code":"build_failed","status":503}}"#;
    hive.runs().on("POST /v1/workers/update", Reply::json(503, refusal));
    let answer = world.job(r#"{"operation":"chain_update"}"#).await;
    assert!(answer.body.contains("\"code\":\"build_failed\""), "{answer:?}");
}

#[tokio::test]
async fn a_restored_job_needs_a_plausible_account() {
    let (world, _) = World::one().await;
    let path = format!("/v1/jobs/{ID}");
    for (seen, id, code) in
        [(u64::MAX, ID, "invalid_last_event_id"), (0, "x/../../health", "job_not_found")]
    {
        let body = format!(
            r#"{{"last_event_id":{seen},"origin":{{"at":"a","job_id":"{id}","last_event_id":0}}}}"#
        );
        assert_eq!(world.manage("PUT", &path, &body).await.refusal().1, code);
    }
}

#[tokio::test]
async fn a_restored_job_goes_on_where_the_dead_queen_had_it_from() {
    let (world, hive) = World::one().await;
    let rest = "id: 3\ndata: {\"n\":2}\n\nid: 4\ndata: [DONE]\n\n";
    hive.on(&format!("GET /v1/jobs/{ID}/stream"), Reply::stream(rest));
    let other = "0199f5a0-0000-7000-8000-000000000001";
    let body =
        format!(r#"{{"last_event_id":5,"origin":{{"at":"a","job_id":"{ID}","last_event_id":2}}}}"#);
    let restored = world.manage("PUT", &format!("/v1/jobs/{other}"), &body).await;
    assert_eq!(restored.status, StatusCode::NO_CONTENT);
    let url = format!("/v1/jobs/{other}/stream");
    let answer = world.ask("GET", &url, &[("last-event-id", "5")], "").await;
    assert!(answer.body.contains("data: {\"n\":2}\n\n"), "{answer:?}");
    assert!(answer.body.ends_with("data: {\"state\":\"completed\"}\n\n"), "{answer:?}");
    let seen = &hive.seen(&format!("GET /v1/jobs/{ID}/stream"))[0];
    assert_eq!(seen.headers["last-event-id"], "2");
}
