//! Where the queen listens, and how connections from beyond this machine are kept secret.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use crate::{error::Error, layers::Layers, origin::Origin, setting::Setting};

/// What keeps the keys and answers of clients on other machines from being read on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tls {
    /// Nothing: then there must not be such clients.
    #[default]
    None,
    /// Something in front of the queen, which clients on other machines use.
    Proxy,
    /// The queen itself, by files in PEM.
    Files {
        /// The certificate, and those that lead to one that clients know.
        cert: PathBuf,
        key: PathBuf,
    },
}

impl Setting for IpAddr {
    fn expected() -> String {
        "an IP address of this machine, such as \"0.0.0.0\" for all of them".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        address.unwrap_or(text).parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A file by its absolute path; nothing where none is named.
#[derive(Debug, Clone, Default)]
struct File(Option<PathBuf>);

impl Setting for File {
    fn expected() -> String {
        "`none` or the absolute path of a file in PEM".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self(None));
        }
        Path::new(text).is_absolute().then(|| Self(Some(text.into())))
    }

    fn show(&self) -> String {
        self.0.as_ref().map_or_else(|| "none".into(), |path| path.display().to_string())
    }
}

/// Refuses to be reached from other machines in the clear.
pub(crate) fn read(layers: &mut Layers<'_>) -> Result<(IpAddr, Tls), Error> {
    let bind = layers.get("queen.bind", IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let cert = layers.get("queen.tls.cert", File::default())?.0;
    let key = layers.get("queen.tls.key", File::default())?.0;
    let is_in_front = layers.get("queen.tls.proxy", false)?;
    let tls = match (cert, key, is_in_front) {
        (Some(cert), Some(key), false) => Tls::Files { cert, key },
        (None, None, true) => Tls::Proxy,
        (None, None, false) => Tls::None,
        _ => {
            let keys = ["queen.tls.cert", "queen.tls.key", "queen.tls.proxy"];
            let origin = keys.iter().find_map(|key| layers.origin(key)).unwrap_or(Origin::Default);
            return Err(Error::HalfTls { origin });
        }
    };
    if tls == Tls::None && !bind.to_canonical().is_loopback() {
        let origin = layers.origin("queen.bind").unwrap_or(Origin::Default);
        return Err(Error::InTheClear { bind, origin });
    }
    Ok((bind, tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_port_and_is_no_name() {
        assert_eq!(IpAddr::from_text("[::1]"), IpAddr::from_text("::1"));
        for text in ["localhost", "0.0.0.0:80", "*", ""] {
            assert_eq!(<IpAddr as Setting>::from_text(text), None, "{text}");
        }
    }
}
