//! What is refused because somebody else may write it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
};

use rbee_config::{Environment, Error, Overrides, RbeeConfig};
use tempfile::TempDir;

/// A home with every folder, and a source tree.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let world = Self { folder };
        for path in ["home/state/logs", "home/run", "home/models", "tree/bin/10_queen_rbee/src"] {
            fs::create_dir_all(world.path(path)).unwrap();
        }
        for path in [
            "home/config.toml",
            "tree/Cargo.toml",
            "tree/bin/10_queen_rbee/Cargo.toml",
            "tree/bin/10_queen_rbee/src/main.rs",
        ] {
            fs::write(world.path(path), "").unwrap();
        }
        world
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join(path)
    }

    fn load(&self) -> Result<RbeeConfig, Error> {
        let variables = [("RBEE_HOME", "home"), ("RBEE_SOURCE_ROOT", "tree")];
        let variables = variables.map(|(name, path)| (name, self.path(path).into_os_string()));
        let environment: Environment = variables.into_iter().collect();
        RbeeConfig::resolve(&Overrides::default(), &environment, None)
    }
}

/// Everything that is executed, or says what is.
const EACH: [&str; 9] = [
    "home",
    "home/config.toml",
    "home/state",
    "home/run",
    "home/models",
    "tree",
    "tree/Cargo.toml",
    "tree/bin",
    "tree/bin/10_queen_rbee/src/main.rs",
];

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_everybody_may_write_is_refused_with_the_command_that_mends_it() {
    for path in EACH {
        let world = World::new();
        world.load().unwrap();
        let path = world.path(path);
        let is_folder = path.is_dir();
        let mode = if is_folder { 0o777 } else { 0o666 };
        set_mode(&path, mode);
        let refused = world.load().unwrap_err().to_string();
        let shown = path.display();
        assert!(refused.starts_with(&format!("`{shown}` can be written by others")), "{refused}");
        assert!(refused.contains(&format!("(mode {mode:04o})")), "{refused}");
        assert!(refused.ends_with(&format!("`chmod o-w {shown}`")), "{refused}");
        set_mode(&path, mode & !0o002);
        world.load().unwrap();
    }
}

#[test]
fn a_group_of_ones_own_may_write() {
    for path in EACH {
        let world = World::new();
        let path = world.path(path);
        set_mode(&path, if path.is_dir() { 0o775 } else { 0o664 });
        world.load().unwrap();
    }
}

#[test]
fn what_another_group_may_write_or_another_user_owns_is_refused() {
    const OTHER: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        // Only root can give files away.
        return;
    }
    for path in EACH {
        let world = World::new();
        let path = world.path(path);
        chown(&path, None, Some(OTHER)).unwrap();
        world.load().unwrap();
        set_mode(&path, if path.is_dir() { 0o775 } else { 0o664 });
        let refused = world.load().unwrap_err().to_string();
        assert!(refused.ends_with(&format!("`chmod go-w {}`", path.display())), "{refused}");
    }
    for path in EACH {
        let world = World::new();
        let path = world.path(path);
        chown(&path, Some(OTHER), None).unwrap();
        let refused = world.load().unwrap_err().to_string();
        let shown = path.display();
        assert!(refused.starts_with(&format!("`{shown}` belongs to another user (uid {OTHER})")));
        assert!(refused.ends_with(&format!("`chown -R 0 {shown}`")), "{refused}");
    }
}

#[test]
fn what_cargo_has_made_is_not_looked_through() {
    let world = World::new();
    fs::create_dir_all(world.path("tree/target/debug")).unwrap();
    set_mode(&world.path("tree/target/debug"), 0o777);
    world.load().unwrap();
    set_mode(&world.path("tree/target"), 0o777);
    world.load().unwrap_err();
}
