use crate::server::Server;

const JSON: &str = "content-type: application/json";
const ORDER: &str = r#"{"model":"m","messages":[{"role":"user"}]}"#;

#[tokio::test]
async fn json_is_read() {
    let server = Server::start().await;
    for content_type in [JSON, "content-type: Application/JSON; charset=utf-8"] {
        let answer = server.post("/order", &[content_type], ORDER).await;
        assert_eq!((answer.status, &*answer.body), (200, "m for user"), "{content_type}");
    }
}

#[tokio::test]
async fn what_a_page_may_send_without_asking_is_refused() {
    let server = Server::start().await;
    let types = [
        "content-type: text/plain",
        "content-type: application/x-www-form-urlencoded",
        "content-type: multipart/form-data; boundary=x",
        "content-type: text/plain; application/json",
        "content-type: application/jsonx",
        "content-type: text/plain\r\ncontent-type: application/json",
        "content-type: application/json\r\ncontent-type: text/plain",
        "x-no: content-type",
    ];
    for path in ["/order", "/raw", "/nowhere"] {
        for content_type in types {
            let answer = server.post(path, &[content_type], ORDER).await;
            let refusal = (415, "content_type_not_json".to_owned());
            assert_eq!(answer.refusal(), refusal, "{path} {content_type}");
        }
    }
}

#[tokio::test]
async fn a_body_that_does_not_say_its_length_needs_its_type_too() {
    let server = Server::start().await;
    let chunked = "POST /raw HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\
                   connection: close\r\n\r\n1\r\na\r\n0\r\n\r\n";
    assert_eq!(server.send(chunked).await.refusal().0, 415);
}

#[tokio::test]
async fn a_request_without_a_body_needs_no_type() {
    let server = Server::start().await;
    let answer = server.post("/raw", &[], "").await;
    assert_eq!((answer.status, &*answer.body), (200, "0"));
}

#[tokio::test]
async fn a_body_up_to_the_limit_is_taken_and_one_over_it_is_not() {
    let server = Server::start_with(|guard| guard.max_body_bytes(100), None).await;
    let fits = server.post("/raw", &[JSON], &"x".repeat(100)).await;
    assert_eq!((fits.status, &*fits.body), (200, "100"));
    let over = server.post("/raw", &[JSON], &"x".repeat(101)).await;
    assert_eq!(over.refusal(), (413, "body_too_large".into()));
}

#[tokio::test]
async fn a_body_that_grows_over_the_limit_is_cut_off() {
    let server = Server::start_with(|guard| guard.max_body_bytes(100), None).await;
    let chunked = |path: &str| {
        let chunk = format!("40\r\n{}\r\n", "x".repeat(64));
        format!(
            "POST {path} HTTP/1.1\r\nhost: {{host}}\r\n{JSON}\r\ntransfer-encoding: chunked\r\n\
             connection: close\r\n\r\n{chunk}{chunk}0\r\n\r\n"
        )
    };
    assert_eq!(server.send(&chunked("/order")).await.refusal(), (413, "body_too_large".into()));
    assert_eq!(server.send(&chunked("/raw")).await.status, 418, "the handler saw a whole body");
}

#[tokio::test]
async fn bodies_over_the_frameworks_own_limit_are_taken_by_default() {
    let server = Server::start().await;
    let order = format!(r#"{{"model":"{}"}}"#, "m".repeat(3 << 20));
    assert_eq!(server.post("/order", &[JSON], &order).await.status, 200);
    let order = format!(r#"{{"model":"{}"}}"#, "m".repeat(8 << 20));
    assert_eq!(server.post("/order", &[JSON], &order).await.refusal().0, 413);
}

#[tokio::test]
async fn what_is_not_json_or_does_not_fit_is_refused_with_its_place() {
    let server = Server::start().await;
    let cases = [
        ("{", "invalid_json", None),
        (r#"{"model":"m"} x"#, "invalid_json", None),
        ("{}", "invalid_body", None),
        (r#"{"model":7}"#, "invalid_body", Some("model")),
        (r#"{"model":"m","messages":[{"role":"user"},{}]}"#, "invalid_body", Some("messages[1]")),
    ];
    for (body, code, param) in cases {
        let answer = server.post("/order", &[JSON], body).await;
        assert_eq!(answer.refusal(), (400, code.to_owned()), "{body}");
        assert_eq!(answer.param().as_deref(), param, "{body}");
    }
    let missing = server.post("/order", &[JSON], "{}").await;
    assert!(missing.body.contains("missing field `model`"), "{missing:?}");
}
