use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
};

use http_guard::{Token, TokenError};

use crate::server::Server;

#[test]
fn a_token_is_made_once_for_the_user_alone() {
    let (_folder, path) = place();
    let made = Token::load_or_create(&path).unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.parent().unwrap().to_owned()), 0o700);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.trim_end().len(), 64, "32 bytes in hex");
    let read = Token::load_or_create(&path).unwrap();
    assert_eq!(read.authorization(), made.authorization());
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing half-made is left");
}

#[test]
fn two_tokens_differ() {
    let (_one, one) = place();
    let (_other, other) = place();
    let value = |path: &PathBuf| Token::load_or_create(path).unwrap().authorization();
    assert_ne!(value(&one), value(&other));
}

#[test]
fn those_who_make_it_at_the_same_moment_get_the_same() {
    let (_folder, path) = place();
    let tokens: Vec<_> = std::thread::scope(|scope| {
        let makers: Vec<_> =
            (0..16).map(|_| scope.spawn(|| Token::load_or_create(&path).unwrap())).collect();
        makers.into_iter().map(|maker| maker.join().unwrap().authorization()).collect()
    });
    assert!(tokens.iter().all(|token| *token == tokens[0]));
}

#[test]
fn a_token_that_others_can_read_or_write_is_refused() {
    for mode in [0o644, 0o640, 0o604, 0o620, 0o602] {
        let (_folder, path) = place();
        Token::load_or_create(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let refused = Token::load_or_create(&path).unwrap_err();
        assert!(
            matches!(refused, TokenError::Exposed { mode: seen, .. } if seen == mode),
            "{mode:o}: {refused}"
        );
    }
}

#[test]
fn what_is_not_a_token_is_refused_and_left_alone() {
    let secret = "a".repeat(64);
    let malformed =
        [String::new(), "short".into(), secret[1..].into(), secret.clone() + "a", "g".repeat(64)];
    for text in malformed {
        let (_folder, path) = place();
        Token::load_or_create(&path).unwrap();
        fs::write(&path, &text).unwrap();
        let refused = Token::load_or_create(&path).unwrap_err();
        assert!(matches!(refused, TokenError::Malformed { .. }), "{text:?}: {refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn links_folders_and_pipes_are_refused() {
    let (_folder, target) = place();
    Token::load_or_create(&target).unwrap();
    let link = target.with_extension("link");
    symlink(&target, &link).unwrap();
    assert!(matches!(Token::load_or_create(&link).unwrap_err(), TokenError::Read { .. }));
    let folder = target.parent().unwrap();
    assert!(matches!(Token::load_or_create(folder).unwrap_err(), TokenError::NotAFile { .. }));
    let pipe = target.with_extension("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(Token::load_or_create(&pipe).unwrap_err(), TokenError::NotAFile { .. }));
}

#[test]
fn a_token_of_another_user_is_refused() {
    let (_folder, mut path) = place();
    if rustix::process::geteuid().is_root() {
        Token::load_or_create(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    } else {
        // Only root can give a file away; root has given this one to everybody.
        path = "/etc/passwd".into();
    }
    let refused = Token::load_or_create(&path).unwrap_err();
    assert!(matches!(refused, TokenError::Foreign { .. }), "{refused}");
}

#[test]
fn a_token_does_not_show_itself() {
    let (_folder, path) = place();
    let token = Token::load_or_create(&path).unwrap();
    let secret = fs::read_to_string(&path).unwrap();
    assert!(!format!("{token:?}").contains(secret.trim()));
    assert!(!format!("{:?}", token.authorization()).contains(secret.trim()));
}

#[tokio::test]
async fn managed_routes_take_the_token_and_nothing_else() {
    let (_folder, path) = place();
    let token = Token::load_or_create(&path).unwrap();
    let server = Server::start_with(|guard| guard, Some(token.clone())).await;
    let bearer = token.authorization().to_str().unwrap().to_owned();
    let secret = bearer.strip_prefix("Bearer ").unwrap();
    let right = format!("authorization: {bearer}");
    assert_eq!(server.post("/shutdown", &[&right], "").await.body, "stopping");
    let lower = format!("authorization: bearer {secret}");
    assert_eq!(server.post("/shutdown", &[&lower], "").await.status, 200);

    let wrong_digit = if secret.ends_with('0') { "1" } else { "0" };
    let wrong = [
        format!("Bearer {}{wrong_digit}", &secret[..63]),
        format!("Bearer {}", &secret[..32]),
        format!("Bearer {secret}0"),
        "Bearer ".to_owned(),
        "Bearer".to_owned(),
        format!("Basic {secret}"),
        secret.to_owned(),
        String::new(),
    ];
    for value in wrong {
        let header = format!("authorization: {value}");
        let answer = server.post("/shutdown", &[&header], "").await;
        assert_eq!(answer.refusal(), (401, "token_wrong".into()), "{value}");
        assert_eq!(answer.header("www-authenticate"), Some("bearer"));
    }
    let missing = server.post("/shutdown", &[], "").await;
    assert_eq!(missing.refusal(), (401, "token_missing".into()));
    let twice = server.post("/shutdown", &[&right, &right], "").await;
    assert_eq!(twice.refusal().0, 401);
    assert_eq!(server.get("/health", &[]).await.status, 200, "other routes are open");
}

#[tokio::test]
async fn a_guard_with_a_token_demands_it_everywhere() {
    let (_folder, path) = place();
    let token = Token::load_or_create(&path).unwrap();
    let required = token.clone();
    let server = Server::start_with(|guard| guard.token(Some(required)), None).await;
    for place in ["/health", "/nowhere"] {
        assert_eq!(server.get(place, &[]).await.refusal(), (401, "token_missing".into()));
    }
    let bearer = format!("authorization: {}", token.authorization().to_str().unwrap());
    assert_eq!(server.get("/health", &[&bearer]).await.status, 200);
}

/// A path for a token in a folder that does not exist yet.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state").join("token");
    (folder, path)
}
