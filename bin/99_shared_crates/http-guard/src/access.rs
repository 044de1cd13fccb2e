use std::{fmt, sync::Arc};

use axum::{extract::Request, http::HeaderMap};
use rbee_api::{ErrorCode, HEADER_MODELS, KeyScope, ModelReach};

use crate::{authorize, error::ApiError, keys::Keys, peer::Peer, token::Token};

/// Who needs no key on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyless {
    /// The user whom the server runs as, as far as the kernel tells whose a connection is.
    SameUser,
    Nobody,
    /// Every user of this machine.
    Everybody,
}

/// Decides what a request may ask for, by its key and by who sent it.
///
/// The server's token and keys with [`KeyScope::Manage`] are good for everything. Other keys, and
/// those who need none, are let in with [`KeyScope::Chat`]. Who needs none because they are the same
/// user reaches the catalogue's models too ([`ModelReach`]); other keys do not. A request says in its extensions who sent
/// it ([`Peer`]); one that does not came from nobody known.
#[derive(Clone)]
pub struct Access {
    token: Token,
    keys: Keys,
    keyless: Arc<dyn Fn() -> Keyless + Send + Sync>,
}

/// What a request may ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admitted {
    pub(crate) scope: KeyScope,
    pub(crate) reach: ModelReach,
    /// Whether its sender is neither the same user nor somebody who may manage.
    pub(crate) is_stranger: bool,
}

impl Access {
    /// `keyless` is asked for each request, so that it may follow a configuration.
    pub fn new(
        token: Token,
        keys: Keys,
        keyless: impl Fn() -> Keyless + Send + Sync + 'static,
    ) -> Self {
        Self { token, keys, keyless: Arc::new(keyless) }
    }

    /// What the request may ask for; refused with 401 where it may ask for nothing.
    pub(crate) fn admit(&self, request: &Request) -> Result<Admitted, ApiError> {
        let (scope, most) = self.allowed(request)?;
        let asked = request.headers().get_all(HEADER_MODELS).iter();
        let asked = asked.map(|reach| ModelReach::read(reach.as_bytes()));
        let reach = asked.fold(most, ModelReach::min);
        Ok(Admitted { scope, reach, is_stranger: most == ModelReach::Stored })
    }

    fn allowed(&self, request: &Request) -> Result<(KeyScope, ModelReach), ApiError> {
        let presented = presented(request.headers());
        if let Some(presented) = presented {
            if self.token.matches(presented) {
                return Ok((KeyScope::Manage, ModelReach::Any));
            }
            match self.keys.scope_of(presented).map_err(ApiError::internal)? {
                Some(KeyScope::Manage) => return Ok((KeyScope::Manage, ModelReach::Any)),
                Some(KeyScope::Chat) => return Ok((KeyScope::Chat, ModelReach::Stored)),
                None => {}
            }
        }
        let peer = request.extensions().get().copied().unwrap_or(Peer::Unknown);
        let reach = match ((self.keyless)(), peer) {
            (Keyless::SameUser | Keyless::Everybody, Peer::SameUser) => Some(ModelReach::Catalogue),
            (Keyless::Everybody, Peer::OtherUser { .. }) => Some(ModelReach::Stored),
            (Keyless::SameUser | Keyless::Everybody | Keyless::Nobody, _) => None,
        };
        if let Some(reach) = reach {
            // Clients of OpenAI's API have to send some key; here it means nothing.
            return Ok((KeyScope::Chat, reach));
        }
        let (code, what) = match presented {
            Some(_) => (ErrorCode::KeyWrong, "this key is not, or no longer, one of this server's"),
            None => (ErrorCode::KeyMissing, "this needs a key as `Authorization: Bearer <key>`"),
        };
        let message = format!("{what}; whoever runs the server makes one with `rbee key add NAME`");
        Err(ApiError::new(code, message))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// The one key that the request presents.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    authorize::presented(headers).ok().flatten()
}
