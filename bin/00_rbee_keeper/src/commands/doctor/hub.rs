use std::time::Duration;

use rbee_config::RbeeConfig;
use reqwest::Url;
use tokio::{net::TcpStream, time::timeout};

use super::Check;

/// For a name that is resolved and a connection, on a slow line.
const DEADLINE: Duration = Duration::from_secs(3);

/// Programs that download ask these where to; each in capitals too.
const PROXIES: [&str; 3] = ["https_proxy", "http_proxy", "all_proxy"];

/// Whether the hub can be reached. Nothing is asked of it, and only what is to be fetched needs it.
pub(super) async fn check(config: &RbeeConfig) -> Check {
    const WHAT: &str = "models' hub";
    let endpoint = &config.models.hf_endpoint;
    let mut variables = config.models.environment.clone().into_iter();
    let is_proxy = |name: &str| PROXIES.contains(&name.to_ascii_lowercase().as_str());
    if variables.any(|(name, value)| !value.is_empty() && name.to_str().is_some_and(is_proxy)) {
        return Check::ok(WHAT, format!("{endpoint}, through a proxy, which is not asked here"));
    }
    let reached = match address(endpoint) {
        Some((host, port)) => timeout(DEADLINE, TcpStream::connect((host.as_str(), port))).await,
        None => return Check::warn(WHAT, format!("{endpoint} has no host")),
    };
    let why = match reached {
        Ok(Ok(_)) => return Check::ok(WHAT, endpoint.as_str()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", DEADLINE.as_secs()),
    };
    Check::warn(WHAT, format!("{endpoint} cannot be reached: {why}")).remedy(
        "models that are here need none; `models.hf_endpoint` or HF_ENDPOINT names another one",
    )
}

fn address(endpoint: &str) -> Option<(String, u16)> {
    let url = Url::parse(endpoint).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    Some((host, url.port_or_known_default()?))
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn a_hub_is_asked_where_its_scheme_or_its_port_says() {
        let at = |endpoint| address(endpoint).unwrap();
        assert_eq!(at("https://hub.example"), ("hub.example".to_owned(), 443));
        assert_eq!(at("http://127.0.0.1:9/x"), ("127.0.0.1".to_owned(), 9));
        assert_eq!(at("http://[::1]:9"), ("::1".to_owned(), 9));
    }
}
