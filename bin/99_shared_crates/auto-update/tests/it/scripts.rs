use crate::world::World;

/// A binary that prints what its build script, `body`, gives it as `MADE`.
fn scripted(body: &str) -> World {
    let world = World::single("fn main() { print!(\"{}\", env!(\"MADE\")); }\n");
    world.write("app/build.rs", &format!("use std::fs; fn main() {{ let made: String = {{ {body} }}; println!(\"cargo:rustc-env=MADE={{made}}\"); }}\n"));
    world
}

#[test]
fn a_watched_file_matters() {
    let world = scripted(
        "println!(\"cargo:rerun-if-changed=in.txt\"); fs::read_to_string(\"in.txt\").unwrap()",
    );
    world.write("app/in.txt", "a");
    world.write("app/unwatched.txt", "a");
    assert_eq!(world.prints(), "a");
    world.write("app/unwatched.txt", "b");
    world.assert_fresh();
    world.write("app/in.txt", "b");
    world.assert_stale_then_prints(&["Modified BuildScript app/in.txt"], "b");
    world.write_with_old_mtime("app/in.txt", "c");
    world.assert_stale_then_prints(&["Modified BuildScript app/in.txt"], "c");
}

#[test]
fn a_watched_file_with_an_old_mtime_beside_a_usual_edit_is_not_lost() {
    let world = scripted(
        "println!(\"cargo:rerun-if-changed=in.txt\"); fs::read_to_string(\"in.txt\").unwrap()",
    );
    world.write("app/in.txt", "a");
    assert_eq!(world.prints(), "a");
    world.write_with_old_mtime("app/in.txt", "b");
    world.replace("app/src/main.rs", "{}", "<{}>");
    world.assert_stale_then_prints(
        &["Modified BuildScript app/in.txt", "Modified Source app/src/main.rs"],
        "<b>",
    );
}

const COUNTS: &str = "fn count(dir: &str) -> usize { fs::read_dir(dir).unwrap().map(|e| { let e = e.unwrap(); if e.file_type().unwrap().is_dir() { count(e.path().to_str().unwrap()) } else { 1 } }).sum() } ";

#[test]
fn a_watched_folder_matters_with_everything_below_it() {
    let world = scripted(&format!(
        "{COUNTS} println!(\"cargo:rerun-if-changed=data\"); count(\"data\").to_string()"
    ));
    world.write("app/data/a", "");
    world.write("app/data/deep/b", "");
    assert_eq!(world.prints(), "2");
    world.write("app/data/deep/c", "");
    world.assert_stale_then_prints(&["Relisted BuildScript app/data/deep"], "3");
    world.remove("app/data/deep/b");
    let stale = world.stale();
    assert_eq!(
        stale,
        ["Relisted BuildScript app/data/deep", "Removed BuildScript app/data/deep/b"]
    );
    assert_eq!(world.prints(), "2");
    world.write("app/data/a", "other");
    assert_eq!(world.stale(), ["Modified BuildScript app/data/a"]);
}

#[test]
fn a_file_with_an_old_mtime_below_a_watched_folder_is_stale() {
    let world = scripted(
        "println!(\"cargo:rerun-if-changed=data\"); fs::read_to_string(\"data/deep/b\").unwrap()",
    );
    world.write("app/data/deep/b", "1");
    assert_eq!(world.prints(), "1");
    world.write_with_old_mtime("app/data/deep/b", "2");
    world.assert_stale_then_prints(&["Modified BuildScript app/data/deep/b"], "2");
}

#[test]
fn a_silent_script_watches_its_package() {
    let world = scripted(&format!("{COUNTS} count(\"data\").to_string()"));
    world.write("app/data/a", "");
    world.write("app/data/b", "");
    assert_eq!(world.prints(), "2");
    world.write("app/data/c", "");
    assert_eq!(world.stale(), ["Relisted BuildScript app/data"]);
    assert_eq!(world.prints(), "3");
    world.write("app/README.md", "cargo runs it for this too");
    assert_eq!(world.stale(), ["Relisted BuildScript app"]);
    assert_eq!(world.prints(), "3");
    world.assert_fresh();
}

