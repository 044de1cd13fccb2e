use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, anyhow};
use chain_daemon::{
    EXTERNAL_WORKER, HIVE, InstanceName, LLAMACPP_WORKER, QUEEN, Standing, VLLM_WORKER, standing,
};
use narration_core::{Level, Narration};
use rbee_config::{INSTALLED, Installation, installation::PROGRAMS};
use release_archive::{Landed, Release, Rule, land, lock, prune, switch};
use serde::{Deserialize, Serialize};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    app::App,
    cli::SelfUpdateArgs,
    commands::print,
    failure::{Failure, Kind},
};

/// A probation is ten seconds; its end is noted a little later.
const PROBATION_LIMIT: Duration = Duration::from_secs(40);
/// Other processes write down what is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What has been installed.
#[derive(Debug, Serialize)]
struct Updated {
    release: String,
    before: String,
    /// Whether a chain ran, all of which runs the release by now.
    replaced: bool,
}

/// Of the output of `status --json`, which releases tell each other about.
#[derive(Debug, Deserialize)]
struct Seen {
    levels: Vec<SeenLevel>,
}

#[derive(Debug, Deserialize)]
struct SeenLevel {
    level: String,
    name: String,
    exe_hash: Option<String>,
}

/// A level that runs what it should, and what that is called on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Watched {
    name: InstanceName,
    exe_hash: String,
}

pub(crate) async fn run(app: &App, args: SelfUpdateArgs) -> Result<(), Failure> {
    let installation = installation(app)?;
    let updated = update(app, &installation, &args).await?;
    let SelfUpdateArgs { output, .. } = args;
    print(app, output.json, &updated, |_| String::new())
}

fn installation(app: &App) -> Result<Installation, Failure> {
    if let Some(root) = &app.config.source_root {
        let root = root.display();
        return Err(Failure::usage(format_args!(
            "this is the source tree `{root}`, and no installed release"
        ))
        .hint("`git pull` updates it; the next `./rbee` builds what has changed"));
    }
    app.config.installation.clone().ok_or_else(|| {
        let exe = std::env::current_exe().unwrap_or_default();
        Failure::usage(format_args!("`{}` is in no folder of releases", exe.display()))
            .hint("what a package has installed is updated by a package: `sudo apt install ./FILE.deb`, then `./rbee update`")
    })
}

async fn update(
    app: &App,
    installation: &Installation,
    args: &SelfUpdateArgs,
) -> Result<Updated, Failure> {
    let rule = if args.downgrade { Rule::Any } else { Rule::NoOlder };
    let (at, archive) = (installation.clone(), args.archive.clone());
    let landing = tokio::task::spawn_blocking(move || {
        let lock = lock(&at)?;
        Ok::<_, release_archive::Error>((land(&at, &archive, rule)?, lock))
    });
    let landed = landing.await.context("the thread that unpacks died")?;
    let (landed, _lock) = landed.map_err(refused)?;
    let Landed { release, id, before, .. } = &landed;
    if let Err(failure) = can_start(installation, &landed).await {
        return Err(undo(installation, &landed, failure));
    }
    let runs = app.config.queen.url.is_none() && app.running_queen().await?.is_some();
    let updated = Updated { release: id.clone(), before: before.clone(), replaced: runs };
    if id == before && !runs {
        say(Level::Info, format!("`{id}` is installed already"));
        return Ok(updated);
    }
    switch(installation, id).map_err(|error| Failure::new(Kind::Failed, error))?;
    say(Level::Info, format!("`{id}` is installed in `{}`", installation.root().display()));
    if runs {
        let replaced = replace(app, installation, release).await;
        if let Err(failure) = replaced {
            return Err(go_back(installation, &landed, failure).await);
        }
        say(Level::Info, format!("Every level runs `{id}` and has stood its probation"));
    }
    let gone =
        prune(installation, &[id, before]).map_err(|error| Failure::new(Kind::Failed, error))?;
    for gone in gone {
        tracing::debug!(release = gone, "removed");
    }
    Ok(updated)
}

