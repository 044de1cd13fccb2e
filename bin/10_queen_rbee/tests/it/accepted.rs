use axum::http::StatusCode;
use rbee_api::JobState;

use crate::world::{CHUNKS, Reply, World};

const CHAT: &str = "POST /v1/chat/completions";
const AT_HIVE: &str = "0199f5a0-0000-7000-8000-000000000000";
const REST: &str = "GET /v1/jobs/0199f5a0-0000-7000-8000-000000000000/stream";
const LOADING: &str = r#"{"target":"m","done_bytes":1,"total_bytes":2}"#;
const REQUEST: &str = r#"{"stream":true,"messages":[]}"#;

#[tokio::test]
async fn what_no_hive_has_answered_is_asked_for_again() {
    let (world, hive) = World::one().await;
    hive.hangs();
    let job = accept(&world).await;
    hive.has_seen(CHAT, 1).await;
    hive.on(CHAT, Reply::stream(CHUNKS));
    let next = world.killed().await;
    assert_eq!(answer(&next, &job).await, CHUNKS);
    assert_eq!(hive.bodies(CHAT), [REQUEST, REQUEST]);
}

#[tokio::test]
async fn what_a_hive_has_under_way_is_read_on_there() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::open_stream_of(AT_HIVE, "id: 1\ndata: {\"n\":1}\n\n"));
    let job = accept(&world).await;
    says(&world, &job, "data: {\"n\":1}").await;
    hive.on(
        REST,
        Reply::stream(
            "id: 1\ndata: {\"n\":1}\n\nid: 2\ndata: {\"n\":2}\n\nid: 3\ndata: [DONE]\n\n",
        ),
    );
    let next = world.killed().await;
    assert_eq!(answer(&next, &job).await, CHUNKS);
    assert_eq!(hive.seen(CHAT).len(), 1);
    // Nobody takes this job from her who goes on with it.
    assert_eq!(hive.seen(REST).last().unwrap().headers["x-rbee-owner"], "1");
}

#[tokio::test]
async fn a_reader_of_the_queen_that_died_goes_on_where_it_was() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::open_stream_of(AT_HIVE, "id: 1\ndata: {\"n\":1}\n\n"));
    let job = accept(&world).await;
    let before = says(&world, &job, "data: {\"n\":1}").await;
    let seen = before.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap();
    hive.on(
        REST,
        Reply::stream(
            "id: 1\ndata: {\"n\":1}\n\nid: 2\ndata: {\"n\":2}\n\nid: 3\ndata: [DONE]\n\n",
        ),
    );
    let next = world.killed().await;
    let path = format!("/v1/jobs/{job}/stream");
    let rest = next.ask("GET", &path, &[("last-event-id", seen)], "").await.body;
    assert_eq!(chunks(&rest), "data: {\"n\":2}\n\ndata: [DONE]\n\n");
}

#[tokio::test]
async fn what_a_hive_has_given_up_meanwhile_is_asked_for_again() {
    for gone in [
        Reply::stream("id: 1\nevent: end\ndata: {\"state\":\"cancelled\"}\n\n"),
        Reply::json(404, &refusal("job_not_found")),
    ] {
        let (world, hive) = World::one().await;
        hive.on(
            CHAT,
            Reply::open_stream_of(AT_HIVE, &format!("id: 1\nevent: progress\ndata: {LOADING}\n\n")),
        );
        let job = accept(&world).await;
        says(&world, &job, LOADING).await;
        hive.only(CHAT, Reply::stream(CHUNKS));
        hive.on(REST, gone);
        let next = world.killed().await;
        assert_eq!(answer(&next, &job).await, CHUNKS);
        assert_eq!(hive.bodies(CHAT), [REQUEST, REQUEST]);
    }
}

#[tokio::test]
async fn half_an_answer_whose_rest_is_lost_is_not_made_whole_by_another() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::open_stream_of(AT_HIVE, "id: 1\ndata: {\"n\":1}\n\n"));
    let job = accept(&world).await;
    says(&world, &job, "data: {\"n\":1}").await;
    hive.on(REST, Reply::json(404, &refusal("job_not_found")));
    let next = world.killed().await;
    let stream = next.get(&format!("/v1/jobs/{job}/stream")).await;
    assert!(stream.body.contains("the answer was cut off"), "{stream:?}");
    let told = next.get(&format!("/v1/jobs/{job}")).await.json();
    assert_eq!(told["state"], "failed");
    assert!(told["error"].as_str().unwrap().contains("the answer was cut off"), "{told}");
    assert_eq!(hive.seen(CHAT).len(), 1);
}

