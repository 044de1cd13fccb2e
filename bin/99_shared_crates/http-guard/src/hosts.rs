use axum::http::{HeaderMap, Uri, header};
use rbee_api::ErrorCode;

use crate::error::ApiError;

/// The names by which clients may address a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hosts {
    /// As in a `Host` header, in lower case.
    allowed: Vec<String>,
    /// Whether a request may name none.
    optional: bool,
}

impl Hosts {
    pub(crate) fn loopback(port: u16) -> Self {
        let names = ["localhost", "127.0.0.1", "[::1]"];
        let mut allowed: Vec<String> = names.iter().map(|name| format!("{name}:{port}")).collect();
        if port == 80 {
            // Clients leave the scheme's own port away.
            allowed.extend(names.map(str::to_owned));
        }
        Self { allowed, optional: false }
    }

    pub(crate) fn unix() -> Self {
        Self { allowed: vec!["localhost".to_owned()], optional: true }
    }

    /// A page's name can be pointed at this address at any time, so only the name that the client
    /// believes to be talking to tells it from a client that means us.
    pub(crate) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut named = false;
        let hosts = headers.get_all(header::HOST).iter().map(|host| host.as_bytes());
        let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
        for (nth, host) in hosts.enumerate() {
            if nth > 0 {
                return Err(ApiError::new(ErrorCode::HostAmbiguous, "more than one `Host` header"));
            }
            self.check_name(host)?;
            named = true;
        }
        // A request line with a whole URL names a host of its own, and some servers prefer it.
        if let Some(host) = authority {
            self.check_name(host)?;
            named = true;
        }
        if !named && !self.optional {
            return Err(ApiError::new(ErrorCode::HostMissing, "the request has no `Host` header"));
        }
        Ok(())
    }

    /// A browser says for which page it sends; only our own pages may, and there are none yet.
    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let foreign = |origin: &[u8]| {
            let host = origin.strip_prefix(b"http://");
            !host.is_some_and(|host| self.allows(host))
        };
        if headers.get_all(header::ORIGIN).iter().any(|origin| foreign(origin.as_bytes())) {
            let message = "web pages of other origins may not use this server";
            return Err(ApiError::new(ErrorCode::OriginNotAllowed, message));
        }
        // A page of another port of this host counts as the same site, and is a stranger too.
        let ours = |site: &[u8]| site == b"same-origin" || site == b"none";
        if headers.get_all("sec-fetch-site").iter().any(|site| !ours(site.as_bytes())) {
            let message = "web pages of other sites may not use this server";
            return Err(ApiError::new(ErrorCode::SiteNotAllowed, message));
        }
        Ok(())
    }

    fn check_name(&self, host: &[u8]) -> Result<(), ApiError> {
        if self.allows(host) {
            return Ok(());
        }
        let message = format!(
            "`{}` is not a name of this server; use `{}`",
            String::from_utf8_lossy(host).escape_debug(),
            self.allowed[0],
        );
        Err(ApiError::new(ErrorCode::HostNotAllowed, message))
    }

    fn allows(&self, host: &[u8]) -> bool {
        self.allowed.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(host))
    }
}
