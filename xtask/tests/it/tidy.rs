use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use xtask::tasks::tidy::check;

#[test]
fn this_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let violations = check(root).unwrap();
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

#[test]
fn the_made_up_tree_is_tidy() {
    assert_eq!(Made::new().violations(), [] as [String; 0]);
}

#[test]
fn lints_that_are_not_inherited() {
    let made = Made::new();
    made.edit("bin/10_queen_rbee/Cargo.toml", "[lints]\nworkspace = true", "");
    made.finds("bin/10_queen_rbee/Cargo.toml: the lints are not the workspace's");
}

#[test]
fn a_license_of_a_members_own() {
    let made = Made::new();
    made.edit("bin/10_queen_rbee/Cargo.toml", "license.workspace = true", "license = \"MIT\"");
    made.finds("bin/10_queen_rbee/Cargo.toml: `license` is not the workspace's");
}

#[test]
fn a_member_that_would_be_published() {
    let made = Made::new();
    made.edit("bin/10_queen_rbee/Cargo.toml", "publish.workspace = true", "");
    made.finds("bin/10_queen_rbee/Cargo.toml: `publish` is not the workspace's");
}

#[test]
fn a_dependency_of_a_members_own() {
    let made = Made::new();
    let own = "rbee-api = { path = \"../99_shared_crates/rbee-api\" }";
    made.edit("bin/10_queen_rbee/Cargo.toml", "rbee-api.workspace = true", own);
    made.finds("`rbee-api` does not come from the workspace");
}

#[test]
fn features_named_in_a_member() {
    let made = Made::new();
    made.edit(
        "bin/10_queen_rbee/Cargo.toml",
        "rbee-api.workspace = true",
        "rbee-api = { workspace = true, features = [\"extra\"] }",
    );
    made.finds("`rbee-api` names `features` here");
}

#[test]
fn a_feature_that_enables_one_of_a_dependency() {
    let made = Made::new();
    made.append("bin/10_queen_rbee/Cargo.toml", "\n[features]\nmore = [\"rbee-api/extra\"]\n");
    made.finds("the feature `more` enables `rbee-api/extra`");
}

#[test]
fn a_dependency_for_one_target_is_seen_too() {
    let made = Made::new();
    made.append(
        "bin/10_queen_rbee/Cargo.toml",
        "\n[target.'cfg(unix)'.dependencies]\nrbee-api = { workspace = true, features = [] }\n",
    );
    made.finds("`rbee-api` names `features` here");
}

#[test]
fn a_crate_without_a_description() {
    let made = Made::new();
    made.edit("bin/10_queen_rbee/Cargo.toml", "description = \"made up\"", "description = \"\"");
    made.finds("bin/10_queen_rbee/Cargo.toml: the crate has no description");
}

#[test]
fn a_crate_that_does_not_explain_itself() {
    let made = Made::new();
    made.write("bin/10_queen_rbee/src/main.rs", "//! \nfn main() {}\n");
    made.finds("bin/10_queen_rbee/src/main.rs:1: the file does not begin with `//!`");
}

#[test]
fn an_arrow_that_goes_up() {
    let made = Made::new();
    made.append("bin/99_shared_crates/rbee-api/Cargo.toml", "\n[dev-dependencies]\n");
    made.append("bin/99_shared_crates/rbee-api/Cargo.toml", "hive-lifecycle.workspace = true\n");
    made.finds("`rbee-api` must not use `hive-lifecycle`: it does not lie below");
}

#[test]
fn an_arrow_that_goes_down_to_what_must_not_be_known() {
    let made = Made::new();
    let manifest = made.read("bin/15_queen_rbee_crates/hive-lifecycle/Cargo.toml");
    made.write(
        "bin/25_rbee_hive_crates/worker-lifecycle/Cargo.toml",
        &manifest.replace("hive-lifecycle", "worker-lifecycle"),
    );
    made.write("bin/25_rbee_hive_crates/worker-lifecycle/src/lib.rs", "//! Made up.\n");
    let folder = "bin/25_rbee_hive_crates/worker-lifecycle";
    made.edit("Cargo.toml", "members = [", &format!("members = [\"{folder}\", "));
    let dependency = format!("[workspace.dependencies]\nworker-lifecycle.path = \"{folder}\"");
    made.edit("Cargo.toml", "[workspace.dependencies]", &dependency);
    made.append("bin/10_queen_rbee/Cargo.toml", "worker-lifecycle.workspace = true\n");
    made.finds("`queen-rbee` must not use `worker-lifecycle`: the queen knows hives");
    made.finds("ARCHITECTURE.md: there is no row for `bin/25_rbee_hive_crates/worker-lifecycle/`");
}

#[test]
fn a_crate_without_a_layer_and_with_another_name_than_its_folder() {
    let made = Made::new();
    made.edit("bin/10_queen_rbee/Cargo.toml", "\"queen-rbee\"", "\"king-rbee\"");
    made.finds("`king-rbee` has no place among the layers");
    made.finds("bin/10_queen_rbee: the crate here is named `king-rbee` instead of `queen-rbee`");
}

