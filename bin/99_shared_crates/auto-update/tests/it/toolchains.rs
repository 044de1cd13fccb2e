use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::world::{World, printed};

/// A workspace whose binary says whether the second compiler made it.
fn telling() -> World {
    let world = World::single("fn main() { print!(\"{}\", cfg!(second)); }\n");
    world.another_compiler("second/rustc");
    world
}

#[test]
fn a_compiler_named_by_a_variable_counts_and_both_builds_are_kept() {
    let mut world = telling();
    let first = world.environment.clone();
    assert_eq!(world.prints(), "false");
    world.environment = first.clone().set("RUSTC", world.path("second/rustc"));
    world.assert_stale_then_prints(&["Variable Environment RUSTC"], "true");
    world.environment = first;
    let back = world.ensure();
    assert!(back.is_fresh(), "{:?}", back.events);
    assert_eq!(printed(&back.artifact.path), "false");
}

#[test]
fn a_compiler_named_by_configuration_counts() {
    let world = telling();
    assert_eq!(world.prints(), "false");
    world.write(".cargo/config.toml", "[build]\nrustc = \"second/rustc\"\n");
    world.assert_stale_then_prints(&["Appeared Config .cargo/config.toml"], "true");
    world.remove(".cargo/config.toml");
    assert_eq!(world.prints(), "false");
}

#[test]
fn a_compiler_that_another_takes_the_place_of_counts() {
    let mut world = telling();
    world.program("used/rustc", "#!/bin/sh\nexec rustc \"$@\"\n");
    world.environment = world.environment.clone().set("RUSTC", world.path("used/rustc"));
    assert_eq!(world.prints(), "false");
    world.assert_fresh();
    fs::rename(world.path("second/rustc"), world.path("used/rustc")).unwrap();
    world.assert_stale_then_prints(&["Modified Toolchain used/rustc"], "true");
}

#[test]
fn a_wrapper_of_the_compiler_counts() {
    let mut world = telling();
    assert_eq!(world.prints(), "false");
    let wrapper = "#!/bin/sh\nshift\nexec \"${0%/*}/rustc\" \"$@\"\n";
    world.program("second/wrapper", wrapper);
    world.environment =
        world.environment.clone().set("RUSTC_WRAPPER", world.path("second/wrapper"));
    world.assert_stale_then_prints(&["Variable Environment RUSTC_WRAPPER"], "true");
    world.program("second/wrapper", &wrapper.replace("shift\n", "shift # the first is rustc\n"));
    assert_eq!(world.stale(), ["Modified Toolchain second/wrapper"]);
    assert_eq!(world.prints(), "true");
    world.assert_fresh();
}

#[test]
fn what_one_compiler_saw_is_not_what_another_saw() {
    let mut world = telling();
    world.write("app/src/main.rs", "mod m; fn main() { print!(\"{}{}\", m::V, cfg!(second)); }\n");
    world.write("app/src/m/mod.rs", "pub const V: u8 = 1;\n");
    world.write("app/src/other/mod.rs", "pub const V: u8 = 2;\n");
    let first = world.environment.clone();
    assert_eq!(world.prints(), "1false");
    world.environment = first.clone().set("RUSTC", world.path("second/rustc"));
    exchange(&world.path("app/src/m"), &world.path("app/src/other"));
    assert_eq!(world.prints(), "2true");
    // The last build, by the other compiler, was made from what is there now; this one's was not.
    world.environment = first;
    assert_eq!(world.stale(), ["Variable Environment RUSTC"]);
    assert_eq!(world.prints(), "2false");
    world.assert_fresh();
}

#[test]
fn what_was_built_by_hand_under_other_flags_is_not_believed_after_folders_changed_places() {
    let mut world = World::single("mod m; fn main() { print!(\"{}{}\", m::V, cfg!(loud)); }\n");
    world.write("app/src/m/mod.rs", "pub const V: u8 = 1;\n");
    world.write("app/src/other/mod.rs", "pub const V: u8 = 2;\n");
    let (plain, loud) =
        (world.environment.clone(), world.environment.clone().set("RUSTFLAGS", "--cfg loud"));
    world.environment = loud.clone();
    world.cargo(&["build", "-q", "-p", "app"]);
    exchange(&world.path("app/src/m"), &world.path("app/src/other"));
    world.environment = plain;
    assert_eq!(world.prints(), "2false");
    world.environment = loud;
    assert_eq!(world.prints(), "2true");
    world.assert_fresh();
}

fn exchange(a: &Path, b: &Path) {
    let aside = a.with_extension("aside");
    fs::rename(a, &aside).unwrap();
    fs::rename(b, a).unwrap();
    fs::rename(&aside, b).unwrap();
}

/// A workspace under a rustup of its own, with the toolchains `one` and `two`.
fn with_rustup() -> World {
    let mut world = telling();
    let sysroot = world.run("rustc", &["--print", "sysroot"]);
    let sysroot = PathBuf::from(sysroot.trim());
    for name in ["one", "two", "three"] {
        toolchain(&world, &sysroot, name);
    }
    let before = world.environment.clone().unset("RUSTUP_TOOLCHAIN");
    world.environment = before.set("RUSTUP_HOME", world.path("rustup"));
    for name in ["one", "two"] {
        world.run("rustup", &["toolchain", "link", name, &dir_of(&world, name)]);
    }
    world.run("rustup", &["default", "one"]);
    world
}

