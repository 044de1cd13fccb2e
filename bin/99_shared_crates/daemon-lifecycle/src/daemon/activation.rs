//! What systemd, or whoever speaks as it does, has left for a process without a starter: sockets
//! that are bound already, and a place to say that it is ready.

use std::{
    ffi::OsStr,
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{OwnedFd, RawFd},
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr as UnixAddress, UnixDatagram},
        },
    },
};

use crate::{environment, unsafety};

/// The number of the first socket, as `sd_listen_fds` has it.
const FIRST: RawFd = 3;

/// The socket that was passed on for `address`, of which port 0 is any.
pub(super) fn listener(address: SocketAddr) -> Option<OwnedFd> {
    let numbers = (FIRST..).take(environment::passed_sockets());
    numbers.filter_map(unsafety::copy_of).find(|fd| {
        let local = fd.try_clone().and_then(|fd| TcpListener::from(fd).local_addr());
        local.is_ok_and(|local| {
            local.ip() == address.ip() && [0, local.port()].contains(&address.port())
        })
    })
}

/// Says that this process is ready, to whom it may concern.
pub(super) fn say_ready() {
    let Some(place) = environment::notify_socket() else { return };
    if let Err(error) = send(&place) {
        tracing::debug!(%error, "nobody hears that this daemon is ready");
    }
}

fn send(place: &OsStr) -> io::Result<()> {
    let address = match place.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddress::from_abstract_name(name)?,
        None => UnixAddress::from_pathname(place)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1\n", &address).map(drop)
}
