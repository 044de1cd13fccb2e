//! The page that the queen shows in a browser: standard HTML, CSS and ES modules, which are in the
//! binary as they are in `assets`, so that saving one makes the binary stale like any source.
//!
//! The files hold no secret and are sent to whoever asks; what they ask for in turn needs what all
//! other clients need. [`version`] differs when a file does: a page that hears of another one than its
//! own loads itself anew.

mod assets; // the files
mod routes; // how they are sent

pub use crate::{
    assets::{ASSETS, Asset, version},
    routes::routes, // () -> Router
};
