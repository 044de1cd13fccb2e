//! What the kernel says of a program's processes and connections.
//!
//! Linux: `/proc`. Elsewhere nothing is known of them.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use super::sockets::{Place, Socket};

const SIGTERM: u32 = 15;
/// A socket that connections come to, in the kernel's list of TCP sockets.
const LISTENS: &str = "0A";
/// Ready to be read, in what an epoll instance waits for.
const READABLE: u64 = 1;

/// The processes of the group that `leader` founded.
pub(super) fn group(leader: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return vec![leader] };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| field(pid, 2).is_some_and(|group| group == leader.to_string())).collect()
}

/// Whether the process does something of its own on SIGTERM, or nothing, instead of ending at once.
pub(super) fn handles_sigterm(pid: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    status.lines().any(|line| {
        let masks = ["SigBlk:", "SigIgn:", "SigCgt:"];
        let mask = masks.iter().find_map(|name| line.strip_prefix(name));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask >> (SIGTERM - 1) & 1 == 1)
    })
}

/// Whether every thread of the process is stopped, or ended.
pub(super) fn is_stopped(pid: u32) -> bool {
    tasks(pid).iter().all(|task| {
        let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
        fields(&stat).is_none_or(|fields| matches!(fields.first(), Some(&("T" | "t" | "Z" | "X"))))
    })
}

/// Whether the process waits for connections to one of `sockets`: it has it registered for reading
/// with an epoll instance, or a thread of it is blocked in `accept`.
pub(super) fn accepts(pid: u32, sockets: &[Socket]) -> bool {
    let is_ours = |inode: u64| sockets.iter().any(|socket| socket.inode == inode);
    let (mut ours, mut instances) = (HashSet::new(), Vec::new());
    for (number, target) in descriptors(pid) {
        if socket_inode(&target).is_some_and(is_ours) {
            ours.insert(number);
        } else if target.as_os_str() == "anon_inode:[eventpoll]" {
            instances.push(number);
        }
    }
    if ours.is_empty() {
        return false;
    }
    let registered = instances.iter().any(|number| {
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
        info.lines().any(|line| waits_for(line).is_some_and(is_ours))
    });
    registered
        || tasks(pid).iter().any(|task| {
            let call = fs::read_to_string(task.join("syscall")).unwrap_or_default();
            accepted_from(&call).is_some_and(|number| ours.contains(&number))
        })
}

/// Whether the process has a connection open that came to one of `sockets`.
pub(super) fn has_connections(pid: u32, sockets: &[Socket]) -> bool {
    let open: HashSet<u64> =
        descriptors(pid).iter().filter_map(|(_, target)| socket_inode(target)).collect();
    !open.is_empty() && connections(sockets).iter().any(|inode| open.contains(inode))
}

/// Whether the process has taken the other end of this process's connection from `port`.
pub(super) fn has_taken(pid: u32, port: u16) -> bool {
    let taken: Vec<u64> = tcp_rows()
        .filter(|row| row.remote == port && row.inode != 0)
        .map(|row| row.inode)
        .collect();
    descriptors(pid)
        .iter()
        .any(|(_, target)| socket_inode(target).is_some_and(|inode| taken.contains(&inode)))
}

/// Child processes of this one.
pub(super) fn children() -> Vec<u32> {
    let list = |task: &PathBuf| fs::read_to_string(task.join("children")).unwrap_or_default();
    let lists: Vec<String> = tasks(std::process::id()).iter().map(list).collect();
    lists.iter().flat_map(|list| list.split_ascii_whitespace()).flat_map(str::parse).collect()
}

/// The inodes of connections that came to `sockets` and were accepted.
fn connections(sockets: &[Socket]) -> Vec<u64> {
    let ports: Vec<u16> = sockets
        .iter()
        .filter_map(|socket| if let Place::Port(port) = socket.place { Some(port) } else { None })
        .collect();
    let paths: Vec<&str> = sockets
        .iter()
        .filter_map(
            |socket| if let Place::Path(path) = &socket.place { Some(&**path) } else { None },
        )
        .collect();
    let mut found = Vec::new();
    if !ports.is_empty() {
        found.extend(tcp_rows().filter(|row| ports.contains(&row.local)).map(|row| row.inode));
    }
    if !paths.is_empty() {
        let list = fs::read_to_string("/proc/self/net/unix").unwrap_or_default();
        found.extend(list.lines().filter_map(|line| unix_connection(line, &paths)));
    }
    found.retain(|&inode| inode != 0);
    found
}

