//! In each of these places `cargo live run` does what `cargo run` does there.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt as _, process::Output};

use crate::world::World;

/// Prints its name, its arguments and what cargo told it, and ends with the first argument's code.
const TELLS: &str = r#"
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    println!("{} {arguments:?}", env!("CARGO_BIN_NAME"));
    for (name, value) in std::env::vars() {
        let is_told = name.starts_with("CARGO_") || ["OUT_DIR", "FROM_SCRIPT", "WORD"].contains(&&*name);
        if is_told && !["CARGO_HOME", "CARGO_TARGET_DIR"].contains(&&*name) {
            println!("{name}={value}");
        }
    }
    let beside = std::env::current_exe().unwrap().with_file_name("deps").is_dir();
    println!("beside deps: {beside}, own: {}", cfg!(own));
    std::process::exit(arguments.first().and_then(|code| code.parse().ok()).unwrap_or(0));
}
"#;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn cargo(world: &World, folder: &str, arguments: &[&str]) -> Output {
    world.command("cargo", folder).arg("run").args(arguments).output().unwrap()
}

fn live(world: &World, folder: &str, arguments: &[&str]) -> Output {
    let mut all = vec!["run"];
    all.extend(arguments);
    world.live(folder, &all)
}

/// Runs it by both, ours first, and then by ours once more, for which there is nothing to build.
#[track_caller]
fn same(world: &World, folder: &str, arguments: &[&str]) {
    let ours = live(world, folder, arguments);
    let cargos = cargo(world, folder, arguments);
    assert_eq!(text(&ours.stdout), text(&cargos.stdout), "{}", text(&ours.stderr));
    assert_eq!(ours.status.code(), cargos.status.code(), "{}", text(&ours.stderr));
    assert!(!ours.stdout.is_empty(), "it did not run: {}", text(&ours.stderr));
    let again = live(world, folder, arguments);
    assert_eq!(text(&again.stdout), text(&cargos.stdout));
    assert_eq!(text(&again.stderr), "", "cargo was asked though nothing changed");
}

/// Both refuse, before anything runs.
#[track_caller]
fn both_refuse(world: &World, folder: &str, arguments: &[&str], words: &str) {
    let (ours, cargos) = (live(world, folder, arguments), cargo(world, folder, arguments));
    assert!(!cargos.status.success(), "{cargos:?}");
    assert_eq!((ours.status.success(), text(&ours.stdout).as_str()), (false, ""));
    assert!(text(&ours.stderr).contains(words), "{}", text(&ours.stderr));
}

fn workspace(rest: &str) -> World {
    let world = World::empty();
    world.write("Cargo.toml", &format!("[workspace]\nresolver = \"3\"\n{rest}"));
    world
}

fn package(world: &World, name: &str, rest: &str) {
    world.package(name, rest);
    world.write(&format!("{name}/src/main.rs"), TELLS);
}

/// A package that is in no workspace, in the folder `app`.
fn plain(rest: &str) -> World {
    let world = World::empty();
    package(&world, "app", rest);
    world
}

#[test]
fn a_package_without_a_workspace() {
    let world = plain("");
    same(&world, "app", &[]);
    same(&world, "app/src", &["--", "--flag"]);
}

#[test]
fn arguments_with_and_without_dashes() {
    let world = plain("");
    same(&world, "app", &["serve", "8080"]);
    same(&world, "app", &["serve", "--port", "80", "-q"]);
    same(&world, "app", &["--", "-q", "--release"]);
    same(&world, "app", &["7"]);
}

#[test]
fn the_root_of_a_virtual_workspace() {
    let world = workspace("members = [\"tools/*\", \"lib\"]\nexclude = [\"tools/old\"]\n");
    package(&world, "tools/one", "");
    world.write("tools/one/Cargo.toml", &world.read("tools/one/Cargo.toml").replace("tools/", ""));
    world.package("lib", "");
    world.write("lib/src/lib.rs", "");
    world.write("tools/old/src/main.rs", TELLS);
    world.write("tools/old/Cargo.toml", "[package]\nname = \"old\"\nedition = \"2024\"\n");
    same(&world, "", &[]);
    same(&world, "tools", &[]);
    same(&world, "", &["--bin", "one"]);
}

