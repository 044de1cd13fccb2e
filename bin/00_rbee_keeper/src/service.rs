//! The chain as a service that starts without anybody at a terminal: for systemd's user manager,
//! or for launchd where that runs the machine.
//!
//! The texts are written here, not by a library: those that there are know no user service that
//! both drains on stop and leaves its daemons alone when it dies, and quote nothing.

mod manager; // systemctl and launchctl
mod unit; // what they read

pub(crate) use self::{
    manager::{Installed, Manager, State},
    unit::Service,
};