#[test]
fn a_crate_that_nobody_builds() {
    let made = Made::new();
    let manifest = "[workspace]\n[package]\nname = \"lost\"\n";
    made.write("bin/99_shared_crates/lost/Cargo.toml", manifest);
    made.finds("bin/99_shared_crates/lost/Cargo.toml: this crate is no member");
}

#[test]
fn more_packages_than_agreed() {
    let made = Made::new();
    for number in 0..1000 {
        made.append(
            "Cargo.lock",
            &format!("\n[[package]]\nname = \"p{number}\"\nversion = \"1.0.0\"\n"),
        );
    }
    // Cargo itself would drop packages that nobody needs, so only this rule is asked.
    made.finds_without_lock("Cargo.lock: 100");
}

#[test]
fn a_package_that_is_compiled_in_two_variants() {
    let made = Made::new();
    // Another member enables a feature, so the queen gets it only where that is built, too.
    made.append(
        "Cargo.toml",
        "\n[workspace.dependencies.with-extra]\npackage = \"rbee-api\"\n\
         path = \"bin/99_shared_crates/rbee-api\"\nfeatures = [\"extra\"]\n",
    );
    let lifecycle = "bin/15_queen_rbee_crates/hive-lifecycle/Cargo.toml";
    made.append(lifecycle, "\n[dev-dependencies]\nwith-extra.workspace = true\n");
    made.finds(
        "`rbee-api v0.1.0` has the features [] in a build of `queen-rbee` alone, and [extra] in one",
    );
}

#[test]
fn unwanted_text() {
    let cases: &[(&str, &str, &str)] = &[
        ("bin/10_queen_rbee/src/a.rs", "// a bee: \u{1f41d}", "`\\u{1f41d}` is not plain text"),
        ("bin/10_queen_rbee/src/a.rs", "// caf\u{e9}", "`\\u{e9}` is not plain text"),
        ("bin/10_queen_rbee/tests/a.rs", "#[ign+ore]", "an ignored test"),
        ("bin/10_queen_rbee/tests/a.rs", "std::thread::sl+eep(second);", "a sleep in a test"),
        (
            "bin/10_queen_rbee/tests/a.rs",
            "tokio::time::sl+eep(Duration::from_secs(1)).await;",
            "a sleep in a test",
        ),
        ("bin/10_queen_rbee/src/a.rs", "to+do!(\"later\")", "unfinished"),
        ("bin/10_queen_rbee/src/a.rs", "// TO+DO: later", "unfinished"),
        ("bin/10_queen_rbee/src/a.rs", "// TEA+M-259: added", "a helper's tag"),
        ("docs/a.md", "Created b+y: somebody", "git keeps the authors"),
        ("docs/a.md", "see https://crates.i+o/crates/rbee", "names a registry's host"),
        ("docs/a.md", "pip install -i https://pypi.o+rg/simple", "names a registry's host"),
        ("scripts/a.sh", "pki+ll rbee-hive", "processes are ended by their id"),
        ("bin/10_queen_rbee/src/a.rs", "let path = \"/ro+ot/x\";", "a path of one machine"),
    ];
    for (path, text, message) in cases {
        let made = Made::new();
        // Written with a plus in it here, so that this file is not what it describes.
        made.write(path, &format!("//! Made up.\n{}\n", text.replace('+', "")));
        made.finds(&format!("{path}:2: {message}"));
    }
}

#[test]
fn a_path_of_this_machine() {
    let made = Made::new();
    made.write("docs/a.md", &format!("open {}/README.md\n", made.root.display()));
    made.finds("docs/a.md:1: a path of this machine");
}

#[test]
fn files_that_use_each_other_in_a_circle() {
    let made = Made::new();
    let src = "bin/99_shared_crates/rbee-api/src";
    made.write(format!("{src}/lib.rs"), "//! Made up.\nmod a;\nmod b;\n");
    made.write(format!("{src}/a.rs"), "use crate::b::one;\npub fn two() {}\n");
    made.write(format!("{src}/b.rs"), "use crate::a::two;\npub fn one() {}\n");
    made.finds(&format!("{src}: `a.rs`, `b.rs` use each other in a circle"));
}

#[test]
fn what_the_wire_has_is_written_once() {
    let made = Made::new();
    made.write(
        "bin/99_shared_crates/rbee-api/src/code.rs",
        "codes! { TooLate = \"too_late\", 409; }\n",
    );
    let main = "bin/10_queen_rbee/src/main.rs";
    made.append(main, "const A: &str = \"/v1/jobs\";\nconst B: &str = \"too_late\";\n");
    made.finds(&format!("{main}:3: a path of the wire"));
    made.finds(&format!("{main}:4: an error code"));
}

#[test]
fn links_that_lead_to_nothing() {
    let made = Made::new();
    made.write("docs/a.md", "# A heading, of `a`\n[x](b.md) [y](#a-heading-of-a) [z](../docs)\n");
    made.write(
        "docs/b.md",
        "[x](a.md#a-heading-of-a \"title\") <b> `[code](no.md)`\n```\n[y](no)\n```\n",
    );
    made.write("docs/c.md", "[out](https://example.org/no) ![p](https://example.org/p.png)\n");
    assert_eq!(made.violations(), [] as [String; 0]);
    made.write("docs/d.md", "one\n[x](no.md) and [y](a.md#none)\n");
    made.finds("docs/d.md:2: the link `no.md` leads to nothing");
    made.finds("docs/d.md:2: the link `a.md#none` leads to a heading that is not there");
}