#[test]
fn default_members_and_default_run() {
    let world = workspace("members = [\"a\", \"b\"]\ndefault-members = [\"b\"]\n");
    package(&world, "a", "");
    package(&world, "b", "default-run = \"second\"\n");
    world.write("b/src/bin/second.rs", TELLS);
    world.write("b/src/bin/third/main.rs", TELLS);
    same(&world, "", &[]);
    same(&world, "a", &[]);
    same(&world, "b", &["--bin", "third"]);
    same(&world, "", &["-p", "a"]);
    same(&world, "a", &["-p", "b@0.1.0", "--bin", "b"]);
    both_refuse(&world, "", &["--bin", "a"], "no bin target named `a`");
    both_refuse(&world, "", &["-p", "c"], "did not match any packages");
}

#[test]
fn a_member_that_is_only_a_dependency_by_its_path() {
    let world = workspace("members = [\"a\"]\n");
    package(&world, "a", "[dependencies]\nb = { path = \"../b\" }\n");
    package(&world, "b", "");
    world.write("b/src/lib.rs", "");
    same(&world, "", &["-p", "b"]);
    both_refuse(&world, "", &[], "could not determine which binary to run");
}

#[test]
fn the_root_package_of_a_workspace_and_its_members() {
    let world = World::empty();
    let root = "[package]\nname = \"root\"\nversion = \"1.2.3-pre.1\"\nedition = \"2024\"\n\
                authors = [\"A\", \"B\"]\ndescription = \"says\"\n[workspace]\nmembers = [\"m\"]\n";
    world.write("Cargo.toml", root);
    world.write("src/main.rs", TELLS);
    package(&world, "m", "");
    same(&world, "", &[]);
    same(&world, "m", &[]);
    same(&world, "src", &[]);
    same(&world, "", &["--manifest-path", "m/Cargo.toml"]);
}

#[test]
fn a_binary_at_main_rs_under_another_name() {
    let world = plain("[[bin]]\nname = \"fd\"\npath = \"src/main.rs\"\n");
    same(&world, "app", &[]);
    both_refuse(&world, "app", &["--bin", "app"], "no bin target named `app`");
}

#[test]
fn binaries_that_are_not_looked_for() {
    let world = plain("autobins = false\n[[bin]]\nname = \"one\"\n");
    world.write("app/src/bin/one.rs", TELLS);
    world.write("app/src/bin/two.rs", TELLS);
    same(&world, "app", &[]);
    both_refuse(&world, "app", &["--bin", "two"], "no bin target named `two`");
}

#[test]
fn the_first_edition_looks_for_nothing_beside_what_is_listed() {
    let world = World::empty();
    world.write(
        "app/Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\n[[bin]]\nname = \"one\"\npath = \"one.rs\"\n",
    );
    world.write("app/one.rs", "fn main() { println!(\"one\"); }");
    world.write("app/src/main.rs", "fn main() { println!(\"main\"); }");
    same(&world, "app", &[]);
}

#[test]
fn examples() {
    let world = plain("");
    let example = TELLS.replace("env!(\"CARGO_BIN_NAME\")", "\"an example\"");
    world.write("app/examples/ex.rs", &example);
    world.write("app/examples/folder/main.rs", &example);
    same(&world, "app", &["--example", "ex"]);
    same(&world, "app", &["--example", "folder", "5"]);
    both_refuse(&world, "app", &["--example", "app"], "no example target named `app`");
}

