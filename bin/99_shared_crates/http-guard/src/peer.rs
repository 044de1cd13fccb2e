use std::{io, net::SocketAddr};

/// Which user has the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The user whom this process runs as.
    SameUser,
    /// Another user of this machine.
    OtherUser { uid: u32 },
    /// Somebody on another machine, or somebody whom the kernel does not name.
    Unknown,
}

impl Peer {
    /// The peer of the TCP connection that this process accepted at `local` from `remote`.
    ///
    /// On loopback the kernel is asked, which takes some ten microseconds. Ask once for each
    /// connection: the user of a socket is the one who made it, and does not change. A client that
    /// has closed its end already is unknown.
    pub fn of_tcp(local: SocketAddr, remote: SocketAddr) -> Self {
        if !is_loopback(remote) {
            return Self::Unknown;
        }
        match user_of(remote, local) {
            Ok(Some(uid)) if uid == rustix::process::geteuid().as_raw() => Self::SameUser,
            Ok(Some(uid)) => Self::OtherUser { uid },
            Ok(None) => Self::Unknown,
            Err(error) => {
                tracing::debug!(%error, %remote, "the kernel does not tell whose connection this is");
                Self::Unknown
            }
        }
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The owner of the socket that is bound to `from` and connected to `to`.
#[cfg(target_os = "linux")]
fn user_of(from: SocketAddr, to: SocketAddr) -> io::Result<Option<u32>> {
    use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
    use netlink_packet_sock_diag::{
        SockDiagMessage,
        constants::{AF_INET, AF_INET6, IPPROTO_TCP},
        inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
    };
    use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_SOCK_DIAG};

    // A mapped address is one of either family, whichever the client's socket has.
    let mut families = vec![(from.ip(), to.ip())];
    let canonical = (from.ip().to_canonical(), to.ip().to_canonical());
    if canonical != families[0] {
        families.push(canonical);
    }
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddress::new(0, 0))?;
    for (source_address, destination_address) in families {
        let family = if source_address.is_ipv4() { AF_INET } else { AF_INET6 };
        let empty = if source_address.is_ipv4() { SocketId::new_v4() } else { SocketId::new_v6() };
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id: SocketId {
                source_port: from.port(),
                destination_port: to.port(),
                source_address,
                destination_address,
                // Any socket with these addresses, whatever its cookie.
                cookie: [0xff; 8],
                ..empty
            },
        };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        socket.send(&bytes, 0)?;
        let (answer, _) = socket.recv_from_full()?;
        let answer =
            NetlinkMessage::<SockDiagMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                // The kernel keeps no owner for a socket that its user has closed.
                let is_open = response.header.inode != 0;
                return Ok(is_open.then_some(response.header.uid));
            }
            NetlinkPayload::Error(error) => {
                let error = error.to_io();
                if error.kind() != io::ErrorKind::NotFound {
                    return Err(error);
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(not(target_os = "linux"))]
fn user_of(_: SocketAddr, _: SocketAddr) -> io::Result<Option<u32>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
        os::unix::process::CommandExt as _,
        process::{Command, Stdio},
    };

    use super::*;

    fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr, SocketAddr) {
        let (stream, remote) = listener.accept().unwrap();
        let local = stream.local_addr().unwrap();
        (stream, local, remote)
    }

    #[test]
    fn a_connection_of_this_process_is_of_the_same_user() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_stream, local, remote) = accepted(&listener);
        assert_eq!(Peer::of_tcp(local, remote), Peer::SameUser);
    }

    #[test]
    fn the_same_user_is_known_over_both_protocols() {
        // Accepts both; a client that names 127.0.0.1 has a mapped address here.
        let Ok(listener) = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) else { return };
        let port = listener.local_addr().unwrap().port();
        for address in
            [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()]
        {
            let _client = TcpStream::connect(address).unwrap();
            let (_stream, local, remote) = accepted(&listener);
            assert_eq!(Peer::of_tcp(local, remote), Peer::SameUser, "{remote}");
        }
    }

    #[test]
    fn a_client_that_has_closed_is_unknown() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut stream, local, remote) = accepted(&listener);
        drop(client);
        stream.read_to_end(&mut Vec::new()).unwrap();
        drop(stream);
        assert_eq!(Peer::of_tcp(local, remote), Peer::Unknown);
    }

    #[test]
    fn another_user_is_told_by_number() {
        const NOBODY: u32 = 65534;
        if !rustix::process::geteuid().is_root() {
            // Only root can become somebody else.
            return;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut client = Command::new("/bin/bash")
            .args(["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port} && read -r _ <&3")])
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir("/")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (stream, local, remote) = accepted(&listener);
        assert_eq!(Peer::of_tcp(local, remote), Peer::OtherUser { uid: NOBODY });
        drop(stream);
        client.wait().unwrap();
    }

    #[test]
    fn another_machine_is_unknown() {
        let local = SocketAddr::from(([192, 0, 2, 1], 80));
        let remote = SocketAddr::from(([192, 0, 2, 2], 50_000));
        assert_eq!(Peer::of_tcp(local, remote), Peer::Unknown);
    }
}
