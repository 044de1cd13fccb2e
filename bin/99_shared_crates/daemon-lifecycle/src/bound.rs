//! Control sockets, by name and by the kernel's word: a daemon lives on when its files have been removed, and then
//! nothing in the file system leads to it.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

use crate::{Identity, process};

/// A socket on which somebody listens, whether or not its file is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) path: PathBuf,
    inode: u64,
}

/// What the control socket of a generation is called.
pub(crate) fn file_name(generation: u64) -> String {
    format!("ctl-{generation}.sock")
}

/// The generation whose control socket has this name.
pub(crate) fn generation_of(socket: &Path) -> Option<u64> {
    let name = socket.file_name()?.to_str()?;
    name.strip_prefix("ctl-")?.strip_suffix(".sock")?.parse().ok()
}

/// A socket with a file at `path` on which nobody listens yet: whoever else looks sees that the place is taken.
pub(crate) fn reserve(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// The control sockets below `dir`.
pub(crate) fn below(dir: &Path) -> Vec<Bound> {
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    sockets
        .lines()
        .filter_map(parse)
        .filter(|bound| bound.path.starts_with(dir) && generation_of(&bound.path).is_some())
        .collect()
}

/// `Num: RefCount Protocol Flags Type St Inode Path`
fn parse(line: &str) -> Option<Bound> {
    const LISTENS: u32 = 0x10000;
    let mut fields = line.split_ascii_whitespace().skip(3);
    let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
    let inode = fields.nth(2)?.parse().ok()?;
    // The rest of the line, which may hold spaces.
    let path = line.find('/').map(|at| PathBuf::from(&line[at..]))?;
    (flags & LISTENS != 0).then_some(Bound { path, inode })
}

impl Bound {
    /// Whether nothing leads there any more.
    pub(crate) fn is_lost(&self) -> bool {
        !self.path.exists()
    }

    /// The process that listens; all else about it is unknown.
    pub(crate) fn owner(&self) -> Option<Identity> {
        let link = format!("socket:[{}]", self.inode);
        let pid = process::own().into_iter().find(|pid| {
            let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            fds.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|to| to.as_os_str() == &*link)
        })?;
        let start_time = process::stat(pid)?.start_time;
        let generation = generation_of(&self.path)?;
        let boot_id = process::boot_id();
        Some(Identity { pid, start_time, boot_id, generation, ..Identity::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_told_from_a_connected_one() {
        let line = |flags: &str| {
            format!("0000000000000000: 00000002 00000000 {flags} 0001 01 4711 /run/a b/ctl-3.sock")
        };
        let bound = parse(&line("00010000")).unwrap();
        assert_eq!((bound.path.to_str(), bound.inode), (Some("/run/a b/ctl-3.sock"), 4711));
        assert_eq!(parse(&line("00000000")), None);
        assert_eq!(parse("Num       RefCount Protocol Flags    Type St Inode Path"), None);
    }

    #[test]
    fn a_socket_whose_file_is_gone_still_leads_to_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ctl-1.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(!below(dir.path())[0].is_lost());
        fs::remove_file(&path).unwrap();
        let bound = below(dir.path());
        assert!(bound[0].is_lost());
        assert_eq!(bound[0].owner().unwrap().pid, std::process::id());
    }
}
