use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::SystemTime,
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};

use crate::{
    watched::{Watched, ask, is_alive, server, word},
    world::World,
};

const WORD: &str = "app/src/word.rs";

#[test]
fn an_edit_puts_a_new_process_in_the_place_of_the_old_one() {
    let world = server();
    let watched = Watched::serving(&world, &[]);
    assert_eq!(watched.answer(), "one");
    world.write(WORD, &word("two", ""));
    let changed = watched.until(&["changed"]);
    assert_eq!(changed["files"].as_array().unwrap().len(), 1, "{changed}");
    let replaced = watched.expect("replaced");
    assert_ne!(replaced["pid"], replaced["before"]);
    while is_alive(&replaced["before"]) {
        thread::yield_now();
    }
    assert_eq!(watched.answer(), "two");
}

#[test]
fn what_makes_the_same_bytes_restarts_nothing() {
    let world = server();
    let watched = Watched::serving(&world, &[]);
    // Touched.
    let file = std::fs::File::options().write(true).open(world.path(WORD)).unwrap();
    file.set_modified(SystemTime::now()).unwrap();
    let unchanged = watched.expect("unchanged");
    assert!(unchanged["files"][0].as_str().unwrap().ends_with("word.rs"), "{unchanged}");
    // A comment.
    world.write(WORD, &(word("one", "") + "// nothing\n"));
    watched.expect("unchanged");
    // Saved by an exchange of files, as editors do.
    world.write("app/src/word.rs~", &word("one", ""));
    std::fs::rename(world.path("app/src/word.rs~"), world.path(WORD)).unwrap();
    watched.expect("unchanged");
    // And back to what is another program, and to the one before, which is built already.
    world.write(WORD, &word("two", ""));
    watched.expect("replaced");
    world.write(WORD, &word("one", ""));
    watched.expect("replaced");
    assert_eq!(watched.answer(), "one");
}

#[test]
fn what_does_not_build_leaves_the_last_good_process() {
    let world = server();
    let watched = Watched::serving(&world, &[]);
    world.write(WORD, "pub const WORD: &str = 5;");
    let failed = watched.expect("failed");
    assert_eq!(failed["still_running"], true);
    assert_eq!(watched.answer(), "one");
    // A module that only the failed build knows of, and that is mended.
    world.write(WORD, &("pub mod other;\n".to_owned() + &word("two", "other::call()")));
    watched.expect("failed");
    world.write("app/src/word/other.rs", "pub fn call() -> u8 {}\n");
    watched.expect("failed");
    world.write("app/src/word/other.rs", "pub fn call() {}\n");
    watched.expect("replaced");
    assert_eq!(watched.answer(), "two");
}

#[test]
fn a_program_that_never_built_starts_once_it_does() {
    let world = server();
    world.write(WORD, "pub const WORD: &str = 5;");
    let watched = Watched::start(&world, &["--listen", "127.0.0.1:0"]);
    assert_eq!(watched.expect("failed")["still_running"], false);
    world.write(WORD, &word("one", ""));
    watched.expect("started");
    watched.expect("ready");
}

#[test]
fn a_new_process_that_dies_or_is_never_ready_leaves_the_old_one() {
    let world = server();
    let watched = Watched::serving(&world, &["--ready-timeout", "1", "--stop-timeout", "1"]);
    world.write(WORD, &word("two", "std::process::exit(3)"));
    let kept = watched.expect("kept");
    assert_eq!(kept["why"], "it exited with 3 before it was ready");
    assert_eq!(watched.answer(), "one");
    // The same bytes are not tried again.
    world.write(WORD, &(word("two", "std::process::exit(3)") + "// again\n"));
    watched.expect("note");
    world.write(WORD, &word("two", "loop { std::thread::park() }"));
    let kept = watched.expect("kept");
    assert_eq!(kept["why"], "it was not ready within 1 s");
    assert_eq!(watched.answer(), "one");
    world.write(WORD, &word("two", ""));
    watched.expect("replaced");
    assert_eq!(watched.answer(), "two");
}

#[test]
fn a_new_process_that_dies_when_the_old_one_has_gone_gives_way_to_the_last_good() {
    let world = server();
    let watched = Watched::serving(&world, &[]);
    let dies = "std::thread::spawn(|| { std::thread::park_timeout(std::time::Duration::from_millis(300)); \
                std::process::exit(4) });";
    world.write(WORD, &word("two", dies));
    watched.expect("replaced");
    let back = watched.expect("rolled_back");
    assert!(back["why"].as_str().unwrap().ends_with("exited with 4"), "{back}");
    assert_eq!(watched.answer(), "one");
}

#[test]
fn no_request_is_lost_while_processes_give_way() {
    let world = server();
    let watched = Watched::serving(&world, &[]);
    let (address, is_over) = (watched.address.clone(), AtomicBool::new(false));
    let answers: Vec<Vec<Result<String, String>>> = thread::scope(|scope| {
        let client = || {
            let mut answers = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                answers.push(ask(&address));
            }
            answers
        };
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(client)).collect();
        for text in ["two", "three", "four"] {
            world.write(WORD, &word(text, ""));
            watched.expect("replaced");
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let answers: Vec<_> = answers.into_iter().flatten().collect();
    assert!(answers.len() > 100, "{}", answers.len());
    let lost: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), answers.len());
    assert!(answers.contains(&Ok("three".to_owned())));
}

