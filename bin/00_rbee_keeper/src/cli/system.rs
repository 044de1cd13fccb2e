use clap::{Args, Subcommand, ValueEnum};

use super::{Output, manage::OutputArgs};

/// Bring every level of the chain up to date
///
/// Builds what is stale and replaces what runs stale; requests under way end in the processes
/// that they began in.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ./rbee update
  ./rbee update --check            exit code 0: all fresh, 1: something is or may be stale")]
pub(crate) struct UpdateArgs {
    /// Only say what is stale, and why; build and replace nothing
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Keep the chain up to date while you edit, and show what each level does
///
/// Builds and replaces what an edit made stale, as soon as the sources have been still for a
/// moment. What does not build is tried again after the next edit; what runs goes on meanwhile.
/// Ctrl-C or `q` leaves, and the chain goes on; `?` lists the keys.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ./rbee dev\n  ./rbee dev --no-tui 2>dev.log")]
pub(crate) struct DevArgs {
    /// Print lines, also where there is a terminal to draw on
    #[arg(long)]
    pub(crate) no_tui: bool,
}

/// Show what the chain has logged, the levels merged by time
///
/// Times are this machine's local ones. What ran before is in the files that `./rbee config` shows as
/// `paths.logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ./rbee logs
  ./rbee logs queen -n 200
  ./rbee logs hive -f
  ./rbee logs --json | jq 'select(.severity == \"WARN\")'")]
pub(crate) struct LogsArgs {
    /// Whose logs; without it those of all levels
    #[arg(value_enum)]
    pub(crate) level: Option<Level>,

    /// Go on with what is being logged, until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// How many of the last lines to begin with
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub(crate) lines: usize,

    /// Times in UTC
    #[arg(long)]
    pub(crate) utc: bool,

    /// Lines as they are in the files
    #[arg(long, conflicts_with_all = ["utc", "json"])]
    pub(crate) raw: bool,

    /// Print a JSON object for each line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Queen,
    Hive,
    Worker,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queen => "queen",
            Self::Hive => "hive",
            Self::Worker => "worker",
        }
    }
}

/// Say what this machine lacks for rbee, and how to get it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ./rbee doctor
  ./rbee doctor --json | jq '.checks[] | select(.verdict != \"ok\")'

Each line is ok, warn (rbee works without it, for now or in part) or fail; the exit code is 1 when
one is fail.")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ./rbee service install
  ./rbee service status --json | jq -r .active")]
pub(crate) enum ServiceVerb {
    /// Install the service and start it; the environment of now is its environment
    Install(OutputArgs),
    /// Stop the service, after the requests under way, and remove it
    Uninstall(OutputArgs),
    /// Show whether the service is installed and runs
    Status(OutputArgs),
    /// Keep the queen running until SIGTERM, then drain the chain
    #[command(hide = true)]
    Run,
}

/// Print a script that completes rbee's words in a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(./rbee completions bash)
  ./rbee completions fish > ~/.config/fish/completions/rbee.fish")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}
