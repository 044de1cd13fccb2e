use std::fs;

use auto_update::BuildEnvironment;

use crate::world::{World, printed};

#[test]
fn a_variable_that_the_code_names_matters() {
    let mut world = World::single(
        "fn main() { print!(\"{}\", option_env!(\"FLAVOUR\").unwrap_or(\"none\")); }\n",
    );
    assert_eq!(world.prints(), "none");
    world.environment = world.environment.clone().set("FLAVOUR", "lemon");
    world.assert_stale_then_prints(&["Variable Environment FLAVOUR"], "lemon");
    world.environment = world.environment.clone().set("OTHER", "x");
    world.assert_fresh();
}

#[test]
fn compiler_flags_matter_and_both_builds_are_kept() {
    let mut world = World::single("fn main() { print!(\"{}\", cfg!(loud)); }\n");
    assert_eq!(world.prints(), "false");
    let plain = world.environment.clone();
    world.environment = plain.clone().set("RUSTFLAGS", "--cfg loud");
    world.assert_stale_then_prints(&["Variable Environment RUSTFLAGS"], "true");
    world.environment = plain;
    let back = world.ensure();
    assert!(back.is_fresh(), "{:?}", back.events);
    assert_eq!(printed(&back.artifact.path), "false");
}

#[test]
fn profile_variables_matter_and_terminal_ones_do_not() {
    let mut world = World::single("fn main() { print!(\"{}\", cfg!(debug_assertions)); }\n");
    assert_eq!(world.prints(), "true");
    for name in
        ["CARGO_TERM_COLOR", "RUST_LOG", "RUST_BACKTRACE", "CARGO_BUILD_JOBS", "PATH_OF_NOTHING"]
    {
        let before = world.environment.clone();
        world.environment = before.clone().set(name, "1");
        world.assert_fresh();
        world.environment = before;
    }
    world.environment =
        world.environment.clone().set("CARGO_PROFILE_DEV_DEBUG_ASSERTIONS", "false");
    world.assert_stale_then_prints(
        &["Variable Environment CARGO_PROFILE_DEV_DEBUG_ASSERTIONS"],
        "false",
    );
}

