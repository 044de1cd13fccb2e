use std::os::unix::fs::symlink;

use crate::world::World;

#[test]
fn what_was_never_built_is_stale_and_says_so() {
    let world = World::chain();
    assert_eq!(world.stale(), ["NeverBuilt Output target/debug/app"]);
    assert!(world.updater().needs_rebuild().unwrap());
    assert_eq!(world.prints(), "one");
    world.assert_fresh();
    assert!(world.ensure().is_fresh());
}

#[test]
fn an_edit_of_a_transitive_dependency_is_stale_through_the_crates_between() {
    let world = World::chain();
    world.ensure();
    world.leaf_says("two");
    let auto_update::Freshness::Stale(reasons) = world.updater().check().unwrap() else {
        panic!("an edit went unnoticed");
    };
    assert_eq!(reasons[0].via, ["leaf", "mid", "app"]);
    let sentence = reasons[0].to_string();
    assert!(
        sentence.ends_with("leaf/src/lib.rs` changed (in leaf, used by mid, used by app)"),
        "{sentence}"
    );
    world.assert_stale_then_prints(&["Modified Source leaf/src/lib.rs"], "two");
}

#[test]
fn a_touched_file_is_fresh_and_its_new_state_is_kept() {
    let world = World::chain();
    let built = world.ensure();
    world.touch("leaf/src/lib.rs");
    world.assert_fresh();
    let again = world.ensure();
    assert!(again.is_fresh());
    assert_eq!(again.artifact, built.artifact);
}

#[test]
fn content_under_an_old_mtime_is_stale_and_cargo_is_made_to_look() {
    let world = World::chain();
    world.ensure();
    world.write_with_old_mtime(
        "leaf/src/lib.rs",
        &world.read("leaf/src/lib.rs").replace("one", "two"),
    );
    // Cargo believes the mtime: by itself it would build nothing.
    let output = world.cargo(&["build", "-p", "app"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("Compiling"));
    world.assert_stale_then_prints(&["Modified Source leaf/src/lib.rs"], "two");
}

#[test]
fn an_old_mtime_beside_a_usual_edit_is_not_lost() {
    let world = World::chain();
    world.ensure();
    world.write_with_old_mtime(
        "leaf/src/lib.rs",
        &world.read("leaf/src/lib.rs").replace("one", "two"),
    );
    world.replace("app/src/main.rs", "{}", "<{}>");
    world.assert_stale_then_prints(
        &["Modified Source app/src/main.rs", "Modified Source leaf/src/lib.rs"],
        "<two>",
    );
}

#[test]
fn an_edit_that_was_taken_back_after_a_build_by_hand_leaves_nothing_behind() {
    let world = World::chain();
    world.ensure();
    let text = world.read("leaf/src/lib.rs");
    world.leaf_says("two");
    world.cargo(&["build", "-q", "-p", "app"]);
    world.write_with_old_mtime("leaf/src/lib.rs", &text);
    world.assert_stale_then_prints(&["Modified Output target/debug/app"], "one");
    world.replace("app/src/main.rs", "{}", "<{}>");
    world.assert_stale_then_prints(&["Modified Source app/src/main.rs"], "<one>");
}

#[test]
fn a_folder_that_was_another_one_for_a_build_by_hand_leaves_nothing_behind() {
    let world = World::chain();
    world.write("leaf/other/lib.rs", "pub fn text() -> String { \"two\".to_owned() }\n");
    assert_eq!(world.prints(), "one");
    let exchange = || {
        for (from, to) in [("src", "aside"), ("other", "src"), ("aside", "other")] {
            let path = |name: &str| world.path("leaf").join(name);
            std::fs::rename(path(from), path(to)).unwrap();
        }
    };
    exchange();
    world.touch("leaf/src/lib.rs");
    world.cargo(&["build", "-q", "-p", "app"]);
    exchange();
    // This hides when it was moved.
    world.write("leaf/src/unused.rs", "");
    world.assert_stale_then_prints(&["Modified Output target/debug/app"], "one");
    world.replace("app/src/main.rs", "{}", "<{}>");
    world.assert_stale_then_prints(&["Modified Source app/src/main.rs"], "<one>");
}

#[test]
fn two_files_that_exchange_their_contents_and_times_are_stale() {
    let world = World::single("mod a; mod b; fn main() { print!(\"{}{}\", a::V, b::V); }\n");
    world.write("app/src/a.rs", "pub const V: u8 = 1;\n");
    world.write("app/src/b.rs", "pub const V: u8 = 2;\n");
    assert_eq!(world.prints(), "12");
    std::fs::rename(world.path("app/src/a.rs"), world.path("app/src/c.rs")).unwrap();
    std::fs::rename(world.path("app/src/b.rs"), world.path("app/src/a.rs")).unwrap();
    std::fs::rename(world.path("app/src/c.rs"), world.path("app/src/b.rs")).unwrap();
    world.assert_stale_then_prints(
        &["Modified Source app/src/a.rs", "Modified Source app/src/b.rs"],
        "21",
    );
}

#[test]
fn files_that_no_module_names_do_not_matter() {
    let world = World::chain();
    world.ensure();
    world.write("leaf/src/unused.rs", "not rust at all");
    world.write("leaf/tests/t.rs", "#[test] fn t() {}");
    world.write("leaf/examples/e.rs", "fn main() {}");
    world.write("leaf/README.md", "hello");
    world.assert_fresh();
    assert!(world.ensure().is_fresh());
}

#[test]
fn included_files_matter_by_content() {
    let main = "fn main() { print!(\"{}{}{}\", include_str!(\"../text.txt\"), include!(\"../one.in\"), include_bytes!(\"../bytes\").len()); }\n";
    let world = World::single(main);
    world.write("app/text.txt", "a");
    world.write("app/one.in", "1");
    world.write("app/bytes", "xyz");
    assert_eq!(world.prints(), "a13");
    world.write("app/text.txt", "b");
    world.assert_stale_then_prints(&["Modified Source app/text.txt"], "b13");
    world.write("app/one.in", "2");
    world.assert_stale_then_prints(&["Modified Source app/one.in"], "b23");
    world.write("app/bytes", "");
    world.assert_stale_then_prints(&["Modified Source app/bytes"], "b20");
}

#[test]
fn a_file_with_a_space_and_one_outside_the_workspace_are_followed() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("with space.txt");
    std::fs::write(&path, "a").unwrap();
    let world =
        World::single(&format!("fn main() {{ print!(\"{{}}\", include_str!({path:?})); }}\n"));
    assert_eq!(world.prints(), "a");
    std::fs::write(&path, "b").unwrap();
    let reason = format!("Modified Source {}", path.display());
    world.assert_stale_then_prints(&[&reason], "b");
}

