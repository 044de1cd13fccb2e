use std::{fs, os::unix::fs::MetadataExt as _};

use crate::world::{Ended, World};

/// A machine that has all but what the test takes away.
fn machine() -> World {
    let world = World::new();
    let headers = world.root().with_file_name("headers");
    fs::create_dir_all(&headers).unwrap();
    fs::write(headers.join("stddef.h"), "").unwrap();
    world.program(
        "cc",
        &format!(
            "case $1 in --version) echo 'gcc 12.2.0' ;; *) echo '{}' ;; esac",
            headers.display()
        ),
    );
    world.program("c++", "echo 'g++ 12.2.0'");
    world.program("make", "echo 'GNU Make 4.3'");
    // Installs what it is asked for: programs as scripts, libclang as any library-like file.
    world.program(
        "python3",
        r#"
case "$*" in
    "-m pip --version") echo 'pip 23.0.1' ;;
    "-m pip install "*)
        while [ "$1" != --target ]; do shift; done
        to=$2
        case "$*" in *cmake*)
            mkdir -p "$to/cmake/data/bin"
            printf '#!/bin/sh\necho "cmake version 4.4.4"\n' > "$to/cmake/data/bin/cmake"
            chmod +x "$to/cmake/data/bin/cmake"
        esac
        case "$*" in *ninja*)
            mkdir -p "$to/bin"
            printf '#!/bin/sh\necho 1.13.0\n' > "$to/bin/ninja"
            chmod +x "$to/bin/ninja"
        esac
        case "$*" in *libclang*)
            mkdir -p "$to/clang/native"
            cp "$(command -v sleep)" "$to/clang/native/libclang.so"
        esac ;;
    *) exit 1 ;;
esac"#,
    );
    world
}

#[test]
fn what_the_system_lacks_is_installed_and_cargo_is_told() {
    let world = machine();
    setup(&world).with(0).says("not here yet: cmake").says("cmake 4.4.4");
    let config = config(&world);
    let cmake = world.root().join(".tools/py/cmake/data/bin/cmake");
    assert_eq!(config["CMAKE"].as_str(), cmake.to_str());
    assert!(config.contains_key("LIBCLANG_PATH"), "{config}");
    assert!(!config.contains_key("CMAKE_GENERATOR"), "{config}");
}

#[test]
fn a_second_setup_installs_and_writes_nothing() {
    let world = machine();
    setup(&world).with(0);
    let path = world.root().join(".tools/config.toml");
    let (before, calls) = (fs::metadata(&path).unwrap(), pip_installs(&world));
    setup(&world).with(0);
    let after = fs::metadata(&path).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    assert_eq!(pip_installs(&world), calls);
}

#[test]
fn a_cmake_of_the_systems_is_used_unless_it_is_too_old() {
    let world = machine();
    world.program("cmake", "echo 'cmake version 3.5.1'");
    setup(&world).with(0);
    assert!(config(&world).contains_key("CMAKE"));

    let world = machine();
    world.program("cmake", "echo 'cmake version 3.25.1'");
    setup(&world).with(0);
    assert!(!config(&world).contains_key("CMAKE"));
}

#[test]
fn what_was_installed_is_kept_when_the_system_gets_the_same() {
    let world = machine();
    setup(&world).with(0);
    let before = world.read(".tools/config.toml");
    world.program("cmake", "echo 'cmake version 4.9.0'");
    setup(&world).with(0);
    assert_eq!(world.read(".tools/config.toml"), before);
}

#[test]
fn ninja_takes_the_place_of_a_missing_make() {
    let world = machine();
    world.remove_program("make");
    setup(&world).with(0);
    let config = config(&world);
    assert_eq!(config["CMAKE_GENERATOR"].as_str(), Some("Ninja"));
    let ninja = world.root().join(".tools/py/bin/ninja");
    assert_eq!(config["CMAKE_MAKE_PROGRAM"].as_str(), ninja.to_str());
}

#[test]
fn without_pip_the_package_manager_is_asked() {
    let world = machine();
    has_libclang(&world);
    world.program("python3", "exit 1");
    // As root it is called directly, else through sudo.
    world.program("sudo", "[ \"$1\" = -n ] && shift; exec \"$@\"");
    let path = world.root().with_file_name("path");
    world.program(
        "apt-get",
        &format!(
            "case $1 in install) printf '#!/bin/sh\\necho cmake version 3.25.1\\n' > {0}/cmake; \
             chmod +x {0}/cmake ;; esac",
            path.display()
        ),
    );
    setup(&world).with(0).says("installing cmake with apt-get").says("cmake 3.25.1");
    let calls = world.calls();
    let install = calls.iter().find(|call| call.starts_with("apt-get install -y")).unwrap();
    assert!(install.contains("cmake"), "{install}");
}

#[test]
fn what_cannot_be_got_is_named_with_the_command_that_gets_it() {
    let world = machine();
    has_libclang(&world);
    world.program("python3", "exit 1");
    world.remove_program("c++");
    world.program("sudo", "exit 1");
    // It knows itself but installs nothing.
    world.program("dnf", "[ \"$1\" = --version ]");
    let ended = setup(&world).with(1).says("missing: a C++ compiler (`c++`), cmake");
    assert!(ended.stderr.contains("dnf install -y cmake"), "{}", ended.stderr);
    assert!(ended.stderr.contains("gcc-c++"), "{}", ended.stderr);
    assert!(!world.root().join(".tools/config.toml").exists());
}

#[test]
fn checking_changes_nothing_and_fails_until_setup_has_run() {
    let world = machine();
    world.xtask(&["setup", "--check"]).with(1).says("missing: cmake");
    assert!(!world.root().join(".tools").exists());
    setup(&world).with(0);
    world.xtask(&["setup", "--check"]).with(0).says("cmake 4.4.4");
    fs::remove_file(world.root().join(".tools/config.toml")).unwrap();
    world.xtask(&["setup", "--check"]).with(1).says("cargo was not told");
}

#[test]
fn simultaneous_setups_install_once() {
    let world = machine();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| setup(&world).with(0));
        }
    });
    assert_eq!(pip_installs(&world), 1);
}

/// As an earlier setup left it, since tests cannot take the system's away.
fn has_libclang(world: &World) {
    let folder = world.root().join(".tools/py/clang/native");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_xtask"), folder.join("libclang.so")).unwrap();
}

fn setup(world: &World) -> Ended {
    world.xtask(&["setup"])
}

fn config(world: &World) -> toml::Table {
    let config: toml::Table = world.read(".tools/config.toml").parse().unwrap();
    config["env"].as_table().unwrap().clone()
}

fn pip_installs(world: &World) -> usize {
    world.calls().iter().filter(|call| call.starts_with("python3 -m pip install")).count()
}