fn dir_of(world: &World, toolchain: &str) -> String {
    world.path("installed").join(toolchain).to_str().unwrap().to_owned()
}

/// A toolchain that says what it is, and compiles with a `cfg` of its name.
fn toolchain(world: &World, sysroot: &Path, name: &str) {
    let dir = world.path("installed").join(name);
    let real = sysroot.join("bin/rustc");
    let rustc = format!(
        "#!/bin/sh\ncase \" $* \" in\n*' -vV '*) {real:?} \"$@\" | sed 's/^commit-hash: .*/commit-hash: {name}/' ;;\n\
         *) exec {real:?} --sysroot {dir:?} --cfg {name} \"$@\" ;;\nesac\n"
    );
    world.program(&format!("installed/{name}/bin/rustc"), &rustc);
    symlink(sysroot.join("bin/cargo"), dir.join("bin/cargo")).unwrap();
    symlink(sysroot.join("lib"), dir.join("lib")).unwrap();
}

const TELLS_TOOLCHAIN: &str = "fn main() { print!(\"{}\", if cfg!(one) { 1 } else if cfg!(two) { 2 } else if cfg!(three) { 3 } else { 0 }); }\n";

#[test]
fn every_way_of_choosing_a_toolchain_counts() {
    let mut world = with_rustup();
    world.write("app/src/main.rs", TELLS_TOOLCHAIN);
    assert_eq!(world.prints(), "1");
    world.assert_fresh();

    world.write("rust-toolchain.toml", "[toolchain]\nchannel = \"two\"\n");
    world.assert_stale_then_prints(&["Appeared Toolchain rust-toolchain.toml"], "2");
    world.write("rust-toolchain.toml", "[toolchain]\nchannel = \"one\"\n");
    assert_eq!(world.prints(), "1");
    world.write("rust-toolchain", "two\n");
    assert_eq!(world.prints(), "2");
    world.remove("rust-toolchain");
    world.remove("rust-toolchain.toml");
    assert_eq!(world.prints(), "1");

    world.run("rustup", &["default", "two"]);
    world.assert_stale_then_prints(&["Modified Toolchain rustup/settings.toml"], "2");
    world.run("rustup", &["override", "set", "one"]);
    world.assert_stale_then_prints(&["Modified Toolchain rustup/settings.toml"], "1");

    world.environment = world.environment.clone().set("RUSTUP_TOOLCHAIN", "two");
    world.assert_stale_then_prints(&["Variable Toolchain RUSTUP_TOOLCHAIN"], "2");
    assert_eq!(world.truth(), "2");
}

#[test]
fn a_toolchain_of_the_same_name_in_another_place_counts() {
    let world = with_rustup();
    world.write("app/src/main.rs", TELLS_TOOLCHAIN);
    assert_eq!(world.prints(), "1");
    world.run("rustup", &["toolchain", "link", "one", &dir_of(&world, "three")]);
    assert_eq!(world.truth(), "3");
    world.assert_stale_then_prints(&["Modified Toolchain rustup/toolchains/one"], "3");
}

#[test]
fn a_toolchain_that_was_updated_counts() {
    let world = with_rustup();
    world.write("app/src/main.rs", TELLS_TOOLCHAIN);
    assert_eq!(world.prints(), "1");
    fs::rename(world.path("installed/three/bin/rustc"), world.path("installed/one/bin/rustc"))
        .unwrap();
    assert_eq!(world.truth(), "3");
    world.assert_stale_then_prints(&["Modified Toolchain installed/one/bin/rustc"], "3");
}

impl World {
    /// What a program prints in the workspace, under its environment.
    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.root());
        let output = command.env_clear().envs(self.environment.vars()).output();
        let output = output.unwrap_or_else(|error| panic!("`{program}` is needed: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn a_search_path_that_leads_to_another_compiler_counts_and_both_builds_are_kept() {
    let mut world = telling();
    let usual = world.environment.get("PATH").unwrap().to_owned();
    world.another_compiler("second/rustc");
    let real = std::process::Command::new("rustup").args(["which", "rustc"]).output().unwrap();
    let real = String::from_utf8(real.stdout).unwrap();
    let script =
        world.read("second/rustc").replace("rustc \"$@\"", &format!("{} \"$@\"", real.trim()));
    let script = script.replace("rustc --cfg", &format!("{} --cfg", real.trim()));
    world.program("second/rustc", &script);
    let first = world.prints();
    let mut other = world.path("second").into_os_string();
    other.push(":");
    other.push(&usual);
    world.environment = world.environment.clone().set("PATH", other);
    assert_eq!(world.stale(), ["Chosen Toolchain second/rustc"]);
    let second = world.prints();
    assert_ne!(first, second);
    world.assert_fresh();
    world.environment = world.environment.clone().set("PATH", &usual);
    world.assert_fresh();
    assert_eq!(world.prints(), first);
    // The same programs by another way.
    let mut longer = usual.clone();
    longer.push(":/nowhere");
    world.environment = world.environment.clone().set("PATH", longer);
    world.assert_fresh();
}
