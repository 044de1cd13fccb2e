//! Where queen and hive of a chain answer.

use std::{fs, net::TcpListener, path::Path};

use anyhow::Context as _;
use chain_tests::Chain;

#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) queen: String,
    pub(crate) hive: String,
}

/// Known ports, so that who starts anew is found where its predecessor was; the worker answers so many
/// at once.
pub(crate) fn configure(chain: &Chain, model: &Path, parallel: u32) -> anyhow::Result<Addresses> {
    // Held together, so that they are two.
    let free = || {
        TcpListener::bind("127.0.0.1:0").and_then(|listener| Ok((listener.local_addr()?, listener)))
    };
    let [queen, hive] = [free(), free()];
    let ((queen, _held), (hive, _too)) =
        (queen.context("no port is free")?, hive.context("no port is free")?);
    let config = format!(
        "[models]\ndefault = {:?}\n\n[worker]\nparallel = {parallel}\n\n[queen]\nport = {}\n\n[[hive]]\nalias = \"my-hive\"\nport = {}\n",
        std::path::absolute(model).context("the model has no path")?,
        queen.port(),
        hive.port()
    );
    fs::write(chain.home().join("config.toml"), config)
        .context("cannot write the configuration")?;
    Ok(Addresses { queen: queen.to_string(), hive: hive.to_string() })
}
