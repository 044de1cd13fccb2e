use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Stdio, time::Duration};

use insta::assert_snapshot;
use rustix::process::Signal;
use serde_json::Value;
use tokio::{net::UnixDatagram, process::Command, time::timeout};

use crate::{
    keeper::{Keeper, Output, signal},
    queen::Queen,
};

/// Answers as systemd does, and writes down what it was told.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >> "$RBEE_HOME/told"
case $2 in
    is-enabled) echo enabled ;;
    is-active) echo failed; exit 3 ;;
esac
"#;

const UNIT: &str = ".config/systemd/user/rbee.service";

/// A keeper of a source tree, on a machine whose `systemctl` is this script.
fn keeper(systemctl: &str) -> Keeper {
    let keeper = Keeper::alone();
    let home = keeper.home().display().to_string();
    keeper.write("tree/Cargo.toml", "").write("tree/bin/10_queen_rbee/Cargo.toml", "");
    if !systemctl.is_empty() {
        keeper.write("bin/systemctl", systemctl);
        let program = keeper.home().join("bin/systemctl");
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    keeper
        .with("HOME", &home)
        .with("PATH", &format!("{home}/bin"))
        .with("CARGO_HOME", &format!("{home}/cargo"))
        .with("RBEE_SOURCE_ROOT", &format!("{home}/tree"))
}

fn unit(keeper: &Keeper) -> PathBuf {
    keeper.home().join(UNIT)
}

/// What the script was told since the last time.
fn told(keeper: &Keeper) -> String {
    let path = keeper.home().join("told");
    let told = fs::read_to_string(&path).unwrap_or_default();
    fs::write(path, "").unwrap();
    told
}

fn shown(keeper: &Keeper, output: &Output) -> String {
    output.stderr.replace(&keeper.home().display().to_string(), "HOME")
}

#[tokio::test]
async fn an_installation_writes_the_unit_and_has_it_started() {
    let keeper = keeper(SYSTEMCTL);
    let output = keeper.run(&["service", "install"]).await.exits(0);
    assert_snapshot!(shown(&keeper, &output), @r"
    [keeper] service: Starting the chain; `journalctl --user -fu rbee` shows how far it is
    [keeper] service: Installed `HOME/.config/systemd/user/rbee.service` and started it
    [keeper] service: It starts when you log in; `loginctl enable-linger` has it start at boot
    ");
    let text = fs::read_to_string(unit(&keeper)).unwrap();
    assert_snapshot!(text.replace(&keeper.home().display().to_string(), "HOME"), @r#"
    [Unit]
    Description=rbee: serves language models

    [Service]
    Type=notify
    TimeoutStartSec=infinity
    WatchdogSec=60
    ExecStart="HOME/tree/rbee" service run
    Environment="CARGO_HOME=HOME/cargo"
    Environment="PATH=HOME/bin"
    Environment="RBEE_AUTO_UPDATE_ENABLED=false"
    Environment="RBEE_HOME=HOME"
    Environment="RBEE_QUEEN_PORT=0"
    Restart=on-failure
    RestartSec=30
    # SIGTERM drains the chain. When this process dies otherwise, its daemons
    # go on serving and the next one takes them up.
    KillMode=process
    TimeoutStopSec=5430

    [Install]
    WantedBy=default.target
    "#);
    assert_snapshot!(told(&keeper), @r"
    --user show --property=Version
    --user daemon-reload
    --user enable --now rbee.service
    --user show --property=Version
    --user is-enabled rbee.service
    --user is-active rbee.service
    ");
    assert_eq!(fs::metadata(unit(&keeper)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_second_installation_changes_nothing() {
    let keeper = keeper(SYSTEMCTL);
    keeper.run(&["service", "install"]).await.exits(0);
    let before = fs::metadata(unit(&keeper)).unwrap().modified().unwrap();
    let output = keeper.run(&["service", "install"]).await.exits(0);
    assert_snapshot!(shown(&keeper, &output), @"[keeper] service: `HOME/.config/systemd/user/rbee.service` was installed already; it runs");
    assert_eq!(fs::metadata(unit(&keeper)).unwrap().modified().unwrap(), before);
}

#[tokio::test]
async fn an_installation_under_another_environment_changes_the_unit_and_says_so() {
    let keeper = keeper(SYSTEMCTL);
    keeper.run(&["service", "install"]).await.exits(0);
    let keeper = keeper.with("RUSTFLAGS", "-g");
    let output = keeper.run(&["service", "install"]).await.exits(0);
    assert_snapshot!(shown(&keeper, &output), @"[keeper] service: Changed `HOME/.config/systemd/user/rbee.service`; what runs goes on as it was until it is started anew");
    let text = fs::read_to_string(unit(&keeper)).unwrap();
    assert!(text.contains("Environment=\"RUSTFLAGS=-g\"\n"), "{text}");
}

#[tokio::test]
async fn the_status_is_in_the_managers_words() {
    let keeper = keeper(SYSTEMCTL);
    let output = keeper.run(&["service", "status"]).await.exits(0);
    assert_eq!((output.stdout.as_str(), told(&keeper).as_str()), ("not installed\n", ""));
    keeper.run(&["service", "install"]).await.exits(0);
    let output = keeper.run(&["service", "status", "--json"]).await.exits(0);
    let state: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(state["installed"], true);
    assert_eq!((&state["enabled"], &state["active"]), (&"enabled".into(), &"failed".into()));
    let table = keeper.run(&["service", "status"]).await.exits(0).stdout;
    assert!(table.starts_with("SERVICE") && table.contains("rbee.service"), "{table}");
}

#[tokio::test]
async fn what_is_uninstalled_is_stopped_first_and_gone() {
    let keeper = keeper(SYSTEMCTL);
    keeper.run(&["service", "install"]).await.exits(0);
    told(&keeper);
    let output = keeper.run(&["service", "uninstall"]).await.exits(0);
    assert_snapshot!(shown(&keeper, &output), @"[keeper] service: The service is stopped and removed");
    assert_snapshot!(told(&keeper), @r"
    --user show --property=Version
    --user disable --now rbee.service
    --user daemon-reload
    ");
    assert!(!unit(&keeper).exists());
    let output = keeper.run(&["service", "uninstall"]).await.exits(0);
    assert_snapshot!(shown(&keeper, &output), @"[keeper] service: No service is installed");
    assert_eq!(told(&keeper), "");
}

#[tokio::test]
async fn a_service_that_does_not_stop_stays_installed() {
    let keeper = keeper(SYSTEMCTL);
    keeper.run(&["service", "install"]).await.exits(0);
    keeper.write("bin/systemctl", "#!/bin/sh\n[ $2 = show ] || { echo 'it hangs' >&2; exit 1; }\n");
    let output = keeper.run(&["service", "uninstall"]).await.exits(1);
    assert_snapshot!(shown(&keeper, &output), @r"
    error: `systemctl --user disable --now rbee.service` failed
      caused by: it hangs
    ");
    assert!(unit(&keeper).exists());
}

#[tokio::test]
async fn without_systemd_nothing_is_written_and_the_reason_is_told() {
    let none = keeper("");
    let output = none.run(&["service", "install"]).await.exits(1);
    assert_snapshot!(shown(&none, &output), @r"
    error: services of your own cannot be had here
      caused by: cannot run `systemctl`
      caused by: No such file or directory (os error 2)
    hint: `./rbee queen start` starts the chain without one
    ");
    assert!(!unit(&none).exists());
    let no_bus =
        keeper("#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2\nexit 1\n");
    let output = no_bus.run(&["service", "install"]).await.exits(1);
    assert_snapshot!(shown(&no_bus, &output), @r"
    error: services of your own cannot be had here
      caused by: `systemctl --user show --property=Version` failed
      caused by: Failed to connect to bus: No medium found
    hint: `./rbee queen start` starts the chain without one
    ");
    assert!(!unit(&no_bus).exists());
}

#[tokio::test]
async fn a_queen_that_somebody_else_runs_gets_no_service() {
    let queen = Queen::start().await;
    let keeper = keeper(SYSTEMCTL).with("RBEE_QUEEN_URL", &queen.url());
    let output = keeper.run(&["service", "install"]).await.exits(2);
    assert_snapshot!(output.stderr_of(&keeper, &queen), @r"
    error: the queen at `http://127.0.0.1:PORT` is somebody else's to keep running
    hint: a service is for a queen of this machine; leave `queen.url` out
    ");
    assert_eq!(told(&keeper), "");
}

#[tokio::test]
async fn systemd_is_told_why_there_is_no_queen_that_the_service_does_not_hang_and_that_it_stops() {
    let keeper = keeper("");
    // A keeper with a queen beside it that ends at once.
    keeper.write("bin/queen-rbee", "#!/bin/sh\nexit 7\n");
    let program = keeper.home().join("bin/rbee-keeper");
    fs::copy(env!("CARGO_BIN_EXE_rbee-keeper"), &program).unwrap();
    for program in [&program, &keeper.home().join("bin/queen-rbee")] {
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let place = keeper.home().join("notify");
    let systemd = UnixDatagram::bind(&place).unwrap();
    let mut service = Command::new(&program)
        .args(["service", "run"])
        .env_clear()
        .envs(keeper.variables())
        .env("NOTIFY_SOCKET", &place)
        .env("WATCHDOG_USEC", "200000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let story = async {
        let mut said = hears(&systemd, "STATUS=The queen is started again: ").await;
        said += &hears(&systemd, "WATCHDOG=1\n").await;
        signal(&service, Signal::TERM);
        said + &hears(&systemd, "STOPPING=1\n").await
    };
    let said = timeout(Duration::from_secs(60), story).await.expect("all of it is said in time");
    assert!(
        said.starts_with("STATUS=Starting the queen\n") || said.starts_with("WATCHDOG=1\n"),
        "{said}"
    );
    assert!(!said.contains("READY=1"), "{said}");
    assert!(service.wait().await.unwrap().success());
}

/// All that the service says from now on, up to `line`.
async fn hears(systemd: &UnixDatagram, line: &str) -> String {
    let mut said = String::new();
    while !said.contains(line) {
        let mut words = [0; 4096];
        let length = systemd.recv(&mut words).await.unwrap();
        said += &String::from_utf8_lossy(&words[..length]);
    }
    said
}
