use std::{env, ffi::OsStr, process::Command};

use rbee_config::{NarrationMode, Origin, Overrides, RbeeConfig};

use crate::{Home, listed};

#[test]
fn flag_wins_over_environment_over_file_over_default() {
    let home = Home::with("[queen]\nport = 1");
    let file = Origin::File { path: home.path().join("config.toml"), line: 2 };
    let environment = [("RBEE_QUEEN_PORT", "2")];
    let flag = Overrides { queen_port: Some(3), ..Overrides::default() };
    let none = Overrides::default();
    for (config, value, origin) in [
        (Home::with("").load(), "8500", Origin::Default),
        (home.load(), "1", file),
        (home.load_with(&environment, &none), "2", Origin::Environment("RBEE_QUEEN_PORT".into())),
        (home.load_with(&environment, &flag), "3", Origin::Flag("--queen-port".into())),
    ] {
        let config = config.unwrap();
        assert_eq!(listed(&config, "queen.port"), (value, &origin));
        assert_eq!(config.queen.port.to_string(), value);
    }
}

#[test]
fn every_scalar_key_has_a_variable_derived_from_its_name() {
    let home = Home::with("");
    let defaults = home.load().unwrap();
    let settable = defaults.values().filter(|value| {
        !["hive.", "paths.", "source_root"].iter().any(|prefix| value.key.starts_with(prefix))
    });
    let mut count = 0;
    for value in settable {
        let variable = format!("RBEE_{}", value.key.replace('.', "_").to_uppercase());
        let config = home.load_with(&[(&variable, &value.value)], &Overrides::default()).unwrap();
        let expected = (value.value.as_str(), &Origin::Environment(variable.clone()));
        assert_eq!(listed(&config, &value.key), expected);
        assert_eq!(config.warnings(), [""; 0]);
        count += 1;
    }
    assert_eq!(count, 36);
}

#[test]
fn a_wrong_variable_is_refused_by_its_name() {
    let refusal = refused(&[("RBEE_QUEEN_DRAIN_TIMEOUT", "soon")]);
    assert_eq!(
        refusal,
        "`queen.drain_timeout` must be a duration such as \"30s\", \"5m\" or \"1h 30m\", \
         not `soon` (environment RBEE_QUEEN_DRAIN_TIMEOUT)"
    );
}

#[test]
fn a_wrong_file_is_refused_even_where_a_variable_wins() {
    let home = Home::with("[queen]\nport = true");
    home.load_with(&[("RBEE_QUEEN_PORT", "2")], &Overrides::default()).unwrap_err();
}

#[test]
fn an_unknown_variable_is_warned_about() {
    let variables = [
        ("RBEE_QUEN_PORT", "1"),
        ("RBEE_TEST_SEED", "1"),
        ("RBEE_DAEMON_READY_FD", "3"),
        ("OTHER", "1"),
    ];
    let config = Home::with("").load_with(&variables, &Overrides::default()).unwrap();
    assert_eq!(
        config.warnings(),
        ["the environment variable `RBEE_QUEN_PORT` sets nothing; did you mean `RBEE_QUEEN_PORT`?"]
    );
}

#[test]
fn an_empty_variable_sets_nothing() {
    let config = Home::with("").load_with(&[("RBEE_QUEEN_PORT", "")], &Overrides::default());
    assert_eq!(config.unwrap().queen.port, 8500);
}

#[test]
fn hugging_faces_own_variable_counts_after_ours() {
    let home = Home::with("models.hf_endpoint = \"https://file\"");
    let theirs = ("HF_ENDPOINT", "https://theirs/");
    let ours = ("RBEE_MODELS_HF_ENDPOINT", "https://ours");
    let endpoint = |variables: &[(&str, &str)]| {
        home.load_with(variables, &Overrides::default()).unwrap().models.hf_endpoint
    };
    assert_eq!(endpoint(&[]), "https://file");
    assert_eq!(endpoint(&[theirs]), "https://theirs");
    assert_eq!(endpoint(&[theirs, ours]), "https://ours");
    let refusal = refused(&[("HF_ENDPOINT", "file:///etc")]);
    assert!(refusal.ends_with("not `file:///etc` (environment HF_ENDPOINT)"), "{refusal}");
}

#[test]
fn a_downloader_gets_what_it_needs_of_the_environment_and_nothing_else() {
    let variables = [("PATH", "/bin"), ("PIP_CERT", "/c"), ("AWS_SECRET", "s"), ("PATHS", "x")];
    let config = Home::with("").load_with(&variables, &Overrides::default()).unwrap();
    let shown = format!("{:?}", config.models.environment);
    assert_eq!(shown, "{\"PATH\", \"PIP_CERT\"}");
    let passed: Vec<_> = config.models.environment.into_iter().collect();
    assert_eq!(passed, [("PATH".into(), "/bin".into()), ("PIP_CERT".into(), "/c".into())]);
}

#[test]
fn flags_read_what_they_print() {
    for name in NarrationMode::NAMES {
        assert_eq!(name.parse::<NarrationMode>().unwrap().to_string(), *name);
    }
    assert_eq!(
        "loud".parse::<NarrationMode>().unwrap_err(),
        "must be one of `human`, `json`, `off`"
    );
}

/// Runs itself again in a process of its own, whose environment is the test's.
#[test]
#[expect(clippy::disallowed_methods, reason = "tells whether this is that process")]
fn a_process_is_configured_by_its_own_environment() {
    const CHILD: &str = "RBEE_TEST_CHILD";
    if env::var_os(CHILD).is_some() {
        assert_eq!(RbeeConfig::load(&Overrides::default()).unwrap().queen.port, 7);
        return;
    }
    let home = Home::with("");
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "layers::a_process_is_configured_by_its_own_environment"])
        .env_clear()
        .envs([("RBEE_HOME", home.path().as_os_str()), ("RBEE_QUEEN_PORT", OsStr::new("7"))])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(output.contains("1 passed"), "{output}");
}

#[track_caller]
fn refused(variables: &[(&str, &str)]) -> String {
    Home::with("").load_with(variables, &Overrides::default()).unwrap_err().to_string()
}
