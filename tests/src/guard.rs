use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Waits for the end of its standard input, which comes with the end of whoever holds the other end,
/// and kills what runs with that home then, until there is nothing any more.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
while read -r _; do :; done
for _ in 1 2 3 4 5 6 7 8 9; do
    # Its status also tells of processes that have ended meanwhile.
    found=$(grep -laszxF "RBEE_HOME=$1" /proc/[0-9]*/environ)
    [ -n "$found" ] || break
    for environ in $found; do
        pid=${environ#/proc/}
        kill -9 "${pid%/environ}"
    done
done
"#;

/// Ends every process of a home with this process, also where that is killed and runs no destructors.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    pub(crate) fn of(home: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh"]).arg(home);
        // In a group of its own: what kills a test kills the test's group.
        command.env_remove("RBEE_HOME").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("there is a shell"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Nothing else could be done about it here.
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::processes;

    #[test]
    fn what_runs_with_a_home_ends_with_its_guard() {
        let home = tempfile::tempdir().unwrap();
        let guard = Guard::of(home.path());
        let mut left =
            Command::new("sleep").arg("600").env("RBEE_HOME", home.path()).spawn().unwrap();
        let other = home.path().join("other");
        let mut others = Command::new("sleep").arg("600").env("RBEE_HOME", other).spawn().unwrap();
        let found = processes(home.path());
        assert_eq!(found.len(), 1, "{found:?}");

        drop(guard);

        let ended = found[0].ends_within(Duration::from_secs(10));
        let is_there = others.try_wait().unwrap().is_none();
        for child in [&mut left, &mut others] {
            // One of them has ended.
            drop(child.kill());
            child.wait().unwrap();
        }
        assert!(ended && is_there, "{ended} {is_there}");
    }
}
