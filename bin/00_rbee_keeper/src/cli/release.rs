//! Verbs of and for an installed release.

use std::path::PathBuf;

use clap::Args;

use super::Output;

/// Put a newer release in the place of an installed one
///
/// FILE is the archive of a release. That is put beside the one that is used; where a queen runs she, her
/// hives and their workers are replaced by it, no request is lost, and while they are on probation the
/// ones before stand by. When one of them fails, everything is as it was before.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ./rbee self-update rbee-0.2.0-x86_64-linux.tar.gz
  ./rbee self-update --downgrade rbee-0.1.0-x86_64-linux.tar.gz

In a source tree this refuses: `git pull` is what updates it.")]
pub(crate) struct SelfUpdateArgs {
    /// The archive
    #[arg(value_name = "FILE")]
    pub(crate) archive: PathBuf,
    /// Take one that is older than what is installed, too
    #[arg(long)]
    pub(crate) downgrade: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Write what an installed release has besides its programs: manual pages, completions, a unit
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct GenerateArgs {
    /// Where to write `share` and `rbee.service`
    pub(crate) folder: PathBuf,
}
