use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A file system of its own at a folder, in memory; gone with the value.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// `None` where this user may not mount one.
    pub fn at(folder: &Path) -> Option<Self> {
        mount(&["-t", "tmpfs", "-o", "mode=700", "rbee-test"], folder)
            .then(|| Self(folder.to_owned()))
    }

    /// From now on there is room for so much more than there is.
    pub fn has_room_for(&self, bytes: u64) {
        let space = rustix::fs::statvfs(&self.0).expect("it is mounted");
        let used = (space.f_blocks - space.f_bfree) * space.f_frsize;
        self.remount(&format!("size={}", used + bytes));
    }

    /// From now on nothing can be written to it.
    pub fn is_read_only(&self) {
        self.remount("ro");
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(mount(&["-o", &options], &self.0), "{options} {}", self.0.display());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

fn mount(arguments: &[&str], folder: &Path) -> bool {
    let status = Command::new("mount").args(arguments).arg(folder).status();
    status.is_ok_and(|status| status.success())
}
