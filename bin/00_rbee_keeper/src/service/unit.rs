use std::{collections::BTreeMap, ffi::OsString, fmt::Write as _, path::PathBuf, time::Duration};

use anyhow::Context as _;
use auto_update::BuildEnvironment;
use rbee_config::RbeeConfig;

use crate::failure::Failure;

/// Where configuration is looked for, beside `RBEE_*`.
const FOLDERS: [&str; 3] = ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"];

/// Of the build's environment: the service manager sets the first three itself, the fourth may
/// name a folder of this session alone.
const OF_THE_SESSION: [&str; 4] = ["HOME", "USER", "LOGNAME", "TMPDIR"];

/// A stop drains the queen, then hives, then workers, each within the drain deadline.
const LEVELS: u32 = 3;

/// For what a stop does besides waiting for streams.
const STOP_MARGIN: Duration = Duration::from_secs(30);

/// Within which a service that does not hang says so.
const WATCHDOG_S: u32 = 60;

/// Between a failure and the next start, in seconds: what failed was tried several times before.
const RESTART_DELAY_S: u32 = 30;

/// What is the same for every service manager.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    /// An absolute path; run with the arguments `service run`.
    pub(super) program: String,
    /// What the chain builds and is configured with, as it was when the service was installed.
    pub(super) environment: BTreeMap<String, String>,
    /// The service's own output, where the manager does not collect it.
    pub(super) log: PathBuf,
    pub(super) stop_timeout: Duration,
}

impl Service {
    /// The service of this configuration.
    ///
    /// In a source tree it runs the script `rbee`, which is never stale; the keeper of an
    /// installed release cannot be.
    pub(crate) fn of(
        config: &RbeeConfig,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Failure> {
        let program = match (&config.source_root, &config.installation) {
            (Some(root), _) => root.join("rbee"),
            // Whichever release is used when it starts.
            (None, Some(installation)) => installation.program("rbee"),
            (None, None) => {
                std::env::current_exe().context("cannot tell which file this keeper is")?
            }
        };
        let program = text(program.into_os_string(), "the path of `rbee`")?;
        Ok(Self {
            program,
            environment: environment(variables)?,
            log: config.paths.logs.join("service.log"),
            stop_timeout: config.queen.drain_timeout * LEVELS + STOP_MARGIN,
        })
    }

    /// The service of whoever has the package and wants it; `program` is where that puts the keeper.
    pub(crate) fn packaged(config: &RbeeConfig, program: &str) -> Self {
        Self {
            program: program.to_owned(),
            environment: BTreeMap::new(),
            log: config.paths.logs.join("service.log"),
            stop_timeout: config.queen.drain_timeout * LEVELS + STOP_MARGIN,
        }
    }

    /// A unit of systemd's user manager.
    pub(crate) fn systemd(&self) -> String {
        let mut unit = String::from("[Unit]\nDescription=rbee: serves language models\n\n");
        // In a source tree it may have to build the chain before anything answers.
        unit.push_str("[Service]\nType=notify\nTimeoutStartSec=infinity\n");
        writeln!(unit, "WatchdogSec={WATCHDOG_S}").expect(STRING);
        // No `$` is expanded in the program's path.
        let program = quoted(&self.program);
        writeln!(unit, "ExecStart={program} service run").expect(STRING);
        for (name, value) in &self.environment {
            writeln!(unit, "Environment={}", quoted(&format!("{name}={value}"))).expect(STRING);
        }
        writeln!(unit, "Restart=on-failure\nRestartSec={RESTART_DELAY_S}").expect(STRING);
        unit.push_str(
            "# SIGTERM drains the chain. When this process dies otherwise, its daemons\n",
        );
        unit.push_str("# go on serving and the next one takes them up.\n");
        unit.push_str("KillMode=process\n");
        writeln!(unit, "TimeoutStopSec={}", self.stop_timeout.as_secs()).expect(STRING);
        unit.push_str("\n[Install]\nWantedBy=default.target\n");
        unit
    }

    /// A launch agent named `label`.
    pub(super) fn launchd(&self, label: &str) -> String {
        let mut plist = String::from(concat!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
            "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" ",
            "\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n",
            "<plist version=\"1.0\">\n<dict>\n",
        ));
        let mut entry = |key: &str, value: &str| {
            writeln!(plist, "  <key>{key}</key>\n  {value}").expect(STRING);
        };
        entry("Label", &string(label));
        let arguments = [self.program.as_str(), "service", "run"].map(string).concat();
        entry("ProgramArguments", &format!("<array>{arguments}</array>"));
        let variables = self.environment.iter();
        let variables: Vec<_> = variables
            .map(|(name, value)| format!("\n    <key>{}</key>{}", escaped(name), string(value)))
            .collect();
        entry("EnvironmentVariables", &format!("<dict>{}\n  </dict>", variables.concat()));
        entry("RunAtLoad", "<true/>");
        entry("KeepAlive", "<dict><key>SuccessfulExit</key><false/></dict>");
        entry("ThrottleInterval", &format!("<integer>{RESTART_DELAY_S}</integer>"));
        entry("AbandonProcessGroup", "<true/>");
        entry("ExitTimeOut", &format!("<integer>{}</integer>", self.stop_timeout.as_secs()));
        entry("StandardErrorPath", &string(&self.log.to_string_lossy()));
        plist.push_str("</dict>\n</plist>\n");
        plist
    }
}

