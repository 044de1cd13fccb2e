use daemon_lifecycle::{has_proven_itself, instances};
use rbee_config::RbeeConfig;

use crate::InstanceName;

/// What one of the chain's daemons runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub name: InstanceName,
    pub exe_hash: String,
    /// Whether that binary has stood its probation.
    pub is_proven: bool,
}

/// Those that live of the configured run directory. Asks the kernel and the files, and nobody; may
/// wait a moment for files that were just removed.
pub fn standing(config: &RbeeConfig) -> Vec<Standing> {
    let run_dir = &config.paths.run;
    let living = instances(run_dir).into_iter();
    let known = living.filter_map(|(name, identity)| {
        let is_proven = has_proven_itself(run_dir, &name, &identity);
        Some(Standing { name: name.parse().ok()?, exe_hash: identity.exe_hash, is_proven })
    });
    known.collect()
}
