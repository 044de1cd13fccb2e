//! Gives way to whatever else wants the processor and the disk.
#![expect(unsafe_code, reason = "no safe wrapper sets a thread's scheduling policy")]

/// The lowest of the usual priorities, for where the idle class is refused.
const NICEST: i32 = 19;

/// Makes the calling thread, and every process that it starts from now on, run only when nothing
/// else wants to.
pub(crate) fn become_idle() {
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
