use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    os::{
        fd::AsFd as _,
        unix::net::{UnixListener, UnixStream},
    },
    time::Duration,
};

use rustix::{
    fs::{FileType, fstat},
    net::{RecvFlags, recv},
};

use crate::{
    descriptor::receive_with,
    environment,
    protocol::{Attachment, Fault, FromDaemon, ToDaemon, to_line},
};

/// The starter has written before this process existed.
const LIMIT: Duration = Duration::from_secs(5);

/// What a starter leaves to the process that it starts.
pub(super) struct Left {
    pub(super) attachment: Attachment,
    /// To the starter.
    pub(super) channel: UnixStream,
    /// The control socket, on which this process has listened since before its first instruction; starters of
    /// earlier versions leave none.
    pub(super) socket: Option<UnixListener>,
}

/// What a starter left at stdin; `None` without a starter.
///
/// Stdin is `/dev/null` afterwards.
pub(super) fn take() -> io::Result<Option<Left>> {
    let Some(inode) = environment::channel() else { return Ok(None) };
    let stdin = io::stdin();
    let Ok(stat) = fstat(&stdin) else { return Ok(None) };
    if stat.st_ino != inode || FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Ok(None);
    }
    let stream = UnixStream::from(stdin.as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    stream.set_read_timeout(Some(LIMIT))?;
    // The socket comes with the first byte.
    let (first, socket) = receive_with(stream.as_fd())?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut line = vec![first];
    // Nothing is lost to the buffer: the starter says no more until this daemon is ready.
    BufReader::new(&stream).read_until(b'\n', &mut line)?;
    let attachment = match serde_json::from_slice(&line) {
        Ok(ToDaemon::Attach(attachment)) => attachment,
        // A starter of another version, such as a daemon that replaces itself by the next one;
        // that is not this binary's fault, and a starter of its own version will do.
        other => {
            let why = other.err().map_or_else(|| "unexpected words".to_owned(), |e| e.to_string());
            let reason = format!("its starter speaks another language: {why}");
            say_failed(&stream, reason.clone());
            return Err(io::Error::other(reason));
        }
    };
    stream.set_nonblocking(true)?;
    let socket = socket.map(UnixListener::from);
    Ok(Some(Left { attachment: *attachment, channel: stream, socket }))
}

/// Whether the starter has died, as far as the kernel has heard. It says nothing before this daemon is ready.
pub(super) fn is_alone(channel: &UnixStream) -> bool {
    let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(recv(channel, &mut [0; 1], peek), Ok((0, _)))
}

/// Tells the starter what kept this daemon from starting, which was not its own fault.
pub(super) fn say_failed(mut stream: &UnixStream, reason: String) {
    let failed = FromDaemon::Failed { reason, fault: Fault::Other };
    if let Err(error) = stream.write_all(&to_line(&failed)) {
        tracing::debug!(%error, "the starter is not listening");
    }
}