fn refused(error: release_archive::Error) -> Failure {
    let hint = match &error {
        release_archive::Error::Older { .. } => Some("`--downgrade` takes it all the same"),
        release_archive::Error::DebianPackage { .. } => {
            Some("`sudo apt install ./FILE.deb` takes it")
        }
        release_archive::Error::Changed { .. } | release_archive::Error::Damaged { .. } => {
            Some("get the file again: nothing was changed by this one")
        }
        _ => None,
    };
    let failure = Failure::new(Kind::Usage, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Whether this machine can run the programs at all: they may have been linked with newer libraries.
async fn can_start(installation: &Installation, landed: &Landed) -> Result<(), Failure> {
    let folder = installation.release(&landed.id);
    for program in landed.release.programs() {
        let tried =
            Command::new(folder.join(program)).arg("--help").stdin(Stdio::null()).output().await;
        let why = match tried {
            Ok(output) if output.status.success() => continue,
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                format!("{}: {}", output.status, said.lines().next().unwrap_or_default())
            }
            Err(error) => error.to_string(),
        };
        let what = format!("the release's `{program}` cannot run on this machine");
        return Err(Failure::new(Kind::Failed, anyhow!(why).context(what)));
    }
    Ok(())
}

/// Has the release's own keeper replace what runs, then watches until nothing can be rolled back.
async fn replace(app: &App, installation: &Installation, release: &Release) -> Result<(), Failure> {
    let seen = update_by(&installation.program(INSTALLED)).await?;
    let watched = expected(app.config.queen.port, release, &seen)?;
    say(Level::Info, "The levels before stand by while the new ones are on probation".to_owned());
    let deadline = Instant::now() + PROBATION_LIMIT;
    loop {
        let config = app.config.clone();
        let living = tokio::task::spawn_blocking(move || standing(&config)).await;
        let living = living.context("the thread that looks at daemons died")?;
        if all_proven(&watched, &living)? {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::failed(
                "its levels serve, and did not stand their probation in time",
            ));
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// Runs `update` of that keeper, which narrates to the person; returns what it shows then.
async fn update_by(keeper: &Path) -> Result<Seen, Failure> {
    let output = Command::new(keeper)
        .args(["update", "--json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .with_context(|| format!("cannot start `{}`", keeper.display()))?;
    if !output.status.success() {
        return Err(Failure::failed(format_args!(
            "its `rbee update` ended with {}",
            output.status
        )));
    }
    let seen = serde_json::from_slice(&output.stdout);
    Ok(seen.context("what its `rbee update` shows cannot be understood")?)
}

/// The queen and hives that are to be watched, which run what the release has of them, as its workers
/// have to.
fn expected(port: u16, release: &Release, seen: &Seen) -> Result<Vec<Watched>, Failure> {
    let mut watched = Vec::new();
    for SeenLevel { level, name, exe_hash } in &seen.levels {
        // One that does not run is started from the release.
        let Some(running) = exe_hash else { continue };
        let programs: &[&str] = match level.as_str() {
            "queen" => &[QUEEN.name],
            "hive" => &[HIVE.name],
            _ => &[LLAMACPP_WORKER.name, VLLM_WORKER.name, EXTERNAL_WORKER.name],
        };
        if !programs.iter().any(|program| release.program(program) == Some(running)) {
            return Err(Failure::failed(format_args!(
                "the {level} `{name}` did not become the release's: it was rolled back"
            )));
        }
        let name = match level.as_str() {
            "queen" => InstanceName::Queen { port },
            "hive" => InstanceName::Hive { alias: name.clone() },
            _ => continue,
        };
        watched.push(Watched { name, exe_hash: running.clone() });
    }
    Ok(watched)
}

/// Whether each has stood its probation; an error where one has not, or has died.
fn all_proven(watched: &[Watched], living: &[Standing]) -> Result<bool, Failure> {
    let mut all = true;
    for Watched { name, exe_hash } in watched {
        let now = living.iter().find(|standing| standing.name == *name);
        match now {
            Some(now) if now.exe_hash == *exe_hash => all &= now.is_proven,
            Some(_) => {
                return Err(Failure::failed(format_args!(
                    "the new `{name}` failed in its probation and was rolled back"
                )));
            }
            // Between two generations there is nobody for a moment.
            None => all = false,
        }
    }
    Ok(all)
}

/// Has everything run the release before again, where it does not already.
async fn go_back(installation: &Installation, landed: &Landed, failure: Failure) -> Failure {
    let Landed { id, before, .. } = landed;
    if id == before {
        return failure;
    }
    say(Level::Warn, format!("`{id}` failed: going back to `{before}`"));
    if let Err(error) = switch(installation, before) {
        return failure.hint(format!("going back failed too: {:#}", anyhow!(error)));
    }
    let failure = match update_by(&installation.program(INSTALLED)).await {
        Ok(_) => {
            failure.hint(format!("`{before}` goes on; `./rbee logs` shows what the new one said"))
        }
        Err(error) => {
            let lines = error.lines(crate::Paint::Plain).join("; ");
            failure.hint(format!("`{before}` is used again, and not everything runs it: {lines}"))
        }
    };
    undo(installation, landed, failure.context("the new release failed"))
}

/// Removes a release that was just put there.
fn undo(installation: &Installation, landed: &Landed, failure: Failure) -> Failure {
    if landed.was_there || landed.id == landed.before {
        return failure;
    }
    let folder = installation.release(&landed.id);
    match std::fs::remove_dir_all(&folder) {
        Ok(()) => failure,
        Err(error) => {
            failure.hint(format!("`{}` is left: {error}", folder.join(PROGRAMS).display()))
        }
    }
}

fn say(level: Level, human: String) {
    Narration::new("keeper", "self_update", human).level(level).emit();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use release_archive::{FileEntry, this_platform};

    use super::*;

    fn release() -> Release {
        let entry = |hash: &str| FileEntry { blake3: hash.to_owned(), bytes: 1, executable: true };
        let files = BTreeMap::from([
            ("bin/queen-rbee".to_owned(), entry("q2")),
            ("bin/rbee-hive".to_owned(), entry("h2")),
            ("bin/llamacpp-worker".to_owned(), entry("w2")),
        ]);
        Release { version: "0.2.0".parse().unwrap(), platform: this_platform(), files }
    }

    fn seen(levels: &[(&str, &str, Option<&str>)]) -> Seen {
        let level = |(level, name, hash): &(&str, &str, Option<&str>)| SeenLevel {
            level: (*level).to_owned(),
            name: (*name).to_owned(),
            exe_hash: hash.map(str::to_owned),
        };
        Seen { levels: levels.iter().map(level).collect() }
    }

    #[test]
    fn every_level_has_to_run_what_the_release_has_of_it() {
        let all = [("queen", "queen", Some("q2")), ("hive", "a", Some("h2")), ("hive", "b", None)];
        let watched = expected(8500, &release(), &seen(&all)).unwrap();
        let names: Vec<_> = watched.iter().map(|one| one.name.to_string()).collect();
        assert_eq!(names, ["queen-8500", "hive-a"]);
        for old in [("hive", "a", Some("h1")), ("worker", "m", Some("w1"))] {
            let refused = expected(8500, &release(), &seen(&[all[0], old])).unwrap_err();
            assert!(format!("{refused:?}").contains("rolled back"), "{refused:?}");
        }
        let worker = ("worker", "m", Some("w2"));
        assert_eq!(expected(8500, &release(), &seen(&[all[0], worker])).unwrap().len(), 1);
    }

    #[test]
    fn a_probation_is_stood_failed_or_under_way() {
        let name = InstanceName::Queen { port: 1 };
        let watched = [Watched { name: name.clone(), exe_hash: "q2".into() }];
        let living = |exe_hash: &str, is_proven| {
            [Standing { name: name.clone(), exe_hash: exe_hash.into(), is_proven }]
        };
        assert!(all_proven(&watched, &living("q2", true)).unwrap());
        assert!(!all_proven(&watched, &living("q2", false)).unwrap());
        assert!(!all_proven(&watched, &[]).unwrap());
        assert!(all_proven(&watched, &living("q1", true)).is_err());
    }
}
