//! A disk on which there is no room, for the log or for the state, and a system that has no room for another thread.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirEntryExt as _, FileTypeExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use daemon_lifecycle::{Error, Outcome};
use rustix::process::{Pid, Resource, Rlimit, geteuid, getrlimit, prlimit, setrlimit};
use serde_json::json;

use crate::{
    again,
    http::{Asking, Client, who},
    world::{World, eventually},
};

/// Where the system lets nobody mount anything, files may not grow instead.
const MOUNTS: &str = "own mounts";
const LIMIT: &str = "limited files";

/// Whether the caller has mounts of its own, or at least survives the limit of a file; otherwise
/// the test `name` has been run where that is so.
#[track_caller]
fn has_own_mounts(name: &str) -> bool {
    if again::inside().is_some() {
        return true;
    }
    let mut own = Command::new("unshare");
    own.args(["-Urm"]);
    let allowed = Command::new("unshare")
        .args(["-Urm", "mount", "-t", "tmpfs", "none", "/tmp"])
        .output()
        .is_ok_and(|output| output.status.success());
    if allowed {
        again::run(name, MOUNTS, own);
    } else {
        let mut ignores = Command::new("sh");
        ignores.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
        again::run(name, LIMIT, ignores);
    }
    false
}

/// A small disk of its own.
struct Disk {
    dir: PathBuf,
    mounted: bool,
}

impl Disk {
    fn at(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let mounted = again::inside().as_deref() == Some(MOUNTS);
        if mounted {
            let options = "size=64k,nr_inodes=64,mode=0700";
            let mount = ["-t", "tmpfs", "-o", options, "none"];
            assert!(Command::new("mount").args(mount).arg(&dir).status().unwrap().success());
        }
        Self { dir, mounted }
    }

    /// Leaves no room in any file, for this process, those that it will start, and `daemon`.
    fn fill(&self, daemon: Option<u32>) {
        if !self.mounted {
            return limit_files(daemon, Some(0));
        }
        let mut filler = File::create(self.dir.join("filler")).unwrap();
        let full = loop {
            if let Err(error) = filler.write_all(&[0; 512]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    }

    /// Leaves no room for another file. `false` where that cannot be done.
    fn use_up_files(&self) -> bool {
        if !self.mounted {
            return false;
        }
        let dir = self.dir.join("files");
        fs::create_dir(&dir).unwrap();
        let full = (0..).find_map(|number| File::create(dir.join(number.to_string())).err());
        assert_eq!(full.unwrap().kind(), ErrorKind::StorageFull);
        true
    }

    fn make_room(&self, daemon: Option<u32>) {
        if !self.mounted {
            return limit_files(daemon, getrlimit(Resource::Fsize).maximum);
        }
        fs::remove_file(self.dir.join("filler")).ok();
        fs::remove_dir_all(self.dir.join("files")).ok();
    }

    /// What the system says when there is no room.
    fn words(&self) -> &'static str {
        if self.mounted { "No space left on device" } else { "File too large" }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            Command::new("umount").arg("-l").arg(&self.dir).status().ok();
        }
    }
}

fn limit_files(daemon: Option<u32>, current: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    let daemon = daemon.map(|pid| Pid::from_raw(pid.cast_signed()).unwrap());
    for process in [None, daemon] {
        prlimit(process, Resource::Fsize, Rlimit { current, maximum }).unwrap();
    }
}

/// The error and its causes, as a person is told them.
fn text(error: &Error) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn quarantined(run_dir: &Path) -> bool {
    let files = fs::read_dir(run_dir.join("fake")).into_iter().flatten().flatten();
    files.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("bad-"))
}

