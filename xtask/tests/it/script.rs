use std::{fs, os::unix::fs::symlink, path::Path};

use crate::world::{Ended, World, executable};

/// Stands in for xtask: says where it was called from, for which checkout and with what.
const XTASK: &str = "#!/bin/sh\necho \"$RBEE_SOURCE_ROOT|$PWD|$*\"\n";

#[test]
fn the_first_call_builds_xtask_and_later_ones_start_no_cargo() {
    let world = checkout("target/debug/xtask");
    let first = rbee(&world, &["status", "two words"]).with(0);
    assert_eq!(first.stdout, said(&world, "status two words"));
    assert!(first.stderr.contains("building xtask"), "{}", first.stderr);
    assert_eq!(cargo_calls(&world), 1);
    let second = rbee(&world, &["infer"]).with(0);
    assert_eq!((second.stdout, second.stderr), (said(&world, "infer"), String::new()));
    assert_eq!(cargo_calls(&world), 1);
}

#[test]
fn a_cleaned_target_directory_is_built_again() {
    let world = checkout("target/debug/xtask");
    rbee(&world, &[]).with(0);
    fs::remove_dir_all(world.root().join("target")).unwrap();
    rbee(&world, &[]).with(0);
    assert_eq!(cargo_calls(&world), 2);
}

#[test]
fn an_xtask_that_cannot_be_started_is_built_again() {
    let world = checkout("target/debug/xtask");
    rbee(&world, &[]).with(0);
    // An empty file, and one that starts like a program and is none.
    for broken in [b"".as_slice(), b"\x7fELF\0\0\0\0"] {
        fs::write(world.root().join("target/debug/xtask"), broken).unwrap();
        let ended = rbee(&world, &["again"]).with(0);
        assert_eq!(ended.stdout, said(&world, "again"));
    }
    assert_eq!(cargo_calls(&world), 3);
}

#[test]
fn a_target_directory_elsewhere_is_remembered() {
    let elsewhere = tempfile::tempdir().unwrap();
    let world = checkout(elsewhere.path().join("triple/debug/xtask"));
    for _ in 0..2 {
        assert_eq!(rbee(&world, &["x"]).with(0).stdout, said(&world, "x"));
    }
    assert_eq!(cargo_calls(&world), 1);
}

#[test]
fn a_moved_checkout_starts_its_own_xtask() {
    let world = checkout("target/debug/xtask");
    rbee(&world, &[]).with(0);
    let moved = world.root().with_file_name("moved");
    fs::rename(world.root(), &moved).unwrap();
    let ended = Ended::of(&mut world.command(moved.join("rbee"))).with(0);
    assert!(ended.stdout.starts_with(moved.to_str().unwrap()), "{}", ended.stdout);
    assert_eq!(cargo_calls(&world), 1);
}

#[test]
fn the_checkout_is_found_through_links_and_from_anywhere() {
    let world = checkout("target/debug/xtask");
    let folder = world.root().parent().unwrap().to_owned();
    symlink("checkout/rbee", folder.join("one")).unwrap();
    fs::create_dir(folder.join("links")).unwrap();
    symlink("../one", folder.join("links/two")).unwrap();
    for (cwd, program) in [
        (folder.clone(), "./one".to_owned()),
        (folder.clone(), "links/two".to_owned()),
        (folder.join("links"), "./two".to_owned()),
        (folder.join("links"), folder.join("links/two").to_str().unwrap().to_owned()),
        (world.root(), "./rbee".to_owned()),
    ] {
        let mut command = world.command("bash");
        // bash opens the path that it is given from its own folder, as the kernel would.
        let ended = Ended::of(command.arg(&program).current_dir(&cwd)).with(0);
        let expected = format!("{}|{}|\n", world.root().display(), cwd.display());
        assert_eq!(ended.stdout, expected, "{program}");
    }
}