#[test]
fn a_module_that_moves_into_a_folder_is_stale() {
    let world = World::single("mod m; fn main() { print!(\"{}\", m::V); }\n");
    world.write("app/src/m.rs", "pub const V: u8 = 1;\n");
    assert_eq!(world.prints(), "1");
    world.remove("app/src/m.rs");
    world.write("app/src/m/mod.rs", "pub const V: u8 = 2;\n");
    world.assert_stale_then_prints(&["Removed Source app/src/m.rs"], "2");
}

#[test]
fn a_module_that_is_there_twice_is_followed_where_cargo_follows_it() {
    let world = World::single("mod m; fn main() { print!(\"{}\", m::V); }\n");
    world.write("app/src/m.rs", "pub const V: u8 = 1;\n");
    world.ensure();
    world.write("app/src/m/mod.rs", "pub const V: u8 = 2;\n");
    // The compiler would refuse it, but what it read is what it was, and cargo does not ask it.
    let output = world.cargo(&["build", "-p", "app"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("Compiling"));
    world.assert_fresh();
    world.touch("app/src/main.rs");
    world.assert_fresh();
}

#[test]
fn a_removed_source_is_stale() {
    let world = World::single("mod m; fn main() { print!(\"{}\", m::V); }\n");
    world.write("app/src/m.rs", "pub const V: u8 = 1;\n");
    world.ensure();
    world.remove("app/src/m.rs");
    assert_eq!(world.stale(), ["Removed Source app/src/m.rs"]);
}

#[test]
fn a_link_that_leads_elsewhere_is_stale() {
    let world = World::single("mod m; fn main() { print!(\"{}\", m::V); }\n");
    world.write("app/one.rs", "pub const V: u8 = 1;\n");
    world.write("app/two.rs", "pub const V: u8 = 2;\n");
    symlink("../one.rs", world.path("app/src/m.rs")).unwrap();
    assert_eq!(world.prints(), "1");
    world.remove("app/src/m.rs");
    symlink("../two.rs", world.path("app/src/m.rs")).unwrap();
    let stale = world.stale();
    assert!(stale.contains(&"Modified Source app/src/m.rs".to_owned()), "{stale:?}");
    assert_eq!(world.prints(), "2");
    world.assert_fresh();
    world.write("app/two.rs", "pub const V: u8 = 3;\n");
    world.assert_stale_then_prints(&["Modified Source app/src/m.rs"], "3");
}

#[test]
fn a_procedural_macro_and_what_it_reads_matter() {
    let world = World::single("fn main() { print!(\"{}\", stamp::stamp!()); }\n");
    world.write("Cargo.toml", "[workspace]\nmembers = [\"app\", \"stamp\"]\nresolver = \"3\"\n");
    world.package("app", "[dependencies]\nstamp = { path = \"../stamp\" }\n");
    world.package("stamp", "[lib]\nproc-macro = true\n");
    let source = "use proc_macro::TokenStream;\n#[proc_macro]\npub fn stamp(_: TokenStream) -> TokenStream { \"1\".parse().unwrap() }\n";
    world.write("stamp/src/lib.rs", source);
    assert_eq!(world.prints(), "1");
    world.replace("stamp/src/lib.rs", "\"1\"", "\"2\"");
    world.assert_stale_then_prints(&["Modified Source stamp/src/lib.rs"], "2");
}

#[test]
fn dependencies_of_other_targets_and_of_tests_do_not_matter() {
    let world = World::chain();
    world.package(
        "app",
        "[dependencies]\nmid = { path = \"../mid\" }\noff = { path = \"../off\", optional = true }\n\
         [dev-dependencies]\ndev = { path = \"../dev\" }\n\
         [target.'cfg(windows)'.dependencies]\nwin = { path = \"../win\" }\n\
         [target.'cfg(unix)'.dependencies]\nnix = { path = \"../nix\" }\n",
    );
    for name in ["off", "dev", "win", "nix"] {
        world.package(name, "");
        world.write(&format!("{name}/src/lib.rs"), "pub const V: u8 = 1;\n");
    }
    world.write("app/src/main.rs", "fn main() { print!(\"{}{}\", mid::text(), nix::V); }\n");
    world.write(
        "Cargo.toml",
        "[workspace]\nmembers = [\"app\", \"mid\", \"leaf\", \"off\", \"dev\", \"win\", \"nix\"]\nresolver = \"3\"\n",
    );
    assert_eq!(world.prints(), "one1");
    for name in ["off", "dev", "win"] {
        world.write(&format!("{name}/src/lib.rs"), "pub const V: u8 = 2;\n");
        world.assert_fresh();
    }
    world.write("nix/src/lib.rs", "pub const V: u8 = 2;\n");
    world.assert_stale_then_prints(&["Modified Source nix/src/lib.rs"], "one2");
}

#[test]
fn a_renamed_path_dependency_outside_the_workspace_matters_with_its_manifest() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir(outside.path().join("src")).unwrap();
    let manifest = outside.path().join("Cargo.toml");
    std::fs::write(
        &manifest,
        "[package]\nname = \"real\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    )
    .unwrap();
    let source = outside.path().join("src/lib.rs");
    std::fs::write(&source, "mod deep; pub use deep::V;\n").unwrap();
    let deep = outside.path().join("src/deep.rs");
    std::fs::write(&deep, "pub const V: &str = env!(\"CARGO_PKG_VERSION\");\n").unwrap();
    let world = World::single("fn main() { print!(\"{}\", other::V); }\n");
    world.package(
        "app",
        &format!("[dependencies]\nother = {{ package = \"real\", path = {:?} }}\n", outside.path()),
    );
    assert_eq!(world.prints(), "0.1.0");
    std::fs::write(&deep, "pub const V: &str = \"deep\";\n").unwrap();
    let reason = format!("Modified Source {}", deep.display());
    world.assert_stale_then_prints(&[&reason], "deep");
    std::fs::write(&deep, "pub const V: &str = env!(\"CARGO_PKG_VERSION\");\n").unwrap();
    assert_eq!(world.prints(), "0.1.0");
    std::fs::write(
        &manifest,
        "[package]\nname = \"real\"\nversion = \"0.2.0\"\nedition = \"2024\"\n",
    )
    .unwrap();
    let reason = format!("Modified Manifest {}", manifest.display());
    world.assert_stale_then_prints(&[&reason], "0.2.0");
}

#[test]
fn an_unreadable_source_is_not_fresh() {
    let world = World::single("mod m; fn main() { print!(\"{}\", m::V); }\n");
    world.write("app/src/m.rs", "pub const V: u8 = 1;\n");
    world.ensure();
    world.remove("app/src/m.rs");
    std::fs::create_dir(world.path("app/src/m.rs")).unwrap();
    assert_eq!(world.stale(), ["Modified Source app/src/m.rs"]);
}

#[test]
fn a_binary_that_the_package_does_not_have_is_refused_by_name() {
    let world = World::chain();
    let error = auto_update::AutoUpdater::new("nope", world.path("app")).unwrap_err();
    assert!(error.to_string().contains("no binary named `nope`"), "{error}");
    let error = auto_update::AutoUpdater::new("app", world.path("nowhere")).unwrap_err();
    assert!(error.to_string().contains("holds no cargo package"), "{error}");
    let found = auto_update::AutoUpdater::find("app", world.path("leaf/src")).unwrap();
    assert_eq!(found.package_dir(), world.path("app"));
}

#[test]
fn a_folder_that_takes_the_place_of_another_is_stale_though_its_files_are_older() {
    let world = World::chain();
    world.write("leaf/other/lib.rs", "pub fn text() -> String { \"two\".to_owned() }\n");
    assert_eq!(world.prints(), "one");
    std::fs::rename(world.path("leaf/src"), world.path("leaf/before")).unwrap();
    std::fs::rename(world.path("leaf/other"), world.path("leaf/src")).unwrap();
    world.assert_stale_then_prints(&["Modified Source leaf/src/lib.rs"], "two");
}

#[test]
fn a_link_to_a_folder_that_leads_elsewhere_is_stale() {
    let world = World::chain();
    world.write("leaf/other/lib.rs", "pub fn text() -> String { \"two\".to_owned() }\n");
    std::fs::rename(world.path("leaf/src"), world.path("leaf/before")).unwrap();
    symlink("before", world.path("leaf/src")).unwrap();
    assert_eq!(world.prints(), "one");
    world.remove("leaf/src");
    symlink("other", world.path("leaf/src")).unwrap();
    world.assert_stale_then_prints(&["Modified Source leaf/src/lib.rs"], "two");
}

#[test]
fn a_clock_that_was_set_back_hides_no_edit() {
    let world = World::chain();
    world.ensure();
    // What was built is an hour ahead of what is edited, as it is once the clock was set back.
    let ahead = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    advance(&world.path("target/debug"), ahead);
    world.ensure_with(&world.updater().force(true));
    world.leaf_says("two");
    let output = world.cargo(&["build", "-p", "app"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("Compiling"));
    world.assert_stale_then_prints(&["Modified Source leaf/src/lib.rs"], "two");
}

fn advance(dir: &std::path::Path, to: std::time::SystemTime) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            advance(&entry.path(), to);
        } else {
            std::fs::File::open(entry.path()).unwrap().set_modified(to).unwrap();
        }
    }
}

#[test]
fn a_link_made_again_as_it_was_costs_no_build_later() {
    let world = World::single("mod m; fn main() { print!(\"{}\", m::V); }\n");
    world.write("app/one.rs", "pub const V: u8 = 1;\n");
    symlink("../one.rs", world.path("app/src/m.rs")).unwrap();
    world.ensure();
    world.remove("app/src/m.rs");
    symlink("../one.rs", world.path("app/src/m.rs")).unwrap();
    world.assert_fresh();
    world.write("app/Cargo.toml", &(world.read("app/Cargo.toml") + "# asks cargo\n"));
    assert!(world.ensure().is_fresh());
}
