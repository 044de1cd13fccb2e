use crate::world::{WORKSPACE, World};

/// Fails unless the change before is cargo's to judge, and cargo compiles nothing for it.
#[track_caller]
fn assert_asked_for_nothing(world: &World, reasons: &[&str], text: &str) {
    assert_eq!(world.stale(), reasons);
    let ensured = world.ensure();
    assert!(ensured.is_fresh(), "{:?}", ensured.events);
    assert_eq!(crate::world::printed(&ensured.artifact.path), text);
    world.assert_fresh();
}

#[test]
fn a_comment_in_a_manifest_asks_cargo_once_and_compiles_nothing() {
    let world = World::chain();
    world.ensure();
    world.write("leaf/Cargo.toml", &(world.read("leaf/Cargo.toml") + "# hello\n"));
    assert_asked_for_nothing(&world, &["Modified Manifest leaf/Cargo.toml"], "one");
}

#[test]
fn a_version_an_edition_and_a_feature_in_a_manifest_matter() {
    let world = World::chain();
    world.write("leaf/src/lib.rs", "pub fn text() -> String { concat!(env!(\"CARGO_PKG_VERSION\"), \" \").to_owned() + if cfg!(feature = \"loud\") { \"loud\" } else { \"soft\" } }\n");
    assert_eq!(world.prints(), "0.1.0 soft");
    world.package("leaf", "[features]\nloud = []\n");
    assert_eq!(world.prints(), "0.1.0 soft");
    world.replace("leaf/Cargo.toml", "0.1.0", "0.3.0");
    let stale = world.stale();
    assert_eq!(stale, ["Modified Manifest leaf/Cargo.toml"]);
    assert_eq!(world.prints(), "0.3.0 soft");
    world.replace("mid/Cargo.toml", "\"../leaf\"", "\"../leaf\", features = [\"loud\"]");
    world.assert_stale_then_prints(&["Modified Manifest mid/Cargo.toml"], "0.3.0 loud");
    world.replace("leaf/Cargo.toml", "2024", "2021");
    world.assert_stale_then_prints(&["Modified Manifest leaf/Cargo.toml"], "0.3.0 loud");
}

#[test]
fn what_is_inherited_from_the_workspace_matters() {
    let world = World::chain();
    world.write("Cargo.toml", &format!("{WORKSPACE}[workspace.package]\nversion = \"1.0.0\"\n"));
    world.replace("leaf/Cargo.toml", "version = \"0.1.0\"", "version.workspace = true");
    world.write(
        "leaf/src/lib.rs",
        "pub fn text() -> String { env!(\"CARGO_PKG_VERSION\").to_owned() }\n",
    );
    assert_eq!(world.prints(), "1.0.0");
    world.replace("Cargo.toml", "1.0.0", "2.0.0");
    world.assert_stale_then_prints(&["Modified Manifest Cargo.toml"], "2.0.0");
}

#[test]
fn a_profile_matters_if_it_is_the_one_that_is_used() {
    let world = World::chain();
    world.write(
        "leaf/src/lib.rs",
        "pub fn text() -> String { cfg!(debug_assertions).to_string() }\n",
    );
    assert_eq!(world.prints(), "true");
    world.write("Cargo.toml", &format!("{WORKSPACE}[profile.release]\nopt-level = 1\n"));
    assert_asked_for_nothing(&world, &["Modified Manifest Cargo.toml"], "true");
    world.write("Cargo.toml", &format!("{WORKSPACE}[profile.dev]\ndebug-assertions = false\n"));
    world.assert_stale_then_prints(&["Modified Manifest Cargo.toml"], "false");
}

#[test]
fn another_members_feature_does_not_reach_the_binary() {
    let world = World::chain();
    world.package("leaf", "[features]\nloud = []\n");
    world.package("other", "[dependencies]\nleaf = { path = \"../leaf\" }\n");
    world.write("other/src/lib.rs", "");
    world.write("Cargo.toml", &WORKSPACE.replace("\"leaf\"", "\"leaf\", \"other\""));
    assert_eq!(world.prints(), "one");
    world.replace("other/Cargo.toml", "\"../leaf\"", "\"../leaf\", features = [\"loud\"]");
    assert_asked_for_nothing(&world, &["Modified Manifest other/Cargo.toml"], "one");
}

