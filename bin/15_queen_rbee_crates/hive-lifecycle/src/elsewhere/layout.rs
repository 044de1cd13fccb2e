use std::path::{Path, PathBuf};

use chain_daemon::{HIVE, LLAMACPP_WORKER, socket_below};
use ssh_host::quoted;

/// So many binaries are kept there; a hive that still finishes its streams runs from one of them.
const KEPT: usize = 8;

/// Where things lie on a hive's machine, and the scripts that are run there. All of them are for any
/// POSIX shell.
///
/// ```text
/// ~/.rbee/ALIAS/                       the hive's RBEE_HOME: config.toml, state, run, models
///     bin/HASH/rbee-hive               each binary in a folder that is called by its content
///     bin/HASH/llamacpp-worker         beside a hive: a link to the one below
///     llamacpp-worker                  a link to the one that is to be used
///     current                          the hive's binary that has last answered
/// ```
#[derive(Debug, Clone)]
pub(super) struct Layout {
    alias: String,
    home: String,
}

impl Layout {
    /// `user_home` is what the machine calls `$HOME`.
    pub(super) fn new(user_home: &str, alias: &str) -> Self {
        // Short, since sockets lie in it, whose paths the kernel takes up to 107 bytes of.
        let home = format!("{}/.rbee/{alias}", user_home.trim_end_matches('/'));
        Self { alias: alias.to_owned(), home }
    }

    /// The hive's socket.
    pub(super) fn socket(&self) -> PathBuf {
        socket_below(Path::new(&self.home), &self.alias)
    }

    /// The folder of the binary with that content.
    pub(super) fn folder(&self, hash: &str) -> String {
        format!("{}/bin/{hash}", self.home)
    }

    /// Writes `HASH/NAME` of each binary that is there.
    pub(super) fn list(&self) -> String {
        format!("cd {}/bin 2>/dev/null || exit 0; ls -d */* 2>/dev/null || true", self.at_home())
    }

    /// What a binary is called there before it was tried out.
    pub(super) fn untried(name: &str) -> String {
        format!("{name}.new")
    }

    /// Runs a binary that was brought there, for nothing but whether it can run: it is there from then on,
    /// or removed.
    pub(super) fn try_out(&self, hash: &str, name: &str) -> String {
        format!(
            "cd {folder} || exit 1; if ./{new} --help >/dev/null; then mv -f {new} {name}; \
             else rm -f {new}; cd ..; rmdir {hash} 2>/dev/null; exit 1; fi",
            folder = quoted(&self.folder(hash)),
            new = Self::untried(name),
        )
    }

    /// Makes the worker the one that is used, for hives that run and for one that is to be started; and
    /// a configuration where there is none.
    pub(super) fn place(&self, hive: &str, worker: &str, default_model: &str) -> String {
        let toml = toml_text(default_model);
        let config = format!(
            "# The hive `{}` reads this. It is written once, and yours from then on.\n\
             [models]\ndefault = {toml}\n",
            self.alias,
        );
        let (hive_name, name) = (HIVE.name, LLAMACPP_WORKER.name);
        format!(
            "umask 077; set -e; cd {home}; test -x bin/{hive}/{hive_name}; \
             ln -sfn ../../{name} bin/{hive}/{name}; \
             ln -sfn bin/{worker}/{name} .worker.$$; mv -f -T .worker.$$ {name}; \
             [ -e config.toml ] || {{ trap 'rm -f .config.$$' EXIT; \
             printf %s {config} > .config.$$; mv .config.$$ config.toml; }}; \
             touch bin/{hive} bin/{worker}",
            home = self.at_home(),
            config = quoted(&config),
        )
    }

    /// Starts the hive from the binary with that content, or replaces the one that runs: by the binary
    /// that has served last, since that one can do it, and else by the new one itself.
    pub(super) fn start(&self, hash: &str) -> String {
        let (alias, name) = (quoted(&self.alias), HIVE.name);
        format!(
            "cd {home} || exit 1; export RBEE_HOME={home}; new={home}/bin/{hash}/{name}; \
             do_it() {{ \"$1\" start --alias {alias} --binary \"$new\"; }}; \
             old=$(cat current 2>/dev/null); \
             if [ -n \"$old\" ] && [ -x \"$old\" ] && do_it \"$old\"; then exit 0; fi; do_it \"$new\"",
            home = self.at_home(),
        )
    }