#[test]
fn compilers_of_other_languages_and_the_search_path_do_not_matter_unless_named() {
    let mut world = World::single("fn main() { print!(\"x\"); }\n");
    world.ensure();
    let path = world.environment.get("PATH").unwrap().to_owned();
    let longer = std::env::join_paths(std::env::split_paths(&path).chain([world.path("later")]));
    world.environment =
        world.environment.clone().set("CC", "other-cc").set("PATH", longer.unwrap());
    world.assert_fresh();
    let output = world.cargo(&["build", "-p", "app"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("Compiling"));
}

#[test]
fn incremental_compilation_and_the_linker_are_cargos_to_judge() {
    let mut world = World::single("fn main() { print!(\"x\"); }\n");
    world.ensure();
    world.environment = world.environment.clone().set("CARGO_INCREMENTAL", "1");
    world.assert_stale_then_prints(&["Variable Environment CARGO_INCREMENTAL"], "x");
    let host =
        std::process::Command::new("rustc").args(["--print", "host-tuple"]).output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap().trim().to_uppercase().replace('-', "_");
    let linker = format!("CARGO_TARGET_{host}_LINKER");
    let links = world.path("links");
    world.program("linker", &format!("#!/bin/sh\necho >> {links:?}\nexec cc \"$@\"\n"));
    world.environment = world.environment.clone().set(&linker, world.path("linker"));
    world.assert_stale_then_prints(&[&format!("Variable Environment {linker}")], "x");
    assert!(links.is_file(), "it was not linked by the linker that is named");
}

#[test]
fn a_process_started_by_cargo_judges_as_one_started_from_a_shell() {
    let world = World::single("fn main() { print!(\"x\"); }\n");
    world.ensure();
    let shell = world.environment.vars().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let by_cargo = [
        ("CARGO", "/somewhere/cargo"),
        ("CARGO_MANIFEST_DIR", "/somewhere"),
        ("CARGO_PKG_NAME", "xtask"),
        ("CARGO_CRATE_NAME", "xtask"),
        ("CARGO_BIN_EXE_app", "/somewhere/app"),
        ("CARGO_PRIMARY_PACKAGE", "1"),
        ("LD_LIBRARY_PATH", "/somewhere/target/debug/deps"),
        ("NEXTEST_RUN_ID", "1"),
        ("OUT_DIR", "/somewhere/out"),
        ("RUST_RECURSION_COUNT", "1"),
    ];
    let all = shell.chain(by_cargo.map(|(name, value)| (name.into(), value.into())));
    let captured = BuildEnvironment::from_vars(all);
    assert_eq!(captured, world.environment);
}

#[test]
fn the_home_of_cargo_said_outright_is_the_same_home() {
    let mut world = World::single("fn main() { print!(\"x\"); }\n");
    world.environment = world.environment.clone().unset("CARGO_HOME");
    world.ensure();
    let home = world.environment.get("HOME").unwrap().to_owned();
    world.environment =
        world.environment.clone().set("CARGO_HOME", std::path::Path::new(&home).join(".cargo"));
    world.assert_fresh();
}

#[test]
fn a_daemon_is_given_what_the_code_names_and_nothing_private() {
    let mut world = World::single(
        "fn main() { print!(\"{}\", option_env!(\"FLAVOUR\").unwrap_or(\"none\")); }\n",
    );
    world.environment = world.environment.clone().set("FLAVOUR", "lemon").set("PASSWORD", "secret");
    assert_eq!(world.prints(), "lemon");
    let passed = world.updater().child_environment().unwrap();
    assert!(!passed.iter().any(|(name, _)| name == "PASSWORD"));
    world.environment = BuildEnvironment::from_vars(passed);
    world.assert_fresh();
}

#[test]
fn configuration_that_appears_changes_and_goes_is_asked_about() {
    let world = World::single("fn main() { print!(\"{}\", cfg!(loud)); }\n");
    assert_eq!(world.prints(), "false");
    world.write(".cargo/config.toml", "[alias]\nb = \"build\"\n");
    assert_eq!(world.stale(), ["Appeared Config .cargo/config.toml"]);
    assert!(world.ensure().is_fresh());
    world.write(".cargo/config.toml", "[build]\nrustflags = [\"--cfg\", \"loud\"]\n");
    world.assert_stale_then_prints(&["Modified Config .cargo/config.toml"], "true");
    world.remove(".cargo/config.toml");
    assert_eq!(world.prints(), "false");
    world.assert_fresh();
}

#[test]
fn configuration_above_the_workspace_and_in_cargos_home_counts() {
    let mut world = World::empty();
    let home = tempfile::tempdir().unwrap();
    world.environment = world.environment.clone().set("CARGO_HOME", home.path());
    world.write("inner/Cargo.toml", "[workspace]\nmembers = [\"app\"]\nresolver = \"3\"\n");
    world.package("inner/app", "");
    world.replace("inner/app/Cargo.toml", "inner/app", "app");
    world.write(
        "inner/app/src/main.rs",
        "fn main() { print!(\"{}{}\", cfg!(above), cfg!(home)); }\n",
    );
    let updater = auto_update::AutoUpdater::new("app", world.path("inner/app")).unwrap();
    let updater = updater.environment(world.environment.clone());
    assert_eq!(printed(&world.ensure_with(&updater).artifact.path), "falsefalse");
    world.write(".cargo/config.toml", "[build]\nrustflags = [\"--cfg\", \"above\"]\n");
    assert_eq!(world.stale_with(&updater), ["Appeared Config .cargo/config.toml"]);
    assert_eq!(printed(&world.ensure_with(&updater).artifact.path), "truefalse");
    fs::write(home.path().join("config.toml"), "[build]\nrustflags = [\"--cfg\", \"home\"]\n")
        .unwrap();
    let stale = world.stale_with(&updater);
    assert!(stale.len() == 1 && stale[0].starts_with("Appeared Config"), "{stale:?}");
    assert_eq!(printed(&world.ensure_with(&updater).artifact.path), "truetrue");
    assert!(updater.check().unwrap().is_fresh());
}

#[test]
fn an_included_configuration_counts_while_it_is_absent_too() {
    let world = World::single("fn main() { print!(\"{}\", cfg!(loud)); }\n");
    world
        .write(".cargo/config.toml", "include = [{ path = \"../extra.toml\", optional = true }]\n");
    assert_eq!(world.prints(), "false");
    world.write("extra.toml", "[build]\nrustflags = [\"--cfg\", \"loud\"]\n");
    world.assert_stale_then_prints(&["Appeared Config .cargo/../extra.toml"], "true");
}

#[test]
fn variables_that_only_begin_as_cargos_do_not_matter() {
    let mut world = World::single("fn main() {}\n");
    world.ensure();
    let names = "RUST_ENV CARGO_MAKE_TASK RUST_SRC_PATH RUSTY CARGO_LAMBDA_X RUSTC_LOG_COLOR \
                 CARGO_TARGET_X_RUNNER CARGO_BUILD_JOBS CARGO_BUILD_DEP_INFO_BASEDIR";
    for name in names.split_whitespace() {
        world.environment = world.environment.clone().set(name, "1");
        assert_eq!(world.stale(), Vec::<String>::new(), "{name}");
    }
    for name in ["CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "RUSTC_BOOTSTRAP"] {
        world.environment = world.environment.clone().set(name, "1");
        assert_eq!(world.stale(), [format!("Variable Environment {name}")]);
        world.environment = world.environment.clone().unset(name);
    }
}

#[test]
fn a_variable_set_by_configuration_is_the_same_when_cargo_run_sets_it() {
    let mut world = World::single("fn main() { print!(\"{}\", env!(\"FLAVOUR\")); }\n");
    world.write(".cargo/config.toml", "[env]\nFLAVOUR = \"lemon\"\n");
    assert_eq!(world.prints(), "lemon");
    // This is what the child of a `cargo run` sees.
    world.environment = world.environment.clone().set("FLAVOUR", "lemon");
    world.assert_fresh();
    world.environment = world.environment.clone().set("FLAVOUR", "plum");
    world.assert_stale_then_prints(&["Variable Environment FLAVOUR"], "plum");
}

#[test]
fn a_variable_and_a_profile_in_the_configuration_matter() {
    let world = World::single(
        "fn main() { print!(\"{} {}\", option_env!(\"FLAVOUR\").unwrap_or(\"none\"), cfg!(debug_assertions)); }\n",
    );
    let config = |text: &str| world.write(".cargo/config.toml", text);
    config("[env]\nFLAVOUR = \"lemon\"\n");
    assert_eq!(world.prints(), "lemon true");
    config("[env]\nFLAVOUR = \"plum\"\n");
    world.assert_stale_then_prints(
        &["Modified Config .cargo/config.toml", "Variable Environment FLAVOUR"],
        "plum true",
    );
    config("[env]\nFLAVOUR = \"plum\"\n[profile.dev]\ndebug-assertions = false\n");
    world.assert_stale_then_prints(&["Modified Config .cargo/config.toml"], "plum false");
}

#[test]
fn a_directory_for_what_is_built_on_the_way_changes_nothing() {
    let mut world = World::chain();
    world.write(".cargo/config.toml", "[build]\nbuild-dir = \"way\"\n");
    world.write("leaf/build.rs", "fn main() {}\n");
    world.write("leaf/data", "");
    let built = world.ensure().artifact;
    assert!(world.path("way/debug").is_dir() && !world.path("target/debug/deps").exists());
    assert_eq!(built.target_path, world.path("target/debug/app"));
    world.assert_fresh();
    world.write_with_old_mtime(
        "leaf/src/lib.rs",
        &world.read("leaf/src/lib.rs").replace("one", "two"),
    );
    world.assert_stale_then_prints(&["Modified Source leaf/src/lib.rs"], "two");
    world.remove("leaf/data");
    assert_eq!(world.stale(), ["Relisted BuildScript leaf", "Removed BuildScript leaf/data"]);
    assert_eq!(world.prints(), "two");
    // The damaged file is linked with the one that cargo would restore it from.
    let mut bytes = fs::read(world.path("target/debug/app")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(world.path("target/debug/app"), bytes).unwrap();
    world.assert_stale_then_prints(&["Modified Output target/debug/app"], "two");
    assert_eq!(printed(&world.path("target/debug/app")), "two");
    // Another one would have to be filled first, but what comes of it is the same.
    world.environment =
        world.environment.clone().set("CARGO_BUILD_BUILD_DIR", world.path("elsewhere"));
    world.assert_fresh();
    world.leaf_says("three");
    world.assert_stale_then_prints(&["Modified Source leaf/src/lib.rs"], "three");
}

#[test]
fn target_directories_are_found_by_variable_and_by_configuration() {
    let mut world = World::single("fn main() { print!(\"x\"); }\n");
    world.write(".cargo/config.toml", "[build]\ntarget-dir = \"built\"\n");
    let artifact = world.ensure().artifact;
    assert_eq!(artifact.target_path, world.path("built/debug/app"));
    assert_eq!(world.updater().target_path().unwrap(), artifact.target_path);
    assert!(artifact.path.starts_with(world.path("built/.auto-update/store")));
    let elsewhere = world.path("elsewhere");
    world.environment = world.environment.clone().set("CARGO_TARGET_DIR", &elsewhere);
    assert_eq!(world.stale(), ["NeverBuilt Output elsewhere/debug/app"]);
    assert_eq!(world.ensure().artifact.target_path, elsewhere.join("debug/app"));
    world.assert_fresh();
}

#[test]
fn profiles_features_and_targets_are_separate_binaries() {
    let world = World::single(
        "fn main() { print!(\"{}{}\", cfg!(debug_assertions), cfg!(feature = \"loud\")); }\n",
    );
    world.package("app", "[features]\nloud = []\n");
    assert_eq!(world.prints(), "truefalse");
    let release = world.updater().profile("release");
    assert!(release.needs_rebuild().unwrap());
    let artifact = world.ensure_with(&release).artifact;
    assert_eq!(printed(&artifact.path), "falsefalse");
    assert_eq!(artifact.target_path, world.path("target/release/app"));
    let loud = world.updater().features(["loud"]);
    assert_eq!(printed(&world.ensure_with(&loud).artifact.path), "truetrue");
    // The last build with features lies where cargo puts all; asking cargo puts that right.
    assert_eq!(world.prints(), "truefalse");
    assert!(release.check().unwrap().is_fresh());
    let host = String::from_utf8(
        std::process::Command::new("rustc")
            .args(["--print", "host-tuple"])
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    let native = world.updater().target(host.trim());
    let artifact = world.ensure_with(&native).artifact;
    assert_eq!(artifact.target_path, world.path(&format!("target/{}/debug/app", host.trim())));
    assert_eq!(artifact.target_path, native.target_path().unwrap());
    assert!(native.check().unwrap().is_fresh());
}

#[test]
fn a_file_that_chooses_the_toolchain_counts_when_it_appears() {
    let mut world = World::single("fn main() { print!(\"x\"); }\n");
    world.environment = world.environment.clone().unset("RUSTUP_TOOLCHAIN");
    world.ensure();
    let active = world.cargo(&["--version", "--verbose"]);
    assert!(!active.stdout.is_empty());
    world.write("rust-toolchain.toml", "[toolchain]\nchannel = \"nightly\"\n");
    assert_eq!(world.stale(), ["Appeared Toolchain rust-toolchain.toml"]);
    world.remove("rust-toolchain.toml");
    world.assert_fresh();
}

#[test]
fn the_toolchain_that_rustup_names_for_its_children_is_the_same_toolchain() {
    let mut world = World::single("fn main() { print!(\"x\"); }\n");
    world.environment = world.environment.clone().unset("RUSTUP_TOOLCHAIN");
    world.ensure();
    let mut command = std::process::Command::new("rustc");
    command.args(["--print", "sysroot"]).current_dir(world.root());
    command.env_clear().envs(world.environment.vars());
    let sysroot = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let name = std::path::Path::new(sysroot.trim()).file_name().unwrap().to_owned();
    world.environment = world.environment.clone().set("RUSTUP_TOOLCHAIN", name);
    world.assert_fresh();
    world.environment = world.environment.clone().set("RUSTUP_TOOLCHAIN", "other");
    assert_eq!(world.stale(), ["Variable Toolchain RUSTUP_TOOLCHAIN"]);
}

#[test]
fn a_compiler_that_comes_to_stand_before_the_other_counts() {
    let mut world = World::single("fn main() { print!(\"x\"); }\n");
    let front = world.path("front");
    fs::create_dir(&front).unwrap();
    let path = world.environment.get("PATH").unwrap().to_owned();
    let dirs = std::iter::once(front.clone()).chain(std::env::split_paths(&path));
    world.environment = world.environment.clone().set("PATH", std::env::join_paths(dirs).unwrap());
    world.ensure();
    world.assert_fresh();
    fs::write(front.join("rustc"), "#!/bin/sh\nexit 1\n").unwrap();
    assert_eq!(world.stale(), ["Appeared Toolchain front/rustc"]);
}

#[test]
fn another_home_of_cargo_brings_its_own_configuration() {
    let mut world = World::single("fn main() { print!(\"{}\", cfg!(loud)); }\n");
    let home = world.path("home");
    world.write("home/config.toml", "[build]\nrustflags = [\"--cfg\", \"loud\"]\n");
    assert_eq!(world.prints(), "false");
    let usual = world.environment.clone();
    world.environment = usual.clone().set("CARGO_HOME", &home);
    world.assert_stale_then_prints(&["Chosen Config home/config.toml"], "true");
    world.environment = usual;
    world.assert_fresh();
    assert_eq!(world.prints(), "false");
    // One that says nothing changes nothing.
    world.environment = world.environment.clone().set("CARGO_HOME", world.path("empty"));
    world.assert_fresh();
}