#[test]
fn a_lock_file_that_is_touched_or_made_again_the_same_is_fresh() {
    let world = World::chain();
    world.ensure();
    world.touch("Cargo.lock");
    world.assert_fresh();
    let text = world.read("Cargo.lock");
    world.remove("Cargo.lock");
    assert_eq!(world.stale(), ["Removed Manifest Cargo.lock"]);
    world.write("Cargo.lock", &text);
    world.assert_fresh();
    world.remove("Cargo.lock");
    assert_asked_for_nothing(&world, &["Removed Manifest Cargo.lock"], "one");
}

#[test]
fn a_new_member_that_a_pattern_matches_asks_cargo_and_compiles_nothing() {
    let world = World::chain();
    for name in ["app", "mid", "leaf"] {
        std::fs::create_dir_all(world.path("crates")).unwrap();
        std::fs::rename(world.path(name), world.path(&format!("crates/{name}"))).unwrap();
    }
    world.write("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"3\"\n");
    let updater = auto_update::AutoUpdater::new("app", world.path("crates/app")).unwrap();
    let updater = updater.environment(world.environment.clone());
    world.ensure_with(&updater);
    world.package("crates/new", "");
    world.replace("crates/new/Cargo.toml", "crates/new", "new");
    world.write("crates/new/src/lib.rs", "");
    assert_eq!(world.stale_with(&updater), ["Relisted Manifest crates"]);
    assert!(world.ensure_with(&updater).is_fresh());
    assert_eq!(world.stale_with(&updater), Vec::<String>::new());
}

#[test]
fn a_library_that_appears_beside_the_binary_is_asked_about() {
    let world = World::chain();
    world.ensure();
    world.write("app/src/lib.rs", "pub const V: u8 = 1;\n");
    assert_eq!(world.stale(), ["Appeared Manifest app/src/lib.rs"]);
    assert_eq!(world.prints(), "one");
    world.assert_fresh();
    world.write("app/src/lib.rs", "pub const V: u8 = 2;\n");
    assert_eq!(world.stale(), ["Modified Source app/src/lib.rs"]);
}

#[test]
fn a_patch_of_a_registry_crate_matters_like_any_path_dependency() {
    let world = World::chain();
    world.package("fixed", "");
    world.replace("fixed/Cargo.toml", "name = \"fixed\"", "name = \"vendored\"");
    world.write("fixed/src/lib.rs", "pub const V: &str = \"patched\";\n");
    vendor(&world);
    world.package("app", "[dependencies]\nmid = { path = \"../mid\" }\nvendored = \"0.1\"\n");
    world.write("app/src/main.rs", "fn main() { print!(\"{} {}\", mid::text(), vendored::V); }\n");
    assert_eq!(world.prints(), "one original");
    world.write(
        "Cargo.toml",
        &format!("{WORKSPACE}[patch.crates-io]\nvendored = {{ path = \"fixed\" }}\n"),
    );
    assert_eq!(world.stale(), ["Modified Manifest Cargo.toml"]);
    assert_eq!(world.prints(), "one patched");
    world.write("fixed/src/lib.rs", "pub const V: &str = \"again\";\n");
    world.assert_stale_then_prints(&["Modified Source fixed/src/lib.rs"], "one again");
}

/// Puts a crate where a registry's would be, as `cargo vendor` does.
fn vendor(world: &World) {
    world.write(
        "vendor/vendored/Cargo.toml",
        "[package]\nname = \"vendored\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    world.write("vendor/vendored/src/lib.rs", "pub const V: &str = \"original\";\n");
    world.write("vendor/vendored/.cargo-checksum.json", "{\"files\":{}}");
    world.write(
        ".cargo/config.toml",
        "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"vendor\"\n",
    );
}

