use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use rbee_api::ErrorCode;

use crate::error::ApiError;

/// The names by which clients may address a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hosts {
    /// As in a `Host` header, in lower case.
    allowed: Vec<String>,
    /// Whether a request may name none.
    optional: bool,
    /// Ours without a port. Browsers leave a port away only where it is their scheme's own, which no
    /// page of ours has; other clients do it as they like.
    portless: Vec<String>,
}

/// What a listener is addressed by besides its own names, and by whose pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// As in a `Host` header. One without a port stands for any port.
    pub hosts: Vec<String>,
    /// As in an `Origin` header.
    pub origins: Vec<String>,
}

impl Names {
    fn has_host(&self, host: &[u8]) -> bool {
        let is = |name: &[u8]| {
            self.hosts.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
        };
        is(host) || is(without_port(host))
    }
}

/// The address at which a connection was accepted, among its requests' extensions.
///
/// A client may name it: a page whose name was pointed there names itself, and never an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReachedAt(pub SocketAddr);

impl ReachedAt {
    fn is_named(self, host: &[u8]) -> bool {
        let Ok(host) = str::from_utf8(host) else { return false };
        let without_brackets = |text: &str| {
            let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            inner.unwrap_or(text).parse::<IpAddr>().ok()
        };
        let (address, port) = match host.parse::<SocketAddr>() {
            Ok(named) => (Some(named.ip()), Some(named.port())),
            Err(_) => (without_brackets(host), None),
        };
        let is_same = address.is_some_and(|ip| ip.to_canonical() == self.0.ip().to_canonical());
        is_same && port.is_none_or(|port| port == self.0.port())
    }
}

/// `host` of `host:8500`; an address in brackets has colons of its own.
fn without_port(host: &[u8]) -> &[u8] {
    let Some(at) = host.iter().rposition(|&byte| byte == b':') else { return host };
    let is_port = host[at + 1..].iter().all(u8::is_ascii_digit);
    if is_port { &host[..at] } else { host }
}

impl Hosts {
    pub(crate) fn loopback(port: u16) -> Self {
        let names = ["localhost", "127.0.0.1", "[::1]"];
        let mut allowed: Vec<String> = names.iter().map(|name| format!("{name}:{port}")).collect();
        if port == 80 {
            // Clients leave the scheme's own port away.
            allowed.extend(names.map(str::to_owned));
        }
        let portless = names.map(str::to_owned).into();
        Self { allowed, optional: false, portless }
    }

    pub(crate) fn unix() -> Self {
        Self { allowed: vec!["localhost".to_owned()], optional: true, portless: Vec::new() }
    }

    /// A page's name can be pointed at this address at any time, so only the name that the client
    /// believes to be talking to tells it from a client that means us.
    pub(crate) fn check_host(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        at: Option<ReachedAt>,
        names: Option<&dyn Fn() -> Names>,
    ) -> Result<(), ApiError> {
        let mut named = false;
        let hosts = headers.get_all(header::HOST).iter().map(|host| host.as_bytes());
        let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
        for (nth, host) in hosts.enumerate() {
            if nth > 0 {
                return Err(ApiError::new(ErrorCode::HostAmbiguous, "more than one `Host` header"));
            }
            self.check_name(host, at, names)?;
            named = true;
        }
        // A request line with a whole URL names a host of its own, and some servers prefer it.
        if let Some(host) = authority {
            self.check_name(host, at, names)?;
            named = true;
        }
        if !named && !self.optional {
            return Err(ApiError::new(ErrorCode::HostMissing, "the request has no `Host` header"));
        }
        Ok(())
    }

    /// The origin of a page that is none of ours and may use this listener.
    pub(crate) fn listed_origin<'a>(
        &self,
        headers: &'a HeaderMap,
        names: &dyn Fn() -> Names,
    ) -> Option<&'a HeaderValue> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (origin, None) = (origins.next()?, origins.next()) else { return None };
        let is_listed = |listed: &String| listed.as_bytes() == origin.as_bytes();
        names().origins.iter().any(is_listed).then_some(origin)
    }

    /// A browser says for which page it sends; only our own pages may: those of a name of this
    /// listener's, and of the name that the request is addressed to, which has been checked.
    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let addressed = headers.get(header::HOST).map(HeaderValue::as_bytes);
        let foreign = |origin: &[u8]| {
            let plain = origin.strip_prefix(b"http://");
            let host = plain.or_else(|| origin.strip_prefix(b"https://"));
            let is_addressed = host.is_some() && host == addressed;
            !is_addressed && !plain.is_some_and(|host| self.allows(host))
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

    fn check_name(
        &self,
        host: &[u8],
        at: Option<ReachedAt>,
        names: Option<&dyn Fn() -> Names>,
    ) -> Result<(), ApiError> {
        if at.is_some_and(|at| at.is_named(host)) {
            return Ok(());
        }
        let is_portless = || self.portless.iter().any(|own| own.as_bytes() == host);
        if self.allows(host) || names.is_some_and(|names| is_portless() || names().has_host(host)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_name_the_address_that_it_reached() {
        let v4 = ReachedAt("192.168.1.5:8500".parse().unwrap());
        let mapped = ReachedAt("[::ffff:192.168.1.5]:8500".parse().unwrap());
        for at in [v4, mapped] {
            for host in ["192.168.1.5:8500", "192.168.1.5", "[::ffff:c0a8:105]:8500"] {
                assert!(at.is_named(host.as_bytes()), "{host}");
            }
            for host in ["192.168.1.6:8500", "192.168.1.5:80", "192.168.1.5.example", "", "nas"] {
                assert!(!at.is_named(host.as_bytes()), "{host}");
            }
        }
        let v6 = ReachedAt("[fd00::5]:8500".parse().unwrap());
        assert!(v6.is_named(b"[fd00::5]:8500") && v6.is_named(b"[fd00::5]"));
        assert!(!v6.is_named(b"[fd00::6]"));
    }
}
