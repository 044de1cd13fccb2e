//! Telling the service manager that started this process how it is, as `sd_notify` does.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use crate::environment;

/// Tells the service manager `state`: lines such as `READY=1`, `STATUS=..`, `WATCHDOG=1`.
///
/// Nothing happens where none wants to be told.
pub fn notify_service_manager(state: &str) {
    let Some(place) = environment::notify_socket() else { return };
    if let Err(error) = send(&place, state) {
        tracing::debug!(%error, "no service manager hears how this process is");
    }
}

/// Within which time the service manager wants to be told `WATCHDOG=1`, again and again; `None` where it
/// does not.
pub fn watchdog_interval() -> Option<Duration> {
    environment::watchdog()
}

fn send(place: &OsStr, state: &str) -> io::Result<()> {
    let address = match place.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(place)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}
