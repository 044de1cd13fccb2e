use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// What heeds Ctrl-C removes what it has half written meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);
/// New processes may appear while those that are there are dealt with.
const MAX_ROUNDS: usize = 20;

/// What `/proc` counts processor time in, on every architecture but one long gone.
const TICKS_PER_SECOND: u64 = 100;

/// A process with all that it has started and that still runs.
#[derive(Debug)]
pub(super) struct Tree {
    root: u32,
    /// The process has made a session, to which what it started belongs even where whoever started
    /// it in turn has ended.
    is_session: bool,
}

/// What the kernel says of a process.
#[derive(Debug, Clone, Copy)]
struct Process {
    id: u32,
    parent: u32,
    session: u32,
    /// Clock ticks, of itself and of its children that have been waited for.
    ticks: u64,
    /// Tells it from a later one of the same number.
    started: u64,
    is_dead: bool,
}

impl Tree {
    pub(super) fn of(root: u32, is_session: bool) -> Self {
        Self { root, is_session }
    }

    /// Until every thread there is has had its turn; false as soon as one turn says so.
    pub(super) fn for_each_thread(&self, mut turn: impl FnMut(i32) -> bool) -> bool {
        let mut done = HashSet::new();
        for _ in 0..MAX_ROUNDS {
            let mut is_new = false;
            for process in self.members() {
                let threads = fs::read_dir(format!("/proc/{}/task", process.id));
                let threads = threads.into_iter().flatten().flatten();
                let ids = threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
                for thread in ids {
                    if done.insert((thread, process.started)) {
                        is_new = true;
                        if !turn(thread) {
                            return false;
                        }
                    }
                }
            }
            if !is_new {
                break;
            }
        }
        true
    }

    /// Whether somebody waits for a lock that the root holds on a file below `folder`.
    pub(super) fn is_waited_for(&self, folder: &Path) -> bool {
        let Ok(locks) = fs::read_to_string("/proc/locks") else { return false };
        locks.contains("->") && is_waited_for(&open_below(self.root, folder), &locks)
    }

    pub(super) fn cpu_time(&self) -> Duration {
        let ticks: u64 = self.members().iter().map(|process| process.ticks).sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }

    pub(super) fn end(&self) {
        // Held first, so that none starts another one that nobody knows of.
        let mut held: HashMap<u32, Process> = HashMap::new();
        for _ in 0..MAX_ROUNDS {
            let members = self.members();
            let new = members.into_iter().filter(|process| !held.contains_key(&process.id));
            let new: Vec<Process> = new.collect();
            if new.is_empty() {
                break;
            }
            for process in new {
                send(process, Signal::STOP);
                held.insert(process.id, process);
            }
        }
        let all = |signal| held.values().for_each(|process| send(*process, signal));
        all(Signal::INT);
        all(Signal::CONT);
        let began = Instant::now();
        while held.values().any(|process| is_alive(*process)) && began.elapsed() < PATIENCE {
            pause();
        }
        all(Signal::KILL);
    }

    fn members(&self) -> Vec<Process> {
        let processes = processes();
        let parents: HashMap<u32, u32> =
            processes.iter().map(|process| (process.id, process.parent)).collect();
        let is_below = |mut id: u32| {
            // No chain of parents is longer than there are processes.
            for _ in 0..parents.len() {
                if id == self.root {
                    return true;
                }
                match parents.get(&id) {
                    Some(parent) => id = *parent,
                    None => return false,
                }
            }
            false
        };
        let is_member = |process: &Process| {
            self.is_session && process.session == self.root || is_below(process.id)
        };
        processes.iter().copied().filter(|process| is_member(process)).collect()
    }
}

/// The inodes of the files there that the process has open.
fn open_below(process: u32, folder: &Path) -> HashSet<u64> {
    let entries = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let links = entries.map(|entry| entry.path());
    let below = links.filter(|link| fs::read_link(link).is_ok_and(|file| file.starts_with(folder)));
    below.filter_map(|link| Some(fs::metadata(link).ok()?.ino())).collect()
}

/// `locks` is what `/proc/locks` says, where one that is waited for has an arrow (`man 5 proc_locks`). The
/// device is not compared: it is another number there than a file's own on some file systems.
fn is_waited_for(files: &HashSet<u64>, locks: &str) -> bool {
    let waits_for = |line: &str| {
        let ["->", _, _, _, _, file, ..] = line.split_whitespace().skip(1).collect::<Vec<_>>()[..]
        else {
            return None;
        };
        file.rsplit(':').next()?.parse().ok()
    };
    locks.lines().filter_map(waits_for).any(|inode| files.contains(&inode))
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(read).collect()
}

fn read(id: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may contain blanks and brackets; behind it the fields are counted from the third.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index - 3)?.parse::<u64>().ok();
    let short = |index: usize| fields.get(index - 3)?.parse::<u32>().ok();
    Some(Process {
        id,
        parent: short(4)?,
        session: short(6)?,
        ticks: (14..=17).filter_map(number).sum(),
        started: number(22)?,
        is_dead: matches!(fields.first(), Some(&"Z" | &"X")),
    })
}

fn is_alive(process: Process) -> bool {
    read(process.id).is_some_and(|now| now.started == process.started && !now.is_dead)
}

fn send(process: Process, signal: Signal) {
    if is_alive(process)
        && let Some(id) = i32::try_from(process.id).ok().and_then(Pid::from_raw)
    {
        // It may have ended since.
        kill_process(id, signal).unwrap_or(());
    }
}

#[expect(clippy::disallowed_methods, reason = "the end of somebody else's child is no event")]
fn pause() {
    thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::is_waited_for;

    #[test]
    fn who_waits_for_a_lock_is_told_by_the_file() {
        let locks = "1: FLOCK  ADVISORY  WRITE 70 fe:00:5554199 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 80 fe:00:5554199 0 EOF\n\
                     2: FLOCK  ADVISORY  READ 90 fe:00:77 0 EOF\n\
                     3: POSIX  ADVISORY  READ 60 fe:00:78 128 128\n\
                     4: FLOCK  ADVISORY  READ 91 fe:00:77 0 EOF\n\
                     4: -> FLOCK  ADVISORY  WRITE 92 fe:00:77 0 EOF\n";
        for (file, is_waited) in [(5_554_199, true), (77, true), (78, false), (1, false)] {
            assert_eq!(is_waited_for(&[file].into(), locks), is_waited, "{file}");
        }
    }
}
