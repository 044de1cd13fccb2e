//! Both ends of the connection on which one generation hands over to the next.

use std::io;

use crate::{
    Identity,
    protocol::{Connection, Reply, Terms},
};

/// The way to another generation, which is open for as long as both have a part in the hand-over.
pub(super) struct Session {
    pub(super) generation: u64,
    pub(super) connection: Connection,
}

/// A new generation that asks for the listeners.
pub(super) struct Successor {
    /// Its end is that of the new generation.
    pub(super) control: Connection,
    pub(super) identity: Identity,
    pub(super) terms: Terms,
}

impl Successor {
    pub(super) async fn refuse(&mut self, why: &str) -> io::Result<()> {
        self.control.send(&Reply::Refused { why: why.to_owned() }).await
    }
}
