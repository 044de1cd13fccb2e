use std::{fs, path::Path, process::Command};

use narration_core::Step;

use crate::world::{Ended, World};

/// What an xtask gets that was started by a stale one; it takes itself for fresh.
const REPLACEMENT: &str = "--replaces-a-stale-xtask";

#[test]
fn a_stale_keeper_is_built_and_takes_over() {
    let world = checkout();
    let first = keeper(&world, &["status", "two words"]).with(0);
    assert_eq!(first.stdout, said(&world, "one", "status two words"));
    for line in [
        "[dmn-life] auto_update: Checking if 'rbee-keeper' needs rebuild...",
        "Compiling rbee-keeper v0.1.0",
        "[dmn-life] auto_rebuild: \u{2705} Rebuild complete",
    ] {
        assert!(first.stderr.contains(line), "`{line}` is missing in:\n{}", first.stderr);
    }

    let calls = cargo_calls(&world);
    let second = keeper(&world, &["status"]).with(0);
    assert_eq!((second.stdout, second.stderr), (said(&world, "one", "status"), String::new()));
    assert_eq!(cargo_calls(&world), calls, "cargo was started on the warm path");

    edit_keeper(&world, "\"one\"", "\"other\"");
    let third = keeper(&world, &["status"]).with(0);
    assert_eq!(third.stdout, said(&world, "other", "status"));
    assert!(third.stderr.contains("bin/00_rbee_keeper/src/main.rs` changed"), "{}", third.stderr);
}

#[test]
fn words_are_completed_by_the_keeper_that_there_is() {
    let world = checkout();
    let complete = || {
        let mut command = real(&world);
        Ended::of(command.env("_RBEE_COMPLETE", "bash").args(["--", "rbee", "st"])).with(0)
    };
    assert_eq!(complete().stdout, "");
    assert_eq!(cargo_calls(&world), 0);
    keeper(&world, &["status"]).with(0);
    let calls = cargo_calls(&world);
    // It is stale, and xtask too.
    edit_keeper(&world, "\"one\"", "\"other\"");
    let ended = complete();
    assert_eq!((ended.stdout, ended.stderr), (said(&world, "one", "-- rbee st"), String::new()));
    assert_eq!(cargo_calls(&world), calls);
}

#[test]
fn the_keepers_exit_code_is_the_commands() {
    let world = checkout();
    keeper(&world, &["exit"]).with(7);
}

#[test]
fn narration_can_be_had_as_json_or_not_at_all() {
    let world = checkout();
    let ended = keeper(&world, &["status", "--narration=json"]).with(0);
    assert!(ended.stderr.lines().all(|line| line.starts_with('{')), "{}", ended.stderr);
    edit_keeper(&world, "\"one\"", "\"other\"");
    assert_eq!(keeper(&world, &["status", "--narration", "off"]).with(0).stderr, "");
}

#[test]
fn a_keeper_that_cannot_be_built_ends_with_code_3_and_why() {
    let world = checkout();
    keeper(&world, &["status"]).with(0);
    edit_keeper(&world, "fn main() {", "fn main( {");
    for _ in 0..2 {
        let ended = keeper(&world, &["status"]).with(3);
        assert_eq!(ended.stdout, "");
        let last = ended.stderr.lines().last().unwrap().to_owned();
        ended.says("unclosed delimiter").says("'rbee-keeper' failed");
        assert!(last.starts_with("error: `rbee-keeper` was not rebuilt: "), "{last}");
        assert!(last.ends_with("; what was running goes on"), "{last}");
    }
    let ended = keeper(&world, &["--on-build-failure", "last-good", "status"]).with(0);
    assert!(ended.stdout.starts_with("one|"), "{}", ended.stdout);
    ended.says("warning: ").says("the last good `rbee-keeper` goes on");

    edit_keeper(&world, "fn main( {", "fn main() {");
    keeper(&world, &["status"]).with(0);
}

#[test]
fn without_auto_update_cargo_is_never_started() {
    let world = checkout();
    let off =
        |args: &[&str]| Ended::of(real(&world).env("RBEE_AUTO_UPDATE_ENABLED", "false").args(args));
    off(&["status"]).with(1).says("`rbee-keeper` was never built");
    assert_eq!(cargo_calls(&world), 0);

    keeper(&world, &["status"]).with(0);
    let calls = cargo_calls(&world);
    edit_keeper(&world, "\"one\"", "\"other\"");
    assert_eq!(off(&["status"]).with(0).stdout, said(&world, "one", "status"));
    assert_eq!(Ended::of(real(&world).args(["--auto-update=false", "x"])).with(0).stderr, "");
    assert_eq!(cargo_calls(&world), calls);
}

#[test]
fn a_stale_xtask_builds_itself_and_starts_that() {
    let world = checkout();
    // For this checkout the program under test is stale: its xtask is another one.
    let ended = Ended::of(real(&world).args(["tidy", "x y"])).with(0);
    assert_eq!(ended.stdout, format!("the other xtask: {REPLACEMENT}|tidy|x y\n"));
    ended.says("'xtask' needs rebuild");
    // The script starts the new one from now on.
    let link = world.root().join(".tools/xtask");
    assert!(fs::read_link(&link).unwrap().is_relative());
    let ended = Ended::of(world.command(link).arg("again")).with(0);
    assert_eq!(ended.stdout, "the other xtask: again\n");
}