/// The inode of a connected socket of one of these names.
fn unix_connection(line: &str, paths: &[&str]) -> Option<u64> {
    const CONNECTED: &str = "03";
    let mut columns = line.splitn(7, ' ');
    let state = columns.nth(5)?;
    // The inode is set in columns, so that blanks may come before it.
    let (inode, path) = columns.next()?.trim_start().split_once(' ')?;
    (state == CONNECTED && paths.contains(&path)).then(|| inode.parse().ok())?
}

struct TcpRow {
    local: u16,
    remote: u16,
    /// Zero until it is accepted, and once it is closed.
    inode: u64,
}

fn tcp_rows() -> impl Iterator<Item = TcpRow> {
    let lists = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(fs::read_to_string);
    let rows = |list: String| list.lines().skip(1).filter_map(tcp_row).collect::<Vec<_>>();
    lists.into_iter().flatten().flat_map(rows)
}

fn tcp_row(line: &str) -> Option<TcpRow> {
    let mut columns = line.split_ascii_whitespace();
    let port = |address: &str| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok();
    let (local, remote) = (port(columns.nth(1)?)?, port(columns.next()?)?);
    let state = columns.next()?;
    let inode = columns.nth(5)?.parse().ok()?;
    (state != LISTENS).then_some(TcpRow { local, remote, inode })
}

/// The inode of the file that a line of an epoll instance's list waits to read from.
fn waits_for(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("tfd:")?;
    let after = |name: &str| rest.split_once(name)?.1.split_ascii_whitespace().next();
    let events = u64::from_str_radix(after("events:")?, 16).ok()?;
    let inode = u64::from_str_radix(after("ino:")?, 16).ok()?;
    (events & READABLE != 0).then_some(inode)
}

/// The descriptor that a thread waits for connections on, by the call that it is in.
fn accepted_from(call: &str) -> Option<u32> {
    let mut words = call.split_ascii_whitespace();
    let number: i64 = words.next()?.parse().ok()?;
    let descriptor = u32::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    is_accept(number).then_some(descriptor)
}

#[cfg(target_os = "linux")]
fn is_accept(number: i64) -> bool {
    number == libc::SYS_accept4 || number == libc::SYS_accept
}

#[cfg(not(target_os = "linux"))]
fn is_accept(_: i64) -> bool {
    false
}

fn socket_inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// What is open in the process, by number.
fn descriptors(pid: u32) -> Vec<(u32, PathBuf)> {
    let number = |name: &OsStr| name.to_str()?.parse().ok();
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((number(&entry.file_name())?, fs::read_link(entry.path()).ok()?)))
        .collect()
}

fn tasks(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn field(pid: u32, index: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    fields(&stat)?.get(index).map(|&field| field.to_owned())
}

/// What follows the command's name, which stands in parentheses and may itself hold them.
fn fields(stat: &str) -> Option<Vec<&str>> {
    Some(stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoll_instance_says_which_files_it_waits_to_read() {
        let line = "tfd:        3 events:       1f data:                3  pos:0 ino:b8ec sdev:9";
        assert_eq!(waits_for(line), Some(0xb8ec));
        assert_eq!(waits_for(&line.replace("1f", "1c")), None);
        assert_eq!(waits_for("ino:\t1038"), None);
    }

    #[test]
    fn a_connection_has_ports_and_an_inode_once_it_is_accepted() {
        let row = |state: &str, inode: &str| {
            tcp_row(&format!(
                "   2: 0100007F:E715 0100007F:A2DA {state} 00000000:00000001 00:00000000 00000000 \
                 0 0 {inode} 2 00000000c7c61d80 20 4 0 10 -1"
            ))
        };
        let found = row("08", "47357").unwrap();
        assert_eq!((found.local, found.remote, found.inode), (0xE715, 0xA2DA, 47357));
        assert!(row("0A", "47340").is_none());
    }

    #[test]
    fn an_accepted_unix_connection_has_the_name_of_its_listener() {
        let line = |state: &str, path: &str| {
            format!("0000000012345678: 00000003 00000000 00000000 0001 {state} 47999 {path}")
        };
        assert_eq!(unix_connection(&line("03", "/tmp/a b"), &["/tmp/a b"]), Some(47999));
        assert_eq!(unix_connection(&line("01", "/tmp/a b"), &["/tmp/a b"]), None);
        assert_eq!(unix_connection(&line("03", "/tmp/c"), &["/tmp/a b"]), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_waits_for_a_connection_is_seen() {
        assert_eq!(accepted_from(&format!("{} 0x3 0x7f 0x0", libc::SYS_accept4)), Some(3));
        assert_eq!(accepted_from(&format!("{} 0x3 0x7f 0x0", libc::SYS_read)), None);
        assert_eq!(accepted_from("running"), None);
    }
}
