use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    os::{fd::AsFd as _, unix::net::UnixStream},
    time::Duration,
};

use rustix::fs::{FileType, fstat};

use crate::{
    environment,
    protocol::{Attachment, ToDaemon},
};

/// The starter has written before this process existed.
const LIMIT: Duration = Duration::from_secs(5);

/// The channel that a starter left at stdin, with what it says; `None` without a starter.
///
/// Stdin is `/dev/null` afterwards.
pub(super) fn take() -> io::Result<Option<(Attachment, UnixStream)>> {
    let Some(inode) = environment::channel() else { return Ok(None) };
    let stdin = io::stdin();
    let Ok(stat) = fstat(&stdin) else { return Ok(None) };
    if stat.st_ino != inode || FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Ok(None);
    }
    let stream = UnixStream::from(stdin.as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut line = Vec::new();
    // Nothing is lost to the buffer: the starter says no more until this daemon is ready.
    BufReader::new(&stream).read_until(b'\n', &mut line)?;
    let ToDaemon::Attach(attachment) = serde_json::from_slice(&line)? else {
        return Err(io::Error::other("the starter did not begin with how it started this daemon"));
    };
    stream.set_nonblocking(true)?;
    Ok(Some((*attachment, stream)))
}