#[tokio::test]
async fn what_has_ended_can_be_read_from_the_next_queen() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS));
    let job = accept(&world).await;
    let path = format!("/v1/jobs/{job}/stream");
    let whole = world.get(&path).await.body;
    let (next, other) = (world.killed().await, world.killed().await);
    assert_eq!(next.get(&path).await.body, whole);
    assert_eq!(next.ask("GET", &path, &[("last-event-id", "2")], "").await.status, 200);
    let list = other.manage("GET", "/v1/jobs", "").await.json();
    assert_eq!(
        (&list["jobs"][0]["job_id"], &list["jobs"][0]["state"]),
        (&job.as_str().into(), &"completed".into())
    );
    let cancelled = other.manage("DELETE", &format!("/v1/jobs/{job}"), "").await;
    assert_eq!(cancelled.refusal(), (409, "job_ended".into()));
}

#[tokio::test]
async fn a_hive_is_not_stopped_because_it_was_to_be_stopped_once() {
    let (world, hive) = World::one().await;
    hive.runs();
    let job = world.accepts_and_dies_at_once(r#"{"operation":"hive_stop","alias":"a"}"#).await;
    let next = world.killed().await;
    let told = next.get(&format!("/v1/jobs/{job}")).await.json();
    assert_eq!(told["state"], "failed");
    assert!(told["error"].as_str().unwrap().contains("ask for that again"), "{told}");
    let stream = next.get(&format!("/v1/jobs/{job}/stream")).await.body;
    assert!(stream.contains("ask for that again"), "{stream}");
}

/// Its reader knows where it came from, and may have it gone on with.
#[tokio::test]
async fn a_stream_that_died_with_its_queen_is_told_of_and_can_be_restored() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::open_stream_of(AT_HIVE, "id: 1\ndata: {\"n\":1}\n\n"));
    let mut begun =
        world.begin("POST", "/v1/chat/completions", &[("x-rbee-events", "1")], REQUEST).await;
    begun.says("data: {\"n\":1}").await;
    let job = begun.answer.headers["x-rbee-job"].to_str().unwrap().to_owned();
    let next = world.killed().await;
    let told = next.get(&format!("/v1/jobs/{job}")).await.json();
    assert_eq!(told["state"], "failed", "{told}");
    let path = format!("/v1/jobs/{job}");
    let lost = next.get(&format!("{path}/stream")).await;
    assert_eq!(lost.refusal(), (404, "job_not_found".into()));
    hive.on(REST, Reply::stream("id: 2\ndata: [DONE]\n\n"));
    let remains = format!(
        r#"{{"last_event_id":2,"origin":{{"at":"a","job_id":"{AT_HIVE}","last_event_id":1}}}}"#
    );
    assert_eq!(next.manage("PUT", &path, &remains).await.status, StatusCode::NO_CONTENT);
    let rest = next.ask("GET", &format!("{path}/stream"), &[("last-event-id", "2")], "").await;
    assert_eq!(chunks(&rest.body), "data: [DONE]\n\n");
    assert_eq!(next.get(&path).await.json()["state"], "completed");
}

#[tokio::test]
async fn a_job_that_cannot_be_begun_is_not_accepted_either() {
    let (world, _) = World::one().await;
    let body = r#"{"operation":"chat_completion","request":{"model":7}}"#;
    assert_eq!(world.manage("POST", "/v1/jobs", body).await.status, 400);
    let next = world.killed().await;
    let list = next.manage("GET", "/v1/jobs", "").await.json();
    assert_eq!(list["jobs"], serde_json::json!([]));
}

/// Has a job accepted that asks for a chat; its id.
async fn accept(world: &World) -> String {
    let request = format!(r#"{{"operation":"chat_completion","request":{REQUEST}}}"#);
    let created = world.manage("POST", "/v1/jobs", &request).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    created.json()["job_id"].as_str().unwrap().to_owned()
}

/// Waits until the job's stream has said it; what it has said by then.
async fn says(world: &World, job: &str, text: &str) -> String {
    let mut reading = world.begin("GET", &format!("/v1/jobs/{job}/stream"), &[], "").await;
    reading.says(text).await;
    reading.answer.body
}

/// The chunks of a job's stream, which must have ended well.
async fn answer(world: &World, job: &str) -> String {
    let stream = world.get(&format!("/v1/jobs/{job}/stream")).await.body;
    let state = serde_json::to_string(&JobState::Completed).unwrap();
    assert!(stream.ends_with(&format!("event: end\ndata: {{\"state\":{state}}}\n\n")), "{stream}");
    chunks(&stream)
}

/// What has no name, as a client has it that wants no ids.
fn chunks(stream: &str) -> String {
    let frames = stream.split_inclusive("\n\n").filter(|frame| !frame.contains("event: "));
    frames
        .map(|frame| {
            frame
                .split_once('\n')
                .filter(|(id, _)| id.starts_with("id: "))
                .map_or(frame, |(_, rest)| rest)
        })
        .collect()
}

fn refusal(code: &str) -> String {
    format!(
        r#"{{"error":{{"message":"no","type":"invalid_request_error","code":"{code}","status":404}}}}"#
    )
}
