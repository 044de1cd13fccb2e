use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    Workspace,
    failure::{self, USAGE},
    flags,
    itself::{self, Generation},
    tasks::{bench, dist, fuzz_api, fuzz_chain, fuzz_freshness, rbee, setup, test, tidy},
};

/// The developer's tasks of rbee; everything else is the keeper's.
#[derive(Debug, Parser)]
#[command(name = "./rbee", bin_name = "./rbee", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Get what the build needs: compilers, cmake and libclang
    #[command(after_help = "\
What the system lacks comes as Python wheels into .tools, without root, or else from the system's \
package manager where that asks for no password.")]
    Setup {
        /// Only say what is there and what is missing
        #[arg(long)]
        check: bool,
        /// Get vLLM and nothing else: an environment in .tools/vllm, which the chain uses unless the
        /// configuration names another
        #[arg(long)]
        vllm: bool,
    },
    /// Build and run every test
    #[command(after_help = "\
Examples:
  ./rbee test                          everything but the test with vLLM
  ./rbee test --vllm                   that one; gets vLLM first, as `setup --vllm` does
  ./rbee test -p auto-update           the tests of one crate
  ./rbee test -E 'test(stale)'         those whose name holds `stale`")]
    Test {
        /// Run the test with a real vLLM, and no other
        #[arg(long)]
        vllm: bool,
        /// Arguments of `cargo nextest run`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Check what neither the compiler nor clippy does
    Tidy,
    /// Measure something, or list what can be measured
    Bench {
        name: Option<String>,
        /// Arguments of the measurement
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Pack the chain: an archive for `tar` and `rbee self-update`, and a Debian package
    #[command(after_help = "\
Examples:
  ./rbee dist
  ./rbee dist --profile dev --format tar --out /tmp/rbee")]
    Dist {
        /// Cargo's profile that the programs are built with
        #[arg(long, default_value = "release")]
        profile: String,
        /// Where the files are written; without it `dist` in cargo's target directory
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
        /// What is made; without it both, but a package only where `dpkg-shlibdeps` is
        #[arg(long, value_parser = ["tar", "deb"])]
        format: Vec<String>,
        /// How hard to compress
        #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(0..=9))]
        level: u8,
    },
    /// Judge random edits three ways: by auto-update, by cargo and by clean builds
    #[command(after_help = "\
The longer form of a test of auto-update. The seed is said first; with it and the same number of \
steps the same edits are made again.")]
    FuzzFreshness {
        /// How many steps, of one to four edits each, over all runs together
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        steps: u64,
        /// What decides the edits; without it the time does
        #[arg(long, value_name = "S")]
        seed: Option<u64>,
    },
    /// Send a chain random requests of the kinds that its OpenAPI document describes, and others
    #[command(after_help = "\
The longer form of a test of the chain; the requests are made by the Python package schemathesis. The \
seed is said first; with it and the same number of examples the same requests are made again.")]
    FuzzApi {
        /// How many requests of each route, in each way of making them
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        examples: u64,
        /// What decides the requests; without it the time does
        #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
        seed: Option<u64>,
    },
    /// Edit, signal, stop and bereave a chain at random while clients use it
    #[command(after_help = "\
The longer form of a test of the chain, whose worker is a stand-in. The seed is said first; with it and \
the same number of steps the same steps are drawn again, each at about the same moment.")]
    FuzzChain {
        /// How many steps
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        steps: u64,
        /// What decides the steps; without it the time does
        #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
        seed: Option<u64>,
        /// One daemon by itself, without a chain around it: more kinds of bad binaries, quicker steps
        #[arg(long)]
        daemon: bool,
    },
}

/// The verbs of [`Task`]; every other command line is the keeper's.
const TASKS: &[&str] =
    &["setup", "test", "tidy", "bench", "dist", "fuzz-api", "fuzz-freshness", "fuzz-chain"];

/// Does what the arguments ask for, and says how it ended: 0 done, 1 failed, 2 not understood, 3
/// something could not be built. Where the keeper takes over, its exit codes count.
pub fn main(mut args: Vec<OsString>) -> ExitCode {
    let generation = itself::take_generation(&mut args);
    run(&args, generation).unwrap_or_else(|error| failure::report(&error))
}

fn run(args: &[OsString], generation: Generation) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::find(&flags::overrides(args))?;
    if rbee_config::is_completing() {
        return rbee::complete(&workspace, args);
    }
    // Before anything is understood: a stale xtask may not know the task.
    itself::make_fresh(&workspace, args, generation)?;
    let Some(line) = own_task(args) else {
        rbee::run_in(&workspace, args)?;
        return Ok(ExitCode::SUCCESS);
    };
    let task = match Args::try_parse_from(line) {
        Ok(args) => args.task,
        Err(message) => {
            // Help and usage, each to the stream that clap chose; nobody may be there to read it.
            message.print().unwrap_or(());
            return Ok(ExitCode::from(if message.use_stderr() { USAGE } else { 0 }));
        }
    };
    let root = workspace.root();
    match task {
        Task::Setup { check: true, vllm: true } => setup::vllm::check(root),
        Task::Setup { check: true, vllm: false } => setup::check(root),
        Task::Setup { check: false, vllm: true } => setup::vllm::ensure(root).map(drop),
        Task::Setup { check: false, vllm: false } => setup::run(root),
        Task::Test { vllm: true, args } => test::run_vllm(root, &args),
        Task::Test { vllm: false, args } => test::run(root, &args),
        Task::Tidy => tidy::run(root),
        Task::Bench { name, args } => bench::run(&workspace, name.as_deref(), &args),
        Task::Dist { profile, out, format, level } => {
            let mut packing: Vec<OsString> = vec!["--level".into(), level.to_string().into()];
            packing.extend(out.into_iter().flat_map(|out| ["--out".into(), out.into_os_string()]));
            let formats = format.into_iter();
            packing.extend(formats.flat_map(|format| ["--format".into(), format.into()]));
            dist::run(&workspace, &profile, &packing)
        }
        Task::FuzzApi { examples, seed } => fuzz_api::run(root, examples, seed),
        Task::FuzzFreshness { steps, seed } => fuzz_freshness::run(root, steps, seed),
        Task::FuzzChain { steps, seed, daemon } => fuzz_chain::run(root, steps, seed, daemon),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// The command line for [`Args`] if the task is one of ours; `help TASK` is `TASK --help`.
fn own_task(args: &[OsString]) -> Option<Vec<OsString>> {
    const PROGRAM: &str = "./rbee";
    let is_own = |arg: &OsString| TASKS.iter().any(|task| *task == arg);
    match args {
        [first, ..] if is_own(first) => Some([&[PROGRAM.into()], args].concat()),
        [help, task] if help == "help" && is_own(task) => {
            Some(vec![PROGRAM.into(), task.clone(), "--help".into()])
        }
        _ => None,
    }
}
