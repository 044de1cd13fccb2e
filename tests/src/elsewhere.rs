use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Process, pause, processes};

/// OpenSSH's server, where systems have it.
const SSHD: &str = "/usr/sbin/sshd";

/// What `ssh` calls the machine, and the alias of its hive.
const NAME: &str = "box";

/// Between two looks whether it is there.
const LOOK: Duration = Duration::from_millis(20);

/// How long what is short may take there.
const ALONE: Duration = Duration::from_secs(20);

/// From the start of sshd to its first answer.
const ANSWERS: Duration = Duration::from_secs(10);

/// Another machine, as far as the chain can tell: a real sshd with keys and a home of its own, behind a
/// cable that can be cut. It has this machine's processor and files.
///
/// `ssh` finds it, and nothing else, by the configuration that the program in [`Self::programs`] gives it.
#[derive(Debug)]
pub struct Elsewhere {
    folder: TempDir,
    sshd: Child,
    cable: Arc<Cable>,
}

/// A way for connections that lets nothing through while it is cut, and says so to neither end.
#[derive(Debug)]
struct Cable {
    to: SocketAddr,
    cut: Mutex<bool>,
    mended: Condvar,
}

impl Elsewhere {
    /// `None` where there is no sshd.
    pub fn new() -> Option<Self> {
        if !Path::new(SSHD).exists() {
            return None;
        }
        let folder =
            tempfile::Builder::new().prefix("there").tempdir().expect("a folder can be made");
        let path = |name: &str| folder.path().join(name);
        for name in ["host_key", "other_key", "user_key"] {
            keygen(&path(name));
        }
        fs::copy(path("user_key.pub"), path("authorized_keys")).expect("the folder can be written");
        fs::create_dir(path("home")).expect("the folder can be written");
        // Where sshd looks, as root, for a folder that nobody can write.
        drop(fs::create_dir_all("/run/sshd"));
        let port = free_port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nPermitUserRC no\nPrintMotd no\nSetEnv HOME={}\n",
            path("host_key").display(),
            path("authorized_keys").display(),
            path("home").display(),
        );
        fs::write(path("sshd_config"), config).expect("the folder can be written");
        let log = fs::File::create(path("sshd.log")).expect("the folder can be written");
        let mut sshd = Command::new(SSHD);
        sshd.args(["-D", "-e", "-f"]).arg(path("sshd_config"));
        let sshd =
            sshd.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        let sshd = sshd.stdout(Stdio::null()).stderr(log).spawn().expect("sshd can be run");
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let cable = Arc::new(Cable { to, cut: Mutex::new(false), mended: Condvar::new() });
        let elsewhere = Self { folder, sshd, cable };
        elsewhere.wait_for_sshd();
        let through = Cable::lay(&elsewhere.cable);
        elsewhere.tell_ssh(through.port());
        elsewhere.knows("host_key");
        Some(elsewhere)
    }

    /// A `[[hive]]` there, and none here.
    pub fn hive(&self) -> String {
        format!("[[hive]]\nalias = \"{NAME}\"\nhost = \"{NAME}\"\n")
    }

    /// The folder with the program `ssh` that knows the machine.
    pub fn programs(&self) -> PathBuf {
        self.path("programs")
    }

    /// The `RBEE_HOME` of its hive.
    pub fn hive_home(&self) -> PathBuf {
        self.path("home/.rbee").join(NAME)
    }

    /// What runs there of the chain.
    pub fn processes(&self) -> Vec<Process> {
        processes(&self.hive_home())
    }

    /// The pid of the chain's process of this name there, once there is one only: a hive's binary also
    /// runs for a moment to say something of the hive.
    #[track_caller]
    pub fn pid(&self, name: &str) -> u32 {
        let until = Instant::now() + ALONE;
        loop {
            let running = self.processes();
            let mut matching = running.iter().filter(|process| process.name == name);
            match (matching.next(), matching.next()) {
                (Some(process), None) => return process.pid,
                _ if Instant::now() < until => pause(LOOK),
                _ => panic!("not one `{name}` runs there: {running:?}"),
            }
        }
    }

    /// From now on the user trusts no key of it.
    pub fn is_unknown(&self) {
        fs::write(self.path("known_hosts"), "").expect("the folder can be written");
    }

    /// From now on the user trusts another key than the one that it has.
    pub fn has_changed(&self) {
        self.knows("other_key");
    }

    /// Nothing comes through any more, and nobody is told.
    pub fn cut(&self) {
        *self.cable.state() = true;
    }

    /// Everything comes through again.
    pub fn mend(&self) {
        *self.cable.state() = false;
        self.cable.mended.notify_all();
    }

    /// What sshd said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("sshd.log")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn knows(&self, key: &str) {
        let key = fs::read_to_string(self.path(&format!("{key}.pub"))).expect("it was made");
        fs::write(self.path("known_hosts"), format!("{NAME} {key}"))
            .expect("the folder can be written");
    }

    fn tell_ssh(&self, port: u16) {
        let config = format!(
            "Host {NAME}\n  HostName 127.0.0.1\n  Port {port}\n  HostKeyAlias {NAME}\n  \
             IdentityFile {}\n  IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile {}\n  \
             GlobalKnownHostsFile /dev/null\n  UpdateHostKeys no\n",
            self.path("user_key").display(),
            self.path("known_hosts").display(),
        );
        let (file, programs) = (self.path("ssh_config"), self.programs());
        fs::write(&file, config).expect("the folder can be written");
        fs::create_dir(&programs).expect("the folder can be written");
        let script = format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", file.display());
        let program = programs.join("ssh");
        fs::write(&program, script).expect("the folder can be written");
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("it was just made");
    }

    fn wait_for_sshd(&self) {
        let until = Instant::now() + ANSWERS;
        while TcpStream::connect(self.cable.to).is_err() {
            assert!(Instant::now() < until, "sshd does not answer: {}", self.log());
            // It tells nobody that it listens.
            thread::park_timeout(LOOK);
        }
    }
}

