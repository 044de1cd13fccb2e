//! The page's files as they are sent, and what must not stand in them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt as _;
use queen_page::{ASSETS, routes, version};
use tower::ServiceExt as _;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets");

async fn ask(method: &str, path: &str, known: Option<&str>) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(known) = known {
        request = request.header("if-none-match", known);
    }
    let response = routes().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn every_file_of_the_folder_is_sent_as_it_is_there() {
    let mut sent = BTreeSet::new();
    for asset in ASSETS {
        let (status, headers, body) = ask("GET", asset.path, None).await;
        let file = match asset.path {
            "/" => "index.html",
            path => path.strip_prefix("/page/").unwrap(),
        };
        let text = fs::read_to_string(Path::new(FOLDER).join(file)).unwrap();
        assert_eq!((status, body), (StatusCode::OK, text.replace("{{version}}", version())));
        assert_eq!(headers["content-type"], asset.content_type);
        sent.insert(file.to_owned());
    }
    let files = fs::read_dir(FOLDER).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.collect::<BTreeSet<_>>(), sent);
}

#[tokio::test]
async fn what_a_browser_has_is_not_sent_again() {
    for asset in ASSETS {
        let etag = ask("GET", asset.path, None).await.1["etag"].to_str().unwrap().to_owned();
        for known in [etag.clone(), format!("\"other\", W/{etag}")] {
            let (status, headers, body) = ask("GET", asset.path, Some(&known)).await;
            assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{}", asset.path);
            assert_eq!(headers["etag"], etag.as_str());
            assert_eq!(headers["cache-control"], "no-cache");
        }
        assert_eq!(ask("GET", asset.path, Some("\"other\"")).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn nothing_inline_and_nothing_from_elsewhere_is_let_run() {
    for asset in ASSETS {
        let headers = ask("GET", asset.path, None).await.1;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
        for part in ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin");
        assert_eq!(headers["x-frame-options"], "DENY");
    }
}

#[tokio::test]
async fn the_head_of_a_file_is_sent_and_nothing_is_taken() {
    let (status, headers, body) = ask("HEAD", "/", None).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, ""));
    assert!(headers.contains_key("etag"));
    assert_eq!(ask("POST", "/", None).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn what_the_policy_forbids_does_not_stand_in_the_files() {
    for asset in ASSETS {
        let forbidden: &[&str] = match asset.content_type {
            "text/html; charset=utf-8" => {
                &["<style", "style=", " onclick", " onload", "javascript:"]
            }
            "text/javascript; charset=utf-8" => &[
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "localStorage",
            ],
            _ => &["http://", "https://", "@import"],
        };
        // An image names what its elements are.
        let text = asset.text.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for word in forbidden {
            assert!(!text.contains(word), "`{word}` in {}", asset.path);
        }
    }
}

#[test]
fn what_a_file_refers_to_is_there() {
    let paths: BTreeSet<&str> = ASSETS.iter().map(|asset| asset.path).collect();
    let mut used = BTreeSet::from(["/"]);
    for asset in ASSETS {
        for (nth, part) in asset.text.split('"').enumerate() {
            let path = part.strip_prefix("./").map(|file| format!("/page/{file}"));
            let path = path.unwrap_or_else(|| part.to_owned());
            if nth % 2 == 1 && path.starts_with("/page/") {
                let known = paths.get(path.as_str());
                used.insert(known.unwrap_or_else(|| panic!("{} uses `{path}`", asset.path)));
            }
        }
    }
    assert_eq!(used, paths, "every file is used");
}

#[test]
fn the_document_says_of_which_version_it_is() {
    assert_eq!(version().len(), 16);
    let meta = format!("<meta name=\"rbee-page\" content=\"{}\">", version());
    assert!(ASSETS[0].body().contains(&meta));
}
