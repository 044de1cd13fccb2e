//! Gives way to whatever else wants the processor and the disk, and stops giving way once somebody
//! waits.
//!
//! On Linux the idle class alone does not give way: with autogroups, which are on by default, the
//! kernel first divides the processors among sessions and only then, by class and nice value, among
//! the threads of each (`man 7 sched`, "The autogroup feature"). An idle build in one session would
//! take half of a processor from a worker in another. So such a build gets a session of its own,
//! whose share is the least there is. Where processes are in CPU cgroups, those decide instead, and
//! the class is what counts.
//!
//! The share of a session can be raised again by anybody, the class of a thread only with a
//! privilege. So the class is lowered where it can be raised again, or where the share does not
//! count; there a build that is to be raised is ended and started again.

#![expect(
    unsafe_code,
    reason = "no safe wrapper sets a scheduling policy, or runs code in a child"
)]

#[cfg(target_os = "linux")]
mod apart; // a session of its own, which ends with its starter
#[cfg(not(target_os = "linux"))]
#[path = "priority/beside.rs"]
mod apart; // sessions have no share
#[cfg(target_os = "linux")]
mod tree; // a process with all that it has started
#[cfg(not(target_os = "linux"))]
#[path = "priority/alone.rs"]
mod tree; // only the process itself is known

use std::{
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use apart::Guard;
use tree::Tree;

/// How much of the machine a build asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// What nothing else wants.
    Idle,
    /// About a tenth where others want it all.
    Low,
    /// As much as anybody.
    Normal,
}

impl Priority {
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Idle => Self::Low,
            Self::Low | Self::Normal => Self::Normal,
        }
    }

    /// As a nice value, of a process or of a session.
    fn nice(self) -> i32 {
        match self {
            Self::Idle => 19,
            Self::Low => 10,
            Self::Normal => 0,
        }
    }
}

/// A process with all that it starts, at some priority.
///
/// It gets SIGTERM when the thread that started it ends, however that ends. At a lowered priority
/// all that it has started ends with it, also when this is dropped before it has ended; and what
/// ends this process from the terminal, like Ctrl-C, ends it too.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) priority: Priority,
    guard: Option<Guard>,
    means: Means,
}

/// By what a priority is lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Means {
    share: bool,
    class: bool,
    /// Whether a class that was lowered can be raised.
    raises: bool,
}

impl Means {
    fn here() -> Self {
        let (share, raises) = (apart::shares_decide(), apart::may_raise());
        Self { share, class: raises || !share, raises }
    }
}

impl Running {
    pub(crate) fn spawn(command: &mut Command, priority: Priority) -> io::Result<Self> {
        let means = Means::here();
        let starter = std::process::id();
        // SAFETY: only system calls are made; no memory is allocated and no lock is taken.
        unsafe { command.pre_exec(move || apart::end_with(starter)) };
        if priority == Priority::Normal {
            return Ok(Self { child: command.spawn()?, priority, guard: None, means });
        }
        let mut guard = Guard::start().ok();
        let is_apart = guard.is_some();
        let prepare = move || {
            if is_apart {
                apart::enter(means.share.then(|| priority.nice()))?;
            }
            if means.class {
                lower_class(priority);
            }
            if priority == Priority::Idle {
                use_io(IoClass::Idle, 0);
            }
            Ok(())
        };
        // SAFETY: only system calls are made; no memory is allocated and no lock is taken.
        unsafe { command.pre_exec(prepare) };
        let child = command.spawn()?;
        if let Some(guard) = &mut guard {
            // If it is gone already, the build ends with this process all the same.
            guard.watch(child.id()).unwrap_or(());
        }
        Ok(Self { child, priority, guard, means })
    }

    /// Raises it, with all that it has started and will start; says whether that was possible.
    pub(crate) fn raise(&mut self, priority: Priority) -> bool {
        if priority <= self.priority {
            return true;
        }
        if self.means.class && !self.means.raises {
            return false;
        }
        let is_raised = self.tree().for_each_thread(|thread| {
            use_io(IoClass::Usual, thread);
            !self.means.class || raise_class(thread, priority)
        });
        if self.means.share && self.guard.is_some() && is_raised {
            apart::set_share(self.child.id(), priority.nice());
        }
        if is_raised {
            self.priority = priority;
        }
        is_raised
    }

    /// Whether somebody waits for a lock that it holds on a file below `folder`, as a cargo of a person's own
    /// does for the target directory's.
    pub(crate) fn is_waited_for(&self, folder: &Path) -> bool {
        self.tree().is_waited_for(folder)
    }

    /// Processor time that it and all that it has started have had.
    pub(crate) fn cpu_time(&self) -> Duration {
        self.tree().cpu_time()
    }

    /// Ends it as Ctrl-C would, with all that it has started; what does not heed that is killed.
    /// It is still to be waited for.
    pub(crate) fn end(&mut self) {
        self.tree().end();
        // Where nothing but the process itself is known.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.child.kill().unwrap_or(());
        }
    }

    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.guard.map_or(Ok(()), Guard::dismiss)?;
        Ok(status)
    }

    fn tree(&self) -> Tree {
        Tree::of(self.child.id(), self.guard.is_some())
    }
}

/// Of the calling thread, and so of every process that it starts from now on.
fn lower_class(priority: Priority) {
    if priority != Priority::Idle || !use_class(0, Class::Idle) {
        // Refused only to those who already have it lower; either way there is nothing to do.
        rustix::process::setpriority_process(None, priority.nice()).unwrap_or(());
    }
}

/// Says whether the thread has it now, or is gone.
#[cfg(target_os = "linux")]
fn raise_class(thread: i32, priority: Priority) -> bool {
    let is_gone = || io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
    if !use_class(thread, Class::Usual) {
        return is_gone();
    }
    // SAFETY: takes three numbers.
    let set =
        unsafe { libc::setpriority(libc::PRIO_PROCESS, thread.unsigned_abs(), priority.nice()) };
    set == 0 || is_gone()
}

#[cfg(not(target_os = "linux"))]
fn raise_class(_: i32, _: Priority) -> bool {
    false
}

#[derive(Clone, Copy)]
enum Class {
    Idle,
    Usual,
}

#[cfg(target_os = "linux")]
fn use_class(thread: i32, class: Class) -> bool {
    let parameters = libc::sched_param { sched_priority: 0 };
    let class = match class {
        Class::Idle => libc::SCHED_IDLE,
        Class::Usual => libc::SCHED_OTHER,
    };
    // SAFETY: the pointer is to a live value that is only read; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(thread, class, &raw const parameters) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn use_class(_: i32, _: Class) -> bool {
    false
}

#[derive(Clone, Copy)]
enum IoClass {
    Idle,
    /// As the nice value says.
    Usual,
}

/// 0 is the calling thread. Without it the disk is merely shared.
#[cfg(target_os = "linux")]
fn use_io(class: IoClass, thread: i32) {
    const WHO_PROCESS: libc::c_int = 1;
    let class: libc::c_int = match class {
        IoClass::Idle => 3 << 13,
        IoClass::Usual => 0,
    };
    // SAFETY: takes three numbers.
    unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, thread, class) };
}

#[cfg(not(target_os = "linux"))]
fn use_io(_: IoClass, _: i32) {}