#[test]
fn two_packages_with_a_binary_of_one_name() {
    let world = workspace("members = [\"a\", \"b\"]\n");
    for name in ["a", "b"] {
        package(&world, name, "[[bin]]\nname = \"same\"\npath = \"src/main.rs\"\n");
    }
    same(&world, "", &["-p", "a"]);
    same(&world, "", &["-p", "b"]);
    same(&world, "a", &["--bin", "same"]);
    both_refuse(&world, "", &["--bin", "same"], "could not determine which binary to run");
}

#[test]
fn two_packages_of_one_name() {
    let world = workspace("members = [\"app\"]\n");
    package(
        &world,
        "app",
        "[dependencies]\nother = { package = \"app\", path = \"../../other\" }\n",
    );
    world.write("app/src/lib.rs", "");
    let outside = World::empty();
    outside.write(
        "app/Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"2.0.0\"\nedition = \"2024\"\n",
    );
    outside.write("app/src/lib.rs", "");
    let manifest = world.read("app/Cargo.toml");
    let other = outside.path("app").display().to_string();
    world.write("app/Cargo.toml", &manifest.replace("../../other", &other));
    same(&world, "", &[]);
    same(&world, "app", &[]);
}

#[test]
fn the_configuration_of_a_member_s_folder() {
    let world = workspace("members = [\"app\", \"other\"]\n");
    package(&world, "app", "");
    package(&world, "other", "");
    world.write(
        "app/.cargo/config.toml",
        "[build]\nrustflags = [\"--cfg\", \"own\"]\ntarget-dir = \"made\"\n[env]\nWORD = \"own\"\n",
    );
    same(&world, "app", &[]);
    same(&world, "app", &["-p", "other"]);
    same(&world, "", &["-p", "app"]);
    same(&world, "app/src", &[]);
    assert!(world.path("app/made/debug/app").is_file());
}

#[test]
fn settings_and_target_directories_that_are_given() {
    let world = plain("");
    same(&world, "app", &["--config", "build.rustflags=['--cfg', 'own']"]);
    same(&world, "app", &["--config", "env.WORD='given'"]);
    world.write("app/given.toml", "[env]\nWORD = \"file\"\n");
    same(&world, "app", &["--config", "given.toml"]);
    same(&world, "app/src", &["--target-dir", "made"]);
    assert!(world.path("app/src/made/debug/app").is_file());
    same(&world, "app", &["--release"]);
    same(&world, "app", &[]);
}

#[test]
fn a_variable_with_a_relative_target_directory() {
    let world = plain("");
    let run = |mut command: std::process::Command| {
        command.env("CARGO_TARGET_DIR", "../made").output().unwrap()
    };
    let mut ours = world.command(env!("CARGO_BIN_EXE_cargo-live"), "app/src");
    ours.arg("run");
    let mut cargos = world.command("cargo", "app/src");
    cargos.arg("run");
    assert_eq!(text(&run(ours).stdout), text(&run(cargos).stdout));
    assert!(world.path("app/made/debug/app").is_file());
}

#[test]
fn what_a_build_script_sets() {
    let world = plain("");
    world.write(
        "app/build.rs",
        "fn main() { println!(\"cargo::rustc-env=FROM_SCRIPT=set\\ncargo::rerun-if-changed=build.rs\"); }",
    );
    same(&world, "app", &[]);
}

#[test]
fn the_runner_that_is_configured() {
    let world = plain("");
    world.write("app/runner.sh", "#!/bin/sh\necho by runner $1\nshift\nexec \"$@\"\n");
    let mut executable = std::process::Command::new("chmod");
    assert!(executable.arg("+x").arg(world.path("app/runner.sh")).status().unwrap().success());
    let runner = "runner = [\"./runner.sh\", \"first\"]\n";
    world.write("app/.cargo/config.toml", &format!("[target.'cfg(unix)']\n{runner}"));
    same(&world, "app", &["argument"]);
    world.write("app/.cargo/config.toml", &format!("[target.'cfg(windows)']\n{runner}"));
    same(&world, "app", &["argument"]);
}

