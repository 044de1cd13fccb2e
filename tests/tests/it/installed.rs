use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use chain_tests::{Chain, Process, Run, processes};
use release_archive::{Content, Contents, Release, pack};
use tempfile::TempDir;

const PROMPT: &str = "one two three";

/// A stream that outlasts a replacement: the stand-in gives fifty words a second.
const WORDS: usize = 3_000;

const WITHOUT_SOURCES: &str = "This is an installed release, without sources";

/// What `tar` has unpacked somewhere, with a home of its own and nothing of the source tree.
struct Installed {
    folder: TempDir,
    home: TempDir,
}

impl Installed {
    fn from(archive: &Path) -> Self {
        let temporary = || tempfile::Builder::new().prefix("rbee").tempdir().unwrap();
        let (folder, home) = (temporary(), temporary());
        let unpacked = Command::new("tar").arg("xzf").arg(archive).current_dir(&folder).status();
        assert!(unpacked.unwrap().success());
        let config = format!(
            "[queen]\nport = 0\n[[hive]]\nalias = \"my-hive\"\nport = 0\n[models]\ndefault = {:?}\n",
            Chain::model()
        );
        fs::write(home.path().join("config.toml"), config).unwrap();
        Self { folder, home }
    }

    fn root(&self) -> PathBuf {
        fs::canonicalize(self.folder.path().join("rbee")).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.folder.path().join("rbee/bin/rbee"));
        command
            .args(args)
            .current_dir("/")
            .env_clear()
            .env("RBEE_HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    fn rbee(&self, args: &[&str]) -> Run {
        Run::of(self.command(args))
    }

    #[track_caller]
    fn succeed(&self, args: &[&str]) -> Run {
        let run = self.rbee(args);
        assert_eq!(run.code, Some(0), "rbee {args:?}\n{}{}", run.stdout, run.stderr);
        run
    }

    /// A stream that goes on meanwhile, as it begins.
    fn long_answer(&self) -> (Child, String) {
        let words: Vec<String> = (0..WORDS).map(|n| format!("word{n} ")).collect();
        let prompt = words.concat();
        let mut child = self.command(&["infer", &prompt]);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut first = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        (child, prompt[1..].trim_end().to_owned())
    }

    /// The folders that the levels' programs run from, and the hashes that those say they have.
    fn levels(&self) -> (BTreeSet<PathBuf>, BTreeSet<String>) {
        let status = self.succeed(&["status", "--json"]).stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let levels = status["levels"].as_array().unwrap();
        assert_eq!(levels.len(), 3, "{status}");
        let folder = |level: &serde_json::Value| {
            let exe = fs::read_link(format!("/proc/{}/exe", level["pid"])).unwrap();
            exe.parent().unwrap().to_owned()
        };
        let hash = |level: &serde_json::Value| level["exe_hash"].as_str().unwrap().to_owned();
        (levels.iter().map(folder).collect(), levels.iter().map(hash).collect())
    }

    fn release(&self) -> (String, Release) {
        let folder = fs::canonicalize(self.root().join("current")).unwrap();
        let manifest = fs::read(folder.join("release.json")).unwrap();
        let id = folder.file_name().unwrap().to_str().unwrap().to_owned();
        (id, serde_json::from_slice(&manifest).unwrap())
    }

    /// That queen, hive and worker run what is installed.
    #[track_caller]
    fn assert_all_run(&self, id: &str) {
        let (folders, hashes) = self.levels();
        assert_eq!(folders, BTreeSet::from([self.root().join(format!("releases/{id}/bin"))]));
        let (_, release) = self.release();
        let named = ["queen-rbee", "rbee-hive", "llamacpp-worker"];
        let named = named.map(|name| release.program(name).unwrap().to_owned());
        assert_eq!(hashes, BTreeSet::from(named));
    }

    fn releases(&self) -> usize {
        fs::read_dir(self.root().join("releases")).unwrap().count()
    }

