//! The whole chain under test.
//!
//! [`Chain`] is a copy of this workspace with a home of its own: `./rbee` runs there as it does for
//! a person, builds what it must with the real cargo and starts the real daemons. Where a test is
//! not about tokens, the copy has a stand-in for the worker, since the real one takes minutes to
//! build.
#![expect(clippy::expect_used, reason = "a broken environment ends the test")]

mod checkout; // a copy of the workspace, as git would check it out
mod dependencies; // what a copy need not compile again
mod guard; // of what a killed test leaves
mod pace; // of a load, and of what happens to it
mod processes; // what the chain runs now
mod packages; // clients of others
mod elsewhere; // another machine, by a real sshd
mod chain; // the copy, a home, and `./rbee` in it

pub use crate::{
    chain::{Chain, Run, get, post},
    checkout::{Checkout, target_dir},
    elsewhere::{Disk, Elsewhere, Machines},
    pace::pause,
    packages::{
        node_with,   // (name, packages) -> PathBuf
        python_with, // (name, packages) -> PathBuf
    },
    processes::{Process, processes},
};
