//! What systemd, or whoever speaks as it does, has left for a process without a starter: sockets
//! that are bound already.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::{OwnedFd, RawFd},
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