    /// An archive of the installed release with its programs as `change` has them.
    fn archive_with(&self, version: &str, change: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> PathBuf {
        let (id, release) = self.release();
        let (folder, made) =
            (self.root().join("releases").join(id), self.folder.path().join(version));
        fs::create_dir(&made).unwrap();
        let content = |path: &String| {
            if !release.files[path].executable {
                return Content::Text(fs::read_to_string(folder.join(path)).unwrap());
            }
            let name = path.rsplit('/').next().unwrap();
            let program = made.join(name);
            fs::write(&program, change(name, fs::read(folder.join(path)).unwrap())).unwrap();
            Content::Program(program)
        };
        let contents: Contents =
            release.files.keys().map(|path| (path.clone(), content(path))).collect();
        let path = made.join("made.tar.gz");
        pack(&contents, version.parse().unwrap(), fs::File::create(&path).unwrap(), 1).unwrap();
        path
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let stop = self.rbee(&["stop"]);
        let left = processes(self.home.path());
        for Process { pid, .. } in &left {
            drop(Command::new("kill").args(["-9", &pid.to_string()]).status());
        }
        if !std::thread::panicking() {
            assert!(left.is_empty(), "`rbee stop` left {left:?}\n{}", stop.stderr);
        }
    }
}

/// The one file that `./rbee dist` makes.
fn dist(chain: &Chain) -> PathBuf {
    let out = chain.home().join("dist");
    let folder = out.to_str().unwrap();
    chain.succeed(&[
        "dist",
        "--profile",
        "dev",
        "--level",
        "1",
        "--format",
        "tar",
        "--out",
        folder,
    ]);
    let [made] = fs::read_dir(out).unwrap().collect::<Vec<_>>().try_into().unwrap();
    made.unwrap().path()
}

#[test]
fn a_chain_without_sources_runs_and_is_replaced_by_a_newer_archive_under_a_stream() {
    let chain = Chain::new();
    let first = dist(&chain);
    let installed = Installed::from(&first);

    let status = installed.rbee(&["status"]);
    assert_eq!(status.code, Some(4), "{}", status.stderr);
    assert!(status.stderr.contains("`rbee serve` or a first prompt"), "{}", status.stderr);
    let run = installed.succeed(&["infer", PROMPT]);
    assert_eq!(run.stdout.trim_end(), PROMPT);
    assert_eq!(run.stderr.matches(WITHOUT_SOURCES).count(), 1, "{}", run.stderr);
    assert!(!run.stderr.contains("needs rebuild"), "{}", run.stderr);
    let again = installed.succeed(&["infer", PROMPT]);
    assert!(!again.stderr.contains(WITHOUT_SOURCES), "{}", again.stderr);
    let (before, _) = installed.release();
    installed.assert_all_run(&before);

    // What a program has behind its end changes what it is known by, and not what it does.
    let second =
        installed.archive_with("0.2.0", |_, program| [program, b"newer".to_vec()].concat());
    let (mut child, rest) = installed.long_answer();
    let update = installed.succeed(&["self-update", second.to_str().unwrap()]);
    assert!(update.stderr.contains("has stood its probation"), "{}", update.stderr);
    let (after, _) = installed.release();
    assert_ne!(after, before);
    installed.assert_all_run(&after);
    let mut answer = String::new();
    child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(answer.trim_end(), rest);
    assert_eq!(installed.succeed(&["infer", PROMPT]).stdout.trim_end(), PROMPT);

    // It answers `--help`, which is looked at first, and does nothing else.
    let hive = "#!/bin/sh\ncase $1 in --help) exit 0 ;; esac\necho 'a broken hive' >&2\nexit 7\n";
    let broken = installed.archive_with("9.0.0", |name, program| match name {
        "rbee-hive" => hive.as_bytes().to_vec(),
        _ => [program, b"broken".to_vec()].concat(),
    });
    let whole = fs::read(&broken).unwrap();
    let cut = installed.folder.path().join("cut.tar.gz");
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let refused = installed.rbee(&["self-update", cut.to_str().unwrap()]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("breaks off, or is damaged"), "{}", refused.stderr);
    installed.assert_all_run(&after);

    let failed = installed.rbee(&["self-update", broken.to_str().unwrap()]);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("going back to"), "{}", failed.stderr);
    assert_eq!(installed.release().0, after);
    installed.assert_all_run(&after);
    assert_eq!(installed.releases(), 2, "the one that failed is gone");
    assert_eq!(installed.succeed(&["infer", PROMPT]).stdout.trim_end(), PROMPT);
    let older = installed.rbee(&["self-update", first.to_str().unwrap()]);
    assert_eq!(older.code, Some(2), "{}", older.stderr);
    assert!(older.stderr.contains("hint: `--downgrade` takes it all the same"), "{}", older.stderr);
}
