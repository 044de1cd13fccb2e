use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::Duration,
};

use rbee_config::RbeeConfig;
use tokio::{net::TcpStream, time::timeout};

use super::Check;
use crate::{app::App, client::QueenClient, render::bytes};

/// A build of the whole chain from nothing, with llama.cpp, and room to link.
const BUILD_BYTES: u64 = 6_000_000_000;

/// The default model several times over, logs, and the artifacts of a few builds.
const STATE_BYTES: u64 = 1_000_000_000;

/// For a connection on this machine and an answer that needs no work.
const PORT_DEADLINE: Duration = Duration::from_secs(2);

/// Room on the disks, and folders that are the person's own.
pub(super) fn folders(config: &RbeeConfig) -> Vec<Check> {
    let paths = &config.paths;
    let mut checks = vec![room("room for models", &paths.models, STATE_BYTES)];
    checks.push(room("room for state and logs", &paths.state, STATE_BYTES));
    if let Some(root) = config.build_root() {
        checks.push(room("room for builds", root, BUILD_BYTES));
    }
    checks.extend([&paths.state, &paths.run].into_iter().filter_map(|path| private(path)));
    checks
}

/// Each configured port: free, ours, or a stranger's.
pub(super) async fn ports(app: &App) -> Vec<Check> {
    let config = &app.config;
    if config.queen.url.is_some() {
        return Vec::new();
    }
    let mut checks = Vec::new();
    if config.queen.port != 0 {
        checks.push(port("queen", "queen.port", "queen-rbee", config.queen.port).await);
    }
    for hive in config.hives.iter().filter(|hive| hive.port != 0) {
        let what = format!("hive `{}`", hive.alias);
        checks.push(port(&what, "the hive's `port`", "rbee-hive", hive.port).await);
    }
    checks
}

async fn port(what: &str, key: &str, role: &str, port: u16) -> Check {
    let what = format!("port {port} ({what})");
    let address = (IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    match timeout(PORT_DEADLINE, TcpStream::connect(address)).await {
        Ok(Err(_)) => return Check::ok(what, "free"),
        Ok(Ok(_)) => {}
        Err(_) => return taken(what, key, "something that does not answer"),
    }
    // Without the token: a stranger is not to have it.
    let Ok(client) = QueenClient::new(&format!("http://127.0.0.1:{port}"), None) else {
        return Check::doubtful(what, "taken; whose it is cannot be asked");
    };
    match timeout(PORT_DEADLINE, client.health()).await {
        Ok(Ok(health)) if health.role == role => {
            Check::ok(what, format!("rbee's own, pid {}", health.pid))
        }
        Ok(Ok(health)) => taken(what, key, &format!("rbee's `{}`", health.role)),
        Ok(Err(_)) | Err(_) => taken(what, key, "another program"),
    }
}

fn taken(what: String, key: &str, who: &str) -> Check {
    Check::missing(what, format!("taken by {who}")).remedy(format!("end it, or change {key}"))
}

fn room(what: &str, path: &Path, wanted: u64) -> Check {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    match rustix::fs::statvfs(existing) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let found = format!("{} in {}", bytes(free), path.display());
            if free >= wanted {
                Check::ok(what, found)
            } else {
                Check::doubtful(what, found)
                    .remedy(format!("make room: {} are advised", bytes(wanted)))
            }
        }
        Err(error) => {
            Check::doubtful(what, format!("cannot look at `{}`: {error}", path.display()))
        }
    }
}

/// Says something only of a folder that others can look into, or own.
fn private(path: &Path) -> Option<Check> {
    let metadata = fs::metadata(path).ok()?;
    let what = format!("folder {}", path.display());
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let found = format!("belongs to user {}", metadata.uid());
        return Some(Check::missing(what, found).remedy("`chown` it, or set RBEE_HOME elsewhere"));
    }
    let mode = metadata.mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        Check::doubtful(what, format!("others may look into it (mode {mode:o})"))
            .remedy(format!("`chmod 700 {}`", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::{super::Verdict, private, room};

    #[test]
    fn a_folder_that_is_to_be_made_is_judged_by_the_disk_under_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/yet");
        assert_eq!(room("room", &path, 1).verdict, Verdict::Ok);
        assert_eq!(room("room", &path, u64::MAX).verdict, Verdict::Doubtful);
    }

    #[test]
    fn an_open_folder_is_doubtful_and_a_closed_one_is_not_mentioned() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(private(folder.path()).unwrap().verdict, Verdict::Doubtful);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(private(folder.path()).is_none());
    }
}
