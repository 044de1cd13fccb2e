use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderValue},
    routing::get,
};
use http_body_util::BodyExt as _;
use job_server::{
    JobServer, JobWriter, Limits,
    sse::{SseOptions, last_event_id, sse_response},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn named_streams_carry_ids_names_and_the_end() {
    let frames = frames(SseOptions::named(), |writer| {
        writer.emit(Some("narration"), r#"{"human":"chose a hive"}"#);
        writer.emit(None, r#"{"choices":[]}"#);
        writer.emit(None, "[DONE]");
        writer.complete();
    });
    assert_eq!(
        frames.await.unwrap(),
        [
            "id: 1\nevent: narration\ndata: {\"human\":\"chose a hive\"}\n\n",
            "id: 2\ndata: {\"choices\":[]}\n\n",
            "id: 3\ndata: [DONE]\n\n",
            "id: 4\nevent: end\ndata: {\"state\":\"completed\"}\n\n",
        ]
    );
}

#[tokio::test]
async fn openai_streams_carry_the_unnamed_events_and_nothing_else() {
    let frames = frames(SseOptions::openai(), |writer| {
        writer.emit(Some("narration"), "no");
        writer.emit(None, "yes");
        writer.emit(Some("progress"), "no");
        writer.emit(None, "[DONE]");
        writer.complete();
    });
    assert_eq!(frames.await.unwrap(), ["data: yes\n\n", "data: [DONE]\n\n"]);
}

#[tokio::test]
async fn an_openai_stream_that_fails_shows_the_error_and_is_cut_off() {
    let fail = |writer: JobWriter| {
        writer.emit(None, "half");
        writer.emit(Some("error"), r#"{"error":{}}"#);
        writer.fail("the worker died");
    };
    let (seen, cut) = frames(SseOptions::openai(), fail).await.unwrap_err();
    assert_eq!(seen, ["data: half\n\n", "data: {\"error\":{}}\n\n"]);
    assert!(cut.contains("did not complete"), "{cut}");
    let named = frames(SseOptions::named(), fail).await.unwrap();
    assert_eq!(named.last().unwrap(), "id: 3\nevent: end\ndata: {\"state\":\"failed\"}\n\n");
}

#[tokio::test]
async fn a_cancelled_job_says_so_at_its_end() {
    let frames = frames(SseOptions::named(), JobWriter::cancelled_end).await.unwrap();
    assert_eq!(frames, ["id: 1\nevent: end\ndata: {\"state\":\"cancelled\"}\n\n"]);
}

#[tokio::test]
async fn a_client_that_was_overtaken_is_told_and_cut_off() {
    let server = JobServer::new(Limits { event_bytes_per_job: 200, ..Limits::default() });
    let writer = server.create("work").unwrap();
    let subscription = server.subscribe(&writer.id(), None).unwrap();
    for _ in 0..10 {
        writer.emit(None, vec![b'x'; 100]);
    }
    let body = sse_response(subscription, SseOptions::named()).into_body();
    let (seen, cut) = read(body).await.unwrap_err();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].starts_with("event: error\ndata: {\"error\":"), "{seen:?}");
    assert!(seen[0].contains("\"code\":\"events_gone\""), "{seen:?}");
    assert!(cut.contains("too slow"), "{cut}");
}

#[tokio::test]
async fn data_of_several_lines_is_one_event() {
    let frames = frames(SseOptions { ids: false, ..SseOptions::named() }, |writer| {
        writer.emit(None, "a\nb\r\nc\rd\n");
        writer.emit(None, "");
        writer.complete();
    });
    let frames = frames.await.unwrap();
    assert_eq!(frames[0], "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
    assert_eq!(frames[1], "data: \n\n");
}

#[tokio::test]
async fn responses_are_marked_as_streams_that_nobody_may_hold_back() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let subscription = server.subscribe(&writer.id(), None).unwrap();
    let response = sse_response(subscription, SseOptions::named());
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(header("cache-control"), "no-cache");
    assert_eq!(header("x-accel-buffering"), "no");
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_kept_alive_and_a_busy_one_is_not_disturbed() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let subscription = server.subscribe(&writer.id(), None).unwrap();
    let mut body = sse_response(subscription, SseOptions::openai()).into_body();
    let begun = tokio::time::Instant::now();
    assert_eq!(next_frame(&mut body).await, ":\n\n");
    assert_eq!(begun.elapsed().as_secs(), 15);
    tokio::time::sleep(Duration::from_secs(10)).await;
    writer.emit(None, "token");
    assert_eq!(next_frame(&mut body).await, "data: token\n\n");
    let last_token = tokio::time::Instant::now();
    assert_eq!(next_frame(&mut body).await, ":\n\n");
    assert_eq!(last_token.elapsed().as_secs(), 15);
}

#[test]
fn last_event_ids_are_read_or_refused() {
    let read = |value: &'static str| {
        let headers = HeaderMap::from_iter([(
            "last-event-id".parse().unwrap(),
            HeaderValue::from_static(value),
        )]);
        last_event_id(&headers).map_err(|error| error.to_string())
    };
    assert_eq!(last_event_id(&HeaderMap::new()), Ok(None));
    assert_eq!(read("17"), Ok(Some(17)));
    assert_eq!(read(""), Ok(None));
    assert_eq!(read("-1"), Err("`-1` in `Last-Event-ID` is not the id of an event".into()));
    assert!(read("18446744073709551616").is_err());
}

#[tokio::test]
async fn every_token_reaches_the_socket_before_the_next_is_made() {
    let (server, address) = serve(SseOptions::openai()).await;
    let writer = server.create("work").unwrap();
    let mut socket = request(address, &writer).await;
    for token in ["one", "two", "three"] {
        writer.emit(None, token);
        read_until(&mut socket, &format!("data: {token}\n\n")).await;
    }
    writer.complete();
    read_until(&mut socket, "0\r\n\r\n").await;
}

#[tokio::test]
async fn a_failed_job_cuts_the_connection_behind_its_last_event() {
    let (server, address) = serve(SseOptions::openai()).await;
    let writer = server.create("work").unwrap();
    let mut socket = request(address, &writer).await;
    writer.emit(None, "first");
    read_until(&mut socket, "data: first\n\n").await;
    writer.emit(Some("error"), r#"{"error":{}}"#);
    writer.fail("the worker died");
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE, socket.read_to_end(&mut rest)).await.unwrap().unwrap();
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("data: {\"error\":{}}\n\n"), "{rest}");
    assert!(!rest.contains("0\r\n\r\n"), "looks complete: {rest}");
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_job() {
    let (server, address) = serve(SseOptions::openai()).await;
    let writer = server.create("work").unwrap();
    let mut socket = request(address, &writer).await;
    writer.emit(None, "first");
    read_until(&mut socket, "data: first\n\n").await;
    drop(socket);
    tokio::time::timeout(DEADLINE, writer.cancelled()).await.unwrap();
}

/// Serves every job of a fresh server at `/{id}`, and cancels those whose client has gone.
async fn serve(options: SseOptions) -> (JobServer, std::net::SocketAddr) {
    let server = JobServer::new(Limits::default());
    let jobs = server.clone();
    let stream = move |axum::extract::Path(id): axum::extract::Path<String>| async move {
        let subscription = jobs.subscribe(&id.parse().unwrap(), None).unwrap();
        sse_response(subscription.cancel_on_drop(Duration::ZERO), options)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/{id}", get(stream));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (server, address)
}

async fn request(address: std::net::SocketAddr, writer: &JobWriter) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", writer.id());
    socket.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut socket, "\r\n\r\n").await;
    socket
}

async fn read_until(socket: &mut TcpStream, end: &str) {
    let mut seen = String::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while !seen.contains(end) {
            let length = socket.read(&mut buffer).await.unwrap();
            assert_ne!(length, 0, "the connection ended before {end:?}");
            seen.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
    };
    if tokio::time::timeout(DEADLINE, reading).await.is_err() {
        panic!("never got {end:?}, only {seen:?}");
    }
}

/// The frames of a job, or those before the body was cut off and why it was.
async fn frames(
    options: SseOptions,
    act: impl FnOnce(JobWriter),
) -> Result<Vec<String>, (Vec<String>, String)> {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let subscription = server.subscribe(&writer.id(), None).unwrap();
    act(writer);
    read(sse_response(subscription, options).into_body()).await
}

async fn read(mut body: Body) -> Result<Vec<String>, (Vec<String>, String)> {
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => seen.push(text(frame)),
            Err(cut) => return Err((seen, cut.to_string())),
        }
    }
    Ok(seen)
}

async fn next_frame(body: &mut Body) -> String {
    text(body.frame().await.unwrap().unwrap())
}

fn text(frame: hyper::body::Frame<bytes::Bytes>) -> String {
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}
