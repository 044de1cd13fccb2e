#![expect(unsafe_code, reason = "three calls whose conditions the compiler cannot check")]

use std::{
    fs,
    os::fd::{BorrowedFd, OwnedFd, RawFd},
};

use rustix::io::{FdFlags, fcntl_setfd};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::Command,
};

/// As many connections as the system lets wait.
const BACKLOG: i32 = i32::MAX;

/// Starts the command in a session and process group of its own, with no descriptor beside the
/// standard three. The process listens on `socket`, which is bound, from before it is its own program on.
///
/// No terminal's Ctrl-C or hang-up reaches it, and everything it forks can be found by the
/// session's number. Whoever waits for the end of a pipe that this process happens to have
/// inherited, such as a shell or a build tool, does not wait for the daemon.
pub(crate) fn detach(command: &mut Command, socket: Option<OwnedFd>) {
    let others: Vec<RawFd> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&fd| fd > 2)
        .collect();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; setsid, listen and
    // fcntl are, and converting an error number allocates nothing. A descriptor that has been closed
    // since is only reported as such.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            if let Some(socket) = &socket {
                rustix::net::listen(socket, BACKLOG)?;
            }
            for &fd in &others {
                let fd = BorrowedFd::borrow_raw(fd);
                fcntl_setfd(fd, FdFlags::CLOEXEC).ok();
            }
            Ok(())
        });
    }
}

/// Another descriptor for what this process was given as its descriptor `number`; `None` where that
/// is none.
pub(crate) fn copy_of(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: one that is not open is only reported as such, and a copy has an owner of its own.
    let given = unsafe { BorrowedFd::borrow_raw(number) };
    given.try_clone_to_owned().ok()
}

/// Lets a task wait until `fd` is readable. Needs a Tokio runtime.
pub(crate) fn readable(fd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` owns a valid descriptor, and nothing replaces it in the `AsyncFd`.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok()
}