#[test]
fn libraries_are_searched_where_cargo_has_them_searched() {
    let world = plain("");
    world.write(
        "app/src/main.rs",
        "fn main() { print!(\"{}\", std::env::var(\"LD_LIBRARY_PATH\").unwrap_or_default()); }",
    );
    let dirs = |output: Output| -> BTreeSet<String> {
        text(&output.stdout).split(':').filter(|dir| !dir.is_empty()).map(str::to_owned).collect()
    };
    let (ours, cargos) = (dirs(live(&world, "app", &[])), dirs(cargo(&world, "app", &[])));
    // Rustup adds a folder of its own before cargo is reached.
    assert!(ours.is_subset(&cargos), "{ours:?} {cargos:?}");
    assert!(ours.len() >= 3, "{ours:?}");
}

#[test]
fn the_end_of_the_program_is_the_end_of_ours() {
    let world = plain("");
    world.write("app/src/main.rs", "fn main() { println!(\"!\"); std::process::abort(); }");
    let ours = live(&world, "app", &[]);
    assert_eq!(ours.status.signal(), Some(6), "{ours:?}");
}

#[test]
fn a_build_that_fails_ends_with_cargo_s_code() {
    let world = plain("");
    world.write("app/src/main.rs", "fn main() { oops }");
    let (ours, cargos) = (live(&world, "app", &[]), cargo(&world, "app", &[]));
    assert_eq!(ours.status.code(), cargos.status.code());
    assert!(text(&ours.stderr).contains("src/main.rs:1:13"));
}

#[test]
fn manifests_that_are_none() {
    let world = plain("");
    both_refuse(&world, "app", &["--manifest-path", "src"], "must be a path to a Cargo.toml file");
    both_refuse(&world, "app", &["--manifest-path", "no/Cargo.toml"], "does not exist");
    both_refuse(&world, "", &[], "could not find `Cargo.toml`");
    world.write(
        "lib/Cargo.toml",
        "[package]\nname = \"lib\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    world.write("lib/src/lib.rs", "");
    both_refuse(&world, "lib", &[], "a bin target must be available");
}

#[test]
fn what_only_cargo_can_answer_is_cargo_s_to_answer() {
    let world = plain("");
    let built = world.live("app", &["build", "--message-format", "json"]);
    assert!(text(&built.stdout).contains("\"reason\":\"build-finished\""), "{built:?}");
}

#[test]
fn the_target_directory_is_marked_as_a_cache() {
    let world = plain("");
    live(&world, "app", &[]);
    let tag = world.read("app/target/CACHEDIR.TAG");
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55"), "{tag}");
}

#[test]
fn answers_as_json_say_their_version_and_whether_cargo_was_asked() {
    let world = plain("");
    let build = || -> serde_json::Value {
        let built = world.live("app", &["build", "--json", "-q"]);
        serde_json::from_slice(&built.stdout).unwrap()
    };
    let first = build();
    assert_eq!(
        (&first["version"], &first["compiled"], &first["asked_cargo"]),
        (&1.into(), &true.into(), &true.into())
    );
    let again = build();
    assert_eq!((&again["compiled"], &again["asked_cargo"]), (&false.into(), &false.into()));
    let refused = world.live("app", &["check", "--json", "--bin", "nope"]);
    let error: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(error["version"], 1);
    assert!(error["error"]["message"].as_str().unwrap().contains("no bin target named `nope`"));
}

#[test]
fn names_that_are_not_utf_8_are_no_obstacle() {
    use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _};
    let world = plain("");
    world.write("app/build.rs", "fn main() {}");
    let odd = world.path("app").join(OsStr::from_bytes(b"caf\xe9.txt"));
    fs::write(&odd, "a").unwrap();
    live(&world, "app", &[]);
    fs::write(&odd, "b").unwrap();
    for verb in ["check", "explain"] {
        let answer = world.live("app", &[verb, "--json"]);
        assert_eq!(answer.status.code(), Some(1), "{answer:?}");
        let json: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
        assert!(json.to_string().contains("caf\u{fffd}.txt"), "{json}");
    }
}
