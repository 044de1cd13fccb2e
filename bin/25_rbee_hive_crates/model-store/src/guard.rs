use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::{
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};
use url::{Host, Url};

use crate::error::{Error, shown_url};

/// Keeps downloads away from this host and its private network.
///
/// A name of a model comes from whoever may talk to the hive, and a redirect from whoever answers:
/// neither may make the hive a way into the network. The configured endpoint of Hugging Face is
/// exempt, for mirrors are often private. Names are checked when they are resolved, so the address
/// that was checked is the one that is connected to.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    endpoint: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("its address is not a public one")]
pub(crate) struct NotPublic;

impl Guard {
    pub(crate) fn new(endpoint: &Url) -> Self {
        Self { endpoint: host_and_port(endpoint) }
    }

    pub(crate) fn is_endpoint(&self, url: &Url) -> bool {
        self.endpoint.is_some() && host_and_port(url) == self.endpoint
    }

    /// Whether `url` may be requested, as far as can be told before its name is resolved.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Error> {
        if self.is_endpoint(url) {
            return Ok(());
        }
        let forbidden = |why: &str| Error::Forbidden { url: shown_url(url), why: why.to_owned() };
        if url.scheme() != "https" {
            return Err(forbidden("it is not an `https` URL"));
        }
        let is_public = match url.host() {
            Some(Host::Ipv4(address)) => is_public(address.into()),
            Some(Host::Ipv6(address)) => is_public(address.into()),
            Some(Host::Domain(name)) => name != "localhost" && !name.ends_with(".localhost"),
            None => false,
        };
        if is_public { Ok(()) } else { Err(forbidden(&NotPublic.to_string())) }
    }

    fn is_exempt(&self, uri: &Uri, config: &Config) -> bool {
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let target = format!("{host}:{}", uri.port_u16().unwrap_or(default_port));
        // The proxy is the user's choice and resolved here too; what is behind it is its business.
        let is_proxy =
            config.proxy().is_some_and(|proxy| proxy.uri().authority() == uri.authority());
        is_proxy || self.endpoint.as_ref() == Some(&target)
    }
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let addresses = DefaultResolver::default().resolve(uri, config, timeout)?;
        if self.is_exempt(uri, config) {
            return Ok(addresses);
        }
        let mut public = self.empty();
        for address in addresses.iter().filter(|address| is_public(address.ip())) {
            public.push(*address);
        }
        if public.is_empty() { Err(ureq::Error::Other(Box::new(NotPublic))) } else { Ok(public) }
    }
}

fn host_and_port(url: &Url) -> Option<String> {
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// Whether the internet routes the address, by IANA's registries of special addresses.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || (a == 100 && b & 0xc0 == 64) // shared by carriers
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xfe == 18) // benchmarks
        || a >= 240;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = address.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let [a, b, c, d, e, f, g, h] = address.segments();
    let low = Ipv4Addr::from((u32::from(g) << 16) | u32::from(h));
    match (a, b) {
        // IPv4 behind a translator, and in a tunnel.
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => is_public_v4(low),
        (0x2002, _) => is_public_v4(Ipv4Addr::from((u32::from(b) << 16) | u32::from(c))),
        (0x2001, 0x0db8) => false,
        (0x2001, _) if b < 0x0200 => false,
        // Global unicast; everything else is local, multicast or not given out.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_the_internet_routes_are_public() {
        for public in ["1.1.1.1", "100.63.0.1", "198.20.0.1", "2606:4700::1", "64:ff9b::808:808"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "fc00::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }

    #[test]
    fn a_name_that_leads_to_this_host_is_not_resolved_unless_it_is_the_endpoint() {
        let guard = Guard::new(&Url::parse("https://LOCALHOST:4433/hub").unwrap());
        let resolve = |uri: &str| {
            let timeout = NextTimeout {
                after: std::time::Duration::from_secs(5).into(),
                reason: ureq::Timeout::Resolve,
                ..NextTimeout::default()
            };
            guard.resolve(&uri.parse().unwrap(), &Config::default(), timeout)
        };
        for uri in ["https://localhost/x", "https://localhost:4434/x", "https://127.0.0.1/x"] {
            let refused = resolve(uri);
            assert!(
                matches!(refused, Err(ureq::Error::Other(why)) if why.is::<NotPublic>()),
                "{uri}"
            );
        }
        assert!(!resolve("https://localhost:4433/x").unwrap().is_empty());
        assert!(!resolve("https://1.1.1.1/x").unwrap().is_empty());
    }
}
