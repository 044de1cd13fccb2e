//! What a person's own cargo builds beside ours.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

use auto_update::{AutoUpdater, BuildEvent, Freshness};

use crate::world::{World, printed};

/// A workspace with a library, two binaries, a build script, a procedural macro and tests, all of
/// which use `leaf`. The binary `app` prints what `leaf` said to the compiler of each.
fn everything() -> World {
    let world = World::empty();
    world.write(
        "Cargo.toml",
        "[workspace]\nmembers = [\"app\", \"leaf\", \"macros\"]\nresolver = \"3\"\n[profile.slim]\ninherits = \"dev\"\n",
    );
    let leaf = "leaf = { path = \"../leaf\" }\n";
    let dependencies = format!(
        "[dependencies]\n{leaf}macros = {{ path = \"../macros\" }}\n[build-dependencies]\n{leaf}"
    );
    world.package("app", &dependencies);
    world.write("app/src/lib.rs", "pub fn all() -> String { format!(\"{} {} {}\", leaf::text(), macros::said!(), env!(\"MADE\")) }\n#[test] fn t() {}\n");
    world
        .write("app/src/main.rs", "fn main() { print!(\"{}\", app::all()); }\n#[test] fn t() {}\n");
    world.write("app/src/bin/other.rs", "fn main() { print!(\"{}\", app::all()); }\n");
    world.write("app/tests/it.rs", "#[test] fn t() { app::all(); }\n");
    world.write("app/data", "x");
    world.write(
        "app/build.rs",
        "fn main() {\nprintln!(\"cargo::rerun-if-changed=data\");\n\
         let out = std::path::PathBuf::from(std::env::var(\"OUT_DIR\").unwrap()).join(\"kept\");\n\
         let data = std::fs::read_to_string(\"data\").unwrap();\n\
         // As `make` would, if it compared times.\n\
         if !out.exists() { std::fs::write(&out, data).unwrap(); }\n\
         println!(\"cargo::rustc-env=MADE={}{}\", leaf::text(), std::fs::read_to_string(out).unwrap());\n}\n",
    );
    world.package("macros", &format!("[lib]\nproc-macro = true\n[dependencies]\n{leaf}"));
    world.write(
        "macros/src/lib.rs",
        "use proc_macro::TokenStream;\n#[proc_macro]\npub fn said(_: TokenStream) -> TokenStream { format!(\"{:?}\", leaf::text()).parse().unwrap() }\n#[test] fn t() {}\n",
    );
    world.package("leaf", "");
    world.leaf_says("one");
    world.write("leaf/tests/it.rs", "#[test] fn t() { leaf::text(); }\n");
    world
}

/// The programs below `dir`, apart from those whose names begin as `left_out` says, each with its
/// inode.
fn programs(dir: &Path, left_out: &[&str]) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, metadata) = (entry.path(), entry.metadata().unwrap());
        let name = entry.file_name().into_string().unwrap();
        if metadata.is_dir() {
            if name != ".auto-update" {
                found.extend(programs(&path, left_out));
            }
        } else if metadata.mode() & 0o111 != 0 && !left_out.iter().any(|own| name.starts_with(own))
        {
            found.insert(path, metadata.ino());
        }
    }
    found
}

/// Edits a library and what a build script reads under their old times, and fails unless the binary
/// is compiled anew and every program of a person's tests is what it was.
#[track_caller]
fn assert_tests_survive(world: &World, updater: &AutoUpdater, built: &str, options: &[&str]) {
    assert_eq!(printed(&world.ensure_with(updater).artifact.path), "one one onex");
    world.cargo(&[&["test", "-q", "--workspace", "--no-run"], options].concat());
    // What the binary itself is made from is compiled anew, and has no hash in its name.
    let replaced = ["libmacros", "build-script", "build_script"];
    let before = programs(&world.path(built), &replaced);
    let mut survivors = before.clone();
    let own = fs::canonicalize(updater.target_path().unwrap()).unwrap();
    let own = fs::metadata(own).unwrap().ino();
    survivors.retain(|_, inode| *inode != own);
    assert!(survivors.len() >= 5, "{survivors:?}");

    world.write_with_old_mtime("app/data", "y");
    assert_eq!(printed(&world.ensure_with(updater).artifact.path), "one one oney");
    let text = world.read("leaf/src/lib.rs");
    world.write_with_old_mtime("leaf/src/lib.rs", &text.replace("one", "two"));
    assert_eq!(printed(&world.ensure_with(updater).artifact.path), "two two twoy");
    world.write_with_old_mtime(
        "app/build.rs",
        &world.read("app/build.rs").replace("MADE={}{}", "MADE={}-{}"),
    );
    assert_eq!(printed(&world.ensure_with(updater).artifact.path), "two two two-y");
    world.write_with_old_mtime(
        "macros/src/lib.rs",
        &world.read("macros/src/lib.rs").replace("{:?}", "{:#?}"),
    );
    let last = world.ensure_with(updater);
    assert!(last.compiled(), "{:?}", last.events);
    assert!(updater.check().unwrap().is_fresh());
    let after = programs(&world.path(built), &replaced);
    for (path, inode) in &survivors {
        assert_eq!(after.get(path), Some(inode), "{}", path.display());
    }
}

