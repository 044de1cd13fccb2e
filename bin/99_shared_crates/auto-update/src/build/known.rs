use std::path::{Path, PathBuf};

use super::options::BuildOptions;
use crate::{
    cargo::{Metadata, Report},
    check::Checked,
    freshness::{Freshness, InputKind, StaleReason},
    hash::ArtifactHash,
    inputs::{self, Before, BuildContext},
    layout::Layout,
    receipt::{Look, Outcome, Receipt},
    records, toolchain,
};

/// What is known of a binary when its build begins.
pub(super) struct Known<'a> {
    pub(super) layout: &'a Layout,
    pub(super) options: BuildOptions,
    /// The receipt of the last build.
    pub(super) last: Option<Receipt>,
    /// Why it is built.
    pub(super) reasons: Vec<StaleReason>,
    /// The reasons are all there are: the last receipt was compared with the world.
    is_compared: bool,
}

impl<'a> Known<'a> {
    pub(super) fn new(layout: &'a Layout, options: BuildOptions, checked: Checked) -> Self {
        let is_compared = matches!(checked.freshness, Freshness::Stale(_));
        let reasons = match checked.freshness {
            Freshness::Stale(reasons) => reasons,
            Freshness::Unknown(_) | Freshness::Fresh(_) => Vec::new(),
        };
        // Where the current receipt is lost, an earlier one still tells what has changed since.
        let last = checked.receipt.or_else(|| records::newest(&layout.records, &layout.key));
        Self { layout, options, last, reasons, is_compared }
    }

    /// The reasons, where they are all there are.
    pub(super) fn all_reasons(&self) -> Option<&[StaleReason]> {
        self.is_compared.then_some(self.reasons.as_slice())
    }

    /// Whether another checkout builds in the same target directory: one that lies outside the
    /// workspace may be anybody's, and one inside is where others' builds are found in it.
    pub(super) fn is_shared(&self) -> bool {
        let layout = self.layout;
        let is_foreign = |receipt: Receipt| {
            let Outcome::Built(output) = &receipt.head.outcome else { return false };
            receipt.head.root != layout.root() && output.target_path.starts_with(&layout.target_dir)
        };
        !layout.target_dir.starts_with(layout.root())
            || records::all_current(&layout.home()).any(is_foreign)
            || inputs::is_of_elsewhere(&layout.target_path, &layout.package.dir)
    }

    /// The inputs of `receipt`.
    pub(super) fn listed(&self, receipt: &Receipt) -> Vec<(PathBuf, Look)> {
        let root = self.layout.root();
        receipt.entries().map(|entry| (entry.absolute(root), entry.look)).collect()
    }

    pub(super) fn context<'s>(
        &'s self,
        metadata: Option<&'s Metadata>,
        sysroot: Option<&'s Path>,
        before: &'s Before,
    ) -> BuildContext<'s> {
        BuildContext {
            package: &self.layout.package,
            world: self.layout.world(),
            metadata,
            sysroot,
            last: self.last.as_ref(),
            before,
        }
    }

    /// The compiler's directory: the recorded one while nothing about the toolchain changed.
    pub(super) fn sysroot(&self) -> Option<PathBuf> {
        let changed = self.reasons.iter().any(|reason| {
            matches!(reason.kind, InputKind::Toolchain | InputKind::Config | InputKind::Environment)
        });
        let recorded = self.last.as_ref().and_then(|last| last.head.sysroot.clone());
        let layout = self.layout;
        recorded
            .filter(|_| self.is_compared && !changed)
            .or_else(|| toolchain::sysroot(layout.folder(), &layout.config, &layout.environment))
    }

    pub(super) fn last_hash(&self) -> Option<ArtifactHash> {
        match &self.last.as_ref()?.head.outcome {
            Outcome::Built(output) => Some(output.hash),
            Outcome::Failed { .. } => None,
        }
    }

    /// Cargo compiled nothing and yet the binary is another one, though nothing else changed: its
    /// bytes were changed in place, which cargo does not look for.
    pub(super) fn is_damaged(&self, report: &Report, hash: ArtifactHash) -> bool {
        let only_output = !self.reasons.is_empty()
            && self.reasons.iter().all(|reason| reason.kind == InputKind::Output);
        only_output
            && report.artifacts.iter().all(|artifact| artifact.fresh)
            && self.last_hash().is_some_and(|last| last != hash)
    }
}