#[test]
fn pages_that_the_index_leaves_out() {
    let made = Made::new();
    made.write("docs/README.md", "[a](a.md#a-heading)\n");
    made.write("docs/a.md", "# A heading\n");
    assert_eq!(made.violations(), [] as [String; 0]);
    made.write("docs/b.md", "[a](a.md)\n");
    made.finds("docs/b.md: `docs/README.md` does not lead to it");
}

#[test]
fn archives_and_old_versions() {
    let made = Made::new();
    made.write("docs/archive/a.md", "what was\n");
    made.write("bin/10_queen_rbee/src/router_old.rs", "//! Made up.\n");
    made.finds("docs/archive: an archive");
    made.finds("bin/10_queen_rbee/src/router_old.rs: an old version");
}

#[test]
fn text_is_looked_for_in_sources_only() {
    let made = Made::new();
    made.write("target/debug/a.rs", "// \u{1f41d}\n");
    made.write(".tools/py/a.py", "# \u{1f41d}\n");
    made.write("docs/a.md", "a bee: \u{1f41d}\n");
    fs::write(made.root.join("docs/a.gguf"), [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(made.violations(), [] as [String; 0]);
}

/// A small workspace that follows every rule, until a test edits it.
struct Made {
    _folder: tempfile::TempDir,
    root: PathBuf,
}

impl Made {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let made = Self { _folder: folder, root };
        made.write(
            "Cargo.toml",
            r#"[workspace]
resolver = "3"
members = [
    "bin/10_queen_rbee",
    "bin/15_queen_rbee_crates/hive-lifecycle",
    "bin/99_shared_crates/rbee-api",
]

[workspace.package]
version = "0.1.0"
edition = "2024"
rust-version = "1.95"
license = "MIT"
publish = false

[workspace.lints.rust]
unsafe_code = "deny"

[workspace.dependencies]
hive-lifecycle.path = "bin/15_queen_rbee_crates/hive-lifecycle"
rbee-api.path = "bin/99_shared_crates/rbee-api"
"#,
        );
        made.write(
            "ARCHITECTURE.md",
            "`bin/10_queen_rbee/` `bin/15_queen_rbee_crates/hive-lifecycle/` \
             `bin/99_shared_crates/rbee-api/`\n",
        );
        made.member("bin/10_queen_rbee", "queen-rbee", &["hive-lifecycle", "rbee-api"]);
        made.write("bin/10_queen_rbee/src/main.rs", "//! Made up.\nfn main() {}\n");
        made.member("bin/15_queen_rbee_crates/hive-lifecycle", "hive-lifecycle", &[]);
        made.write("bin/15_queen_rbee_crates/hive-lifecycle/src/lib.rs", "//! Made up.\n");
        made.member("bin/99_shared_crates/rbee-api", "rbee-api", &[]);
        made.append("bin/99_shared_crates/rbee-api/Cargo.toml", "\n[features]\nextra = []\n");
        made.write("bin/99_shared_crates/rbee-api/src/lib.rs", "//! Made up.\n");
        made.lock();
        made
    }

    fn member(&self, folder: &str, name: &str, dependencies: &[&str]) {
        let inherited = |names: &[&str]| {
            names.iter().map(|name| format!("{name}.workspace = true\n")).collect::<String>()
        };
        let fields = inherited(&["version", "edition", "rust-version", "license", "publish"]);
        let dependencies = inherited(dependencies);
        let manifest = format!(
            "[package]\nname = \"{name}\"\ndescription = \"made up\"\n{fields}\n\
             [lints]\nworkspace = true\n\n[dependencies]\n{dependencies}"
        );
        self.write(format!("{folder}/Cargo.toml"), &manifest);
    }

    fn lock(&self) {
        let status = Command::new("cargo")
            .args(["generate-lockfile", "--offline", "--quiet"])
            .current_dir(&self.root)
            .status();
        assert!(status.unwrap().success());
    }

    fn write(&self, path: impl AsRef<Path>, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap()
    }

    fn append(&self, path: &str, text: &str) {
        self.write(path, &(self.read(path) + text));
    }

    #[track_caller]
    fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "`{from}` is not in {path}");
        self.write(path, &text.replace(from, to));
    }

    fn violations(&self) -> Vec<String> {
        check(&self.root).unwrap().iter().map(ToString::to_string).collect()
    }

    /// Some violation, as printed, holds `text`.
    #[track_caller]
    fn finds(&self, text: &str) {
        self.lock();
        self.finds_without_lock(text);
    }

    #[track_caller]
    fn finds_without_lock(&self, text: &str) {
        let violations = self.violations();
        assert!(violations.iter().any(|violation| violation.contains(text)), "{violations:#?}");
    }
}
