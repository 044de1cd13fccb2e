use std::time::Duration;

use axum::{
    Router,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use chain_daemon::InstanceName;
use serde_json::json;
use tokio::{net::UnixListener, sync::watch};

use crate::world::World;

/// A worker's job, and what a hive makes of it.
const UPSTREAM: &str = "0199f5a0-0000-7000-8000-000000000001";
const JOB: &str = "0199f5a0-0000-7000-8000-000000000002";

/// A process of a worker, on one of its sockets.
struct Generation {
    /// Whether it has the job.
    has_it: bool,
    asked: watch::Sender<Vec<String>>,
}

impl Generation {
    fn answer(&self, method: Method, uri: Uri, headers: &HeaderMap) -> Response {
        let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let line = format!("{method} {uri} {seen}").trim_end().to_owned();
        self.asked.send_modify(|asked| asked.push(line));
        let job = format!("/v1/jobs/{UPSTREAM}");
        match (method, uri.path()) {
            (Method::GET, "/health") => "{}".into_response(),
            (Method::GET, path) if self.has_it && path == job => "{}".into_response(),
            (Method::DELETE, path) if self.has_it && path == job => {
                StatusCode::CONFLICT.into_response()
            }
            (Method::GET, path) if self.has_it && path == format!("{job}/stream") => {
                let rest = "id: 8\ndata: {\"n\":8}\n\nid: 9\ndata: [DONE]\n\n";
                ([(header::CONTENT_TYPE, "text/event-stream")], rest).into_response()
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

/// Serves on the socket of that name in the worker's folder; says what it is asked.
fn serve(world: &World, worker: &str, socket: &str, has_it: bool) -> watch::Receiver<Vec<String>> {
    let folder = world.folder_of(worker);
    std::fs::create_dir_all(&folder).unwrap();
    let listener = UnixListener::bind(folder.join(socket)).unwrap();
    let (asked, seen) = watch::channel(Vec::new());
    let generation = std::sync::Arc::new(Generation { has_it, asked });
    let answer = move |method: Method, uri: Uri, headers: HeaderMap| {
        let generation = std::sync::Arc::clone(&generation);
        async move { generation.answer(method, uri, &headers) }
    };
    let routes = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    seen
}

#[tokio::test]
async fn a_stream_is_read_on_at_the_very_process_that_has_it_which_learns_that_it_was_read() {
    // Nobody accepts in its place any more, or the next one does.
    for next in [false, true] {
        let world = World::new();
        let worker = InstanceName::worker("a", 0, "h").to_string();
        let mut asked = serve(&world, &worker, "http.j3", true);
        let others = next.then(|| {
            [serve(&world, &worker, "http.sock", false), serve(&world, &worker, "http.j4", false)]
        });
        let remains = json!({
            "last_event_id": 5,
            "origin": { "at": worker, "job_id": UPSTREAM, "last_event_id": 7, "owner": 0 },
        });
        let told = world.manage("PUT", &format!("/v1/jobs/{JOB}"), &remains.to_string()).await;
        assert_eq!(told.status, StatusCode::NO_CONTENT, "{told:?}");
        let path = format!("/v1/jobs/{JOB}/stream");
        let rest = world.ask("GET", &path, &[("last-event-id", "5")], "").await;
        assert!(rest.body.contains("data: {\"n\":8}\n\n"), "{rest:?}");
        assert!(rest.body.ends_with("data: {\"state\":\"completed\"}\n\n"), "{rest:?}");

        let job = format!("/v1/jobs/{UPSTREAM}");
        let read = asked.wait_for(|asked| asked.contains(&format!("DELETE {job}")));
        let read = tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
        assert!(read.contains(&format!("GET {job}/stream 7")), "{:?}", *read);
        drop(read);
        for other in others.into_iter().flatten() {
            let streams = |asked: &String| asked.contains("/stream") || asked.contains("DELETE");
            assert!(!other.borrow().iter().any(streams), "{:?}", *other.borrow());
        }
    }
}
