//! Gives way to whatever else wants the processor and the disk.
//!
//! On Linux the idle class alone does not: with autogroups, which are on by default, the kernel
//! first divides the processors among sessions and only then, by class and nice value, among the
//! threads of each (`man 7 sched`, "The autogroup feature"). An idle build in one session would
//! take half of a processor from a worker in another. So an idle build gets a session of its own,
//! whose share is the least there is. Where processes are in CPU cgroups, those decide instead.

#![expect(
    unsafe_code,
    reason = "no safe wrapper sets a scheduling policy, or runs code in a child"
)]

#[cfg(target_os = "linux")]
mod apart; // a session of its own, which ends with its starter
#[cfg(not(target_os = "linux"))]
#[path = "priority/beside.rs"]
mod apart; // sessions have no share

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus},
};

use apart::Guard;

/// The lowest of the usual priorities, for where the idle class is refused.
const NICEST: i32 = 19;

/// A process that runs only when nothing else wants to, with all that it starts.
///
/// It ends, with all of them, when this process does or when this is dropped before it has ended.
/// What ends this process from the terminal, like Ctrl-C, ends it too.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) child: Child,
    guard: Option<Guard>,
}

impl Idle {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut guard = apart::has_share().then(Guard::start).and_then(Result::ok);
        let is_apart = guard.is_some();
        let prepare = move || {
            if is_apart {
                apart::enter()?;
            }
            become_idle();
            Ok(())
        };
        // SAFETY: only system calls are made; no memory is allocated and no lock is taken.
        unsafe { command.pre_exec(prepare) };
        let child = command.spawn()?;
        if let Some(guard) = &mut guard {
            // If it is gone already, the build ends with this process all the same.
            guard.watch(child.id()).unwrap_or(());
        }
        Ok(Self { child, guard })
    }

    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.guard.map_or(Ok(()), Guard::dismiss)?;
        Ok(status)
    }
}

/// Makes the calling thread, and every process that it starts from now on, run only when nothing
/// else of its session wants to.
fn become_idle() {
    if !use_idle_class() {
        // Refused only to those who already have it lower; either way there is nothing to do.
        rustix::process::setpriority_process(None, NICEST).unwrap_or(());
    }
    use_idle_io();
}

#[cfg(target_os = "linux")]
fn use_idle_class() -> bool {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a live value that is only read; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) == 0 }
}

#[cfg(target_os = "linux")]
fn use_idle_io() {
    const WHO_PROCESS: libc::c_int = 1;
    const IDLE_CLASS: libc::c_int = 3 << 13;
    // SAFETY: takes three numbers; 0 is the calling thread. Without it the disk is merely shared.
    unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, IDLE_CLASS) };
}

#[cfg(not(target_os = "linux"))]
fn use_idle_class() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn use_idle_io() {}
