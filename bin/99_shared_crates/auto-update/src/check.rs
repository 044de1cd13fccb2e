//! The ladder: states, contents, earlier builds. The first rung that can answer does.

use std::{io, os::unix::ffi::OsStrExt as _, time::Duration};

use crate::{
    compare::{Hashes, Want, compare},
    freshness::{Artifact, Change, Doubt, Freshness, InputKind, StaleReason},
    hash::{Digest, hash_parts},
    layout::Layout,
    lock::Lock,
    receipt::{Head, Look, Outcome, Output, Receipt},
    records::{self, Found},
    stat::{StatVector, lstat, stat},
    store::{Store, mark_used},
};

/// A verdict, and what it was made from.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) freshness: Freshness,
    /// How many inputs were compared.
    pub(crate) inputs: usize,
    /// The receipt that was judged, for the build that may follow.
    pub(crate) receipt: Option<Receipt>,
}

/// Whether the caller holds the build lock, and may therefore write receipts at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holding {
    Lock,
    Nothing,
}

/// Decides, and keeps what it learned where that is possible. Starts no process.
pub(crate) fn check(layout: &Layout, holding: Holding) -> Checked {
    let unknown =
        |doubt| Checked { freshness: Freshness::Unknown(doubt), inputs: 0, receipt: None };
    let receipt = match records::read(&records::current(&layout.records), &layout.key) {
        Found::Receipt(receipt) => *receipt,
        Found::Nothing => return never_built(layout),
        Found::Damaged => return unknown(Doubt::BadReceipt),
        Found::Unreadable(why) => return unknown(Doubt::Unreadable(why)),
    };
    let Outcome::Built(output) = &receipt.head.outcome else { return unknown(Doubt::BadReceipt) };
    let inputs = receipt.len();
    if let Some(why) = &output.opaque {
        let freshness = Freshness::Unknown(Doubt::Opaque(why.clone()));
        return Checked { freshness, inputs, receipt: Some(receipt) };
    }
    let mut hashes = Hashes::default();
    let mut compared = compare(&receipt, layout.world(), Want::EveryReason, &mut hashes);
    if !compared.reasons.is_empty() {
        let freshness = match restore(layout, &mut hashes, holding) {
            Some(artifact) => Freshness::Fresh(artifact),
            None => Freshness::Stale(compared.reasons),
        };
        return Checked { freshness, inputs, receipt: Some(receipt) };
    }
    let freshness = match check_output(layout, output) {
        Ok(seen) => {
            if seen != *output || !compared.stamps.is_empty() {
                let head = Head { outcome: Outcome::Built(seen), ..receipt.head.clone() };
                restamp(layout, &receipt, &head, std::mem::take(&mut compared.stamps), holding);
            }
            Freshness::Fresh(artifact(layout, output))
        }
        Err(reason) => Freshness::Stale(vec![reason]),
    };
    Checked { freshness, inputs, receipt: Some(receipt) }
}

pub(crate) fn artifact(layout: &Layout, output: &Output) -> Artifact {
    let store = Store::new(layout.home());
    Artifact {
        path: store.path(output.hash, &layout.options.binary),
        hash: output.hash,
        target_path: output.target_path.clone(),
    }
}

fn never_built(layout: &Layout) -> Checked {
    let is_there = !matches!(stat(&layout.target_path), Ok(None));
    let freshness = if is_there {
        Freshness::Unknown(Doubt::NoReceipt)
    } else {
        Freshness::Stale(vec![StaleReason {
            change: Change::NeverBuilt,
            kind: InputKind::Output,
            input: layout.target_path.clone(),
            via: Vec::new(),
        }])
    };
    Checked { freshness, inputs: 0, receipt: None }
}

/// The output with the states it has now, if it is what was built.
fn check_output(layout: &Layout, output: &Output) -> Result<Output, StaleReason> {
    let reason = |change, input: &std::path::Path| StaleReason {
        change,
        kind: InputKind::Output,
        input: input.to_owned(),
        via: Vec::new(),
    };
    let target = match stat(&output.target_path) {
        Ok(Some(state)) if state == output.target => state,
        Ok(Some(state)) => {
            let content = Hashes::default().content(&output.target_path, Look::Followed, state);
            match content {
                Ok(Some((state, hash))) if hash == *output.hash.as_bytes() => state,
                _ => return Err(reason(Change::Modified, &output.target_path)),
            }
        }
        Ok(None) => return Err(reason(Change::Removed, &output.target_path)),
        Err(_) => return Err(reason(Change::Unreadable, &output.target_path)),
    };
    let store = Store::new(layout.home());
    let name = &layout.options.binary;
    let Some(stored) = store.verify(output.hash, name, output.stored) else {
        let path = store.path(output.hash, name);
        let is_there = !matches!(lstat(&path), Ok(None));
        return Err(reason(if is_there { Change::Modified } else { Change::Removed }, &path));
    };
    Ok(Output { stored, target, ..output.clone() })
}

