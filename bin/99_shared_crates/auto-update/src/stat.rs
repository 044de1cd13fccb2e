use std::path::Path;

use rustix::{
    fd::AsFd,
    fs::{AtFlags, CWD, FileType, Stat},
    io::Errno,
    path::Arg,
};

use crate::error::{Error, on};

/// What the file system says of a file without opening it: device, inode, size, mode, mtime and
/// ctime, in that order, eight bytes each.
///
/// Kept as bytes so that one comparison of memory decides, whatever the optimisation level. It is
/// compared for equality only: the order of two times means nothing across file systems, clocks
/// and tools that set them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StatVector(pub(crate) [u8; Self::LEN]);

impl StatVector {
    pub(crate) const LEN: usize = 48;

    /// The vector of something that was not there, or whose state must not be relied upon.
    pub(crate) const NONE: Self = Self([0; Self::LEN]);

    #[expect(
        clippy::unnecessary_cast,
        clippy::cast_lossless,
        reason = "the widths differ between platforms"
    )]
    pub(crate) fn of(stat: &Stat) -> Self {
        let nanos = |seconds: i64, nanos: u64| {
            seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos as i64).to_le_bytes()
        };
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&(stat.st_dev as u64).to_le_bytes());
        bytes[8..16].copy_from_slice(&(stat.st_ino as u64).to_le_bytes());
        bytes[16..24].copy_from_slice(&(stat.st_size as u64).to_le_bytes());
        bytes[24..32].copy_from_slice(&(stat.st_mode as u64).to_le_bytes());
        bytes[32..40].copy_from_slice(&nanos(stat.st_mtime as i64, stat.st_mtime_nsec as u64));
        bytes[40..].copy_from_slice(&nanos(stat.st_ctime as i64, stat.st_ctime_nsec as u64));
        Self(bytes)
    }

    pub(crate) fn device(&self) -> u64 {
        self.word(0)
    }

    pub(crate) fn inode(&self) -> u64 {
        self.word(8)
    }

    /// Bytes.
    pub(crate) fn size(&self) -> u64 {
        self.word(16)
    }

    /// Type and permissions.
    pub(crate) fn mode(&self) -> u64 {
        self.word(24)
    }

    /// Nanoseconds since the epoch.
    pub(crate) fn mtime(&self) -> i64 {
        self.word(32) as i64
    }

    /// Nanoseconds since the epoch.
    pub(crate) fn ctime(&self) -> i64 {
        self.word(40) as i64
    }

    /// Makes it unequal to every state that a file can have.
    pub(crate) fn forget(&mut self) {
        self.0[40..].copy_from_slice(&i64::MIN.to_le_bytes());
    }

    pub(crate) fn is_file(&self) -> bool {
        self.file_type() == FileType::RegularFile
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    pub(crate) fn is_symlink(&self) -> bool {
        self.file_type() == FileType::Symlink
    }

    fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode() as _)
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }
}

/// The vector of `name` under `dir`, or `None` where nothing is there.
pub(crate) fn stat_at(
    dir: impl AsFd,
    name: impl Arg,
    follow: bool,
) -> Result<Option<StatVector>, Errno> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    match rustix::fs::statat(dir, name, flags) {
        Ok(stat) => Ok(Some(StatVector::of(&stat))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Of the file itself, even where it is a link.
pub(crate) fn lstat(path: &Path) -> Result<Option<StatVector>, Errno> {
    stat_at(CWD, path, false)
}

/// Of the file that the path leads to.
pub(crate) fn stat(path: &Path) -> Result<Option<StatVector>, Errno> {
    stat_at(CWD, path, true)
}

/// What `look` says, [`stat`] or [`lstat`]; an error names the path.
pub(crate) fn state_of(
    path: &Path,
    look: fn(&Path) -> Result<Option<StatVector>, Errno>,
) -> Result<Option<StatVector>, Error> {
    look(path).map_err(|errno| on("look at", path)(errno.into()))
}
