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

/// The default model at work.
const MEMORY_BYTES: u64 = 1_000_000_000;

/// What the system takes for the path of a socket.
const SOCKET_PATH_BYTES: usize = 107;

/// `/worker-MODEL.DIGEST.SLOT@ALIAS/ctl-N.sock` at its longest, without the alias.
const WORKER_SOCKET_BYTES: usize = 50;

/// Of the run directory's path, where engines are to have sockets of their own below it.
const ENGINES_RUN_BYTES: usize = 45;

/// For a connection on this machine and an answer that needs no work.
const PORT_DEADLINE: Duration = Duration::from_secs(2);

/// Who may read and write what is executed, or is a secret.
///
/// A configuration whose tree or home somebody else may write has been refused before.
pub(super) fn permissions(config: &RbeeConfig) -> Vec<Check> {
    let paths = &config.paths;
    let mut all = vec![paths.config_file.as_path(), &paths.state, &paths.run];
    all.extend(config.source_root.as_deref());
    let shown: Vec<_> = all.iter().map(|path| path.display().to_string()).collect();
    let mut checks =
        vec![Check::ok("permissions", format!("nobody else may write {}", shown.join(", ")))];
    let secret = [&paths.state, &paths.run, &paths.token, &paths.keys];
    checks.extend(secret.into_iter().filter_map(|path| private(path)));
    checks
}

/// Room on the disks.
pub(super) fn room_for(config: &RbeeConfig) -> Vec<Check> {
    let paths = &config.paths;
    let mut checks = vec![room("room for models", &paths.models, STATE_BYTES)];
    checks.push(room("room for state and logs", &paths.state, STATE_BYTES));
    if let Some(root) = config.build_root() {
        checks.push(room("room for builds", root, BUILD_BYTES));
    }
    checks
}

/// Whether sockets in the run directory have names that the system takes, and it can be written.
pub(super) fn sockets(config: &RbeeConfig) -> Check {
    let (what, run) = ("run directory", &config.paths.run);
    let shown = run.display().to_string();
    let existing = run.ancestors().find(|path| path.exists()).unwrap_or(run);
    if let Err(error) = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK) {
        return Check::fail(what, format!("`{}` cannot be written: {error}", existing.display()))
            .remedy("set RBEE_HOME to a folder that can");
    }
    let longest_alias = config.hives.iter().map(|hive| hive.alias.len()).max().unwrap_or_default();
    let bytes = shown.len();
    if bytes + WORKER_SOCKET_BYTES + longest_alias > SOCKET_PATH_BYTES {
        return Check::fail(what, format!("the paths of sockets in {shown} would be too long"))
            .remedy("set RBEE_HOME to a folder with a shorter path");
    }
    if bytes > ENGINES_RUN_BYTES {
        let found = format!("the path of {shown} has {bytes} bytes: too many for other engines");
        return Check::warn(what, found).remedy(format!(
            "for vLLM and external servers set RBEE_HOME so that it has {ENGINES_RUN_BYTES} at most"
        ));
    }
    Check::ok(what, shown)
}

/// What models are computed with.
pub(super) async fn devices() -> Vec<Check> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = value_of(&cpu, "model name").unwrap_or("a processor");
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = |name| value_of(&memory, name)?.split(' ').next()?.parse::<u64>().ok();
    let mut checks = vec![match (kibibytes("MemTotal"), kibibytes("MemAvailable")) {
        (Some(all), Some(free)) => {
            let (all, free) = (all << 10, free << 10);
            let found =
                format!("{cpu}, cores: {cores}, memory: {} free of {}", bytes(free), bytes(all));
            if free < MEMORY_BYTES {
                let advice = format!("end something: {} are advised", bytes(MEMORY_BYTES));
                Check::warn("device cpu", found).remedy(advice)
            } else {
                Check::ok("device cpu", found)
            }
        }
        _ => Check::ok("device cpu", format!("{cpu}, cores: {cores}")),
    }];
    let query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"];
    match super::tools::program(Path::new("/"), "device cuda", "nvidia-smi", &query).await {
        Ok(check) => checks.push(Check {
            found: format!("{}; for vLLM, llama.cpp computes on the CPU", check.found),
            ..check
        }),
        // Without the driver there is nothing to say.
        Err(why) if Path::new("/proc/driver/nvidia/version").exists() => {
            checks.push(
                Check::warn("device cuda", why).remedy("mend the installation of the driver"),
            );
        }
        Err(_) => {}
    }
    checks
}

/// The value of the first line `NAME : VALUE` of a file in /proc.
fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
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
        return Check::warn(what, "taken; whose it is cannot be asked");
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
    Check::fail(what, format!("taken by {who}")).remedy(format!("end it, or change {key}"))
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
                Check::warn(what, found).remedy(format!("make room: {} are advised", bytes(wanted)))
            }
        }
        Err(error) => Check::warn(what, format!("cannot look at `{}`: {error}", path.display())),
    }
}

/// Says something only of what others can look into, or own.
fn private(path: &Path) -> Option<Check> {
    let metadata = fs::metadata(path).ok()?;
    let what = format!("permissions of {}", path.display());
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let found = format!("belongs to user {}", metadata.uid());
        return Some(Check::fail(what, found).remedy("`chown` it, or set RBEE_HOME elsewhere"));
    }
    let mode = metadata.mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        Check::warn(what, format!("others may look into it (mode {mode:o})"))
            .remedy(format!("`chmod go-rwx {}`", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::{super::Verdict, private, room, value_of};

    #[test]
    fn a_folder_that_is_to_be_made_is_judged_by_the_disk_under_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/yet");
        assert_eq!(room("room", &path, 1).verdict, Verdict::Ok);
        assert_eq!(room("room", &path, u64::MAX).verdict, Verdict::Warn);
    }

    #[test]
    fn an_open_folder_is_doubtful_and_a_closed_one_is_not_mentioned() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(private(folder.path()).unwrap().verdict, Verdict::Warn);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(private(folder.path()).is_none());
    }

    #[test]
    fn values_are_found_in_the_files_of_proc() {
        let text = "processor\t: 0\nmodel name\t: Some CPU: fast\nMemTotal:       16 kB\n";
        assert_eq!(value_of(text, "model name"), Some("Some CPU: fast"));
        assert_eq!(value_of(text, "MemTotal"), Some("16 kB"));
        assert_eq!(value_of(text, "MemFree"), None);
    }
}
