//! Listening sockets that outlive the programs that use them.

use std::{
    fs, io,
    net::{TcpListener, ToSocketAddrs as _},
    os::{
        fd::{AsFd as _, OwnedFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use auto_update::BuildEnvironment;
use rustix::fs::{FileType, fstat};

use super::unsafety;

/// The number of the first descriptor that is passed on, as `sd_listen_fds` has it.
const FIRST: RawFd = 3;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("`{address}` is no address to listen on, such as 127.0.0.1:3000 or unix:/run/app.sock")]
    NoAddress { address: String, source: Option<io::Error> },
    #[error("cannot listen on {address}")]
    Bind { address: String, source: io::Error },
    #[error("descriptor {number}, which LISTEN_FDS promises, is no listening socket")]
    NotThere { number: RawFd },
}

/// What a listening socket is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Port(u16),
    /// The name of a Unix socket as the kernel lists it; a leading `@` stands for a zero byte.
    Path(String),
    Unknown,
}

/// A socket that is held for the program.
#[derive(Debug, Clone)]
pub(crate) struct Socket {
    /// What `LISTEN_FDNAMES` calls it.
    pub(crate) name: String,
    /// What a person calls it: the address that it is bound to.
    pub(crate) address: String,
    pub(crate) place: Place,
    pub(crate) inode: u64,
}

/// All sockets that are held for the program, in the order of their descriptors.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    all: Vec<Socket>,
    descriptors: Vec<OwnedFd>,
    /// Files of Unix sockets that were bound here.
    files: Vec<PathBuf>,
}

impl Sockets {
    /// Takes over what `LISTEN_FDS` says that this process was given, then listens on `addresses`.
    ///
    /// To be called before this process has opened anything else: the sockets then have the lowest
    /// free numbers, and nothing else of this process ever has those that they get in a program.
    pub(crate) fn open(addresses: &[String]) -> Result<Self, Error> {
        let mut sockets = Self::default();
        sockets.take_over(&BuildEnvironment::capture())?;
        for address in addresses {
            sockets.bind(address)?;
        }
        Ok(sockets)
    }

    fn take_over(&mut self, environment: &BuildEnvironment) -> Result<(), Error> {
        let variable = |name: &str| environment.get(name)?.to_str();
        let number = |name: &str| variable(name)?.parse::<u32>().ok();
        // Without a pid they are whoever's that gets them, as `systemfd --no-pid` has it.
        let is_ours =
            variable("LISTEN_PID").is_none() || number("LISTEN_PID") == Some(std::process::id());
        let count = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
        let mut names = variable("LISTEN_FDNAMES").unwrap_or_default().split(':');
        for number in (FIRST..).take(count as usize) {
            let taken = unsafety::inherited(number).and_then(|fd| Some((place(&fd)?, fd)));
            let ((place, address), fd) = taken.ok_or(Error::NotThere { number })?;
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown");
            self.hold(fd, name, address, place)?;
        }
        Ok(())
    }

    fn bind(&mut self, address: &str) -> Result<(), Error> {
        let failed = |source| Error::Bind { address: address.to_owned(), source };
        let no_address = |source| Error::NoAddress { address: address.to_owned(), source };
        let (fd, kind) = match address.strip_prefix("unix:") {
            Some("") => return Err(no_address(None)),
            Some(path) => {
                let listener = bind_unix(Path::new(path)).map_err(failed)?;
                self.files.push(path.into());
                (OwnedFd::from(listener), "unix")
            }
            None => {
                // A port alone is one of this host's own.
                let host = address.parse::<u16>().map(|port| format!("127.0.0.1:{port}"));
                let host = host.unwrap_or_else(|_| address.to_owned());
                let found: Vec<_> =
                    host.to_socket_addrs().map_err(|error| no_address(Some(error)))?.collect();
                (TcpListener::bind(&found[..]).map_err(failed)?.into(), "tcp")
            }
        };
        let (place, address) = place(&fd).ok_or_else(|| no_address(None))?;
        self.hold(fd, kind, address, place)
    }

    fn hold(
        &mut self,
        fd: OwnedFd,
        name: &str,
        address: String,
        place: Place,
    ) -> Result<(), Error> {
        let stat = fstat(&fd);
        let stat =
            stat.map_err(|errno| Error::Bind { address: address.clone(), source: errno.into() })?;
        self.all.push(Socket { name: name.to_owned(), address, place, inode: stat.st_ino });
        self.descriptors.push(fd);
        Ok(())
    }

    pub(crate) fn all(&self) -> &[Socket] {
        &self.all
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn descriptors(&self) -> &[OwnedFd] {
        &self.descriptors
    }

    /// The value of `LISTEN_FDNAMES`.
    pub(crate) fn names(&self) -> String {
        self.all.iter().map(|socket| socket.name.as_str()).collect::<Vec<_>>().join(":")
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for file in &self.files {
            // Somebody else may have removed it already.
            fs::remove_file(file).unwrap_or(());
        }
    }
}

/// Binds over a socket file that nobody answers on any more.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| {
                use std::os::unix::fs::FileTypeExt as _;
                meta.file_type().is_socket()
            });
            if !is_socket || UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// Where a socket listens, for the kernel's lists and for people. `None` for what is no socket.
fn place(fd: &OwnedFd) -> Option<(Place, String)> {
    if FileType::from_raw_mode(fstat(fd).ok()?.st_mode) != FileType::Socket {
        return None;
    }
    if let Ok(address) = TcpListener::from(fd.try_clone().ok()?).local_addr() {
        return Some((Place::Port(address.port()), address.to_string()));
    }
    let address = UnixListener::from(fd.as_fd().try_clone_to_owned().ok()?).local_addr().ok()?;
    let path = address.as_pathname().map(|path| path.display().to_string());
    let place = path.clone().map_or(Place::Unknown, Place::Path);
    Some((place, path.map_or_else(|| "a socket".to_owned(), |path| format!("unix:{path}"))))
}