#[test]
fn programs_of_tests_survive_where_cargo_is_made_to_look() {
    let world = everything();
    assert_tests_survive(&world, &world.updater(), "target", &[]);
}

#[test]
fn programs_of_tests_survive_beside_those_of_other_targets_and_profiles() {
    let world = everything();
    let version = std::process::Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let updater = world.updater().target(host).profile("slim");
    let options = ["--target", host, "--profile", "slim"];
    assert_tests_survive(&world, &updater, "target", &options);
}

#[test]
fn programs_of_tests_survive_in_a_directory_for_what_is_built_on_the_way() {
    let world = everything();
    world.write(".cargo/config.toml", "[build]\nbuild-dir = \"way\"\ntarget-dir = \"built\"\n");
    assert_tests_survive(&world, &world.updater(), "way", &[]);
}

#[test]
fn programs_of_tests_survive_in_the_new_layout() {
    let mut world = everything();
    world.environment = world.environment.clone().set("RUSTC_BOOTSTRAP", "1");
    world.write(".cargo/config.toml", "[unstable]\nbuild-dir-new-layout = true\n");
    assert_tests_survive(&world, &world.updater(), "target", &[]);
}

/// A cargo that brings back what it keeps of compilations, as if it kept that elsewhere.
fn cargo_that_remembers(world: &mut World, clean: &str) {
    let path = world.environment.get("PATH").unwrap().to_owned();
    let (kept, backup) = (world.path("target/debug/.fingerprint"), world.path("backup"));
    let script = format!(
        "#!/bin/sh\ncase $1 in\nbuild) [ -d {backup:?} ] && cp -a {backup:?}/. {kept:?}/ ;;\n\
         clean) {clean} ;;\nesac\nPATH={path:?} exec cargo \"$@\"\n"
    );
    world.program("bin/cargo", &script);
    let all = [world.path("bin")].into_iter().chain(std::env::split_paths(&path));
    world.environment = world.environment.clone().set("PATH", std::env::join_paths(all).unwrap());
    world.ensure();
    let copied =
        std::process::Command::new("cp").arg("-a").arg(kept).arg(&backup).status().unwrap();
    assert!(copied.success());
    let text = world.read("leaf/src/lib.rs").replace("one", "two");
    world.write_with_old_mtime("leaf/src/lib.rs", &text);
}

#[test]
fn where_cargo_keeps_it_elsewhere_cargo_cleans() {
    let mut world = World::chain();
    cargo_that_remembers(&mut world, ":");
    assert_eq!(world.prints(), "two");
    world.assert_fresh();
}

#[test]
fn where_cargo_cannot_be_made_to_compile_nothing_is_called_fresh() {
    let mut world = World::chain();
    cargo_that_remembers(&mut world, "exit 0");
    world.ensure();
    assert!(
        matches!(world.updater().check().unwrap(), Freshness::Unknown(_)),
        "{:?}",
        world.stale()
    );
}

