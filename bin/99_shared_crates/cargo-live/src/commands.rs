use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Component, Path, PathBuf},
    process::{self, ExitCode},
    time::Instant,
};

use auto_update::{AutoUpdater, BuildEvent, Error};

use crate::{
    args::{Args, Choice, Command, Manner, StoreCommand},
    report::{self, Built},
    watch::{self, WatchArgs},
};

/// The binary is not, or may not be, what its inputs say.
const STALE: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Update(#[from] Error),
    #[error("cannot find the working directory")]
    WorkingDirectory { source: io::Error },
    #[error("cannot run `{path}`")]
    Run { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Watch(#[from] watch::Error),
    #[error("cannot write the answer")]
    Write { source: io::Error },
}

pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Check { choice, json } => check(&choice, json),
        Command::Build { choice, manner, json } => build(&choice, &manner, json),
        Command::Run { choice, manner, arguments } => run_binary(&choice, &manner, &arguments),
        Command::Watch { choice, manner, watch, arguments } => {
            watch_binary(&choice, &manner, watch, arguments)
        }
        Command::WithSockets { command } => {
            let Some((program, arguments)) = command.split_first() else {
                return Ok(ExitCode::SUCCESS);
            };
            let source = watch::become_with_sockets(program, arguments);
            Err(Failure::Run { path: program.into(), source })
        }
        Command::Explain { choice, json, files } => explain(&choice, json, &files),
        Command::Store { choice, command } => store(&choice, &command),
    }
}

fn check(choice: &Choice, json: bool) -> Result<ExitCode, Failure> {
    let updater = updater(choice)?;
    let began = Instant::now();
    let inspection = updater.inspect()?;
    let took = began.elapsed();
    let text = if json {
        report::verdict_json(&updater, &inspection, took)
    } else {
        report::verdict(&updater, &inspection, took)
    };
    print(&text)?;
    Ok(if inspection.freshness.is_fresh() { ExitCode::SUCCESS } else { ExitCode::from(STALE) })
}

