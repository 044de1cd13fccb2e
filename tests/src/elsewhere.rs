mod cable; // a way in this process
mod disk; // one that fills up
mod machines; // those of one user, by their `ssh`
mod network; // a way of packets

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use self::{
    cable::Cable,
    machines::{free_port, keygen},
    network::Wire,
};
pub use self::{disk::Disk, machines::Machines};
use crate::{Process, pause, processes, processes::descendants};

/// OpenSSH's server, where systems have it.
const SSHD: &str = "/usr/sbin/sshd";

/// Between two looks whether it is there.
const LOOK: Duration = Duration::from_millis(20);

/// How long what is short may take there.
const ALONE: Duration = Duration::from_secs(20);

/// From the start of sshd to when it listens.
const LISTENS: Duration = Duration::from_secs(10);

/// Another machine, as far as the chain can tell: a real sshd with keys and a home of its own, on a
/// way that can be cut. It has this machine's processor and files.
///
/// `ssh` finds it, and nothing else, by the configuration that the program in [`Self::programs`]
/// gives it.
#[derive(Debug)]
pub struct Elsewhere {
    name: String,
    folder: TempDir,
    sshd: Child,
    way: Way,
    machines: Arc<Machines>,
}

#[derive(Debug)]
enum Way {
    Cable(Arc<Cable>),
    Wire(Wire),
}

impl Elsewhere {
    /// `settings` are more lines of `sshd_config`.
    fn new(machines: &Arc<Machines>, name: &str, settings: &str) -> Self {
        let folder =
            tempfile::Builder::new().prefix("there").tempdir().expect("a folder can be made");
        let path = |name: &str| folder.path().join(name);
        for name in ["host_key", "other_key"] {
            keygen(&path(name));
        }
        fs::create_dir(path("home")).expect("the folder can be written");
        // Where sshd looks, as root, for a folder that nobody can write.
        drop(fs::create_dir_all("/run/sshd"));
        let wire = machines.wire();
        let (address, sshd) = match &wire {
            Some(wire) => (SocketAddr::from((wire.address(), 22)), wire.there(SSHD)),
            None => (SocketAddr::from(([127, 0, 0, 1], free_port())), Command::new(SSHD)),
        };
        let config = format!(
            "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nPermitUserRC no\nPrintMotd no\nSetEnv HOME={}\n{settings}",
            path("host_key").display(),
            machines.public_key().display(),
            path("home").display(),
        );
        fs::write(path("sshd_config"), config).expect("the folder can be written");
        let sshd = start(sshd, folder.path());
        let (way, reached) = match wire {
            Some(wire) => (Way::Wire(wire), address),
            None => {
                let (cable, reached) = Cable::lay(address);
                (Way::Cable(cable), reached)
            }
        };
        machines.know(name, reached, &path("known_hosts"));
        let machines = Arc::clone(machines);
        let there = Self { name: name.to_owned(), folder, sshd, way, machines };
        there.knows("host_key");
        there
    }

    /// A `[[hive]]` there.
    pub fn hive(&self) -> String {
        format!("[[hive]]\nalias = \"{0}\"\nhost = \"{0}\"\n", self.name)
    }

    /// The folder with the program `ssh` that knows it.
    pub fn programs(&self) -> PathBuf {
        self.machines.programs()
    }

    /// What there is the user's home.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// The `RBEE_HOME` of its hive.
    pub fn hive_home(&self) -> PathBuf {
        self.path("home/.rbee").join(&self.name)
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
        match &self.way {
            Way::Cable(cable) => cable.cut(),
            Way::Wire(wire) => wire.cut(),
        }
    }

    /// Everything comes through again.
    pub fn mend(&self) {
        match &self.way {
            Way::Cable(cable) => cable.mend(),
            Way::Wire(wire) => wire.be(Duration::ZERO, 0.0),
        }
    }

    /// From now on each packet takes so long, and so many of a hundred are lost.
    ///
    /// # Panics
    ///
    /// Where there are no packets: it is not among [`Machines::far`].
    pub fn is_far(&self, delay: Duration, lost_percent: f64) {
        let Way::Wire(wire) = &self.way else { panic!("only a wire has packets") };
        wire.be(delay, lost_percent);
    }

    /// What sshd said.
    pub fn log(&self) -> String {
        log(self.folder.path())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn knows(&self, key: &str) {
        let key = fs::read_to_string(self.path(&format!("{key}.pub"))).expect("it was made");
        fs::write(self.path("known_hosts"), format!("{} {key}", self.name))
            .expect("the folder can be written");
    }
}

impl Drop for Elsewhere {
    /// Whatever is left there is the test's fault; it is ended, and told where the test has not failed.
    fn drop(&mut self) {
        self.mend();
        let left = self.processes();
        // A session whose other end is gone behind a cut line hears nothing of that.
        let sessions = descendants(self.sshd.id());
        drop(self.sshd.kill());
        drop(self.sshd.wait());
        for pid in left.iter().map(|process| process.pid).chain(sessions) {
            drop(
                Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status(),
            );
        }
        if !thread::panicking() {
            assert!(left.is_empty(), "{left:?} still run there");
        }
    }
}

/// Starts `sshd` with what is in `folder`, until it listens.
fn start(mut sshd: Command, folder: &Path) -> Child {
    let path = |name: &str| folder.join(name);
    let file = fs::File::create(path("sshd.log")).expect("the folder can be written");
    sshd.args(["-D", "-e", "-f"]).arg(path("sshd_config"));
    sshd.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    sshd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    let child = sshd.spawn().expect("sshd can be run");
    let until = Instant::now() + LISTENS;
    while !log(folder).contains("Server listening") {
        assert!(Instant::now() < until, "sshd does not listen: {}", log(folder));
        pause(LOOK);
    }
    child
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("sshd.log")).unwrap_or_default()
}
