use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use chain_level::live;
use daemon_lifecycle::{Daemon, State as Life};
use futures::{StreamExt as _, stream};
use http_guard::{Guard, require_token_of_others, wrong_methods};
use job_server::sse;
use rbee_api::{KeyScope, paths};

use crate::{
    Queen,
    lookout::{Frame, Lookout, Told},
};

/// What happens in the chain, to the same user and to who may manage.
pub(super) fn routes(queen: Queen) -> Router {
    let of_others = require_token_of_others(queen.token.clone());
    Router::new()
        .route(paths::EVENTS, get(events))
        .route_layer(of_others)
        .with_state((queen, Lookout::default()))
}

/// To whoever looks on; jobs' ids only to who may end them.
async fn events(
    State((queen, lookout)): State<(Queen, Lookout)>,
    scope: Option<Extension<KeyScope>>,
) -> Response {
    let may_manage = matches!(scope, Some(Extension(KeyScope::Manage)));
    let looking = lookout.look(&queen);
    let (now, changes) = looking.listen();
    // It looks for as long as this stream is read.
    let changes = stream::unfold((changes, looking), async |(mut changes, looking)| {
        Some((changes.recv().await.ok()?, (changes, looking)))
    });
    let frames = stream::iter(now).chain(changes);
    live(&queen.daemon, frames.map(move |frame| encode(frame, may_manage)))
}

fn encode(Frame { name, told, .. }: Frame, may_manage: bool) -> Bytes {
    match told {
        Told::Text(text) => sse::frame(name, &text),
        Told::Requests(mut under_way) => {
            if !may_manage {
                under_way.iter_mut().for_each(|request| request.job_id = None);
            }
            let text = serde_json::to_string(&under_way);
            sse::frame(name, text.unwrap_or_default().as_bytes())
        }
    }
}

/// The page's files, which need no key. They are for whom the listener is for, all the same.
pub(super) fn page(queen: &Queen, port: u16) -> Router {
    let guard = Guard::loopback(port).names(queen.names());
    let routes = wrong_methods(queen_page::routes());
    routes.layer(from_fn_with_state(queen.daemon.clone(), by_who_serves)).layer(guard.layer())
}

/// A generation that another one has replaced still answers once on each connection that is kept open:
/// files of its own beside those of the next one would be a page that nobody wrote.
async fn by_who_serves(State(daemon): State<Daemon>, request: Request, next: Next) -> Response {
    match daemon.state() {
        Life::Starting | Life::Serving | Life::Prepared => next.run(request).await,
        _ => {
            let path = request.uri().path().to_owned();
            let again = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
            let headers = [
                (header::LOCATION, again),
                (header::CONNECTION, HeaderValue::from_static("close")),
            ];
            (StatusCode::TEMPORARY_REDIRECT, headers).into_response()
        }
    }
}
