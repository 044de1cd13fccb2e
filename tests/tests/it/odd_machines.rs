//! Other machines on which something is not as it mostly is.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use chain_tests::{Chain, Disk, Elsewhere, Machines, Run};

const DEVICES: &str = "bin/20_rbee_hive/src/devices.rs";

/// Less than either binary takes.
const TOO_LITTLE: u64 = 1 << 20;
const ENOUGH: u64 = 4 << 30;

#[expect(clippy::print_stdout, reason = "what was skipped is to be seen")]
fn skipped(why: &str) {
    println!("SKIPPED: {why}");
}

/// Asserts that a run has failed, and that it said all of that.
#[track_caller]
fn refused(run: &Run, said: &[&str]) {
    assert_ne!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    for words in said {
        assert!(run.stderr.contains(words), "`{words}` is not in\n{}", run.stderr);
    }
}

fn configure(chain: &Chain, machines: &[&Elsewhere]) {
    let hives: String = machines.iter().map(|there| there.hive()).collect();
    let model = Chain::model();
    let config = format!("[models]\ndefault = {model:?}\n[queen]\nport = 0\n{hives}");
    fs::write(chain.home().join("config.toml"), config).unwrap();
}

#[test]
fn a_machine_that_does_what_it_likes_is_served_from_or_told_why_not() {
    let Some(machines) = Machines::near() else {
        return skipped("no sshd, so no odd machine was tried");
    };
    let chain = Chain::new().with_programs(&machines.programs());

    // An account with another shell, which greets, and one session for each connection.
    let shells = ["/usr/bin/fish", "/usr/bin/tcsh", "/bin/sh"];
    let shell = shells.into_iter().find(|shell| Path::new(shell).exists()).unwrap();
    let greets = format!(
        "MaxSessions 1\nForceCommand echo hello; echo '{{\"said\":1}}'; exec {shell} -c \"$SSH_ORIGINAL_COMMAND\"\n"
    );
    let odd = machines.add_with("odd", &greets);
    let forced = machines.add_with("forced", "ForceCommand echo go away\n");
    let closed = machines.add_with("closed", "AllowStreamLocalForwarding no\n");
    let other = machines.add_with("other", &has_no_glibc(&chain.home().join("other")));
    let [full, locked] = ["full", "locked"].map(|name| machines.add(name));
    configure(&chain, &[&odd, &forced, &closed, &other, &full, &locked]);

    let run = chain.succeed(&["infer", "one two"]);
    assert_eq!(run.stdout.trim_end(), "one two", "{}", run.stderr);
    chain.succeed(&["hive", "stop", "odd"]);

    let run = chain.rbee(&["hive", "start", "forced"]);
    refused(&run, &["`forced`", "wrote: go away", "ForceCommand", "`ssh forced echo works`"]);
    assert!(!forced.hive_home().exists());

    let run = chain.rbee(&["hive", "start", "closed"]);
    refused(&run, &["`closed`", "AllowStreamLocalForwarding"]);
    assert_eq!(closed.processes(), [], "nobody could reach it");

    let run = chain.rbee(&["hive", "install", "other"]);
    refused(&run, &["`other`", "it has no glibc, and what is built here needs glibc"]);
    assert!(!other.hive_home().exists(), "nothing is brought to it");

    let (Some(disk), Some(still)) = (Disk::at(&full.home()), Disk::at(&locked.home())) else {
        return skipped("nothing can be mounted, so no full disk was tried");
    };
    disk.has_room_for(TOO_LITTLE);
    still.is_read_only();
    let run = chain.rbee(&["hive", "install", "full"]);
    refused(&run, &["`full`", "No space left on device", "`ssh full df -h .`"]);
    assert_eq!(files(&full.hive_home().join("bin")), 0, "something is there by half");
    let run = chain.rbee(&["hive", "install", "locked"]);
    refused(&run, &["`locked`", "Read-only file system", "has to be able to write"]);
    assert_eq!(files(&locked.home()), 0);

    // One that fills up behind a hive's back.
    disk.has_room_for(ENOUGH);
    chain.succeed(&["hive", "start", "full"]);
    let hive = full.pid("rbee-hive");
    disk.has_room_for(TOO_LITTLE);
    chain.checkout().edit(DEVICES, r#"map_or("CPU""#, r#"map_or("a CPU""#);
    let model = Chain::model().display().to_string();
    let run = chain.succeed(&["model", "load", "--hive", "full", &model]);
    let said = "`full` runs an old binary: the hive `full` is left as it is: writing";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    assert_eq!(full.pid("rbee-hive"), hive, "the one that ran is to go on");
    disk.has_room_for(ENOUGH);
    chain.succeed(&["hive", "update", "full"]);
    assert_ne!(full.pid("rbee-hive"), hive);
    chain.succeed(&["hive", "stop", "full"]);
}

/// What has a machine say, by a program in `folder`, what one says that has another libc than glibc.
fn has_no_glibc(folder: &Path) -> String {
    fs::create_dir(folder).unwrap();
    let getconf = folder.join("getconf");
    fs::write(&getconf, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(getconf, fs::Permissions::from_mode(0o755)).unwrap();
    let folder = folder.display();
    format!("ForceCommand export PATH={folder}:$PATH; exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"\n")
}

/// How many there are in a folder and in those below it.
fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}
