//! What a thread can and cannot do in the sandbox. Only the thread enters it, and the test does not.

use std::{
    fs::{self, File},
    io::{self, ErrorKind::PermissionDenied, Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener, UnixStream},
    path::PathBuf,
    process::Command,
};

use llm_worker_rbee::{Enforced, Sandbox};
use tempfile::TempDir;

/// A folder with a model's file beside others, and a folder for the socket.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("run")).unwrap();
        fs::write(folder.path().join("model.gguf"), "the model").unwrap();
        fs::write(folder.path().join("secret"), "a secret").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `act` in the sandbox; `None` where this kernel has none.
    fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Option<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let model = File::open(self.path("model.gguf")).unwrap();
                let sandbox = Sandbox::enter(&model, &self.path("run"));
                assert_eq!(sandbox.calls, Enforced::Wholly, "{sandbox}");
                (sandbox.files == Enforced::Wholly).then(act)
            });
            inside.join().unwrap()
        })
    }
}

#[track_caller]
fn assert_denied<T>(what: &str, outcome: io::Result<T>) {
    match outcome {
        Ok(_) => panic!("{what}: was allowed"),
        Err(error) => assert_eq!(error.kind(), PermissionDenied, "{what}: {error}"),
    }
}

#[test]
fn it_reads_its_model_and_writes_beside_its_socket() {
    let world = World::new();
    world.inside(|| {
        let mut text = String::new();
        File::open(world.path("model.gguf")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "the model");
        fs::write(world.path("run/record.new"), "x").unwrap();
        fs::rename(world.path("run/record.new"), world.path("run/record")).unwrap();
        let listener = UnixListener::bind(world.path("run/http.sock")).unwrap();
        drop(listener);
        fs::remove_file(world.path("run/http.sock")).unwrap();
        assert!(!fs::read_to_string("/proc/self/status").unwrap().is_empty());
        assert!(!fs::read_to_string("/proc/meminfo").unwrap().is_empty());
        // Threads are started in it, and have it.
        std::thread::spawn(|| assert_denied("a thread", File::open("/etc/passwd"))).join().unwrap();
    });
}

#[test]
fn it_opens_no_other_file() {
    let world = World::new();
    let (secret, model) = (world.path("secret"), world.path("model.gguf"));
    world.inside(|| {
        for path in [secret.as_path(), "/etc/passwd".as_ref(), "/proc/1/environ".as_ref()] {
            assert_denied(&path.display().to_string(), File::open(path));
        }
        assert_denied("write the model", File::options().write(true).open(&model));
        assert_denied("write a secret", File::options().append(true).open(&secret));
        assert_denied("truncate", File::create(&secret));
        assert_denied("create", File::create(world.path("new")));
        assert_denied("remove", fs::remove_file(&secret));
        assert_denied("make a folder", fs::create_dir(world.path("folder")));
        assert_denied("list", fs::read_dir(world.folder.path()));
        // A link into the own folder leads nowhere else.
        std::os::unix::fs::symlink(&secret, world.path("run/link")).unwrap();
        assert_denied("follow a link", File::open(world.path("run/link")));
        let linked = fs::hard_link(&secret, world.path("run/hard"));
        assert!(linked.is_err(), "a file was linked into the folder");
    });
    assert_eq!(fs::read_to_string(secret).unwrap(), "a secret");
}

#[test]
fn it_reaches_no_network_and_no_other_server() {
    let world = World::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let _unix = UnixListener::bind(world.path("queen.sock")).unwrap();
    let _own = UnixListener::bind(world.path("run/own.sock")).unwrap();
    world.inside(|| {
        assert_denied("connect over TCP", TcpStream::connect(address));
        assert_denied("listen on TCP", TcpListener::bind("127.0.0.1:0"));
        assert_denied("UDP", UdpSocket::bind("127.0.0.1:0"));
        assert_denied("UDP of IPv6", UdpSocket::bind("[::1]:0"));
        assert_denied("a Unix socket", UnixStream::connect(world.path("queen.sock")));
        assert_denied("a Unix socket of its own", UnixStream::connect(world.path("run/own.sock")));
        assert_denied("datagrams", UnixDatagram::unbound());
        let (mut one, mut other) = UnixStream::pair().unwrap();
        one.write_all(b"x").unwrap();
        other.read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn it_starts_nothing_and_signals_nobody() {
    let world = World::new();
    let bystander = Command::new("sleep").arg("60").spawn();
    let mut bystander = bystander.unwrap();
    let pid = bystander.id();
    world.inside(|| {
        assert_denied("start", Command::new("/bin/true").status());
        fs::copy("/proc/self/status", world.path("run/program")).unwrap();
        assert_denied("start its own", Command::new(world.path("run/program")).status());
        assert_denied("signal", signal(pid));
        assert_denied("another's memory", File::open(format!("/proc/{pid}/mem")));
    });
    assert!(bystander.try_wait().unwrap().is_none(), "the bystander lives");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

fn signal(pid: u32) -> io::Result<()> {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
}