const STRING: &str = "a string takes every text";

/// What this chain builds and is configured with: a service that saw other variables than the
/// person's shell would disagree with it about what is fresh. Credentials stay where they are.
fn environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, Failure> {
    let all: BTreeMap<OsString, OsString> = variables.into_iter().collect();
    let build = BuildEnvironment::from_vars(all.clone());
    let travelling: BTreeMap<_, _> = build.travelling().collect();
    let mut chosen = BTreeMap::new();
    for (name, value) in &all {
        let Some(known) = name.to_str() else { continue };
        let is_ours = known.starts_with("RBEE_") && known != "RBEE_SOURCE_ROOT";
        let is_build = travelling.contains_key(name.as_os_str())
            && !OF_THE_SESSION.contains(&known)
            && !known.ends_with("_TOKEN");
        if is_ours || is_build || FOLDERS.contains(&known) {
            chosen.insert(known.to_owned(), text(value.clone(), known)?);
        }
    }
    Ok(chosen)
}

/// A value that a service's file can hold.
fn text(value: OsString, what: &str) -> Result<String, Failure> {
    match value.into_string() {
        Ok(value) if !value.contains(char::is_control) => Ok(value),
        _ => Err(Failure::usage(format_args!(
            "{what} has a value that cannot be written into a service's file"
        ))),
    }
}

/// One word of a systemd unit, in which nothing is expanded.
fn quoted(word: &str) -> String {
    let word = word.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{word}\"")
}

fn string(value: &str) -> String {
    format!("<string>{}</string>", escaped(value))
}

fn escaped(value: &str) -> String {
    value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, time::Duration};

    use insta::assert_snapshot;

    use super::{Service, environment};

    fn service() -> Service {
        let variables = [
            ("PATH", "/srv/bee/.cargo/bin:/usr/bin"),
            ("CARGO_HOME", "/srv/bee/my \"100%\" \\ cargo"),
            ("RUSTUP_HOME", "/srv/bee/<rust & up>"),
            ("RBEE_HOME", "/srv/bee/rbee"),
            ("RBEE_SOURCE_ROOT", "/elsewhere"),
            ("CARGO_REGISTRY_TOKEN", "secret"),
            ("HOME", "/srv/bee"),
            ("TMPDIR", "/srv/session-7"),
            ("SSH_AUTH_SOCK", "/srv/agent"),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        Service {
            program: "/srv/bee/my rbee/rbee".to_owned(),
            environment: environment(variables).unwrap(),
            log: "/srv/bee/rbee/state/logs/service.log".into(),
            stop_timeout: Duration::from_secs(5430),
        }
    }

    #[test]
    fn a_systemd_unit_is_quoted_and_has_the_environment_of_the_installation() {
        assert_snapshot!(service().systemd(), @r#"
        [Unit]
        Description=rbee: serves language models

        [Service]
        Type=notify
        TimeoutStartSec=infinity
        WatchdogSec=60
        ExecStart="/srv/bee/my rbee/rbee" service run
        Environment="CARGO_HOME=/srv/bee/my \"100%%\" \\ cargo"
        Environment="PATH=/srv/bee/.cargo/bin:/usr/bin"
        Environment="RBEE_HOME=/srv/bee/rbee"
        Environment="RUSTUP_HOME=/srv/bee/<rust & up>"
        Restart=on-failure
        RestartSec=30
        # SIGTERM drains the chain. When this process dies otherwise, its daemons
        # go on serving and the next one takes them up.
        KillMode=process
        TimeoutStopSec=5430

        [Install]
        WantedBy=default.target
        "#);
    }

    #[test]
    fn a_launch_agent_says_the_same() {
        assert_snapshot!(service().launchd("rbee"), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
        <plist version="1.0">
        <dict>
          <key>Label</key>
          <string>rbee</string>
          <key>ProgramArguments</key>
          <array><string>/srv/bee/my rbee/rbee</string><string>service</string><string>run</string></array>
          <key>EnvironmentVariables</key>
          <dict>
            <key>CARGO_HOME</key><string>/srv/bee/my "100%" \ cargo</string>
            <key>PATH</key><string>/srv/bee/.cargo/bin:/usr/bin</string>
            <key>RBEE_HOME</key><string>/srv/bee/rbee</string>
            <key>RUSTUP_HOME</key><string>/srv/bee/&lt;rust &amp; up&gt;</string>
          </dict>
          <key>RunAtLoad</key>
          <true/>
          <key>KeepAlive</key>
          <dict><key>SuccessfulExit</key><false/></dict>
          <key>ThrottleInterval</key>
          <integer>30</integer>
          <key>AbandonProcessGroup</key>
          <true/>
          <key>ExitTimeOut</key>
          <integer>5430</integer>
          <key>StandardErrorPath</key>
          <string>/srv/bee/rbee/state/logs/service.log</string>
        </dict>
        </plist>
        "#);
    }

    #[test]
    fn a_value_that_would_end_its_line_is_refused() {
        for value in [b"/a\nExecStart=/evil".to_vec(), vec![0xff]] {
            let variables = [(OsString::from("RBEE_HOME"), OsString::from_vec(value))];
            assert!(environment(variables).is_err());
        }
    }
}
