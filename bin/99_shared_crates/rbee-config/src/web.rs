use std::marker::PhantomData;

use toml::de::DeValue;

use crate::setting::Setting;

/// A list of texts, each of which is a `K`.
#[derive(Debug, Clone)]
pub(crate) struct ListOf<K> {
    pub(crate) texts: Vec<String>,
    kind: PhantomData<K>,
}

/// What each text of a list is to be.
pub(crate) trait Kind {
    /// Completes "must be ...".
    const EXPECTED: &str;
    fn is_one(text: &str) -> bool;
}

/// A host as a `Host` header has it: `host.docker.internal`, `my-nas:8500`.
#[derive(Debug, Clone)]
pub(crate) struct HostName;

/// An origin as browsers send it: `http://localhost:3000`, `chrome-extension://abc`.
#[derive(Debug, Clone)]
pub(crate) struct WebOrigin;

impl Kind for HostName {
    const EXPECTED: &str =
        "a list of host names, such as [\"host.docker.internal\"], with a port or without";

    fn is_one(text: &str) -> bool {
        is_authority(text)
    }
}

impl Kind for WebOrigin {
    const EXPECTED: &str = "a list of origins, such as [\"http://localhost:3000\"], without a path";

    fn is_one(text: &str) -> bool {
        let Some((scheme, authority)) = text.split_once("://") else { return false };
        let named = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !scheme.is_empty() && named && is_authority(authority)
    }
}

impl<K: Kind> ListOf<K> {
    pub(crate) fn none() -> Self {
        Self { texts: Vec::new(), kind: PhantomData }
    }

    fn of(texts: Vec<String>) -> Option<Self> {
        let all_are = texts.iter().all(|text| K::is_one(text));
        all_are.then_some(Self { texts, kind: PhantomData })
    }
}

/// A name or an address, and perhaps a port; nothing stands for anything else.
fn is_authority(text: &str) -> bool {
    let host = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => {
            if port.parse::<u16>().is_err() {
                return false;
            }
            host
        }
        _ => text,
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.bytes().all(is_plain)
        }
    }
}

impl<K: Kind> Setting for ListOf<K> {
    fn expected() -> String {
        K::EXPECTED.to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        Vec::from_text(text).and_then(Self::of)
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        Vec::from_toml(value).and_then(Self::of)
    }

    fn show(&self) -> String {
        self.texts.show()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_never_a_pattern() {
        for host in ["host.docker.internal", "my-nas:8500", "192.168.1.5", "[::1]", "[::1]:80"] {
            assert!(is_authority(host), "{host}");
        }
        for host in ["", "*", "*.local", "http://a", "a/b", "a:b", "a:99999", "u@a", "[x]", "a b"] {
            assert!(!is_authority(host), "{host}");
        }
    }

    #[test]
    fn an_origin_has_a_scheme_and_no_path() {
        for origin in ["http://localhost:3000", "https://a.example", "chrome-extension://abcdef"] {
            assert!(WebOrigin::is_one(origin), "{origin}");
        }
        for origin in ["null", "*", "http://*", "localhost:3000", "http://a/", "://a", "http://"] {
            assert!(!WebOrigin::is_one(origin), "{origin}");
        }
    }
}