#[test]
fn a_silent_script_runs_for_a_comment_and_for_a_test_as_it_does_under_cargo() {
    let world = scripted("\"x\".into()");
    world.write("app/tests/t.rs", "");
    assert_eq!(world.prints(), "x");
    world.write("app/Cargo.toml", &(world.read("app/Cargo.toml") + "# hello\n"));
    assert_eq!(world.stale(), ["Modified BuildScript app/Cargo.toml"]);
    assert!(world.ensure().compiled());
    world.write("app/tests/t.rs", "#[test] fn t() {}");
    world.assert_stale_then_prints(&["Modified BuildScript app/tests/t.rs"], "x");
}

#[test]
fn a_file_removed_under_a_silent_script_is_stale_and_cargo_is_made_to_look() {
    let world = scripted(&format!("{COUNTS} count(\"data\").to_string()"));
    world.write("app/data/a", "");
    world.write("app/data/b", "");
    assert_eq!(world.prints(), "2");
    world.remove("app/data/b");
    // Cargo looks for the newest file of the package: by itself it would run nothing.
    let output = world.cargo(&["build", "-p", "app"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("Compiling"));
    world.assert_stale_then_prints(
        &["Relisted BuildScript app/data", "Removed BuildScript app/data/b"],
        "1",
    );
}

#[test]
fn a_file_that_came_and_went_around_a_build_by_hand_leaves_nothing_behind() {
    let world = scripted(&format!("{COUNTS} count(\"data\").to_string()"));
    world.write("app/data/a", "");
    assert_eq!(world.prints(), "1");
    world.write("app/data/b", "");
    // Cargo asks only for the newest.
    world.touch("app/data/a");
    world.cargo(&["build", "-q", "-p", "app"]);
    world.remove("app/data/b");
    // All is as it was when it was built last, but for what cargo has built since.
    world.assert_stale_then_prints(&["Modified Output target/debug/app"], "1");
    world.replace("app/src/main.rs", "{}", "<{}>");
    assert_eq!(world.prints(), "<1>");
}

#[test]
fn a_watched_file_that_was_another_one_for_a_build_by_hand_leaves_nothing_behind() {
    let world = scripted(
        "println!(\"cargo:rerun-if-changed=data\"); fs::read_to_string(\"data/a\").unwrap()",
    );
    world.write("app/data/a", "1");
    assert_eq!(world.prints(), "1");
    world.write("app/data/a", "2");
    world.cargo(&["build", "-q", "-p", "app"]);
    world.write_with_old_mtime("app/data/a", "1");
    world.assert_stale_then_prints(&["Modified Output target/debug/app"], "1");
    world.replace("app/src/main.rs", "{}", "<{}>");
    assert_eq!(world.prints(), "<1>");
}

#[test]
fn a_file_removed_under_other_flags_is_missed_without_them() {
    let mut world = scripted(&format!("{COUNTS} count(\"data\").to_string()"));
    world.write("app/data/b", "");
    world.write("app/data/a", "");
    // By hand, so that no receipt knows what it was made from.
    world.cargo(&["build", "-q", "-p", "app"]);
    world.remove("app/data/b");
    let plain = world.environment.clone();
    world.environment = plain.clone().set("RUSTFLAGS", "--cfg loud");
    assert_eq!(world.prints(), "1");
    world.environment = plain;
    assert_eq!(world.prints(), "1");
    world.assert_fresh();
}

#[test]
fn a_file_with_an_old_mtime_added_under_a_silent_script_is_stale() {
    let world = scripted(&format!("{COUNTS} count(\"data\").to_string()"));
    world.write("app/data/a", "");
    world.write("spare", "");
    assert_eq!(world.prints(), "1");
    std::fs::rename(world.path("spare"), world.path("app/data/b")).unwrap();
    world.assert_stale_then_prints(&["Relisted BuildScript app/data"], "2");
}

#[test]
fn a_watched_variable_matters_whether_it_is_set_or_not() {
    let mut world = scripted(
        "println!(\"cargo::rerun-if-env-changed=FLAVOUR\"); std::env::var(\"FLAVOUR\").unwrap_or(\"none\".into())",
    );
    assert_eq!(world.prints(), "none");
    world.environment = world.environment.clone().set("UNRELATED", "1");
    world.assert_fresh();
    world.environment = world.environment.clone().set("FLAVOUR", "lemon");
    world.assert_stale_then_prints(&["Variable Environment FLAVOUR"], "lemon");
    world.environment = world.environment.clone().set("FLAVOUR", "plum");
    world.assert_stale_then_prints(&["Variable Environment FLAVOUR"], "plum");
    // Both earlier builds are known.
    world.environment = world.environment.clone().unset("FLAVOUR");
    world.assert_fresh();
    assert_eq!(world.prints(), "none");
}

#[test]
fn a_script_that_watches_what_does_not_exist_runs_every_time() {
    let world = scripted("println!(\"cargo:rerun-if-changed=nothing\"); \"x\".into()");
    assert_eq!(world.prints(), "x");
    let stale = world.stale();
    assert!(stale[0].starts_with("Unknown:") && stale[0].contains("runs every time"), "{stale:?}");
    assert!(world.ensure().compiled());
}

#[test]
fn a_generated_file_that_is_edited_is_stale() {
    let world = World::single(
        "fn main() { print!(\"{}\", include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"))); }\n",
    );
    world.write("app/build.rs", "fn main() { println!(\"cargo:rerun-if-changed=build.rs\"); std::fs::write(std::env::var(\"OUT_DIR\").unwrap() + \"/made.rs\", \"1\").unwrap(); }\n");
    assert_eq!(world.prints(), "1");
    world.assert_fresh();
    let made = find(&world.path("target/debug/build"), "made.rs").unwrap();
    std::fs::write(&made, "2").unwrap();
    let stale = world.stale();
    assert!(stale.len() == 1 && stale[0].starts_with("Modified Generated target/"), "{stale:?}");
    assert_eq!(world.prints(), "2");
    world.assert_fresh();
}

