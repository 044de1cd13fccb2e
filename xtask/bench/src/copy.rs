use std::path::PathBuf;

use anyhow::Context as _;
use chain_tests::Chain;

/// Where a chain is built, whose worker repeats the words that it is given.
#[derive(Debug, clap::Args)]
pub(crate) struct Copy {
    /// Where the copy of the workspace is kept, with all that is built from it
    #[arg(long, default_value = "target/chain-bench")]
    folder: PathBuf,
    /// The file of a model; its tokens are not asked for
    #[arg(long)]
    model: PathBuf,
}

/// Of paths that hold in every folder.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) folder: PathBuf,
    pub(crate) model: PathBuf,
    pub(crate) chain: Chain,
}

impl Copy {
    /// Builds it, and says so in the name of that measurement.
    pub(crate) fn build(&self, measurement: &str) -> anyhow::Result<Built> {
        let absolute = |path| std::path::absolute(path).context("a path is empty");
        let (folder, model) = (absolute(&self.folder)?, absolute(&self.model)?);
        eprintln!(
            "{measurement}: building the chain, with a worker that repeats the words it is given"
        );
        let chain = Chain::in_folder(&folder, &model);
        Ok(Built { folder, model, chain })
    }
}
