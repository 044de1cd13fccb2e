#![expect(unsafe_code, reason = "descriptors by number are beyond what the compiler checks")]

use std::{
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    process::Command,
};

/// The descriptor `number`, which whoever started this process left for it.
///
/// `None` where there is none of that number.
pub(super) fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: takes two numbers; one that is no descriptor is only reported as such.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return None;
    }
    // SAFETY: it is open, and nothing else in this process knows of it: the caller asks once, for a
    // number that was promised to this process.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Gives the command `passed` as its descriptors 3, 4 and so on, and has it told to end when the
/// thread that starts it does.
///
/// Each of `passed` has at least the number that it is to have there, and they ascend; so does
/// whatever asks for a socket first thing.
pub(super) fn pass_on(command: &mut Command, passed: &[OwnedFd]) {
    let passed: Vec<RawFd> = passed.iter().map(OwnedFd::as_raw_fd).collect();
    let prepare = move || {
        end_with_starter()?;
        for (&from, to) in passed.iter().zip(3..) {
            // SAFETY: takes numbers. What had the number `to` is the one that comes next, which is
            // of a higher number or was copied before, or one that nobody needs behind `exec`.
            let done = unsafe {
                if from == to { libc::fcntl(from, libc::F_SETFD, 0) } else { libc::dup2(from, to) }
            };
            if done < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: only system calls are made; no memory is allocated and no lock is taken.
    unsafe { command.pre_exec(prepare) };
}

#[cfg(target_os = "linux")]
fn end_with_starter() -> io::Result<()> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    Ok(set_parent_process_death_signal(Some(Signal::TERM))?)
}

#[cfg(not(target_os = "linux"))]
fn end_with_starter() -> io::Result<()> {
    Ok(())
}