    /// Notes which binary has answered, and removes those that nobody needs any more.
    pub(super) fn started(&self, hash: &str) -> String {
        format!(
            "umask 077; set -e; cd {home}; echo bin/{hash}/{name} > .current.$$; \
             mv -f .current.$$ current; touch bin/{hash}; \
             ls -1t bin | tail -n +{beyond} | while read -r old; do rm -rf \"bin/$old\"; done",
            home = self.at_home(),
            name = HIVE.name,
            beyond = KEPT + 1,
        )
    }

    /// Has the hive's binary there do `verb`; says that there is nobody where there is no binary.
    pub(super) fn manage(&self, verb: &str, flags: &str) -> String {
        format!(
            "cd {home} 2>/dev/null && exe=$(cat current 2>/dev/null) && [ -x \"$exe\" ] || \
             {{ echo '{{\"said\":\"nobody\"}}'; exit 0; }}; \
             RBEE_HOME={home} exec \"./$exe\" {verb} --alias {alias} {flags}",
            home = self.at_home(),
            alias = quoted(&self.alias),
        )
    }

    /// Removes what was brought there and what the hive has written.
    pub(super) fn remove(&self, models: bool) -> String {
        let home = self.at_home();
        // The folder of all hives there, if this was the last one.
        let all = Path::new(&self.home).parent().unwrap_or(Path::new("/"));
        let all = quoted(&all.display().to_string());
        match models {
            true => format!("rm -rf {home}; rmdir {all} 2>/dev/null; true"),
            false => format!(
                "cd {home} 2>/dev/null || exit 0; rm -rf bin current {worker} config.toml state run; \
                 rmdir models/.locks models 2>/dev/null; cd / && rmdir {home} {all} 2>/dev/null; true",
                worker = LLAMACPP_WORKER.name,
            ),
        }
    }

    fn at_home(&self) -> String {
        quoted(&self.home)
    }
}

