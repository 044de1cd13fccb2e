use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use rbee_config::{
    ConfigFile, Environment, Error, HiveEntry, LiveConfig, Overrides, RbeeConfig, hive_lines,
};
use tempfile::TempDir;

struct Home(TempDir);

impl Home {
    fn with(text: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("config.toml"), text).unwrap();
        Self(home)
    }

    fn config(&self) -> RbeeConfig {
        let environment = Environment::from_iter([("RBEE_HOME", self.0.path())]);
        RbeeConfig::resolve(&Overrides::default(), &environment, None).unwrap()
    }

    fn edit(&self, edit: impl FnOnce(&mut ConfigFile)) -> Result<String, Error> {
        let mut file = ConfigFile::open(&self.config())?;
        edit(&mut file);
        file.save()?;
        Ok(self.text())
    }

    fn text(&self) -> String {
        fs::read_to_string(self.0.path().join("config.toml")).unwrap()
    }
}

const WRITTEN: &str = "\
# What I run.
[queen]
port = 9000 # not 8500

[model.\"a\"] # mine
context = 4096  # enough
# and no more
";

#[test]
fn a_key_is_changed_and_all_that_is_written_around_it_stays() {
    let home = Home::with(WRITTEN);
    let text = home.edit(|file| file.set("a", "context", "8192")).unwrap();
    assert_eq!(text, WRITTEN.replace("4096", "8192"));
    assert_eq!(home.config().model["a"].context, Some(8192));
}

#[test]
fn values_are_toml_or_else_text() {
    let home = Home::with("");
    home.edit(|file| {
        for (key, value) in [
            ("source", "/models/x.gguf"),
            ("parallel", "2"),
            ("pinned", "true"),
            ("keep_alive", "1h"),
            ("aliases", r#"["gpt-4o", "x"]"#),
        ] {
            file.set("Mine:1b", key, value);
        }
    })
    .unwrap();
    let config = home.config();
    let entry = &config.model["Mine:1b"];
    assert_eq!(entry.source.as_deref(), Some("/models/x.gguf"));
    assert_eq!((entry.parallel, entry.pinned), (Some(2), true));
    assert_eq!(entry.keep_alive, Some(Duration::from_secs(3600)));
    for name in ["Mine:1b", "mine:1B", "GPT-4o", "x"] {
        assert_eq!(config.model_called(name).unwrap().0, "Mine:1b", "{name}");
    }
    assert!(config.model_called("y").is_none());
    assert!(home.text().starts_with("[model.\"Mine:1b\"]\n"), "{}", home.text());
}

#[test]
fn an_unknown_key_and_a_wrong_value_leave_the_file_as_it_was() {
    for (key, value, says) in [
        ("contxt", "4096", "unknown key `model.\"a\".contxt`; did you mean `model.\"a\".context`?"),
        ("context", "many", "`model.\"a\".context` must be a whole number from 1"),
        ("keep_alive", "soon", "must be a duration"),
        ("worker", "abacus", "must be `llamacpp`"),
    ] {
        let home = Home::with(WRITTEN);
        let refused = home.edit(|file| file.set("a", key, value)).unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
        assert_eq!(home.text(), WRITTEN);
    }
}

#[test]
fn two_models_have_no_name_in_common() {
    let home = Home::with("[model.a]\naliases = [\"x\"]\n[model.b]\n");
    for taken in ["x", "X", "a", "A"] {
        let list = format!("[\"{taken}\"]");
        let refused = home.edit(|file| file.set("b", "aliases", &list)).unwrap_err().to_string();
        assert!(refused.contains("which is `a` too"), "{refused}");
    }
}

#[test]
fn a_key_is_removed_and_so_is_a_table() {
    let home = Home::with("[model.a]\ncontext = 1\npinned = true\n");
    let text = home
        .edit(|file| {
            assert!(file.unset("a", "context"));
            assert!(!file.unset("a", "context") && !file.unset("b", "context"));
        })
        .unwrap();
    assert_eq!(text, "[model.a]\npinned = true\n");
    home.edit(|file| assert!(file.remove("a") && !file.remove("a"))).unwrap();
    assert!(home.config().model.is_empty());
}

#[test]
fn a_copy_has_the_settings_of_what_it_is_of_but_no_name() {
    let home = Home::with("[model.a]\naliases = [\"x\"]\ncontext = 9 # few\nargs = [\"-v\"]\n");
    home.edit(|file| file.copy("a", "b")).unwrap();
    let config = home.config();
    let entry = &config.model["b"];
    assert_eq!((entry.source.as_deref(), entry.context), (Some("a"), Some(9)));
    assert_eq!((entry.args.as_slice(), entry.aliases.len()), (&["-v".to_owned()][..], 0));
    assert_eq!(config.model["a"].aliases, ["x"]);
    home.edit(|file| file.copy("qwen3:8b", "c")).unwrap();
    assert_eq!(home.config().model["c"].source.as_deref(), Some("qwen3:8b"));
}

#[test]
fn a_file_that_is_not_there_is_made_for_its_owner_alone_and_a_link_stays_one() {
    let home = Home::with("");
    let path = home.0.path().join("config.toml");
    fs::remove_file(&path).unwrap();
    home.edit(|file| file.set("a", "pinned", "true")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let real = home.0.path().join("real.toml");
    fs::rename(&path, &real).unwrap();
    std::os::unix::fs::symlink(&real, &path).unwrap();
    home.edit(|file| file.set("a", "context", "5")).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("context = 5"));
}

#[test]
fn a_process_that_runs_follows_the_edit_in_the_environment_that_it_has() {
    let home = Home::with("");
    let live = LiveConfig::from_now_on(home.config(), Overrides::default());
    home.edit(|file| file.set("a", "pinned", "true")).unwrap();
    let config = live.current();
    assert!(config.model["a"].pinned);
    assert_eq!(config.paths.models, home.0.path().join("models"));
}

#[test]
fn a_model_stays_for_a_time_or_for_ever() {
    let hour = Some(Duration::from_secs(3600));
    for (written, stay) in [
        ("\"1h\"", hour),
        ("3600", hour),
        ("0", Some(Duration::ZERO)),
        ("-1", Some(Duration::MAX)),
        ("\"forever\"", Some(Duration::MAX)),
    ] {
        let home = Home::with(&format!("[model.a]\nkeep_alive = {written}\n"));
        assert_eq!(home.config().model["a"].keep_alive, stay, "{written}");
    }
}

fn hive(alias: &str, port: u16) -> HiveEntry {
    HiveEntry { alias: alias.into(), host: "localhost".into(), port }
}

#[test]
fn a_hive_is_three_lines() {
    assert_eq!(hive_lines(&hive("a", 8600)), "[[hive]]\nalias = \"a\"\nport = 8600\n");
}

#[test]
fn a_hive_elsewhere_has_a_host_and_no_port() {
    let there = HiveEntry::elsewhere(&[hive("a", 8600)], "b", "me@box").unwrap();
    assert_eq!(hive_lines(&there), "[[hive]]\nalias = \"b\"\nhost = \"me@box\"\n");
    for (alias, host) in [("a", "me@box"), ("../b", "me@box"), ("b", "localhost"), ("b", "-v")] {
        assert!(HiveEntry::elsewhere(&[hive("a", 8600)], alias, host).is_err(), "{alias} {host}");
    }
}

#[test]
fn hives_come_and_go_and_comments_and_order_stay() {
    let text = "# mine\n[queen]\nport = 1 # odd\n\n# the first\n[[hive]]\nalias = \"a\"\n";
    let home = Home::with(text);
    let added = home.edit(|file| file.add_hives(&[hive("b", 9)])).unwrap();
    assert_eq!(added, format!("{text}\n[[hive]]\nalias = \"b\"\nport = 9\n"));
    let removed = home.edit(|file| assert!(file.remove_hive("b"))).unwrap();
    assert_eq!(removed.trim_end(), text.trim_end());
    home.edit(|file| assert!(!file.remove_hive("c"))).unwrap();
}

#[test]
fn hives_on_one_line_stay_there() {
    let text = "hive = [{ alias = \"a\" }] # both\n";
    let home = Home::with(text);
    let added = home.edit(|file| file.add_hives(&[hive("b", 9)])).unwrap();
    assert_eq!(added, "hive = [{ alias = \"a\" }, { alias = \"b\", port = 9 }] # both\n");
    assert_eq!(home.edit(|file| assert!(file.remove_hive("b"))).unwrap(), text);
}

#[test]
fn a_file_that_is_not_there_gets_its_first_hive() {
    let home = Home::with("");
    fs::remove_file(home.0.path().join("config.toml")).unwrap();
    let added = home.edit(|file| assert!(!file.has_hives())).unwrap();
    assert_eq!(added, "");
    let added = home.edit(|file| file.add_hives(&[hive("a", 1)])).unwrap();
    assert_eq!(added, "[[hive]]\nalias = \"a\"\nport = 1\n");
}

#[test]
fn a_hive_that_would_make_the_file_wrong_leaves_it_as_it_was() {
    let home = Home::with("[[hive]]\nalias = \"a\"\nport = 9\n");
    let before = home.text();
    assert!(home.edit(|file| file.add_hives(&[hive("a", 10)])).is_err());
    assert_eq!(home.text(), before);
}
