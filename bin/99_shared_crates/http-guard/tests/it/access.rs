use axum::{
    Extension, Router,
    body::Body,
    extract::Request,
    http::{StatusCode, header},
    routing::get,
};
use http_body_util::BodyExt as _;
use http_guard::{Access, Guard, Keyless, Keys, KeysError, Peer, Token, require_token};
use rbee_api::{KeyScope, ModelReach};
use tower::ServiceExt as _;

const OTHER: Peer = Peer::OtherUser { uid: 4242 };

struct World {
    folder: tempfile::TempDir,
    keys: Keys,
    token: Token,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::at(folder.path().join("keys.json"));
        let token = Token::load_or_create(&folder.path().join("token")).unwrap();
        Self { folder, keys, token }
    }

    /// What `GET path` answers to `peer` with this value of `Authorization`.
    async fn status(
        &self,
        keyless: Keyless,
        peer: Option<Peer>,
        authorization: Option<&str>,
        path: &str,
    ) -> u16 {
        let headers: Vec<_> =
            authorization.map(|value| ("authorization", value)).into_iter().collect();
        self.status_with(keyless, peer, &headers, path).await
    }

    /// The same with these headers.
    async fn status_with(
        &self,
        keyless: Keyless,
        peer: Option<Peer>,
        headers: &[(&str, &str)],
        path: &str,
    ) -> u16 {
        let managed = Router::new()
            .route("/manage", get(async || "managed"))
            .route_layer(require_token(self.token.clone()));
        let scope = async |Extension(scope): Extension<KeyScope>| scope.to_string();
        let routes = managed.route("/chat", get(scope));
        let access = Access::new(self.token.clone(), self.keys.clone(), move || keyless);
        let router = routes.layer(Guard::loopback(8500).access(access).layer());
        let mut request = Request::get(path).header(header::HOST, "127.0.0.1:8500");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        router.oneshot(request).await.unwrap().status().as_u16()
    }

    /// What a request with these values of `x-rbee-models` may name.
    async fn reach(
        &self,
        keyless: Keyless,
        peer: Option<Peer>,
        authorization: Option<&str>,
        asked: &[&str],
    ) -> String {
        let access = Access::new(self.token.clone(), self.keys.clone(), move || keyless);
        let reach = async |Extension(reach): Extension<ModelReach>| reach.as_str();
        let router: Router = Router::new().route("/", get(reach));
        let router = router.layer(Guard::loopback(8500).access(access).layer());
        let mut request = Request::get("/").header(header::HOST, "127.0.0.1:8500");
        for asked in asked {
            request = request.header("x-rbee-models", *asked);
        }
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let body = router.oneshot(request).await.unwrap().into_body();
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn token(&self) -> String {
        self.token.authorization().to_str().unwrap().to_owned()
    }
}

fn bearer(secret: &str) -> String {
    format!("Bearer {secret}")
}

#[tokio::test]
async fn whoever_needs_no_key_follows_from_policy_and_peer() {
    let world = World::new();
    let (ok, refused) = (StatusCode::OK.as_u16(), StatusCode::UNAUTHORIZED.as_u16());
    for (keyless, peer, status) in [
        (Keyless::SameUser, Some(Peer::SameUser), ok),
        (Keyless::SameUser, Some(OTHER), refused),
        (Keyless::SameUser, Some(Peer::Unknown), refused),
        (Keyless::SameUser, None, refused),
        (Keyless::Nobody, Some(Peer::SameUser), refused),
        (Keyless::Nobody, Some(OTHER), refused),
        (Keyless::Everybody, Some(Peer::SameUser), ok),
        (Keyless::Everybody, Some(OTHER), ok),
        // Not somebody of this machine, as far as the kernel tells.
        (Keyless::Everybody, Some(Peer::Unknown), refused),
        (Keyless::Everybody, None, refused),
    ] {
        let seen = world.status(keyless, peer, None, "/chat").await;
        assert_eq!(seen, status, "{keyless:?} {peer:?}");
        let seen = world.status(keyless, peer, Some("Bearer unused"), "/chat").await;
        assert_eq!(seen, status, "with a key that is none: {keyless:?} {peer:?}");
    }
}

#[tokio::test]
async fn a_key_is_good_for_its_scope_from_anywhere_until_it_is_revoked() {
    let world = World::new();
    let chat = bearer(&world.keys.add("open-webui", KeyScope::Chat).unwrap());
    let manage = bearer(&world.keys.add("backup", KeyScope::Manage).unwrap());
    let status = async |key: &str, path| {
        world.status(Keyless::Nobody, Some(Peer::Unknown), Some(key), path).await
    };
    assert_eq!((status(&chat, "/chat").await, status(&chat, "/manage").await), (200, 401));
    assert_eq!((status(&manage, "/chat").await, status(&manage, "/manage").await), (200, 200));
    let token = world.token();
    assert_eq!((status(&token, "/chat").await, status(&token, "/manage").await), (200, 200));
    world.keys.revoke("open-webui").unwrap();
    assert_eq!(status(&chat, "/chat").await, 401);
    assert_eq!(status(&manage, "/chat").await, 200);
}

