use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init},
    io::Errno,
};

use crate::error::{Error, on};

/// A queue of what happens to watched names.
#[derive(Debug)]
pub(crate) struct Events {
    queue: OwnedFd,
    /// What is watched in each folder, by the number that events carry.
    folders: HashMap<i32, Names>,
    numbers: HashMap<PathBuf, i32>,
}

#[derive(Debug, Default)]
struct Names {
    any: bool,
    some: HashSet<OsString>,
}

/// What has happened since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    /// Something, or so much that not all of it was told.
    Something,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// This name was watched already, and so is the way to it.
    Before,
    Now,
    NotThere,
}

impl Events {
    /// `None` where the kernel gives no queue.
    pub(crate) fn new() -> Option<Self> {
        let queue = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
        Some(Self { queue, folders: HashMap::new(), numbers: HashMap::new() })
    }

    /// Watches for `name` in `dir`. `None` where that cannot be relied upon.
    pub(crate) fn watch_name(&mut self, dir: &Path, name: &OsStr) -> Option<Watched> {
        let Some(number) = self.number(dir)? else { return Some(Watched::NotThere) };
        let names = self.folders.entry(number).or_default();
        let is_new = names.some.insert(name.to_owned());
        Some(if is_new { Watched::Now } else { Watched::Before })
    }

    /// Watches for any name in `dir`.
    pub(crate) fn watch_all(&mut self, dir: &Path) -> Option<()> {
        if let Some(number) = self.number(dir)? {
            self.folders.entry(number).or_default().any = true;
        }
        Some(())
    }

    /// Takes what has happened from the queue.
    pub(crate) fn heard(&mut self) -> Heard {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut reader = Reader::new(&self.queue, &mut buffer);
        let mut heard = Heard::Nothing;
        loop {
            match reader.next() {
                Ok(event) => {
                    let about_folder = ReadFlags::QUEUE_OVERFLOW
                        | ReadFlags::IGNORED
                        | ReadFlags::UNMOUNT
                        | ReadFlags::DELETE_SELF
                        | ReadFlags::MOVE_SELF;
                    let matters = event.events().intersects(about_folder)
                        || match (self.folders.get(&event.wd()), event.file_name()) {
                            (Some(names), Some(name)) => {
                                names.any || names.some.contains(OsStr::from_bytes(name.to_bytes()))
                            }
                            // A change of the folder's own attributes is no change of what is in it.
                            (Some(_), None) => false,
                            (None, _) => true,
                        };
                    if matters {
                        heard = Heard::Something;
                    }
                }
                Err(Errno::AGAIN) => return heard,
                Err(Errno::INTR) => {}
                Err(_) => return Heard::Something,
            }
        }
    }

    /// What becomes readable when something happens.
    pub(crate) fn pollable(&self) -> Result<OwnedFd, Error> {
        self.queue.try_clone().map_err(on("watch", "the file system"))
    }

    /// The number of `dir`; `Some(None)` where it is not there.
    fn number(&mut self, dir: &Path) -> Option<Option<i32>> {
        if let Some(number) = self.numbers.get(dir) {
            return Some(Some(*number));
        }
        let flags = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        match add_watch(&self.queue, dir, flags) {
            Ok(number) if tells_of_changes(dir) => {
                self.numbers.insert(dir.to_owned(), number);
                Some(Some(number))
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Some(None),
            Ok(_) | Err(_) => None,
        }
    }
}

/// Whether every change of files in `dir` passes through this kernel.
fn tells_of_changes(dir: &Path) -> bool {
    // ext4, xfs, btrfs, tmpfs, ramfs, zfs, f2fs, bcachefs, overlayfs
    const LOCAL: [u32; 9] = [
        0xEF53,
        0x5846_5342,
        0x9123_683E,
        0x0102_1994,
        0x8584_58F6,
        0x2FC1_2FC1,
        0xF2F5_2010,
        0xCA45_1A4E,
        0x794C_7630,
    ];
    rustix::fs::statfs(dir).is_ok_and(|found| LOCAL.contains(&(found.f_type as u32)))
}

/// Blocks until `queue` is readable, at most for `timeout`.
pub(crate) fn wait(queue: Option<OwnedFd>, timeout: Duration) -> Result<(), Error> {
    let mut polled: Vec<PollFd<'_>> =
        queue.iter().map(|queue| PollFd::new(queue, PollFlags::IN)).collect();
    let timeout = Timespec::try_from(timeout).ok();
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(on("watch", "the file system")(error.into())),
    }
}
