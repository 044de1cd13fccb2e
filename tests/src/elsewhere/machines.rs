use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use tempfile::TempDir;

use super::{
    Elsewhere, SSHD,
    network::{Namespace, Wire},
};

/// The other machines of one user, who has a key and a configuration for them.
#[derive(Debug)]
pub struct Machines {
    folder: TempDir,
    /// Where `ssh` runs, if there are networks.
    namespace: Option<Namespace>,
    wires: AtomicU8,
}

impl Machines {
    /// On this machine's own loopback. `None` where there is no sshd.
    pub fn near() -> Option<Arc<Self>> {
        Path::new(SSHD).exists().then(|| Self::new(None))
    }

    /// Each in a network namespace of its own, at the end of a wire.
    ///
    /// # Errors
    ///
    /// Why that cannot be, where it cannot.
    pub fn far() -> Result<Arc<Self>, String> {
        if !Path::new(SSHD).exists() {
            return Err("no sshd (`apt-get install openssh-server`)".to_owned());
        }
        Wire::can_be_laid()?;
        Ok(Self::new(Some(Namespace::new("here")?)))
    }

    fn new(namespace: Option<Namespace>) -> Arc<Self> {
        let folder =
            tempfile::Builder::new().prefix("user").tempdir().expect("a folder can be made");
        keygen(&folder.path().join("key"));
        let machines = Self { folder, namespace, wires: AtomicU8::new(0) };
        let (config, programs) = (machines.config(), machines.programs());
        fs::write(&config, "").expect("the folder can be written");
        fs::create_dir(&programs).expect("the folder can be written");
        let within = machines.namespace.as_ref();
        let within = within.map(|namespace| format!("{} ", namespace.within())).unwrap_or_default();
        let script =
            format!("#!/bin/sh\nexec {within}/usr/bin/ssh -F {} \"$@\"\n", config.display());
        let program = programs.join("ssh");
        fs::write(&program, script).expect("the folder can be written");
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("it was just made");
        Arc::new(machines)
    }

    /// One more, which `ssh`, and its hive, are to call by this name.
    pub fn add(self: &Arc<Self>, name: &str) -> Elsewhere {
        self.add_with(name, "")
    }

    /// The same with further lines of `sshd_config`.
    pub fn add_with(self: &Arc<Self>, name: &str, settings: &str) -> Elsewhere {
        Elsewhere::new(self, name, settings)
    }

    /// The folder with the program `ssh` that knows them.
    pub fn programs(&self) -> PathBuf {
        self.folder.path().join("programs")
    }

    /// A wire to one more, if there are networks.
    pub(super) fn wire(&self) -> Option<Wire> {
        let here = self.namespace.as_ref()?;
        Some(Wire::lay(here, self.wires.fetch_add(1, Ordering::Relaxed)))
    }

    pub(super) fn public_key(&self) -> PathBuf {
        self.folder.path().join("key.pub")
    }

    /// `ssh` finds a machine from now on.
    pub(super) fn know(&self, name: &str, address: SocketAddr, known_hosts: &Path) {
        let block = format!(
            "Host {name}\n  HostName {}\n  Port {}\n  HostKeyAlias {name}\n  IdentityFile {}\n  \
             IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile {}\n  \
             GlobalKnownHostsFile /dev/null\n  UpdateHostKeys no\n",
            address.ip(),
            address.port(),
            self.folder.path().join("key").display(),
            known_hosts.display(),
        );
        let file = fs::File::options().append(true).open(self.config());
        file.and_then(|mut file| file.write_all(block.as_bytes())).expect("it was made");
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("ssh_config")
    }
}

pub(super) fn keygen(path: &Path) {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(path);
    assert!(keygen.status().is_ok_and(|status| status.success()), "no key can be made");
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}