#[tokio::test]
async fn a_key_is_in_either_header_or_the_same_in_both() {
    let world = World::new();
    let key = world.keys.add("agent", KeyScope::Manage).unwrap();
    let (own, other) = (bearer(&key), bearer("another"));
    for (headers, status) in [
        (&[("x-api-key", key.as_str())][..], 200),
        (&[("authorization", own.as_str()), ("x-api-key", key.as_str())], 200),
        (&[("authorization", other.as_str()), ("x-api-key", key.as_str())], 401),
        (&[("x-api-key", key.as_str()), ("x-api-key", key.as_str())], 401),
        (&[("x-api-key", "")], 401),
        (&[("x-api-key", own.as_str())], 401),
    ] {
        for path in ["/chat", "/manage"] {
            let peer = Some(Peer::Unknown);
            let seen = world.status_with(Keyless::Nobody, peer, headers, path).await;
            assert_eq!(seen, status, "{path} {headers:?}");
        }
    }
    let token = world.token();
    let token = [("x-api-key", token.strip_prefix("Bearer ").unwrap())];
    let peer = Some(Peer::SameUser);
    assert_eq!(world.status_with(Keyless::SameUser, peer, &token, "/manage").await, 200);
}

#[tokio::test]
async fn the_same_user_still_needs_the_token_to_manage() {
    let world = World::new();
    let status = world.status(Keyless::SameUser, Some(Peer::SameUser), None, "/manage").await;
    assert_eq!(status, 401);
}

#[test]
fn a_change_by_another_process_is_seen_at_once() {
    let world = World::new();
    let elsewhere = Keys::at(world.folder.path().join("keys.json"));
    assert!(world.keys.list().unwrap().is_empty());
    elsewhere.add("a", KeyScope::Chat).unwrap();
    assert_eq!(world.keys.list().unwrap().len(), 1);
    elsewhere.revoke("a").unwrap();
    assert!(world.keys.list().unwrap().is_empty());
}

#[test]
fn the_file_holds_no_secret_and_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let secret = world.keys.add("a", KeyScope::Chat).unwrap();
    let path = world.folder.path().join("keys.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(secret.strip_prefix("rbee-").unwrap()), "{text}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn names_are_bounded_and_given_once() {
    let world = World::new();
    for name in ["", "a b", "a/b", "\u{e9}", &"x".repeat(65)] {
        let refused = world.keys.add(name, KeyScope::Chat);
        assert!(matches!(refused, Err(KeysError::BadName { .. })), "{name:?}: {refused:?}");
    }
    world.keys.add("a", KeyScope::Chat).unwrap();
    let refused = world.keys.add("a", KeyScope::Manage);
    assert!(matches!(refused, Err(KeysError::NameTaken { .. })), "{refused:?}");
    assert!(matches!(world.keys.revoke("b"), Err(KeysError::Unknown { .. })));
}

#[tokio::test]
async fn what_a_request_may_name_is_what_its_sender_may_less_what_it_gives_up() {
    let world = World::new();
    let chat = bearer(&world.keys.add("chat", KeyScope::Chat).unwrap());
    let manage = bearer(&world.keys.add("manage", KeyScope::Manage).unwrap());
    let token = world.token();
    let same = Some(Peer::SameUser);
    let reaches = [ModelReach::Stored, ModelReach::Catalogue, ModelReach::Any];
    for (keyless, peer, authorization, most) in [
        (Keyless::SameUser, same, None, ModelReach::Catalogue),
        (Keyless::Everybody, same, Some("Bearer unused"), ModelReach::Catalogue),
        (Keyless::Everybody, Some(OTHER), None, ModelReach::Stored),
        (Keyless::SameUser, same, Some(chat.as_str()), ModelReach::Stored),
        (Keyless::Nobody, Some(OTHER), Some(chat.as_str()), ModelReach::Stored),
        (Keyless::Nobody, None, Some(manage.as_str()), ModelReach::Any),
        (Keyless::SameUser, same, Some(token.as_str()), ModelReach::Any),
    ] {
        assert_eq!(world.reach(keyless, peer, authorization, &[]).await, most.as_str());
        for asked in reaches {
            let reach = world.reach(keyless, peer, authorization, &[asked.as_str()]).await;
            assert_eq!(reach, most.min(asked).as_str(), "{peer:?} {authorization:?} {asked:?}");
        }
        let twice = world.reach(keyless, peer, authorization, &["stored", "any"]).await;
        let unknown = world.reach(keyless, peer, authorization, &["ANY"]).await;
        assert_eq!((twice.as_str(), unknown.as_str()), ("stored", "stored"));
    }
}
