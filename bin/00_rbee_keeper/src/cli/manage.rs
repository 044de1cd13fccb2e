use clap::{Args, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;
use rbee_api::KeepAlive;

use super::{Output, model_name::model_name};
use crate::known::{hives, models};

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ./rbee queen start
  ./rbee queen stop --keep-hives")]
pub(crate) enum QueenVerb {
    /// Start the queen; replace the one that runs if it is stale
    Start(OutputArgs),
    /// Stop queen, hives and workers; requests under way end first
    Stop(StopArgs),
    /// Show whether the queen runs, and from which build
    Status(OutputArgs),
    /// Replace the queen, by the same binary where it is up to date; no request is lost
    Restart(OutputArgs),
}

/// How much of a chain is stopped, and how.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Stop the queen alone; hives and workers go on
    #[arg(long)]
    pub(crate) keep_hives: bool,
    /// Cut the requests under way
    #[arg(long)]
    pub(crate) now: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ./rbee hive list
  ./rbee hive add my-hive
  ./rbee hive start my-hive
  ./rbee hive add gpu-box --host me@gpu-box
  ./rbee hive install gpu-box")]
pub(crate) enum HiveVerb {
    /// Start a hive; replace the one that runs if it is stale
    Start(HiveArgs),
    /// Stop a hive and its workers; requests under way end first
    Stop {
        /// Cut the requests under way
        #[arg(long)]
        now: bool,
        #[command(flatten)]
        hive: HiveArgs,
    },
    /// Show a hive: its state, devices and workers
    Status(HiveArgs),
    /// List the configured hives
    List(OutputArgs),
    /// Bring a hive and its workers up to date; one that does not run is started
    Update(HiveArgs),
    /// Bring to another machine what its hive runs from; start nothing
    Install(HiveArgs),
    /// Stop a hive on another machine and remove it from there
    Uninstall {
        /// Remove the models that it has fetched, too
        #[arg(long)]
        models: bool,
        #[command(flatten)]
        hive: HiveArgs,
    },
    /// Write a hive into the configuration; its comments stay
    Add(HiveAddArgs),
    /// Take a hive out of the configuration
    Remove {
        /// The hive's alias
        #[arg(add = ArgValueCandidates::new(hives))]
        alias: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct HiveAddArgs {
    /// At most 64 characters from a-z, 0-9, `.`, `_` and `-`
    pub(crate) alias: String,
    /// Where it listens; without it the next free one after the other hives'
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// What `ssh` calls the machine that it is on, where that is another one
    #[arg(long, value_name = "[USER@]HOST", conflicts_with = "port")]
    pub(crate) host: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct HiveArgs {
    /// The hive's alias in the configuration; without it the first hive
    #[arg(add = ArgValueCandidates::new(hives))]
    pub(crate) alias: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ./rbee worker list
  ./rbee worker list --json | jq '.workers[].model'")]
pub(crate) enum WorkerVerb {
    /// List the workers of every hive
    List(OutputArgs),
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ./rbee model list
  ./rbee model search llama
  ./rbee model show qwen3:4b
  ./rbee model pull hf:ORG/REPO/FILE.gguf
  ./rbee model load smollm2:135m --keep-alive 1h
  ./rbee model set qwen3:4b context=16384 keep_alive=1h
  ./rbee model cp qwen3:4b writer
  ./rbee model rm smollm2:135m")]
pub(crate) enum ModelVerb {
    /// Bring a model into a hive's store
    Pull(ModelArgs),
    /// List the models of a hive's store and of the catalogue
    List(ModelListArgs),
    /// List those of them whose name, licence or description has all these words
    Search {
        /// Words, in whichever case
        #[arg(required = true)]
        words: Vec<String>,
        #[command(flatten)]
        hive: OfHive,
        #[command(flatten)]
        output: Output,
    },
    /// Show one of them, with what the configuration sets for it
    Show(ModelArgs),
    /// List the models that are loaded
    Ps(OutputArgs),
    /// Load a model, fetching it first if need be
    Load {
        #[command(flatten)]
        model: ModelArgs,
        /// How long it stays when nobody uses it: `5m`, seconds, 0, or -1 for ever
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        keep_alive: Option<KeepAlive>,
    },
    /// Unload a model when it has answered what it has
    Unload(ModelArgs),
    /// Give a model another name, with settings of its own
    Cp {
        /// Name, `hf:ORG/REPO[/FILE]`, URL or path
        #[arg(value_parser = model_name, add = ArgValueCandidates::new(models))]
        from: String,
        /// The other name
        to: String,
        #[command(flatten)]
        hive: OfHive,
        #[command(flatten)]
        output: Output,
    },
    /// Write settings of a model into the configuration; a running chain follows
    Set(SetArgs),
    /// Remove a model from a hive's store
    Rm(ModelArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ./rbee model set qwen3:4b context=16384 parallel=2
  ./rbee model set writer 'aliases=[\"gpt-4o\"]' pinned=true
  ./rbee model set writer temperature=0.3 max_tokens=2048 'system=You are brief.'
  ./rbee model set writer chat_template=./chat.jinja reasoning=none
  ./rbee model set writer --unset pinned

The keys are those of a `[model.\"NAME\"]` table; comments and order of the file stay.")]
pub(crate) struct SetArgs {
    /// The model's name, as requests use it
    #[arg(add = ArgValueCandidates::new(models))]
    pub(crate) model: String,
    /// What is to be set; a value is TOML, or else text
    #[arg(value_name = "KEY=VALUE", value_parser = setting, required_unless_present = "unset")]
    pub(crate) settings: Vec<(String, String)>,
    /// A key that is to be removed
    #[arg(long, value_name = "KEY")]
    pub(crate) unset: Vec<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("KEY=VALUE is wanted, such as `context=4096`".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// Name, `hf:ORG/REPO[/FILE]`, URL or path
    #[arg(value_parser = model_name, add = ArgValueCandidates::new(models))]
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) hive: OfHive,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ModelListArgs {
    #[command(flatten)]
    pub(crate) hive: OfHive,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct OfHive {
    /// The hive's alias; without it the first hive
    #[arg(long = "hive", value_name = "ALIAS", add = ArgValueCandidates::new(hives))]
    pub(crate) alias: Option<String>,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ./rbee key add open-webui
  ./rbee key add backup-script --scope manage
  ./rbee key list
  ./rbee key revoke open-webui")]
pub(crate) enum KeyVerb {
    /// Make a key and print it; it is shown this once
    Add {
        /// 1 to 64 letters, digits, `.`, `_`, `-`, `@`
        name: String,
        /// What the key is good for
        #[arg(long, value_enum, default_value_t = Scope::Chat)]
        scope: Scope,
        #[command(flatten)]
        output: Output,
    },
    /// List the keys, without their secrets
    List(OutputArgs),
    /// Let nobody in with this key any more
    Revoke {
        /// The key's name
        name: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Scope {
    /// Asking models by their names, and one's own jobs
    Chat,
    /// Everything else too: pulls, lists of jobs, keys
    Manage,
}