#[test]
fn where_others_may_build_too_each_change_is_compiled_once() {
    let mut world = World::chain();
    let shared = tempfile::tempdir().unwrap();
    world.environment =
        world.environment.clone().set("CARGO_TARGET_DIR", shared.path().join("target"));
    world.package("side", "");
    world.write("side/src/lib.rs", "pub const V: u8 = 1;\n");
    world.replace("Cargo.toml", "\"leaf\"", "\"leaf\", \"side\"");
    world.package(
        "app",
        "[dependencies]\nmid = { path = \"../mid\" }\nside = { path = \"../side\" }\n",
    );
    world.write("app/src/main.rs", "fn main() { print!(\"{}{}\", mid::text(), side::V); }\n");
    assert_eq!(world.prints(), "one1");
    world.write_with_old_mtime("side/src/lib.rs", "pub const V: u8 = 2;\n");
    world.leaf_says("two");
    let built = world.ensure();
    assert_eq!(printed(&built.artifact.path), "two2");
    let compiled = |name: &str| {
        let line = format!("Compiling {name} ");
        let is_of =
            |event: &&BuildEvent| matches!(event, BuildEvent::Line(text) if text.contains(&line));
        built.events.iter().filter(is_of).count()
    };
    assert_eq!(["leaf", "side", "mid"].map(compiled), [1, 1, 1], "{:?}", built.events);
    world.assert_fresh();
}

#[test]
fn what_a_person_compiled_is_taken_over_whatever_came_into_the_folders() {
    let world = World::chain();
    world.write("leaf/tests/it.rs", "#[test] fn t() { leaf::text(); }\n");
    let kinds: [(&str, &[&str]); 3] = [
        ("two", &["build", "-q"]),
        ("three", &["test", "-q", "--workspace", "--no-run"]),
        ("four", &["test", "-q", "-p", "app", "-p", "mid", "-p", "leaf"]),
    ];
    for (n, (text, command)) in kinds.into_iter().enumerate() {
        world.ensure();
        world.leaf_says(text);
        world.cargo(command);
        world.cargo(&["build", "-q", "-p", "app"]);
        world.write(&format!("notes-{n}"), "");
        // As an editor does beside what it edits.
        world.write("leaf/src/.lib.rs.swp", "");
        world.remove("leaf/src/.lib.rs.swp");
        let taken = world.ensure();
        assert!(!taken.compiled(), "{command:?}: {:?}", taken.events);
        assert_eq!(printed(&taken.artifact.path), text);
        world.assert_fresh();
    }
}

#[test]
fn a_package_outside_that_a_person_compiled_is_taken_over() {
    let world = World::chain();
    let outside = tempfile::tempdir().unwrap();
    let source = |text: &str| {
        fs::create_dir_all(outside.path().join("deps/far/src")).unwrap();
        let text = format!("pub const V: &str = {text:?};\n");
        fs::write(outside.path().join("deps/far/src/lib.rs"), text).unwrap();
    };
    source("1");
    fs::write(
        outside.path().join("deps/far/Cargo.toml"),
        "[package]\nname = \"far\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    )
    .unwrap();
    world.package(
        "leaf",
        &format!("[dependencies]\nfar = {{ path = {:?} }}\n", outside.path().join("deps/far")),
    );
    world.write("leaf/src/lib.rs", "pub fn text() -> String { far::V.to_owned() }\n");
    world.ensure();
    source("2");
    world.cargo(&["build", "-q", "-p", "app"]);
    fs::write(outside.path().join("deps/notes"), "").unwrap();
    let taken = world.ensure();
    assert!(!taken.compiled(), "{:?}", taken.events);
    assert_eq!(printed(&taken.artifact.path), "2");
}

#[test]
fn a_folder_behind_a_link_that_was_another_one_for_a_build_by_hand_is_missed() {
    let world =
        World::single("mod m { include!(\"m/v.rs\"); } fn main() { print!(\"{}\", m::V); }\n");
    for n in ["1", "2"] {
        world.write(&format!("all/links/{n}/v.rs"), &format!("pub const V: u8 = {n};\n"));
    }
    symlink("../../all/links/1", world.path("app/src/m")).unwrap();
    assert_eq!(world.prints(), "1");
    let exchange = || {
        for (from, to) in [("1", "aside"), ("2", "1"), ("aside", "2")] {
            let path = |name: &str| world.path("all/links").join(name);
            fs::rename(path(from), path(to)).unwrap();
        }
    };
    exchange();
    world.touch("app/src/main.rs");
    world.cargo(&["build", "-q", "-p", "app"]);
    assert_eq!(printed(&world.path("target/debug/app")), "2");
    exchange();
    // These hide that they were moved.
    world.write("all/links/1/more", "");
    world.write("all/links/2/more", "");
    assert_eq!(world.prints(), "1");
    world.replace("app/src/main.rs", "{}", "<{}>");
    assert_eq!(world.prints(), "<1>");
}
