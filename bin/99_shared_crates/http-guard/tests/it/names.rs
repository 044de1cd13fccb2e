use http_guard::{Guard, Names};
use tokio::net::UnixListener;

use crate::server::{Server, exchange, routes};

#[tokio::test]
async fn its_own_names_with_the_bound_port_are_answered() {
    let server = Server::start().await;
    let port = server.address.port();
    for name in ["localhost", "127.0.0.1", "[::1]", "LocalHost"] {
        assert_eq!(host(&server, &format!("{name}:{port}")).await, None, "{name}");
    }
}

#[tokio::test]
async fn every_other_name_is_refused() {
    let server = Server::start().await;
    let port = server.address.port();
    let foreign = [
        format!("evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("evil.localhost:{port}"),
        format!("my-machine.local:{port}"),
        format!("192.168.1.5:{port}"),
        format!("127.0.0.2:{port}"),
        format!("0.0.0.0:{port}"),
        format!("localhost.:{port}"),
        format!("user@localhost:{port}"),
        "localhost:1".to_owned(),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ];
    for name in foreign {
        let refusal = host(&server, &name).await;
        assert_eq!(refusal, Some((421, "host_not_allowed".to_owned())), "{name}");
    }
}

#[tokio::test]
async fn a_rebound_name_is_refused_on_every_path_and_method() {
    let server = Server::start().await;
    for line in ["GET /health", "POST /order", "DELETE /health", "OPTIONS /order", "GET /nowhere"] {
        let request = format!("{line} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
        assert_eq!(server.send(&request).await.refusal().0, 421, "{line}");
    }
}

#[tokio::test]
async fn no_name_is_refused_and_so_are_two() {
    let server = Server::start().await;
    let none = server.send("GET /health HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_eq!(none.refusal(), (400, "host_missing".into()));
    let empty = server.send("GET /health HTTP/1.1\r\nhost: \r\nconnection: close\r\n\r\n").await;
    assert_eq!(empty.refusal().0, 421);
    let two = server.get("/health", &["host: {host}"]).await;
    assert_eq!(two.refusal(), (400, "host_ambiguous".into()));
}

#[tokio::test]
async fn a_whole_url_in_the_request_line_does_not_get_past_the_check() {
    let server = Server::start().await;
    let foreign =
        "GET http://evil.example/health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n";
    assert_eq!(server.send(foreign).await.refusal(), (421, "host_not_allowed".into()));
    let own = "GET http://{host}/health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n";
    assert_eq!(server.send(own).await.status, 200);
}

#[tokio::test]
async fn pages_of_its_own_origin_are_answered() {
    let server = Server::start().await;
    let port = server.address.port();
    let origin = format!("origin: http://localhost:{port}");
    let own = server.get("/health", &[&origin, "sec-fetch-site: same-origin"]).await;
    assert_eq!(own.status, 200, "{own:?}");
    assert_eq!(server.get("/health", &["sec-fetch-site: none"]).await.status, 200);
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let server = Server::start().await;
    let port = server.address.port();
    let origins = [
        "https://evil.example".to_owned(),
        "null".to_owned(),
        "http://localhost".to_owned(),
        "http://localhost:1".to_owned(),
        format!("https://localhost:{port}"),
        format!("http://localhost:{port}.evil.example"),
        format!("localhost:{port}"),
        String::new(),
    ];
    for origin in origins {
        let answer = server.get("/health", &[&format!("origin: {origin}")]).await;
        assert_eq!(answer.refusal(), (403, "origin_not_allowed".into()), "{origin}");
    }
    for site in ["cross-site", "same-site"] {
        let answer = server.get("/health", &[&format!("sec-fetch-site: {site}")]).await;
        assert_eq!(answer.refusal(), (403, "site_not_allowed".into()), "{site}");
    }
}

#[tokio::test]
async fn a_preflight_gets_no_permission() {
    let server = Server::start().await;
    let preflight = server
        .send(
            "OPTIONS /order HTTP/1.1\r\nhost: {host}\r\norigin: https://evil.example\r\n\
             access-control-request-method: POST\r\nconnection: close\r\n\r\n",
        )
        .await;
    assert_eq!(preflight.refusal().0, 403);
    let own = format!("origin: http://{}", server.address);
    for answer in [preflight, server.get("/health", &[&own]).await] {
        assert!(!answer.head.contains("access-control"), "{answer:?}");
    }
}

#[tokio::test]
async fn unix_sockets_are_addressed_as_localhost_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let router = routes(None).layer(Guard::unix().layer());
    tokio::spawn(async move { axum::serve(listener, router).await });
    for (host, status) in [("host: localhost\r\n", 200), ("", 200), ("host: evil.example\r\n", 421)]
    {
        let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        let request = format!("GET /health HTTP/1.1\r\n{host}connection: close\r\n\r\n");
        assert_eq!(exchange(stream, &request).await.status, status, "{host:?}");
    }
}

/// How a request to `name` is refused, or `None`.
async fn host(server: &Server, name: &str) -> Option<(u16, String)> {
    let request = format!("GET /health HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
    let answer = server.send(&request).await;
    (answer.status != 200).then(|| answer.refusal())
}

/// A server that has names and origins besides its own.
async fn named() -> Server {
    let names = || Names {
        hosts: vec!["host.docker.internal".into(), "my-nas:8500".into()],
        origins: vec!["http://localhost:3000".into(), "chrome-extension://abc".into()],
    };
    Server::start_with(move |guard| guard.names(names), None).await
}

#[tokio::test]
async fn further_names_are_exact_and_its_own_need_no_port() {
    let server = named().await;
    let port = server.address.port();
    for name in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "host.docker.internal",
        "HOST.docker.internal:1234",
        "my-nas:8500",
    ] {
        assert_eq!(host(&server, name).await, None, "{name}");
    }
    for name in [
        "my-nas",
        "my-nas:8501",
        "evil.host.docker.internal",
        "host.docker.internal.evil.example",
        "docker.internal",
        "[::2]",
        "localhost:1",
        &format!("evil.example:{port}"),
        "",
    ] {
        let refusal = host(&server, name).await;
        assert_eq!(refusal, Some((421, "host_not_allowed".to_owned())), "{name}");
    }
}

#[tokio::test]
async fn pages_of_listed_origins_may_ask_and_read_and_no_others() {
    let server = named().await;
    for origin in ["http://localhost:3000", "chrome-extension://abc"] {
        let page = [format!("origin: {origin}"), "sec-fetch-site: cross-site".to_owned()];
        let page: Vec<&str> = page.iter().map(String::as_str).collect();
        // A refusal can be read too.
        for (path, status) in [("/health", 200), ("/nowhere", 404)] {
            let answer = server.get(path, &page).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
            assert_eq!(answer.header("vary"), Some("origin"));
        }
    }
    for origin in ["http://localhost:3001", "https://localhost:3000", "http://localhost", "null"] {
        let answer = server.get("/health", &[&format!("origin: {origin}")]).await;
        assert_eq!(answer.refusal(), (403, "origin_not_allowed".into()), "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
    }
    let both = ["origin: http://localhost:3000", "origin: http://evil.example"];
    assert_eq!(server.get("/health", &both).await.refusal().0, 403);
    let none = server.get("/health", &["sec-fetch-site: cross-site"]).await;
    assert_eq!(none.refusal(), (403, "site_not_allowed".into()));
}

#[tokio::test]
async fn a_listed_page_that_asks_what_it_may_send_is_told_and_reaches_no_route() {
    let server = named().await;
    let ask = |origin: &str, host: &str| {
        format!(
            "OPTIONS /order HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\n\
             access-control-request-headers: content-type\r\nconnection: close\r\n\r\n"
        )
    };
    let told = server.send(&ask("http://localhost:3000", "{host}")).await;
    assert_eq!((told.status, told.body.as_str()), (204, ""));
    assert_eq!(told.header("access-control-allow-origin"), Some("http://localhost:3000"));
    assert!(told.header("access-control-allow-headers").unwrap().contains("content-type"));
    assert_eq!(server.send(&ask("http://evil.example", "{host}")).await.refusal().0, 403);
    let rebound = server.send(&ask("http://localhost:3000", "evil.example")).await;
    assert_eq!(rebound.refusal().0, 421);
}
