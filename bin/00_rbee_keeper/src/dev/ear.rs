use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What is listened to below a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Below {
    /// Every file but what editors leave beside one, and what cargo makes.
    Sources,
    /// Files of this name.
    Named(&'static str),
    /// Files of these names in the folder itself.
    Beside(&'static [&'static str]),
    /// Every file.
    Everything,
}

/// Hears of changes of files, so that nobody has to walk to see them.
///
/// Where the kernel does not tell, or folders are too many for it, whoever waits waits the whole time.
#[derive(Debug)]
pub(crate) struct Ear {
    folders: Vec<(PathBuf, Below)>,
    queue: Option<imp::Queue>,
}

impl Ear {
    /// What appears among `folders` later is listened to as well.
    pub(crate) fn over(folders: Vec<(PathBuf, Below)>) -> Self {
        let mut ear = Self { folders, queue: imp::Queue::new() };
        ear.listen();
        ear
    }

    /// Whether the kernel tells of every change.
    pub(crate) fn hears(&self) -> bool {
        self.queue.as_ref().is_some_and(imp::Queue::hears_all)
    }

    /// Until something has changed, `at_most` so long; says whether something has.
    pub(crate) fn wait(&mut self, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let limit =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let Some(queue) = &mut self.queue else {
                poll(&mut [], Some(&limit)).ok();
                return true;
            };
            let readable = poll(&mut [PollFd::new(queue, PollFlags::IN)], Some(&limit));
            if !matches!(readable, Ok(1..)) {
                return false;
            }
            let heard = queue.heard();
            if heard.has_new_folders {
                self.listen();
            }
            if heard.matters {
                return true;
            }
        }
    }

    fn listen(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        for (folder, below) in &self.folders {
            collect(folder, *below, queue);
        }
    }
}

fn collect(folder: &Path, below: Below, queue: &mut imp::Queue) {
    if !queue.listen(folder, below) {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && below.wants_folder(&entry.file_name().to_string_lossy()) {
            collect(&entry.path(), below, queue);
        }
    }
}

impl Below {
    fn wants_folder(self, name: &str) -> bool {
        match self {
            Self::Sources => is_source(name),
            Self::Named(_) | Self::Everything => true,
            Self::Beside(_) => false,
        }
    }

    fn wants(self, name: &str) -> bool {
        match self {
            Self::Sources => is_source(name),
            Self::Named(wanted) => name == wanted,
            Self::Beside(wanted) => wanted.contains(&name),
            Self::Everything => true,
        }
    }
}

/// Neither what editors leave beside a file nor what cargo makes.
pub(crate) fn is_source(name: &str) -> bool {
    !name.starts_with('.') && name != "target"
}

#[derive(Debug, Default)]
struct Heard {
    matters: bool,
    has_new_folders: bool,
}

#[cfg(target_os = "linux")]
mod imp {
    use std::{
        collections::HashMap,
        mem::MaybeUninit,
        os::fd::{AsFd, BorrowedFd, OwnedFd},
        path::Path,
    };

    use rustix::{
        fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init},
        io::Errno,
    };

    use super::{Below, Heard};

    #[derive(Debug)]
    pub(super) struct Queue {
        fd: OwnedFd,
        below: HashMap<i32, Below>,
        /// Some folder could not be listened to that is there.
        is_hard_of_hearing: bool,
    }

    impl Queue {
        pub(super) fn new() -> Option<Self> {
            let fd = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
            Some(Self { fd, below: HashMap::new(), is_hard_of_hearing: false })
        }

        pub(super) fn hears_all(&self) -> bool {
            !self.is_hard_of_hearing
        }

        /// `false` where there is no such folder.
        pub(super) fn listen(&mut self, folder: &Path, below: Below) -> bool {
            let flags = WatchFlags::MODIFY
                | WatchFlags::ATTRIB
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::ONLYDIR;
            match add_watch(&self.fd, folder, flags) {
                Ok(number) => {
                    self.below.insert(number, below);
                    true
                }
                Err(error) => {
                    self.is_hard_of_hearing |= !matches!(error, Errno::NOENT | Errno::NOTDIR);
                    false
                }
            }
        }

        pub(super) fn heard(&mut self) -> Heard {
            let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
            let mut reader = Reader::new(&self.fd, &mut buffer);
            let mut heard = Heard::default();
            loop {
                match reader.next() {
                    Ok(event) => {
                        let is_lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                        let name = event.file_name().map(|name| name.to_string_lossy());
                        let is_folder = event.events().contains(ReadFlags::ISDIR);
                        let is_wanted = match (self.below.get(&event.wd()), &name) {
                            (Some(below), Some(name)) if is_folder => below.wants_folder(name),
                            (Some(below), Some(name)) => below.wants(name),
                            _ => false,
                        };
                        heard.has_new_folders |= is_lost || is_folder;
                        heard.matters |= is_lost || is_wanted;
                    }
                    Err(Errno::INTR) => {}
                    Err(_) => return heard,
                }
            }
        }
    }

    impl AsFd for Queue {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.fd.as_fd()
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::{
        os::fd::{AsFd, BorrowedFd},
        path::Path,
    };

    use super::{Below, Heard};

    /// There is none here.
    #[derive(Debug)]
    pub(super) enum Queue {}

    impl Queue {
        pub(super) fn new() -> Option<Self> {
            None
        }

        pub(super) fn hears_all(&self) -> bool {
            match *self {}
        }

        pub(super) fn listen(&mut self, _: &Path, _: Below) -> bool {
            match *self {}
        }

        pub(super) fn heard(&mut self) -> Heard {
            match *self {}
        }
    }

    impl AsFd for Queue {
        fn as_fd(&self) -> BorrowedFd<'_> {
            match *self {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs, time::Duration};

    use super::{Below, Ear};

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn sources_are_heard_of_in_folders_that_are_new_too_and_what_is_made_is_not() {
        let root = tempfile::tempdir().unwrap();
        let (source, made) = (root.path().join("src"), root.path().join("target"));
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(&made).unwrap();
        let mut ear = Ear::over(vec![(root.path().to_owned(), Below::Sources)]);
        fs::write(made.join("lib.rs"), "one").unwrap();
        fs::write(source.join(".lib.rs.swp"), "one").unwrap();
        assert!(!ear.wait(Duration::ZERO));
        fs::write(source.join("lib.rs"), "one").unwrap();
        assert!(ear.wait(SOON));
        assert!(!ear.wait(Duration::ZERO));
        fs::create_dir(source.join("deeper")).unwrap();
        assert!(ear.wait(SOON));
        fs::write(source.join("deeper/mod.rs"), "one").unwrap();
        assert!(ear.wait(SOON));
    }

    #[test]
    fn of_a_folder_of_receipts_only_the_named_files_are_heard_of() {
        let root = tempfile::tempdir().unwrap();
        let receipt = root.path().join("queen");
        fs::create_dir(&receipt).unwrap();
        let mut ear = Ear::over(vec![(root.path().to_owned(), Below::Named("current"))]);
        fs::write(receipt.join("lock"), "").unwrap();
        assert!(!ear.wait(Duration::ZERO));
        fs::write(receipt.join("current"), "").unwrap();
        assert!(ear.wait(SOON));
    }
}