/// A basic string of TOML.
fn toml_text(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04X}", c as u32),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

    use super::{KEPT, Layout};

    /// Runs a script as it would be run there; gives what it writes.
    #[track_caller]
    fn sh(script: &str) -> String {
        let said = Command::new("sh").args(["-c", script]).output().unwrap();
        assert!(said.status.success(), "{script}\n{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    }

    /// A program that says its name and what it was asked.
    fn bring(layout: &Layout, hash: &str, name: &str, code: u8) {
        fs::create_dir_all(layout.folder(hash)).unwrap();
        let file = Path::new(&layout.folder(hash)).join(name);
        fs::write(&file, format!("#!/bin/sh\necho \"{hash} $1 in $RBEE_HOME\"\nexit {code}\n"))
            .unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
    }

    fn world() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::Builder::new().prefix("it's a ").tempdir().unwrap();
        let layout = Layout::new(dir.path().to_str().unwrap(), "box");
        (dir, layout)
    }

    #[test]
    fn where_nothing_is_there_is_nobody_and_nothing_to_list_or_remove() {
        let (_dir, layout) = world();
        assert_eq!(sh(&layout.list()), "");
        assert_eq!(sh(&layout.manage("show", "")), "{\"said\":\"nobody\"}\n");
        sh(&layout.remove(false));
        sh(&layout.remove(true));
    }

    #[test]
    fn a_binary_is_there_once_it_was_tried_out_and_else_not_at_all() {
        let (dir, layout) = world();
        bring(&layout, "w1", "llamacpp-worker.new", 0);
        assert!(!sh(&layout.list()).contains("w1/llamacpp-worker\n"));
        sh(&layout.try_out("w1", "llamacpp-worker"));
        assert_eq!(sh(&layout.list()), "w1/llamacpp-worker\n");
        bring(&layout, "w2", "llamacpp-worker.new", 1);
        let script = layout.try_out("w2", "llamacpp-worker");
        assert!(!Command::new("sh").args(["-c", &script]).status().unwrap().success());
        assert_eq!(sh(&layout.list()), "w1/llamacpp-worker\n");
        assert!(!dir.path().join(".rbee/box/bin/w2").exists());
    }

    #[test]
    fn a_configuration_is_written_whole_or_not_at_all() {
        let (dir, layout) = world();
        bring(&layout, "h1", "rbee-hive", 0);
        bring(&layout, "w1", "llamacpp-worker", 0);
        // As on a full disk, from here on.
        let script = layout.place("h1", "w1", "m").replace("printf %s", "false");
        assert!(!Command::new("sh").args(["-c", &script]).status().unwrap().success());
        let home = dir.path().join(".rbee/box");
        assert!(!home.join("config.toml").exists());
        assert_eq!(fs::read_dir(&home).unwrap().count(), 2, "bin, the worker");
    }

    #[test]
    fn a_hive_is_started_by_the_one_before_and_else_by_itself() {
        let (dir, layout) = world();
        bring(&layout, "h1", "rbee-hive", 0);
        bring(&layout, "w1", "llamacpp-worker", 0);
        assert_eq!(sh(&layout.list()), "h1/rbee-hive\nw1/llamacpp-worker\n");
        sh(&layout.place("h1", "w1", "a \"b\""));
        let home = dir.path().join(".rbee/box");
        let first = sh(&layout.start("h1"));
        assert_eq!(first, format!("h1 start in {}\n", home.display()));
        sh(&layout.started("h1"));
        bring(&layout, "h2", "rbee-hive", 0);
        assert!(sh(&layout.start("h2")).starts_with("h1 start"));
        assert!(sh(&layout.manage("show", "")).starts_with("h1 show"));
        // One that cannot do it any more.
        bring(&layout, "h1", "rbee-hive", 3);
        assert_eq!(sh(&layout.start("h2")).lines().last().unwrap().split(' ').next(), Some("h2"));
        let config = fs::read_to_string(home.join("config.toml")).unwrap();
        assert!(config.ends_with("[models]\ndefault = \"a \\\"b\\\"\"\n"), "{config}");
    }

    #[test]
    fn the_worker_beside_every_hive_is_the_last_that_was_placed() {
        let (dir, layout) = world();
        for hash in ["h1", "h2"] {
            bring(&layout, hash, "rbee-hive", 0);
        }
        for (hive, worker) in [("h1", "w1"), ("h1", "w2"), ("h2", "w3")] {
            bring(&layout, worker, "llamacpp-worker", 0);
            sh(&layout.place(hive, worker, "m"));
        }
        for hive in ["h1", "h2"] {
            let beside = Path::new(&layout.folder(hive)).join("llamacpp-worker");
            assert!(fs::read_to_string(beside).unwrap().contains("w3"), "{hive}");
        }
        let home = dir.path().join(".rbee/box");
        assert_eq!(fs::read_dir(&home).unwrap().count(), 3, "bin, config.toml, the worker");
    }

    #[test]
    fn old_binaries_are_removed_and_a_configuration_that_is_there_stays() {
        let (dir, layout) = world();
        for nth in 0..KEPT + 3 {
            bring(&layout, &format!("h{nth}"), "rbee-hive", 0);
        }
        bring(&layout, "w", "llamacpp-worker", 0);
        let home = dir.path().join(".rbee/box");
        fs::write(home.join("config.toml"), "mine").unwrap();
        sh(&layout.place("h0", "w", "m"));
        sh(&layout.started("h0"));
        assert_eq!(fs::read_dir(home.join("bin")).unwrap().count(), KEPT);
        assert!(home.join("bin/h0/rbee-hive").exists());
        assert_eq!(fs::read_to_string(home.join("config.toml")).unwrap(), "mine");
    }

    #[test]
    fn models_stay_unless_they_are_to_go() {
        let (dir, layout) = world();
        bring(&layout, "h", "rbee-hive", 0);
        let home = dir.path().join(".rbee/box");
        fs::create_dir(home.join("models")).unwrap();
        fs::write(home.join("models/m.gguf"), "").unwrap();
        sh(&layout.remove(false));
        assert!(home.join("models/m.gguf").exists() && !home.join("bin").exists());
        let other = dir.path().join(".rbee/other");
        fs::create_dir(&other).unwrap();
        sh(&layout.remove(true));
        assert!(!home.exists() && other.exists());
        fs::remove_dir(other).unwrap();
        // Where nothing was ever fetched.
        fs::create_dir_all(home.join("models/.locks")).unwrap();
        sh(&layout.remove(false));
        assert!(!dir.path().join(".rbee").exists(), "it was the last");
    }
}
