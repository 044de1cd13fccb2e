use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Component, Path, PathBuf},
    process::{self, ExitCode},
    time::Instant,
};

use auto_update::{AutoUpdater, BuildEvent, Error, RunEnvironment, Selection};

use crate::{
    args::{Args, BuildOptions, Choice, Colour, Command, StoreCommand},
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
    #[error("`{given}` is cargo's alone; `watch` cannot follow it")]
    NotWatched { given: String },
    #[error("cannot run `{path}`")]
    Run { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Watch(#[from] watch::Error),
    #[error("cannot write the answer")]
    Write { source: io::Error },
}

impl Failure {
    /// Cargo said why it cannot build this.
    pub(crate) fn is_failed_build(&self) -> bool {
        matches!(self, Self::Update(Error::BuildFailed { .. }))
    }
}

pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Check { choice, json } => check(&choice, json),
        Command::Build { choice, options, json } => build(&choice, &options, json),
        Command::Run { choice, options, arguments } => run_binary(&choice, &options, &arguments),
        Command::Watch { choice, options, watch, arguments } => {
            watch_binary(&choice, &options, watch, arguments)
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

fn build(choice: &Choice, options: &BuildOptions, json: bool) -> Result<ExitCode, Failure> {
    if let Some(given) = only_cargos(options) {
        return Err(become_cargo("build", &given, choice, options, &[]));
    }
    let updater = built_so(updater(choice)?, choice, options);
    // Looked at for the answer alone: whoever runs a program pays for one check.
    let asked_cargo = json && (options.force || !updater.check()?.is_fresh());
    let built = ensure(&updater, options)?;
    if json {
        print(&report::built_json(&updater, &built, asked_cargo))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run_binary(
    choice: &Choice,
    options: &BuildOptions,
    arguments: &[OsString],
) -> Result<ExitCode, Failure> {
    if let Some(given) = only_cargos(options) {
        return Err(become_cargo("run", &given, choice, options, arguments));
    }
    let updater = built_so(updater(choice)?, choice, options);
    let artifact = ensure(&updater, options)?.artifact;
    let mut command = program(&updater.run_environment(&artifact)?, arguments);
    let path = command.get_program().into();
    let source = command.exec();
    Err(Failure::Run { path, source })
}

fn watch_binary(
    choice: &Choice,
    options: &BuildOptions,
    args: WatchArgs,
    arguments: Vec<OsString>,
) -> Result<ExitCode, Failure> {
    if let Some(given) = only_cargos(options) {
        return Err(Failure::NotWatched { given: given.join(" ") });
    }
    let find = || Ok::<_, Failure>(built_so(updater(choice)?, choice, options));
    let prepare = |updater: &AutoUpdater| -> watch::Prepare {
        let updater = updater.clone();
        Box::new(move |artifact| match updater.run_environment(artifact) {
            Ok(environment) => program(&environment, &arguments),
            Err(_) => {
                let mut command = process::Command::new(&artifact.path);
                command.args(&arguments);
                command
            }
        })
    };
    watch::watch(find, prepare, args, options.quiet)
}

/// The program as `cargo run` starts it.
fn program(environment: &RunEnvironment, arguments: &[OsString]) -> process::Command {
    let mut command = match environment.runner.split_first() {
        Some((runner, first)) => {
            let mut command = process::Command::new(runner);
            command.args(first).arg(&environment.program);
            command
        }
        None => process::Command::new(&environment.program),
    };
    command.args(arguments);
    command.envs(environment.vars.iter().map(|(name, value)| (name, value)));
    command
}

/// Flags whose answer only cargo can give.
fn only_cargos(options: &BuildOptions) -> Option<Vec<String>> {
    let mut given = Vec::new();
    given.extend(options.message_format.iter().map(|format| format!("--message-format={format}")));
    given.extend(options.timings.then(|| "--timings".to_owned()));
    given.extend(options.unstable.iter().map(|flag| format!("-Z{flag}")));
    (!given.is_empty()).then_some(given)
}

/// Cargo in the place of this process, for what only it can answer.
fn become_cargo(
    verb: &str,
    given: &[String],
    choice: &Choice,
    options: &BuildOptions,
    arguments: &[OsString],
) -> Failure {
    let mut command = process::Command::new("cargo");
    command.arg(verb).args(given).args(further(choice, options));
    let values = [
        ("--package", &choice.package),
        ("--bin", &choice.bin),
        ("--example", &choice.example),
        ("--profile", &choice.profile),
        ("--target", &choice.target),
    ];
    for (flag, value) in values {
        value.iter().for_each(|value| {
            command.args([flag, value]);
        });
    }
    for (flag, path) in
        [("--manifest-path", &choice.manifest_path), ("--target-dir", &choice.target_dir)]
    {
        path.iter().for_each(|path| {
            command.arg(flag).arg(path);
        });
    }
    let lists = [("--features", &choice.features), ("--config", &choice.config)];
    for (flag, values) in lists {
        values.iter().for_each(|value| {
            command.args([flag, value]);
        });
    }
    let switches = [
        ("--release", choice.release),
        ("--all-features", choice.all_features),
        ("--no-default-features", choice.no_default_features),
        ("--quiet", options.quiet),
    ];
    command.args(switches.into_iter().filter(|(_, on)| *on).map(|(flag, _)| flag));
    if !arguments.is_empty() {
        command.arg("--").args(arguments);
    }
    let source = command.exec();
    Failure::Run { path: "cargo".into(), source }
}

/// Arguments of `cargo build` that do not change what it makes.
fn further(choice: &Choice, options: &BuildOptions) -> Vec<String> {
    let switches = [
        ("--locked", choice.locked),
        ("--offline", choice.offline),
        ("--frozen", choice.frozen),
        ("--ignore-rust-version", choice.ignore_rust_version),
        ("--keep-going", options.keep_going),
    ];
    let mut further: Vec<String> =
        switches.into_iter().filter(|(_, on)| *on).map(|(flag, _)| flag.to_owned()).collect();
    further.extend(options.jobs.iter().map(|jobs| format!("--jobs={jobs}")));
    further.extend((0..options.verbose).map(|_| "--verbose".to_owned()));
    further
}

fn built_so(updater: AutoUpdater, choice: &Choice, options: &BuildOptions) -> AutoUpdater {
    updater
        .force(options.force)
        .idle_priority(options.idle)
        .cargo_arguments(further(choice, options))
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
    let folder = std::env::current_dir().map_err(|source| Failure::WorkingDirectory { source })?;
    let selection = Selection {
        manifest_path: choice.manifest_path.clone(),
        package: choice.package.clone(),
        bin: choice.bin.clone(),
        example: choice.example.clone(),
    };
    let mut updater = AutoUpdater::select(&selection, &folder)?.config(&choice.config);
    if let Some(dir) = &choice.target_dir {
        updater = updater.target_directory(dir);
    }
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

fn ensure(updater: &AutoUpdater, options: &BuildOptions) -> Result<Built, Failure> {
    let colours = match options.color {
        Colour::Auto => io::stderr().is_terminal(),
        Colour::Always => true,
        Colour::Never => false,
    };
    let updater = updater.clone().colours(colours);
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
            BuildEvent::Failed { diagnostics, .. } if options.quiet => {
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
        if let Some(line) = line.filter(|_| !options.quiet) {
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
