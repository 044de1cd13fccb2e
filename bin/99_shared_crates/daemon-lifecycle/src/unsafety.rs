#![expect(unsafe_code, reason = "two calls whose conditions the compiler cannot check")]

use std::os::fd::OwnedFd;

use tokio::{
    io::{Interest, unix::AsyncFd},
    process::Command,
};

/// Starts the command in a session and process group of its own: no terminal's Ctrl-C or hang-up
/// reaches it, and everything it forks can be found by the session's number.
pub(crate) fn in_new_session(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; setsid is one, and
    // converting its error number allocates nothing.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
}

/// Lets a task wait until `fd` is readable. Needs a Tokio runtime.
pub(crate) fn readable(fd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` owns a valid descriptor, and nothing replaces it in the `AsyncFd`.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok()
}