#[test]
fn an_xtask_that_cannot_be_built_ends_with_code_3() {
    let world = checkout();
    world.write("xtask/src/main.rs", "fn main( {}");
    Ended::of(real(&world).arg("infer")).with(3).says("error: `xtask` was not rebuilt: ");
}

#[test]
fn a_refused_configuration_stops_the_keeper_but_no_task_of_xtasks() {
    let world = checkout();
    let home = world.root().with_file_name("rbee");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("config.toml"), "[auto_updat]\nenabled = false\n").unwrap();
    keeper(&world, &["status"]).with(2).says("auto_updat");
    let ended = keeper(&world, &["bench"]).with(0);
    assert!(ended.stdout.contains("start"), "{}", ended.stdout);
}

#[test]
fn what_needs_the_worker_needs_setup_first() {
    let world = checkout();
    // Nothing on PATH that could get it.
    let start = || {
        Ended::of(
            world
                .command(env!("CARGO_BIN_EXE_xtask"))
                .env("RBEE_SOURCE_ROOT", world.root())
                .args([REPLACEMENT, "--verbose", "infer", "hi"]),
        )
    };
    start().with(1).says("missing: a C compiler (`cc`), a C++ compiler (`c++`), cmake, make");
    assert_eq!(cargo_calls(&world), 0);

    world.write(".tools/config.toml", "[env]\n");
    let ended = keeper(&world, &["infer", "hi"]).with(0);
    assert!(!ended.stderr.contains("setup:"), "{}", ended.stderr);
    // Who waits for the first build is told what for, and nobody else.
    assert!(ended.stderr.starts_with("rbee: nothing is built here yet; "), "{}", ended.stderr);
    let told: Vec<_> = ended.stderr.lines().filter(|line| line.contains(" of 6: ")).collect();
    assert_eq!(told, [Step::Tools.line(), Step::Keeper.line()]);
    assert_eq!(keeper(&world, &["infer", "hi"]).with(0).stderr, "");

    // A tool that setup had found is gone.
    world.write(".tools/config.toml", "[env]\nCMAKE = \"/nowhere/cmake\"\n");
    start().with(1).says("missing: ");
}

#[test]
fn help_and_usage_of_the_tasks() {
    let world = World::new();
    for args in [&["test", "--help"], &["help", "test"]] {
        let ended = world.xtask(args).with(0);
        assert!(ended.stdout.contains("Usage: ./rbee test"), "{}", ended.stdout);
        assert!(ended.stdout.contains("./rbee test -p auto-update"), "{}", ended.stdout);
    }
    world.xtask(&["setup", "--no-such-flag"]).with(2).says("--no-such-flag");
    world.xtask(&["bench", "nothing"]).with(1).says("there is no measurement `nothing`");
}

/// A checkout with a keeper and an xtask of its own, and a cargo that notes its calls.
fn checkout() -> World {
    let world = World::new();
    world.write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\n\
         members = [\"xtask\", \"bin/00_rbee_keeper\", \"bin/10_queen_rbee\"]\n",
    );
    for (folder, name) in [
        ("xtask", "xtask"),
        ("bin/00_rbee_keeper", "rbee-keeper"),
        ("bin/10_queen_rbee", "queen-rbee"),
    ] {
        let manifest =
            format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        world.write(format!("{folder}/Cargo.toml"), &manifest);
        world.write(format!("{folder}/src/main.rs"), "fn main() {}\n");
    }
    world.write(
        "xtask/src/main.rs",
        r#"fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    println!("the other xtask: {}", args.join("|"));
}
"#,
    );
    world.write(
        "bin/00_rbee_keeper/src/main.rs",
        r#"fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if args == ["exit"] {
        std::process::exit(7);
    }
    println!("{}|{}|{}", "one", std::env::var("RBEE_SOURCE_ROOT").unwrap(), args.join(" "));
}
"#,
    );
    world.program("cargo", &format!("exec '{}' \"$@\"", env!("CARGO")));
    world
}

/// xtask with the machine's compilers.
fn real(world: &World) -> Command {
    let toolchain = Path::new(env!("CARGO")).parent().unwrap();
    let programs = world.root().with_file_name("path");
    let path = format!("{}:{}:/usr/bin:/bin", programs.display(), toolchain.display());
    let mut command = world.command(env!("CARGO_BIN_EXE_xtask"));
    command.env("PATH", path).env("RBEE_SOURCE_ROOT", world.root());
    command
}

/// What `./rbee ARGS` does once xtask is fresh.
fn keeper(world: &World, args: &[&str]) -> Ended {
    Ended::of(real(world).arg(REPLACEMENT).args(args))
}

fn said(world: &World, which: &str, args: &str) -> String {
    format!("{which}|{}|{args}\n", world.root().display())
}

fn edit_keeper(world: &World, from: &str, to: &str) {
    let path = "bin/00_rbee_keeper/src/main.rs";
    let text = world.read(path);
    assert!(text.contains(from), "{text}");
    world.write(path, &text.replace(from, to));
}

fn cargo_calls(world: &World) -> usize {
    world.calls().iter().filter(|call| call.starts_with("cargo ")).count()
}