impl Drop for Elsewhere {
    /// Whatever is left there is the test's fault; it is ended, and told where the test has not failed.
    fn drop(&mut self) {
        self.mend();
        let left = self.processes();
        drop(self.sshd.kill());
        drop(self.sshd.wait());
        for Process { pid, .. } in &left {
            drop(Command::new("kill").args(["-9", &pid.to_string()]).status());
        }
        if !thread::panicking() {
            assert!(left.is_empty(), "{left:?} still run there");
        }
    }
}

impl Cable {
    /// A port that leads through it.
    fn lay(cable: &Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let cable = Arc::clone(cable);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let cable = Arc::clone(&cable);
                thread::spawn(move || cable.connect(near));
            }
        });
        address
    }

    fn connect(self: Arc<Self>, near: TcpStream) {
        self.wait_until_mended();
        let Ok(far) = TcpStream::connect(self.to) else { return };
        let (Ok(from), Ok(into)) = (near.try_clone(), far.try_clone()) else { return };
        let cable = Arc::clone(&self);
        thread::spawn(move || cable.copy(from, into));
        self.copy(far, near);
    }

    /// An end that is closed while it is cut is heard of later, as in a network.
    fn copy(&self, mut from: TcpStream, mut into: TcpStream) {
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            self.wait_until_mended();
            if read == 0 || into.write_all(&buffer[..read]).is_err() {
                drop(into.shutdown(Shutdown::Both));
                drop(from.shutdown(Shutdown::Both));
                return;
            }
        }
    }

    fn wait_until_mended(&self) {
        drop(
            self.mended
                .wait_while(self.state(), |cut| *cut)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn state(&self) -> MutexGuard<'_, bool> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keygen(path: &Path) {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(path);
    assert!(keygen.status().is_ok_and(|status| status.success()), "no key can be made");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}