#[test]
fn what_was_typed_is_told() {
    let world = checkout("target/debug/xtask");
    rbee(&world, &[]).with(0);
    let tells = "#!/bin/sh\necho \"$_RBEE_CALLED_AS\"\n";
    executable(&world.root().join("target/debug/xtask"), tells);
    let on_path = world.root().with_file_name("path");
    symlink(world.root().join("rbee"), on_path.join("bees")).unwrap();
    let typed = |program: &str| {
        // The kernel gives a script the path that was found.
        let line = format!("{program} status");
        let ended = Ended::of(world.command("sh").args(["-c", &line]).current_dir(world.root()));
        ended.with(0).stdout
    };
    assert_eq!(typed("./rbee"), "./rbee\n");
    assert_eq!(typed("../checkout/rbee"), "../checkout/rbee\n");
    assert_eq!(typed("bees"), "bees\n");
}

#[test]
fn for_a_key_in_a_shell_nothing_is_built() {
    let world = checkout("target/debug/xtask");
    let complete = || {
        let mut command = world.command(world.root().join("rbee"));
        Ended::of(command.env("_RBEE_COMPLETE", "bash").args(["--", "rbee", "st"])).with(0)
    };
    assert_eq!(complete().stdout, "");
    assert_eq!(cargo_calls(&world), 0);
    rbee(&world, &[]).with(0);
    assert_eq!(complete().stdout, said(&world, "-- rbee st"));
}

#[test]
fn a_failed_build_ends_with_cargos_message_and_code_3() {
    let world = checkout("target/debug/xtask");
    world.program("cargo", "echo 'error: expected item, found `?`' >&2; exit 101");
    rbee(&world, &["infer"])
        .with(3)
        .says("error: expected item, found `?`")
        .says("xtask could not be built, so nothing was started");
}

#[test]
fn a_machine_without_rust_is_told_how_to_get_it() {
    let world = checkout("target/debug/xtask");
    world.remove_program("cargo");
    rbee(&world, &[]).with(3).says("https://sh.rustup.rs | sh -s -- -y");
    executable(&world.root().with_file_name("home").join(".cargo/bin/cargo"), XTASK);
    rbee(&world, &[]).with(3).says(r#"Run: . "$HOME/.cargo/env""#);
}

#[test]
fn a_machine_without_a_c_compiler_is_told_how_to_get_it() {
    let world = checkout("target/debug/xtask");
    world.remove_program("cc");
    world.program("apt-get", "");
    rbee(&world, &[]).with(3).says("apt-get install -y gcc g++ make");
}

/// A checkout with the real script, and a cargo that "builds" xtask at `executable`.
fn checkout(executable: impl AsRef<Path>) -> World {
    let world = World::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rbee");
    fs::copy(script, world.root().join("rbee")).unwrap();
    let executable = world.root().join(executable);
    let source = world.root().join("xtask/stand-in");
    fs::write(&source, XTASK).unwrap();
    let folder = executable.parent().unwrap();
    world.program(
        "cargo",
        &format!(
            r#"mkdir -p '{folder}'
cp '{source}' '{executable}'
chmod +x '{executable}'
echo '{{"reason":"compiler-artifact","target":{{"name":"dependency"}},"executable":null}}'
echo '{{"reason":"compiler-artifact","target":{{"name":"xtask"}},"executable":"{executable}","fresh":false}}'
echo '{{"reason":"build-finished","success":true}}'"#,
            folder = folder.display(),
            source = source.display(),
            executable = executable.display(),
        ),
    );
    world.program("rustc", "");
    world.program("cc", "");
    world
}

fn rbee(world: &World, args: &[&str]) -> Ended {
    Ended::of(world.command(world.root().join("rbee")).args(args))
}

/// What the stand-in prints for these arguments.
fn said(world: &World, args: &str) -> String {
    let cwd = world.root().parent().unwrap().to_owned();
    format!("{}|{}|{args}\n", world.root().display(), cwd.display())
}

fn cargo_calls(world: &World) -> usize {
    world.calls().iter().filter(|call| call.starts_with("cargo ")).count()
}