/// An earlier build from exactly the inputs that are there now, made current again.
fn restore(layout: &Layout, hashes: &mut Hashes, holding: Holding) -> Option<Artifact> {
    // Without cargo's own output a person would find nothing where cargo puts it.
    let target = stat(&layout.target_path).ok()??;
    let store = Store::new(layout.home());
    for path in records::history(&layout.records) {
        let Some(receipt) = records::read(&path, &layout.key).receipt() else { continue };
        let Outcome::Built(output) = &receipt.head.outcome else { continue };
        if output.opaque.is_some() {
            continue;
        }
        let compared = compare(&receipt, layout.world(), Want::OneReason, hashes);
        if !compared.reasons.is_empty() {
            continue;
        }
        let name = &layout.options.binary;
        if store.verify(output.hash, name, output.stored).is_none() {
            continue;
        }
        store.path(output.hash, name).parent().into_iter().for_each(mark_used);
        mark_used(&path);
        let stored = lstat(&store.path(output.hash, name)).ok()??;
        let now = Output { target, stored, ..output.clone() };
        let head = Head { outcome: Outcome::Built(now), ..receipt.head.clone() };
        restamp(layout, &receipt, &head, compared.stamps, holding);
        return Some(artifact(layout, output));
    }
    None
}

/// Keeps newer states, so that the next check reads nothing. Only an optimisation: where it cannot
/// be written, or a build is about to replace it, it is left.
fn restamp(
    layout: &Layout,
    receipt: &Receipt,
    head: &Head,
    stamps: Vec<(usize, StatVector)>,
    holding: Holding,
) {
    let lock = match holding {
        Holding::Lock => None,
        Holding::Nothing => match Lock::try_take(&layout.records.join("lock")) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) | Err(_) => return,
        },
    };
    records::write_restamped(&layout.records, receipt, head, stamps, layout.root()).unwrap_or(());
    drop(lock);
}

/// For how long a failure is remembered. What mends it need not be an input that is known: a
/// library that is installed, a service that is up again.
const FAILURE_MEMORY: Duration = Duration::from_secs(600);

/// Variables that say where a process was started from, and nothing about what it builds.
const OF_THE_STARTER: [&str; 6] = ["_", "PWD", "OLDPWD", "SHLVL", "COLUMNS", "LINES"];

/// Whether a build from these very inputs and in this very environment has failed a short while
/// ago, and with what words.
pub(crate) fn remembered_failure(layout: &Layout) -> Option<String> {
    let path = records::failed(&layout.records);
    let at = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok()?;
    // One from the future says nothing.
    at.elapsed().ok().filter(|age| *age < FAILURE_MEMORY)?;
    let receipt = records::read(&path, &failure_key(layout)).receipt()?;
    let Outcome::Failed { diagnostics } = &receipt.head.outcome else { return None };
    let mut hashes = Hashes::default();
    let compared = compare(&receipt, layout.world(), Want::OneReason, &mut hashes);
    compared.reasons.is_empty().then(|| diagnostics.clone())
}

/// Stands for the binary, its options, and the whole of the environment: which variables a build
/// reads is known of those that succeed only.
pub(crate) fn failure_key(layout: &Layout) -> Digest {
    let vars = layout
        .environment
        .vars()
        .filter(|(name, _)| !name.to_str().is_some_and(|name| OF_THE_STARTER.contains(&name)));
    let vars = vars.flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    hash_parts(std::iter::once(layout.key.as_slice()).chain(vars))
}

/// What cannot be done about a receipt is no reason to fail: cargo is asked instead.
pub(crate) fn forget_failure(layout: &Layout) -> io::Result<()> {
    match std::fs::remove_file(records::failed(&layout.records)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The newest build, if its copy is whole, whatever its inputs say now.
pub(crate) fn last_good(layout: &Layout) -> Option<Artifact> {
    let receipt = records::read(&records::current(&layout.records), &layout.key).receipt()?;
    let Outcome::Built(output) = &receipt.head.outcome else { return None };
    let store = Store::new(layout.home());
    store.verify(output.hash, &layout.options.binary, output.stored)?;
    Some(artifact(layout, output))
}