#[tokio::test]
async fn a_daemon_goes_on_when_its_log_cannot_grow() {
    if !has_own_mounts("disk::a_daemon_goes_on_when_its_log_cannot_grow") {
        return;
    }
    let world = World::new(json!({ "version": "old" }));
    let disk = Disk::at(world.dir().join("log"));
    let daemon = world.manager().spawn().await.unwrap();
    disk.fill(Some(daemon.id()));
    let log = world.dir().join("log/fake.log");
    let length = || fs::metadata(&log).unwrap().len();
    // What is left of its last block.
    for _ in 0..100 {
        let answer = Client::new(daemon.address()).get("/report").await.unwrap();
        assert_eq!(answer.0, 200);
    }
    let full = length();
    assert_eq!(Client::new(daemon.address()).get("/report").await.unwrap().0, 200);
    assert_eq!(length(), full, "there is no room");
    assert_eq!(world.manager().spawn().await.unwrap().outcome(), &Outcome::Reused);
    if disk.mounted {
        // The same for one that takes its place meanwhile.
        world.install(json!({ "version": "new" }));
        let new = world.manager().spawn().await.unwrap();
        assert_eq!(new.outcome(), &Outcome::Replaced { from: daemon.identity().clone() });
        assert_eq!(who(new.address()).await.0, "new");
    }
    disk.make_room(Some(daemon.id()));
    assert_eq!(Client::new(daemon.address()).get("/report").await.unwrap().0, 200);
    assert!(length() > full, "there is room again");
    world.finish().await;
}

#[tokio::test]
async fn without_room_for_its_state_nothing_is_started_and_the_reason_said() {
    if !has_own_mounts("disk::without_room_for_its_state_nothing_is_started_and_the_reason_said") {
        return;
    }
    let world = World::new(json!({}));
    let disk = Disk::at(world.run_dir());
    if disk.use_up_files() {
        let error = world.manager().spawn().await.unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(text(&error).starts_with("cannot create the instance directory"), "{error}");
        assert!(text(&error).contains(disk.words()), "{error}");
        disk.make_room(None);
    }
    // The log is on another disk.
    disk.fill(None);
    let error = world.manager().spawn().await.unwrap_err();
    assert!(matches!(error, Error::Hindered { .. }), "{error}");
    assert!(text(&error).contains("cannot record that it runs"), "{error}");
    assert!(text(&error).contains(disk.words()), "{error}");
    assert_eq!(world.processes(), Vec::<u32>::new());
    disk.make_room(None);
    if disk.use_up_files() {
        let error = world.manager().spawn().await.unwrap_err();
        assert!(matches!(error, Error::Hindered { .. }), "{error}");
        assert!(text(&error).contains("control socket"), "{error}");
        assert!(text(&error).contains(disk.words()), "{error}");
        assert_eq!(world.processes(), Vec::<u32>::new());
        disk.make_room(None);
    }
    assert!(!quarantined(&world.run_dir()));
    assert_eq!(world.manager().spawn().await.unwrap().outcome(), &Outcome::Started);
    world.finish().await;
}

#[tokio::test]
async fn without_room_for_its_log_nothing_is_started_and_the_reason_said() {
    if !has_own_mounts("disk::without_room_for_its_log_nothing_is_started_and_the_reason_said") {
        return;
    }
    let world = World::new(json!({}));
    let disk = Disk::at(world.dir().join("log"));
    if disk.use_up_files() {
        let error = world.manager().spawn().await.unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(text(&error).starts_with("cannot open the log"), "{error}");
        assert!(text(&error).contains(disk.words()), "{error}");
        assert_eq!(world.processes(), Vec::<u32>::new());
    }
    disk.make_room(None);
    assert_eq!(world.manager().spawn().await.unwrap().outcome(), &Outcome::Started);
    world.finish().await;
}

