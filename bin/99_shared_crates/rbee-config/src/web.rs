use toml::de::DeValue;

use crate::setting::Setting;

/// Names of hosts as a `Host` header has them: `host.docker.internal`, `my-nas:8500`.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostNames(pub(crate) Vec<String>);

/// Origins as browsers send them: `http://localhost:3000`, `chrome-extension://abc`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins(pub(crate) Vec<String>);

impl HostNames {
    fn of(names: Vec<String>) -> Option<Self> {
        names.iter().all(|name| is_authority(name)).then_some(Self(names))
    }
}

impl Origins {
    fn of(origins: Vec<String>) -> Option<Self> {
        let is_origin = |origin: &String| {
            let Some((scheme, authority)) = origin.split_once("://") else { return false };
            let named = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            !scheme.is_empty() && named && is_authority(authority)
        };
        origins.iter().all(is_origin).then_some(Self(origins))
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

impl Setting for HostNames {
    fn expected() -> String {
        "a list of host names, such as [\"host.docker.internal\"], with a port or without".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        Vec::from_text(text).and_then(Self::of)
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        Vec::from_toml(value).and_then(Self::of)
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

impl Setting for Origins {
    fn expected() -> String {
        "a list of origins, such as [\"http://localhost:3000\"], without a path".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        Vec::from_text(text).and_then(Self::of)
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        Vec::from_toml(value).and_then(Self::of)
    }

    fn show(&self) -> String {
        self.0.show()
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
        let is_origin = |text: &str| Origins::of(vec![text.to_owned()]).is_some();
        for origin in ["http://localhost:3000", "https://a.example", "chrome-extension://abcdef"] {
            assert!(is_origin(origin), "{origin}");
        }
        for origin in ["null", "*", "http://*", "localhost:3000", "http://a/", "://a", "http://"] {
            assert!(!is_origin(origin), "{origin}");
        }
    }
}