#[test]
fn whoever_ends_it_ends_the_program_with_all_that_it_started() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 0)] {
        let world = server();
        let first = "std::process::Command::new(\"sleep\").arg(\"1000\").spawn().unwrap();";
        world.write(WORD, &word("one", first));
        let watched = Watched::start(&world, &["--listen", "127.0.0.1:0"]);
        let started = watched.expect("started");
        watched.expect("ready");
        let group = group(&started["pid"]);
        assert_eq!(group.len(), 2, "{group:?}");
        watched.signal(signal);
        let (status, _) = watched.ended();
        assert_eq!(status.code(), Some(code));
        assert!(!group.iter().any(|pid| is_alive(&(*pid).into())), "{group:?}");
    }
}

#[test]
fn a_program_without_sockets_ends_before_the_next_one_starts() {
    let program =
        |word: &str, then: &str| format!("fn main() {{ println!(\"{word}\"); {then} }}\n");
    let world = World::single(&program("one", "loop { std::thread::park() }"));
    let watched = Watched::start(&world, &[]);
    let first = watched.expect("started")["pid"].clone();
    world.write("app/src/main.rs", &program("two", ""));
    assert_eq!(watched.expect("stopped")["pid"], first);
    assert!(!is_alive(&first));
    watched.expect("started");
    assert_eq!(watched.expect("ended")["how"], "ended");
    world.write("app/src/main.rs", &program("three", "loop { std::thread::park() }"));
    watched.expect("started");
}

#[test]
fn a_program_that_says_when_it_is_ready_is_waited_for_to_say_so() {
    let world = server();
    let says = "std::thread::spawn(|| { std::thread::park_timeout(std::time::Duration::from_millis(500)); \
                let to = std::env::var(\"NOTIFY_SOCKET\").unwrap(); \
                std::os::unix::net::UnixDatagram::unbound().unwrap().send_to(b\"READY=1\", to).unwrap(); });";
    world.write(WORD, &word("one", says));
    let watched = Watched::serving(&world, &[]);
    // The first one may be ready by accepting; that it says so is then known.
    thread::scope(|_| std::thread::park_timeout(std::time::Duration::from_secs(1)));
    world.write(WORD, &word("two", says));
    assert_eq!(watched.expect("replaced")["sign"], "it says that it is ready");
}

#[test]
fn a_request_counts_only_when_the_new_process_answers_it() {
    let world = server();
    let address = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let (listen, url) = (address.to_string(), format!("http://{address}/"));
    let mut watched = Watched::start(&world, &["--listen", &listen, "--ready-url", &url]);
    watched.address = listen;
    watched.expect("started");
    assert_eq!(watched.expect("ready")["sign"], "it answers");
    world.write(
        WORD,
        &word("two", "std::thread::park_timeout(std::time::Duration::from_millis(500));"),
    );
    let replaced = watched.expect("replaced");
    assert_eq!(replaced["sign"], "it answers");
    assert!(replaced["after_ms"].as_u64().unwrap() >= 500, "{replaced}");
}

/// The processes of the group that `leader` founded.
fn group(leader: &serde_json::Value) -> Vec<u32> {
    let is_member = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let group = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(2));
        group == Some(&leader.to_string())
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_member).collect()
}

#[test]
fn a_unix_socket_is_held_as_well_and_its_file_removed_in_the_end() {
    let world = server();
    let main = crate::watched::SERVER.replace("TcpListener", "UnixListener");
    world.write(
        "app/src/main.rs",
        &main.replace("net::UnixListener", "os::unix::net::UnixListener"),
    );
    let path = world.path("app.sock");
    let watched = Watched::start(&world, &["--listen", &format!("unix:{}", path.display())]);
    watched.expect("started");
    assert_eq!(watched.expect("ready")["sign"], "it accepts connections");
    world.write(WORD, &word("two", ""));
    watched.expect("replaced");
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    watched.signal(Signal::TERM);
    watched.ended();
    assert!(!path.exists());
}

#[test]
fn sockets_that_it_was_started_with_are_passed_on() {
    let world = server();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let mut command = world.command("sh", "app");
    command.args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_cargo-live")).env("LISTEN_FDS", "1");
    let mut watched = Watched::spawn(command, std::os::fd::OwnedFd::from(socket), &[]);
    assert_eq!(watched.until(&["listening"])["address"], address.as_str());
    watched.address = address;
    watched.until(&["ready"]);
    assert_eq!(watched.answer(), "one");
    world.write(WORD, &word("two", ""));
    watched.expect("replaced");
    assert_eq!(watched.answer(), "two");
}

#[test]
fn keys_rebuild_pause_restart_and_quit_and_leave_the_terminal_as_it_was() {
    let world = server();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let held = open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let is_cooked = || {
        let modes = tcgetattr(&held).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    };
    assert!(is_cooked());
    // A session of its own, which has the terminal.
    let mut command = world.command("setsid", "app");
    command.args(["--ctty", env!("CARGO_BIN_EXE_cargo-live")]);
    let watched = Watched::spawn(command, held.try_clone().unwrap(), &["--listen", "127.0.0.1:0"]);
    let press = |key: &[u8]| assert_eq!(rustix::io::write(&terminal, key).unwrap(), key.len());
    let first = watched.expect("started")["pid"].clone();
    watched.expect("ready");
    assert!(!is_cooked());

    press(b"p");
    assert_eq!(watched.until(&["paused"])["has_changes"], false);
    world.write(WORD, &word("two", ""));
    assert_eq!(watched.until(&["paused", "replaced"])["has_changes"], true);
    press(b"p");
    let second = watched.until(&["replaced"]);
    assert_eq!(second["before"], first);

    press(b"s");
    let third = watched.expect("replaced");
    assert_eq!((&third["before"], &third["hash"]), (&second["pid"], &second["hash"]));
    press(b"r");
    watched.expect("unchanged");

    press(b"xq");
    let (status, _) = watched.ended();
    assert_eq!(status.code(), Some(0));
    assert!(!is_alive(&third["pid"]));
    assert!(is_cooked(), "the terminal is left as it was not");
}
