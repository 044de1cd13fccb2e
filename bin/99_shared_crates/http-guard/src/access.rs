use std::{fmt, sync::Arc};

use axum::{extract::Request, http::HeaderMap};
use rbee_api::{ErrorCode, HEADER_MODELS, KeyScope, ModelReach};

use crate::{authorize, error::ApiError, keys::Keys, peer::Peer, token::Token};

/// The user whom the server runs as.
const OWNER: &str = "owner";

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
    /// Whether who sends a request may say for whom.
    passed_on: bool,
}

/// What a request may ask for.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    pub(crate) scope: KeyScope,
    pub(crate) reach: ModelReach,
    /// Whether its sender is neither the same user nor somebody who may manage.
    pub(crate) is_stranger: bool,
    /// Who it is, as [`rbee_api::HEADER_CALLER`] has it; `None` where the request says so itself.
    pub(crate) caller: Option<String>,
}

/// What somebody is let in for.
struct Allowed {
    scope: KeyScope,
    most: ModelReach,
    caller: String,
}

impl Access {
    /// `keyless` is asked for each request, so that it may follow a configuration.
    pub fn new(
        token: Token,
        keys: Keys,
        keyless: impl Fn() -> Keyless + Send + Sync + 'static,
    ) -> Self {
        Self { token, keys, keyless: Arc::new(keyless), passed_on: false }
    }

    /// The same for a server that is asked by another one, which says for whom it asks.
    #[must_use]
    pub fn passed_on(self) -> Self {
        Self { passed_on: true, ..self }
    }

    /// What the request may ask for; refused with 401 where it may ask for nothing.
    pub(crate) fn admit(&self, request: &Request) -> Result<Admitted, ApiError> {
        let Allowed { scope, most, caller } = self.allowed(request)?;
        let asked = request.headers().get_all(HEADER_MODELS).iter();
        let asked = asked.map(|reach| ModelReach::read(reach.as_bytes()));
        let reach = asked.fold(most, ModelReach::min);
        let caller = (!self.passed_on).then_some(caller);
        Ok(Admitted { scope, reach, is_stranger: most == ModelReach::Stored, caller })
    }

    fn allowed(&self, request: &Request) -> Result<Allowed, ApiError> {
        let presented = presented(request.headers());
        if let Some(presented) = presented {
            if self.token.matches(presented) {
                let (scope, most) = (KeyScope::Manage, ModelReach::Any);
                return Ok(Allowed { scope, most, caller: OWNER.to_owned() });
            }
            if let Some(key) = self.keys.find(presented).map_err(ApiError::internal)? {
                let most = match key.scope {
                    KeyScope::Manage => ModelReach::Any,
                    KeyScope::Chat => ModelReach::Stored,
                };
                let caller = format!("key:{}", key.name);
                return Ok(Allowed { scope: key.scope, most, caller });
            }
        }
        let peer = request.extensions().get().copied().unwrap_or(Peer::Unknown);
        let reach = match ((self.keyless)(), peer) {
            (Keyless::SameUser | Keyless::Everybody, Peer::SameUser) => Some(ModelReach::Catalogue),
            (Keyless::Everybody, Peer::OtherUser { .. }) => Some(ModelReach::Stored),
            (Keyless::SameUser | Keyless::Everybody | Keyless::Nobody, _) => None,
        };
        if let Some(most) = reach {
            let caller = match peer {
                Peer::OtherUser { uid } => format!("user:{uid}"),
                Peer::SameUser | Peer::Unknown => OWNER.to_owned(),
            };
            // Clients of OpenAI's API have to send some key; here it means nothing.
            return Ok(Allowed { scope: KeyScope::Chat, most, caller });
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
