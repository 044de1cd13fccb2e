//! Flags and help texts; what they do is in `commands`.

mod generate; // infer, chat
mod manage; // queen, hive, worker, model, key
mod store; // built binaries
mod system; // update, dev, logs, doctor, service, completions
mod words; // run, stop: short words for other verbs
mod model_name; // as it is typed, and as a hive understands it
mod release; // self-update, and what a release is packed with

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use rbee_config::{Called, NarrationMode, OnBuildFailure, Overrides, QueenUrl};

use crate::called::command_called;

pub(crate) use self::{
    generate::{ChatArgs, InferArgs, Sampling, message},
    manage::{
        HiveAddArgs, HiveArgs, HiveVerb, KeyVerb, ModelArgs, ModelListArgs, ModelVerb, OfHive,
        OutputArgs, QueenVerb, Scope, SetArgs, StopArgs, WorkerVerb,
    },
    model_name::model_name,
    release::{GenerateArgs, SelfUpdateArgs},
    store::StoreVerb,
    system::{CompletionsArgs, DevArgs, DoctorArgs, Level, LogsArgs, ServiceVerb, UpdateArgs},
    words::{Run, RunArgs, Stop, StopWordArgs},
};

const ABOUT: &str =
    "Serves language models from your machine; each process is what its sources say.";

/// Words that xtask takes for itself, before the keeper is started.
pub(crate) const TASKS: [(&str, &str); 8] = [
    ("setup", "Get what the llama.cpp build needs"),
    ("test", "Run every test of the workspace"),
    ("tidy", "Check style and the arrows between crates"),
    ("bench", "Measure"),
    ("dist", "Pack the chain: an archive, a Debian package"),
    ("fuzz-api", "Send a chain random requests for as long as you like"),
    ("fuzz-freshness", "Judge random edits for as long as you like"),
    ("fuzz-chain", "Edit, signal and stop a daemon at random for as long as you like"),
];

const AFTER_HELP: &str = "\
Examples:
  ./rbee infer \"Write a haiku about bees\"
  ./rbee run smollm2:135m
  git diff | ./rbee infer --system \"Write a commit message\"
  ./rbee status
  ./rbee logs hive -f

Exit codes:
  0    done
  1    failed
  2    wrong usage or configuration, or no such hive or model
  3    a build failed
  4    a daemon could not be started or reached
  130  interrupted

`status` exits with 1 when something that should run has failed or hangs, and with 4 when no queen
runs.

Answers and lists go to standard output, everything else to standard error. When the reader of
standard output leaves early, what was asked for is cancelled and the exit code is 0.";

#[derive(Debug, Parser)]
#[command(
    name = "rbee",
    bin_name = "./rbee",
    version,
    about = ABOUT,
    after_help = after_help(),
    max_term_width = 100
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The tasks, then [`AFTER_HELP`].
fn after_help() -> String {
    let lines = TASKS.map(|(task, about)| format!("  {task:<15}{about}\n")).concat();
    format!("Workspace tasks (of xtask, before the keeper is started):\n{lines}\n{AFTER_HELP}")
}