#[tokio::test]
async fn a_replacement_that_finds_no_room_leaves_the_old_one_serving() {
    if !has_own_mounts("disk::a_replacement_that_finds_no_room_leaves_the_old_one_serving") {
        return;
    }
    let world = World::new(json!({ "version": "old" }));
    let disk = Disk::at(world.run_dir());
    let old = world.manager().spawn().await.unwrap();
    let asking = Asking::begin(old.address().to_owned());
    world.install(json!({ "version": "new" }));
    let hindered = async |what: &str| {
        let error = world.manager().spawn().await.unwrap_err();
        assert!(matches!(error, Error::Hindered { .. }), "{error}");
        assert!(text(&error).contains(what), "{error}");
        assert!(text(&error).contains(disk.words()), "{error}");
        assert_eq!(world.processes(), [old.id()]);
        assert_eq!(who(old.address()).await, ("old".to_owned(), old.id()));
    };
    disk.fill(Some(old.id()));
    hindered("cannot record that it serves").await;
    disk.make_room(Some(old.id()));
    if disk.use_up_files() {
        hindered("control socket").await;
        disk.make_room(None);
    }
    assert!(!quarantined(&world.run_dir()));
    let new = world.manager().spawn().await.unwrap();
    assert_eq!(new.outcome(), &Outcome::Replaced { from: old.identity().clone() });
    let seen = asking.end().await;
    assert_eq!((seen.refused, seen.lost), (Vec::new(), Vec::new()));
    world.finish().await;
}

#[tokio::test]
async fn without_room_for_a_thread_nothing_is_started_and_the_reason_said() {
    if again::inside().is_none() {
        // The superuser has no limit.
        let mut limited = Command::new("setpriv");
        limited.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        let other = if geteuid().is_root() { limited } else { Command::new("env") };
        let name = "disk::without_room_for_a_thread_nothing_is_started_and_the_reason_said";
        return again::run(name, LIMIT, other);
    }
    let world = World::new(json!({}));
    let maximum = getrlimit(Resource::Nproc).maximum;
    setrlimit(Resource::Nproc, Rlimit { current: Some(1), maximum }).unwrap();
    let error = world.manager().spawn().await.unwrap_err();
    assert!(text(&error).starts_with("cannot lock"), "{error}");
    setrlimit(Resource::Nproc, Rlimit { current: maximum, maximum }).unwrap();
    assert_eq!(world.manager().spawn().await.unwrap().outcome(), &Outcome::Started);
    world.finish().await;
}

/// By which the daemon is found; one that is made anew is another.
fn sockets(world: &World) -> Vec<(PathBuf, u64)> {
    let files = fs::read_dir(world.run_dir().join("fake")).unwrap().flatten();
    let sockets = files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_socket()));
    sockets.map(|file| (file.path(), file.ino())).collect()
}

/// A starter that cannot ask has not found out that nobody is there.
#[tokio::test]
async fn without_descriptors_a_living_daemon_is_not_lost() {
    let world = World::new(json!({ "version": "0" }));
    let manager = world.manager().probation(Duration::ZERO);
    let mut daemon = manager.spawn().await.unwrap();
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut failed = 0;
    // Each lets one step more come to its descriptor.
    for free in 0..30 {
        world.install(json!({ "version": (free + 1).to_string() }));
        let sockets = sockets(&world);
        // The one that counts them is among them.
        let open = fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1;
        setrlimit(Resource::Nofile, Rlimit { current: Some(open + free), maximum }).unwrap();
        let said = manager.spawn().await;
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
        match said {
            Ok(next) => daemon = next,
            Err(error) => {
                failed += 1;
                let text = text(&error);
                assert!(text.contains("Too many open files"), "{free}: {text}");
                assert_eq!(self::sockets(&world), sockets, "{free}");
            }
        }
        let running = manager.running().await.unwrap().expect("it is still found");
        assert_eq!(running.pid, daemon.id(), "{free}");
        assert_eq!(who(daemon.address()).await.1, daemon.id(), "{free}");
        let left = format!("{free}: one is left");
        eventually(&left, async || world.processes() == [daemon.id()]).await;
    }
    assert!((3..30).contains(&failed), "{failed}");
    world.finish().await;
}