#[test]
fn a_build_dependency_of_a_script_matters() {
    let world = scripted("helper::V.to_string()");
    world.write("Cargo.toml", "[workspace]\nmembers = [\"app\", \"helper\"]\nresolver = \"3\"\n");
    world.package("app", "[build-dependencies]\nhelper = { path = \"../helper\" }\n");
    world.package("helper", "");
    world.write("helper/src/lib.rs", "pub const V: u8 = 1;\n");
    assert_eq!(world.prints(), "1");
    world.write("helper/src/lib.rs", "pub const V: u8 = 2;\n");
    world.assert_stale_then_prints(&["Modified Source helper/src/lib.rs"], "2");
}

#[test]
fn a_build_script_that_appears_is_stale() {
    let world =
        World::single("fn main() { print!(\"{}\", option_env!(\"MADE\").unwrap_or(\"none\")); }\n");
    assert_eq!(world.prints(), "none");
    world.write("app/build.rs", "fn main() { println!(\"cargo:rustc-env=MADE=some\"); }\n");
    world.assert_stale_then_prints(&["Appeared Manifest app/build.rs"], "some");
    world.remove("app/build.rs");
    let stale = world.stale();
    assert_eq!(stale, Vec::<String>::new(), "the earlier build from these inputs is known");
    assert_eq!(world.prints(), "none");
}

fn find(dir: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_name() == name {
            return Some(entry.path());
        }
        if entry.file_type().unwrap().is_dir()
            && let Some(found) = find(&entry.path(), name)
        {
            return Some(found);
        }
    }
    None
}

#[test]
fn instructions_that_are_indented_count() {
    let mut world = scripted(
        r#"println!("\n    cargo:rerun-if-changed=in.txt  \n\tcargo::rerun-if-env-changed=SPICE\r\n"); fs::read_to_string("in.txt").unwrap()"#,
    );
    world.write("app/in.txt", "a");
    assert_eq!(world.prints(), "a");
    world.assert_fresh();
    world.write("app/in.txt", "b");
    world.assert_stale_then_prints(&["Modified BuildScript app/in.txt"], "b");
    world.environment = world.environment.clone().set("SPICE", "1");
    assert_eq!(world.stale(), ["Variable Environment SPICE"]);
}
