//! A real workspace whose binary is the scripted daemon.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use auto_update::AutoUpdater;
use daemon_lifecycle::DaemonManager;
use serde_json::Value;

use crate::world::World;

/// A workspace whose crate `d` links to the scripted daemon: its linker puts that program in the
/// place of the compiled one, with the script that the source includes.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
}

impl Tree {
    pub(crate) fn new(world: &World, name: &str, script: Value) -> Self {
        let root = world.dir().join(name);
        fs::create_dir_all(root.join("d/src")).unwrap();
        fs::create_dir_all(root.join(".cargo")).unwrap();
        fs::write(root.join("Cargo.toml"), "[workspace]\nmembers = [\"d\"]\nresolver = \"3\"\n")
            .unwrap();
        let manifest = "[package]\nname = \"d\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        fs::write(root.join("d/Cargo.toml"), manifest).unwrap();
        let linker = root.join("link.sh");
        fs::write(
            &linker,
            format!(
                "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\n\
                 script={}/d/src/script.json\ncat {} \"$script\" > \"$2\"\n\
                 printf '%08d#script!' \"$(wc -c < \"$script\")\" >> \"$2\"\nchmod +x \"$2\"\n",
                root.display(),
                env!("CARGO_BIN_EXE_fake-daemon")
            ),
        )
        .unwrap();
        fs::set_permissions(&linker, fs::Permissions::from_mode(0o755)).unwrap();
        let config = format!("[build]\nrustflags = [\"-Clinker={}\"]\n", linker.display());
        fs::write(root.join(".cargo/config.toml"), config).unwrap();
        let tree = Self { root };
        tree.edit(script);
        tree
    }

    pub(crate) fn edit(&self, script: Value) {
        fs::write(self.root.join("d/src/script.json"), script.to_string()).unwrap();
        let main = "const SCRIPT: &str = include_str!(\"script.json\");\n\
                    fn main() {\n    std::process::exit(SCRIPT.len() as i32);\n}\n";
        fs::write(self.root.join("d/src/main.rs"), main).unwrap();
    }

    pub(crate) fn break_source(&self) {
        fs::write(self.root.join("d/src/main.rs"), "fn main() { this does not compile }\n")
            .unwrap();
    }

    /// Another binary, which the same edits make stale.
    pub(crate) fn add(&self, name: &str) -> AutoUpdater {
        let dir = self.root.join(name);
        fs::create_dir_all(dir.join("src")).unwrap();
        for file in ["Cargo.toml", "src/main.rs"] {
            let of_d = fs::read_to_string(self.root.join("d").join(file)).unwrap();
            let text = of_d.replace("\"d\"", &format!("{name:?}"));
            fs::write(dir.join(file), text.replace("script.json", "../../d/src/script.json"))
                .unwrap();
        }
        let members = format!("[workspace]\nmembers = [\"d\", {name:?}]\nresolver = \"3\"\n");
        fs::write(self.root.join("Cargo.toml"), members).unwrap();
        AutoUpdater::new(name, dir).unwrap()
    }

    /// A library that `d` is compiled with.
    pub(crate) fn depend_on(&self, name: &str) {
        let dir = self.root.join(name);
        fs::create_dir_all(dir.join("src")).unwrap();
        let manifest =
            format!("[package]\nname = {name:?}\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        fs::write(dir.join("Cargo.toml"), manifest).unwrap();
        fs::write(dir.join("src/lib.rs"), "").unwrap();
        let of_d = self.root.join("d/Cargo.toml");
        let manifest = fs::read_to_string(&of_d).unwrap();
        let dependency =
            format!("{manifest}\n[dependencies]\n{name} = {{ path = \"../{name}\" }}\n");
        fs::write(of_d, dependency).unwrap();
    }

    pub(crate) fn manager(&self, world: &World) -> DaemonManager {
        self.manager_at(world, "127.0.0.1:0")
    }

    pub(crate) fn manager_at(&self, world: &World, address: &str) -> DaemonManager {
        DaemonManager::new(self.root.join("target/debug/d"), ["--listen", address])
            .enable_auto_update("d", self.root.join("d"))
            .instance(world.run_dir(), "fake")
            .env("FAKE_WORLD", world.dir().to_str().unwrap())
    }
}
