use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::{Child, Command},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::world::{SOON, World};

/// Starts the daemon as systemd does: with a socket at descriptor 3, and a place to say READY.
fn started(world: &World, socket: OwnedFd, address: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\""]);
    command.arg(world.binary()).args(["--listen", address]);
    command.env("LISTEN_FDS", "1").env("NOTIFY_SOCKET", world.dir().join("notify"));
    command.env("FAKE_WORLD", world.dir()).env("FAKE_EDGES", world.dir());
    command.stdin(socket).spawn().unwrap()
}

#[test]
fn a_daemon_serves_on_the_socket_that_systemd_gives_it_and_says_that_it_is_ready() {
    let world = World::new(json!({"version": "one"}));
    let said = UnixDatagram::bind(world.dir().join("notify")).unwrap();
    said.set_read_timeout(Some(SOON)).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    // Held here, so that its port is nobody else's to bind.
    let passed = socket.try_clone().unwrap().into();
    let mut daemon = started(&world, passed, &address);
    let mut words = [0; 64];
    let length = said.recv(&mut words).unwrap();
    assert_eq!(&words[..length], b"READY=1\n");
    let mut connection = TcpStream::connect(&address).unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    let request = b"GET /health HTTP/1.1\r\nHost: fake\r\nConnection: close\r\n\r\n";
    connection.write_all(request).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    assert!(daemon.wait().unwrap().success());
}