impl Cli {
    /// What this process was started with.
    ///
    /// # Errors
    ///
    /// What is to be shown instead: help, or what was wrong.
    pub fn of_this_process() -> Result<Self, clap::Error> {
        let mut command = command_called(Self::command(), Called::here());
        let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// How to show what happens meanwhile
    #[arg(long, global = true, value_name = "MODE", value_parser = narration_mode())]
    narration: Option<NarrationMode>,

    /// Show the keeper's own log too; `RBEE_LOG` filters it
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,

    /// Ask the queen at this address and neither start nor replace it
    #[arg(long, global = true, value_name = "URL")]
    queen_url: Option<QueenUrl>,

    /// Whether stale binaries are built anew
    #[arg(long, global = true, value_name = "BOOL")]
    auto_update: Option<bool>,

    /// What to do when a stale binary cannot be built
    #[arg(long, global = true, value_name = "POLICY", value_parser = on_build_failure())]
    on_build_failure: Option<OnBuildFailure>,

    /// Replace a queen that runs from another source tree, with all that it has started
    #[arg(long, global = true)]
    takeover: bool,
}

impl Globals {
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            narration: self.narration,
            queen_url: self.queen_url.clone(),
            auto_update: self.auto_update,
            on_build_failure: self.on_build_failure,
            takeover: self.takeover,
            ..Overrides::default()
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Infer(InferArgs),
    Chat(ChatArgs),
    Run(RunArgs),
    Status(StatusArgs),
    /// Start the chain in the background: short for `queen start`
    #[command(after_help = "Examples:\n  ./rbee serve\n  ./rbee stop")]
    Serve(OutputArgs),
    Stop(StopWordArgs),
    /// Start, stop or look at the queen
    #[command(subcommand)]
    Queen(QueenVerb),
    /// Start, stop or look at hives
    #[command(subcommand)]
    Hive(HiveVerb),
    /// Look at workers
    #[command(subcommand)]
    Worker(WorkerVerb),
    /// Get, look at, load, set up or remove models
    #[command(subcommand)]
    Model(ModelVerb),
    /// Bring a model into a hive's store: short for `model pull`
    #[command(after_help = "Examples:\n  ./rbee pull smollm2:135m")]
    Pull(ModelArgs),
    /// List the models of a hive's store and of the catalogue: short for `model list`
    #[command(visible_alias = "ls", after_help = "Examples:\n  ./rbee list\n  ./rbee list --json")]
    List(ModelListArgs),
    /// Remove a model from a hive's store: short for `model rm`
    #[command(after_help = "Examples:\n  ./rbee rm smollm2:135m")]
    Rm(ModelArgs),
    /// Show a model, with what the configuration sets for it: short for `model show`
    #[command(after_help = "Examples:\n  ./rbee show smollm2:135m")]
    Show(ModelArgs),
    /// List the models that are loaded, and until when: short for `model ps`
    #[command(after_help = "Examples:\n  ./rbee ps\n  ./rbee ps --json")]
    Ps(OutputArgs),
    /// Make, list or revoke keys for other users and programs
    #[command(subcommand)]
    Key(KeyVerb),
    /// List or remove built binaries
    #[command(subcommand)]
    Store(StoreVerb),
    Update(UpdateArgs),
    Dev(DevArgs),
    Logs(LogsArgs),
    Config(ConfigArgs),
    Doctor(DoctorArgs),
    /// Have the chain started without you: a service of systemd or launchd
    #[command(subcommand)]
    Service(ServiceVerb),
    Completions(CompletionsArgs),
    SelfUpdate(SelfUpdateArgs),
    Generate(GenerateArgs),
}

/// Show every level of the chain: what runs, from which build, and whether it is fresh
///
/// Starts nothing and builds nothing. What is stale serves all the same and is no failure here:
/// `update --check` says by its exit code whether anything is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ./rbee status
  ./rbee status --json | jq .levels
  ./rbee status >/dev/null 2>&1 || ./rbee serve

Exit codes: 0 when the chain serves, 1 when a level has failed or hangs, 4 when no queen runs.")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Show each configured value and where it came from
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ./rbee config
  RBEE_QUEEN_PORT=9000 ./rbee config | grep queen.port")]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Output {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn narration_mode() -> impl clap::builder::TypedValueParser<Value = NarrationMode> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(NarrationMode::NAMES)
        .map(|name| name.parse().expect("only known names get here"))
}

fn on_build_failure() -> impl clap::builder::TypedValueParser<Value = OnBuildFailure> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(OnBuildFailure::NAMES)
        .map(|name| name.parse().expect("only known names get here"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;
    use rbee_config::Called;

    use crate::called::command_called;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_explains_itself() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
            for argument in command.get_arguments() {
                let name = argument.get_id();
                assert!(argument.get_help().is_some(), "{name} has no help");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn no_help_of_an_installed_release_names_the_script_of_a_tree() {
        fn check(command: &mut clap::Command) {
            let help = command.render_long_help().to_string();
            assert!(!help.contains("./rbee"), "{help}");
            command.get_subcommands_mut().for_each(check);
        }
        let mut command = command_called(Cli::command(), &Called::installed());
        let help = command.render_long_help().to_string();
        assert!(help.contains("Usage: rbee [OPTIONS]") && help.contains("Exit codes:"), "{help}");
        assert!(!help.contains("fuzz-chain"), "{help}");
        command.build();
        check(&mut command);
    }
}