#[test]
fn a_vendored_crate_matters_by_its_files() {
    let world = World::chain();
    vendor(&world);
    world.package("app", "[dependencies]\nmid = { path = \"../mid\" }\nvendored = \"0.1\"\n");
    world.write("app/src/main.rs", "fn main() { print!(\"{} {}\", mid::text(), vendored::V); }\n");
    assert_eq!(world.prints(), "one original");
    world.write("vendor/vendored/src/lib.rs", "pub const V: &str = \"edited\";\n");
    assert_eq!(world.stale(), ["Modified Source vendor/vendored/src/lib.rs"]);
    assert_eq!(world.prints(), "one edited");
    world.assert_fresh();
}

#[test]
fn a_workspace_that_appears_above_a_lone_package_is_asked_about() {
    let world = World::empty();
    world.package("app", "");
    world.write("app/src/main.rs", "fn main() { print!(\"lone\"); }\n");
    assert_eq!(world.prints(), "lone");
    world.assert_fresh();
    world.write("Cargo.toml", "[workspace]\nmembers = [\"app\"]\nresolver = \"3\"\n");
    // The same updater, as a process that runs for days has it, and a new one.
    assert_eq!(world.stale(), ["NeverBuilt Output target/debug/app"]);
    assert_eq!(world.prints(), "lone");
}

#[test]
fn a_description_and_a_dependency_of_tests_matter_to_nothing_that_does_not_name_them() {
    let world = World::chain();
    world.ensure();
    world.replace("leaf/Cargo.toml", "edition", "description = \"a leaf\"\nedition");
    assert_asked_for_nothing(&world, &["Modified Manifest leaf/Cargo.toml"], "one");
    world.package("helper", "");
    world.write("helper/src/lib.rs", "");
    world.replace("Cargo.toml", "\"leaf\"", "\"leaf\", \"helper\"");
    assert_asked_for_nothing(&world, &["Modified Manifest Cargo.toml"], "one");
    world.package("leaf", "[dev-dependencies]\nhelper = { path = \"../helper\" }\n");
    assert_asked_for_nothing(&world, &["Modified Manifest leaf/Cargo.toml"], "one");
}

#[test]
fn a_description_that_the_code_names_matters() {
    let world = World::chain();
    world.write(
        "leaf/src/lib.rs",
        "pub fn text() -> String { env!(\"CARGO_PKG_DESCRIPTION\").to_owned() }\n",
    );
    assert_eq!(world.prints(), "");
    world.replace("leaf/Cargo.toml", "edition", "description = \"a leaf\"\nedition");
    world.assert_stale_then_prints(&["Modified Manifest leaf/Cargo.toml"], "a leaf");
}

#[test]
fn lints_are_cargos_to_judge_and_make_it_compile() {
    let world = World::chain();
    world.write(
        "leaf/src/lib.rs",
        "fn unused() {} pub fn text() -> String { \"one\".to_owned() }\n",
    );
    world.ensure();
    world.write(
        "leaf/Cargo.toml",
        &(world.read("leaf/Cargo.toml") + "[lints.rust]\nunused = \"allow\"\n"),
    );
    assert_eq!(world.stale(), ["Modified Manifest leaf/Cargo.toml"]);
    assert!(world.ensure().compiled());
    world.replace(
        "leaf/Cargo.toml",
        "[lints.rust]\nunused = \"allow\"",
        "[lints]\nworkspace = true",
    );
    let root = |level: &str| format!("{WORKSPACE}[workspace.lints.rust]\nunused = \"{level}\"\n");
    world.write("Cargo.toml", &root("warn"));
    world.ensure();
    world.assert_fresh();
    world.write("Cargo.toml", &root("deny"));
    assert_eq!(world.stale(), ["Modified Manifest Cargo.toml"]);
    let error = world.updater().ensure_built_with(|_| {}).unwrap_err();
    let auto_update::Error::BuildFailed { diagnostics, .. } = error else { panic!("{error}") };
    assert!(diagnostics.contains("function `unused` is never used"), "{diagnostics}");
}
