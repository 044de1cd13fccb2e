use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use rbee_config::{Environment, Error, Origin, Overrides, RbeeConfig};
use tempfile::TempDir;

use crate::{Home, listed};

#[test]
fn rbee_home_moves_everything() {
    let home = Home::with("");
    let paths = home.load().unwrap().paths;
    for (path, name) in [
        (paths.config_file, "config.toml"),
        (paths.state, "state"),
        (paths.logs, "state/logs"),
        (paths.token, "state/token"),
        (paths.keys, "state/keys.json"),
        (paths.run, "run"),
        (paths.models, "models"),
    ] {
        assert_eq!(path, home.path().join(name));
    }
    assert_eq!(paths.cache, None, "nothing is shared with other homes");
}

#[test]
fn the_xdg_folders_are_used_without_rbee_home() {
    let runtime = TempDir::new().unwrap();
    let paths = resolve(&[
        ("HOME", Path::new("/h")),
        ("XDG_CONFIG_HOME", Path::new("/c")),
        ("XDG_STATE_HOME", Path::new("/s")),
        ("XDG_DATA_HOME", Path::new("/d")),
        ("XDG_CACHE_HOME", Path::new("/x")),
        ("XDG_RUNTIME_DIR", runtime.path()),
    ])
    .unwrap()
    .paths;
    assert_eq!(paths.config_file, Path::new("/c/rbee/config.toml"));
    assert_eq!(paths.state, Path::new("/s/rbee"));
    assert_eq!(paths.models, Path::new("/d/rbee/models"));
    assert_eq!(paths.cache.as_deref(), Some(Path::new("/x/rbee")));
    // What runs outlives the session that the runtime directory belongs to.
    assert_eq!(paths.run, Path::new("/s/rbee/run"));
}

#[test]
fn the_home_folder_stands_in_for_what_xdg_does_not_name() {
    let config = resolve(&[
        ("HOME", Path::new("/h")),
        ("XDG_CONFIG_HOME", Path::new("relative")),
        ("XDG_RUNTIME_DIR", Path::new("/not/there")),
    ])
    .unwrap();
    assert_eq!(config.paths.config_file, Path::new("/h/.config/rbee/config.toml"));
    assert_eq!(config.paths.state, Path::new("/h/.local/state/rbee"));
    assert_eq!(config.paths.run, Path::new("/h/.local/state/rbee/run"));
    assert_eq!(config.paths.models, Path::new("/h/.local/share/rbee/models"));
    assert_eq!(config.paths.cache.as_deref(), Some(Path::new("/h/.cache/rbee")));
    assert_eq!(listed(&config, "paths.run"), ("/h/.local/state/rbee/run", &Origin::Default));
}

#[test]
fn without_any_home_or_with_a_relative_one_it_says_so() {
    assert!(matches!(resolve(&[]), Err(Error::NoHome)));
    let refusal = resolve(&[("RBEE_HOME", Path::new("x"))]).unwrap_err().to_string();
    assert_eq!(refusal, "the environment variable `RBEE_HOME` must be an absolute path, not `x`");
}

#[test]
fn folders_are_created_for_their_owner_only() {
    let home = Home::with("");
    let paths = home.load().unwrap().paths;
    fs::create_dir(&paths.state).unwrap();
    fs::set_permissions(&paths.state, fs::Permissions::from_mode(0o755)).unwrap();
    paths.create().unwrap();
    paths.create().unwrap();
    for folder in [&paths.state, &paths.run, &paths.models, &paths.logs] {
        let mode = fs::metadata(folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", folder.display());
    }
}

#[test]
fn a_file_in_the_place_of_a_folder_is_an_error_that_names_it() {
    let home = Home::with("");
    let paths = home.load().unwrap().paths;
    fs::write(&paths.run, "").unwrap();
    let refusal = paths.create().unwrap_err().to_string();
    assert_eq!(refusal, format!("cannot create the folder `{}`", paths.run.display()));
}

#[test]
fn the_sources_are_found_above_the_executable() {
    let (folder, root) = sources();
    let home = Home::with("");
    let environment = Environment::from_iter([("RBEE_HOME", home.path())]);
    let find = |executable: PathBuf| {
        RbeeConfig::resolve(&Overrides::default(), &environment, Some(&executable)).unwrap()
    };
    let inside = find(root.join("target/debug/queen-rbee"));
    assert_eq!(inside.source_root.as_deref(), Some(root.as_path()));
    assert_eq!(inside.build_root(), Some(root.as_path()));
    let outside = find(folder.path().join("bin/queen-rbee"));
    assert_eq!((outside.source_root.as_deref(), outside.build_root()), (None, None));
    assert_eq!(listed(&outside, "source_root"), ("none", &Origin::Default));
}

#[test]
fn the_variable_names_the_sources_and_must_be_right() {
    let (folder, root) = sources();
    let home = Home::with("auto_update.enabled = false");
    let named = |path: &Path| resolve(&[("RBEE_HOME", home.path()), ("RBEE_SOURCE_ROOT", path)]);
    let config = named(&root).unwrap();
    assert_eq!(config.source_root.as_deref(), Some(root.as_path()));
    assert_eq!(config.build_root(), None);
    assert!(matches!(named(folder.path()), Err(Error::NoSources { .. })));
}

#[test]
fn vllm_is_what_the_configuration_names_else_what_setup_installed_else_the_first_in_path() {
    let (folder, root) = sources();
    let at = |path: &str| folder.path().join(path);
    let install = |path: &str| {
        let program = at(path).join("bin/vllm");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    };
    let found = |toml: &str| {
        let home = Home::with(toml);
        let path = format!("relative:{}:{}", at("empty").display(), at("first/bin").display());
        let variables = [
            ("RBEE_HOME", home.path().as_os_str().to_owned()),
            ("RBEE_SOURCE_ROOT", root.clone().into_os_string()),
            ("PATH", path.into()),
        ];
        let environment = variables.into_iter().collect();
        RbeeConfig::resolve(&Overrides::default(), &environment, None).unwrap().vllm()
    };
    assert_eq!(found(""), None);

    let first = install("first");
    assert_eq!(found(""), Some(first.clone()));
    fs::set_permissions(&first, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(found(""), None, "it cannot be executed");
    fs::set_permissions(&first, fs::Permissions::from_mode(0o755)).unwrap();

    let installed = install("workspace/.tools/vllm-1");
    assert_eq!(found(""), Some(first.clone()), "it is not linked yet");
    symlink("vllm-1", root.join(".tools/vllm")).unwrap();
    assert_eq!(found(""), Some(installed.canonicalize().unwrap()));

    let named = install("named");
    let command = |path: &Path| format!("worker.vllm.command = {path:?}");
    assert_eq!(found(&command(&at("named"))), Some(named.clone()));
    assert_eq!(found(&command(&named)), Some(named));
    assert_eq!(found("worker.vllm.command = \"vllm\""), Some(first));
    assert_eq!(found(&command(&at("gone"))), Some(at("gone")));
}

fn resolve(variables: &[(&str, &Path)]) -> Result<RbeeConfig, Error> {
    let environment = variables.iter().map(|(name, value)| (name, value.as_os_str())).collect();
    RbeeConfig::resolve(&Overrides::default(), &environment, None)
}

/// A folder with the least that counts as rbee's workspace below it.
fn sources() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("workspace");
    fs::create_dir_all(root.join("bin/10_queen_rbee")).unwrap();
    fs::write(root.join("Cargo.toml"), "").unwrap();
    fs::write(root.join("bin/10_queen_rbee/Cargo.toml"), "").unwrap();
    (folder, root)
}
