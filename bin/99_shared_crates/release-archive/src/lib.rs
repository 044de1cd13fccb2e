//! A release as a file: what of it is in the archive, and how it gets from there to its place.
//!
//! The archive is a gzip-compressed tar of an [`Installation`](rbee_config::Installation) with one
//! release in it, so that `tar` alone installs it. Its first file, [`MANIFEST`], names every other
//! with its hash; [`land`] believes nothing that is not so named, and writes beside what is there.

mod release; // what a release is
mod pack; // to an archive
mod land; // from one, beside what is installed
mod error;

pub use crate::{
    error::Error,
    land::{Landed, Rule, land, lock, prune, switch}, // (&Installation, archive, Rule) -> Landed
    pack::{Archive, Content, Contents, pack},        // (&Contents, version, out, level) -> Release
    release::{FileEntry, Release, this_platform},
};

/// The file of a release that says what is in it.
pub const MANIFEST: &str = "release.json";

/// The folder that an archive unpacks to.
pub const TOP: &str = "rbee";
