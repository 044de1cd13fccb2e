use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{World, read, read_until};

#[tokio::test]
async fn a_stream_becomes_a_job_with_numbered_events_that_is_read_again_behind_any() {
    let world = World::new();
    let worker = world.ready("w", &[]).await;
    let response = worker.stream("count 3").await;
    let job = response.headers()["x-rbee-job"].to_str().unwrap().to_owned();
    let whole = read(response).await;
    assert!(whole.starts_with("id: 1\ndata: {\"object\""), "{whole}");
    assert!(whole.contains("id: 5\ndata: [DONE]\n\n"), "{whole}");
    assert!(whole.ends_with("event: end\ndata: {\"state\":\"completed\"}\n\n"), "{whole}");

    let again = worker.request(Method::GET, &format!("/v1/jobs/{job}/stream"));
    let rest = read(again.header("last-event-id", "2").send().await.unwrap()).await;
    assert_eq!(Some(rest.as_str()), whole.find("id: 3\n").map(|at| &whole[at..]));
    worker.stop().await;
}

#[tokio::test]
async fn without_ids_a_stream_and_a_whole_answer_are_the_engine_s() {
    let world = World::new();
    let worker = world.ready("w", &[]).await;
    let body = json!({"stream": true, "prompt": "count 1"});
    let plain = worker.request(Method::POST, "/v1/completions").json(&body).send().await.unwrap();
    let plain = read(plain).await;
    assert!(
        plain.starts_with("data: {\"object\"") && plain.ends_with("data: [DONE]\n\n"),
        "{plain}"
    );
    assert!(!plain.contains("id:"), "{plain}");

    let whole: Value = worker.complete("count 2").await.json().await.unwrap();
    assert_eq!(whole["choices"][0]["message"]["content"], "w0 w1 ");
    let models: Value =
        worker.request(Method::GET, "/v1/models").send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&models["data"][0]["id"], &models["data"][0]["meta"]["engine"]),
        (&json!("m"), &json!("vLLM"))
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_refusal_comes_in_the_engine_s_own_words() {
    let world = World::new();
    let worker = world.ready("w", &[]).await;
    for response in [worker.complete("refuse").await, worker.stream("refuse").await] {
        assert_eq!(response.status(), 400);
        let said: Value = response.json().await.unwrap();
        assert_eq!(said["error"]["message"], "refused in its own words");
        assert_eq!(said["error"]["type"], "BadRequestError");
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request_in_the_engine() {
    let world = World::new();
    let worker = world.ready("w", &[]).await;
    world.mark("hold");
    for with_ids in [false, true] {
        let body = json!({"stream": true, "prompt": "count 100"});
        let mut request = worker.request(Method::POST, "/v1/completions").json(&body);
        if with_ids {
            request = request.header("x-rbee-events", "1");
        }
        let response = request.send().await.unwrap();
        world.engine_until(|said| said["running"] == 1).await;
        match with_ids {
            // Somebody who asked for ids may come back.
            true => {
                let job = response.headers()["x-rbee-job"].to_str().unwrap();
                let end = worker.request(Method::DELETE, &format!("/v1/jobs/{job}"));
                assert_eq!(end.send().await.unwrap().status(), 204);
            }
            false => drop(response),
        }
        world.engine_until(|said| said["running"] == 0).await;
    }
    let waiting = tokio::spawn({
        let body = json!({"prompt": "silent 0", "stream": true});
        let request = worker.request(Method::POST, "/v1/completions").json(&body);
        async move { read(request.send().await.unwrap()).await }
    });
    world.engine_until(|said| said["running"] == 1).await;
    waiting.abort();
    world.engine_until(|said| said["running"] == 0).await;
    worker.stop().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_fails_ends_with_an_error_and_not_as_a_whole_one() {
    let world = World::new();
    let worker = world.ready("w", &[]).await;
    for (prompt, wanted) in [
        ("cut 2", "vLLM broke off in the middle of its answer"),
        ("error 2", "the engine is out of memory"),
    ] {
        let text = read(worker.stream(prompt).await).await;
        assert!(text.contains("w1 "), "{text}");
        assert!(text.contains("event: error\n") && text.contains(wanted), "{text}");
        assert!(text.ends_with("event: end\ndata: {\"state\":\"failed\"}\n\n"), "{text}");
        assert!(!text.contains("[DONE]"), "{text}");
    }
    // The worker and its engine go on.
    assert!(read(worker.stream("count 1").await).await.contains("[DONE]"));
    worker.stop().await;
}

#[tokio::test]
async fn the_lease_counts_the_requests_under_way() {
    let world = World::new();
    let worker = world.ready("w", &[]).await;
    world.mark("hold");
    let mut response = worker.stream("count 2").await;
    let lease = worker.request(Method::POST, "/v1/lease").send().await.unwrap();
    assert_eq!(lease.json::<Value>().await.unwrap()["active_requests"], 1);
    world.unmark("hold");
    read_until(&mut response, "event: end").await;
    let idle = async {
        loop {
            let lease = worker.request(Method::POST, "/v1/lease").send().await.unwrap();
            if lease.json::<Value>().await.unwrap()["active_requests"] == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(crate::support::DEADLINE, idle).await.expect("the request ends");
    worker.stop().await;
}
