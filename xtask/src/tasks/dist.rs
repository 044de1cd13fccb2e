//! `./rbee dist`: the chain as files that are installed without this checkout.

use std::{ffi::OsString, process::Command};

use anyhow::{Context as _, bail};

use crate::{Workspace, tasks::setup, update::Binary};

/// What is packed: its name there, the binary, and the folder of its sources.
const PROGRAMS: [(&str, &str, &str); 6] = [
    ("rbee", "rbee-keeper", "bin/00_rbee_keeper"),
    ("queen-rbee", "queen-rbee", "bin/10_queen_rbee"),
    ("rbee-hive", "rbee-hive", "bin/20_rbee_hive"),
    ("llamacpp-worker", "llamacpp-worker", "bin/30_llm_worker_rbee"),
    ("vllm-worker", "vllm-worker", "bin/30_llm_worker_rbee"),
    ("external-worker", "external-worker", "bin/30_llm_worker_rbee"),
];

/// Builds the programs with `profile` where they are stale, then has them packed; `args` are the
/// packer's own.
pub fn run(workspace: &Workspace, profile: &str, args: &[OsString]) -> anyhow::Result<()> {
    let root = workspace.root();
    let Some(policy) = workspace.build_policy() else {
        bail!(
            "`[auto_update] enabled = false` forbids building, and what is packed has to be fresh"
        );
    };
    setup::ensure(root)?;
    let own = &workspace.config().map_or("dev", |config| &config.auto_update.profile);
    let packer = Binary { name: "chain-dist", sources: "xtask/dist", profile: own };
    let packer = packer.fresh(root, policy)?;
    let mut programs = Vec::new();
    for (name, binary, sources) in PROGRAMS {
        let built = Binary { name: binary, sources, profile }.fresh(root, policy)?;
        let mut program = OsString::from(format!("{name}="));
        program.push(built);
        programs.push(program);
    }
    let status = Command::new(&packer)
        .args(args)
        .args(programs)
        .status()
        .with_context(|| format!("cannot start `{}`", packer.display()))?;
    if !status.success() {
        bail!("the packer ended with {status}");
    }
    Ok(())
}
