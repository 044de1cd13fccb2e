use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::watch::{WITH_SOCKETS, WatchArgs};

/// Is this binary what its sources say now?
#[derive(Debug, Parser)]
#[command(
    name = "cargo-live",
    bin_name = "cargo live",
    version,
    after_help = "Exit codes: 0 fresh or built, 1 stale or in doubt, 101 the build failed, 2 any other \
                  error; `run` has the program's own."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say whether the binary is fresh; build nothing
    Check {
        #[command(flatten)]
        choice: Choice,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Build the binary if it is stale
    Build {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        options: BuildOptions,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Build the binary if it is stale, then run it
    Run {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        options: BuildOptions,
        /// What the binary is given
        #[arg(trailing_var_arg = true)]
        arguments: Vec<OsString>,
    },
    /// Build and run the binary, and put a new one in its place whenever its sources make another
    Watch {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        options: BuildOptions,
        #[command(flatten)]
        watch: WatchArgs,
        /// What the binary is given
        #[arg(trailing_var_arg = true)]
        arguments: Vec<OsString>,
    },
    /// Become a program that is told the process of its sockets
    #[command(name = WITH_SOCKETS, hide = true)]
    WithSockets {
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Say what the binary is made from, or how a file reaches it
    Explain {
        #[command(flatten)]
        choice: Choice,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Files to explain
        files: Vec<PathBuf>,
    },
    /// Show or tidy the store of built binaries
    Store {
        #[command(flatten)]
        choice: Choice,
        #[command(subcommand)]
        command: StoreCommand,
    },
}

impl Command {
    /// The answer is to be one JSON object.
    pub(crate) fn is_json(&self) -> bool {
        match self {
            Self::Check { json, .. } | Self::Build { json, .. } | Self::Explain { json, .. } => {
                *json
            }
            Self::Store { command: StoreCommand::List { json }, .. } => *json,
            Self::Run { .. }
            | Self::Watch { .. }
            | Self::WithSockets { .. }
            | Self::Store { .. } => false,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Everything that is kept, the least recently used first
    List {
        #[arg(long)]
        json: bool,
    },
    /// Remove what was least recently used, but nothing that is newest or running
    Gc {
        /// How much may stay, in MiB
        #[arg(long, default_value_t = 0)]
        keep: u64,
    },
}

/// Which binary, and as which of its variants.
#[derive(Debug, ClapArgs)]
pub(crate) struct Choice {
    /// The package of the binary
    #[arg(short, long, value_name = "SPEC")]
    pub(crate) package: Option<String>,
    /// The binary; needed where there are several
    #[arg(long, value_name = "NAME", conflicts_with = "example")]
    pub(crate) bin: Option<String>,
    /// The example
    #[arg(long, value_name = "NAME")]
    pub(crate) example: Option<String>,
    /// Look for the package from this manifest instead of the working directory
    #[arg(long, value_name = "PATH")]
    pub(crate) manifest_path: Option<PathBuf>,
    /// The profile to build with
    #[arg(long, value_name = "NAME", conflicts_with = "release")]
    pub(crate) profile: Option<String>,
    /// The same as `--profile release`
    #[arg(short, long)]
    pub(crate) release: bool,
    /// Features of the package, separated by commas or spaces
    #[arg(short = 'F', long, value_name = "FEATURES", action = ArgAction::Append)]
    pub(crate) features: Vec<String>,
    #[arg(long)]
    pub(crate) all_features: bool,
    #[arg(long)]
    pub(crate) no_default_features: bool,
    /// The target triple to build for
    #[arg(long, value_name = "TRIPLE")]
    pub(crate) target: Option<String>,
    /// Where to build, instead of the configured place
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) target_dir: Option<PathBuf>,
    /// A setting of cargo's configuration, or a file of them
    #[arg(long, value_name = "KEY=VALUE|PATH", action = ArgAction::Append)]
    pub(crate) config: Vec<String>,
    /// The lock file must not change
    #[arg(long)]
    pub(crate) locked: bool,
    /// Nothing is downloaded
    #[arg(long)]
    pub(crate) offline: bool,
    /// `--locked` and `--offline`
    #[arg(long)]
    pub(crate) frozen: bool,
    /// Take packages that say that they need another compiler
    #[arg(long)]
    pub(crate) ignore_rust_version: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BuildOptions {
    /// Ask cargo even if nothing changed
    #[arg(long)]
    pub(crate) force: bool,
    /// Build only while nothing else wants the processor and the disk
    #[arg(long)]
    pub(crate) idle: bool,
    /// Do not show what cargo says unless it fails
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Have cargo say more; twice, much more
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How many jobs cargo runs at once
    #[arg(short, long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) jobs: Option<String>,
    /// Compile as much as can be, also after an error
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Whether to colour: auto, always, never
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Colour::Auto)]
    pub(crate) color: Colour,
    /// How cargo reports what it compiles; cargo itself is started then
    #[arg(long, value_name = "FORMAT")]
    pub(crate) message_format: Option<String>,
    /// How long each unit takes, as a page; cargo itself is started then
    #[arg(long)]
    pub(crate) timings: bool,
    /// Unstable flags of cargo; cargo itself is started then
    #[arg(short = 'Z', value_name = "FLAG", action = ArgAction::Append)]
    pub(crate) unstable: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    Auto,
    Always,
    Never,
}