fn build(choice: &Choice, manner: &Manner, json: bool) -> Result<ExitCode, Failure> {
    let updater = updater(choice)?.force(manner.force).idle_priority(manner.idle);
    let built = ensure(&updater, manner)?;
    if json {
        print(&report::built_json(&updater, &built))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run_binary(
    choice: &Choice,
    manner: &Manner,
    arguments: &[OsString],
) -> Result<ExitCode, Failure> {
    let updater = updater(choice)?.force(manner.force).idle_priority(manner.idle);
    let path = ensure(&updater, manner)?.artifact.path;
    let source = process::Command::new(&path).args(arguments).exec();
    Err(Failure::Run { path, source })
}

fn watch_binary(
    choice: &Choice,
    manner: &Manner,
    args: WatchArgs,
    arguments: Vec<OsString>,
) -> Result<ExitCode, Failure> {
    let find = || Ok(updater(choice)?.idle_priority(manner.idle));
    let prepare = |_: &AutoUpdater| -> watch::Prepare {
        Box::new(move |artifact| {
            let mut command = process::Command::new(&artifact.path);
            command.args(&arguments);
            command
        })
    };
    watch::watch(find, prepare, args, manner.quiet)
}

fn explain(choice: &Choice, json: bool, files: &[PathBuf]) -> Result<ExitCode, Failure> {
    let updater = updater(choice)?;
    let inputs = updater.inputs()?;
    let inspection = updater.inspect()?;
    let files: Vec<PathBuf> = files
        .iter()
        .map(|file| std::path::absolute(file).map(|file| without_dots(&file)))
        .map(|file| file.map_err(|source| Failure::WorkingDirectory { source }))
        .collect::<Result<_, _>>()?;
    let text = if json {
        report::explanation_json(&updater, &inspection, &inputs, &files)
    } else {
        report::explanation(&updater, &inspection, &inputs, &files)
    };
    print(&text)?;
    Ok(if inspection.freshness.is_fresh() { ExitCode::SUCCESS } else { ExitCode::from(STALE) })
}

fn store(choice: &Choice, command: &StoreCommand) -> Result<ExitCode, Failure> {
    let store = updater(choice)?.store()?;
    let text = match command {
        StoreCommand::List { json: true } => report::json(&store.list()?),
        StoreCommand::List { json: false } => report::stored(&store.list()?),
        StoreCommand::Gc { keep } => report::removed(&store.collect_garbage(keep << 20)?),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn updater(choice: &Choice) -> Result<AutoUpdater, Failure> {
    let dir = match &choice.manifest_path {
        Some(path) => {
            let path = std::path::absolute(path);
            let path = path.map_err(|source| Failure::WorkingDirectory { source })?;
            path.parent().map_or_else(|| path.clone(), Path::to_owned)
        }
        None => std::env::current_dir().map_err(|source| Failure::WorkingDirectory { source })?,
    };
    let updater = match &choice.bin {
        Some(name) => AutoUpdater::find(name, &dir)?,
        None => AutoUpdater::find_only(&dir)?,
    };
    let profile =
        choice.profile.as_deref().unwrap_or(if choice.release { "release" } else { "dev" });
    let separators = [',', ' '];
    let features = choice.features.iter().flat_map(|list| list.split(separators));
    let updater = updater
        .profile(profile)
        .features(features.filter(|feature| !feature.is_empty()))
        .all_features(choice.all_features)
        .no_default_features(choice.no_default_features);
    Ok(match &choice.target {
        Some(target) => updater.target(target),
        None => updater,
    })
}

fn ensure(updater: &AutoUpdater, manner: &Manner) -> Result<Built, Failure> {
    let updater = updater.clone().colours(io::stderr().is_terminal());
    let began = Instant::now();
    let (mut compiled, mut identical) = (false, true);
    let result = updater.ensure_built_with(|event| {
        let line = match event {
            BuildEvent::WaitingFor { pid: Some(pid) } => {
                Some(format!("waiting for process {pid}, which builds it"))
            }
            BuildEvent::WaitingFor { pid: None } => {
                Some("waiting for another build of it".to_owned())
            }
            BuildEvent::Building { reasons } => {
                let lines: Vec<String> =
                    reasons.iter().map(|reason| format!("stale: {reason}")).collect();
                Some(lines.join("\n")).filter(|lines| !lines.is_empty())
            }
            BuildEvent::Line(line) => {
                compiled |= line.contains("Compiling");
                Some(line)
            }
            BuildEvent::Finished { identical: same, .. } => {
                identical = same;
                None
            }
            BuildEvent::Failed { diagnostics, .. } if manner.quiet => {
                let lines = diagnostics.lines().filter(|line| !is_status(line));
                // Whoever is quiet about the build is not about why there is none.
                let lines = lines.collect::<Vec<_>>().join("\n");
                writeln!(io::stderr(), "{}", lines.trim_end()).unwrap_or(());
                None
            }
            BuildEvent::Failed { diagnostics, remembered: true } => {
                Some(diagnostics.trim_end().to_owned())
            }
            _ => None,
        };
        if let Some(line) = line.filter(|_| !manner.quiet) {
            // A closed stderr is no reason to fail a build.
            writeln!(io::stderr(), "{line}").unwrap_or(());
        }
    });
    let artifact = result?;
    Ok(Built { artifact, compiled, identical, took: began.elapsed() })
}

/// Whether cargo says what it does: a verb, set against the twelfth column.
fn is_status(line: &str) -> bool {
    const COLUMN: usize = 12;
    line.split_at_checked(COLUMN).is_some_and(|(verb, rest)| {
        let word = verb.trim_start();
        rest.starts_with(' ')
            && word.starts_with(|first: char| first.is_ascii_uppercase())
            && word.chars().all(char::is_alphabetic)
    })
}

/// Resolves `..` by name, as inputs are named.
fn without_dots(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            result.pop();
        } else {
            result.push(component);
        }
    }
    result
}

fn print(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{}", text.trim_end()).map_err(|source| Failure::Write { source })
}
