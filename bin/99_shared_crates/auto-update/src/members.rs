//! What the workspace consists of, kept so that cargo need not be asked after each edit.

use std::{fs, os::unix::ffi::OsStrExt as _, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    cargo::Metadata,
    error::Error,
    freshness::InputKind,
    hash::{Digest, hash_parts},
    layout::Layout,
    receipt::{Entry, Receipt},
    records,
};

#[derive(Serialize, Deserialize)]
struct Kept<M> {
    /// Stands for the manifests and the configuration that cargo read.
    of: Digest,
    metadata: M,
}

/// What cargo said of the workspace when it had the manifests and the configuration that `receipt`
/// lists.
pub(crate) fn known(layout: &Layout, receipt: &Receipt) -> Option<Metadata> {
    let bytes = fs::read(records::members(&layout.records)).ok()?;
    let kept: Kept<Metadata> = serde_json::from_slice(&bytes).ok()?;
    let root = layout.root();
    let inputs: Vec<_> =
        receipt.entries().map(|entry| (entry.absolute(root), entry.kind, entry.hash)).collect();
    let of = digest(inputs.iter().map(|(path, kind, hash)| (path.as_path(), *kind, *hash)));
    (kept.of == of).then_some(kept.metadata)
}

pub(crate) fn remember(
    layout: &Layout,
    metadata: Option<&Metadata>,
    entries: &[Entry],
) -> Result<(), Error> {
    let Some(metadata) = metadata else { return Ok(()) };
    let of = digest(
        entries.iter().map(|entry| (entry.path.as_path(), entry.kind, entry.hash.as_slice())),
    );
    let path = records::members(&layout.records);
    let bytes = serde_json::to_vec(&Kept { of, metadata }).expect("texts and lists of them");
    if fs::read(&path).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    records::replace(&path, &bytes)
}

fn digest<'a>(inputs: impl Iterator<Item = (&'a Path, InputKind, &'a [u8])>) -> Digest {
    let is_cargos = |kind| matches!(kind, InputKind::Manifest | InputKind::Config);
    let inputs = inputs.filter(|(_, kind, _)| is_cargos(*kind));
    let mut parts: Vec<_> =
        inputs.map(|(path, _, hash)| [path.as_os_str().as_bytes(), hash]).collect();
    parts.sort_unstable();
    hash_parts(parts.into_iter().flatten())
}
