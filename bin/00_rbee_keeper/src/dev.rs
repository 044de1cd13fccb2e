//! What `dev` keeps doing: it sees edits, decides when they are to be built, and shows each level.
//!
//! [`Model`] decides and is plain data, so that a test can tell it what happens; the verb moves
//! what happens between it, the chain and the screen.

mod ear; // changes of files, as they happen
mod model; // what is known of each level, and whether to build
mod screen; // the model as a picture
mod watch; // edits, as verdicts on each binary

pub(crate) use self::{
    ear::{Below, Ear},
    model::{Event, Model},
    screen::{Key, Screen, View},
    watch::watch,
};
