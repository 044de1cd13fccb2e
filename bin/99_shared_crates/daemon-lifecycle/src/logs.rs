use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::LogTail;

/// A log is moved aside when it is longer.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// How many logs are kept beside the one that is written: `NAME.log.1` is the newest.
const KEPT: u32 = 3;

const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 * 1024;

/// Opens the log for appending, as every generation of the daemon does, and rotates it first when
/// it is too long.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    // What is long may stay so; that there is no room for another is no reason to start nothing.
    if let Err(error) = rotate(path) {
        tracing::warn!(%error, "cannot rotate the log");
    }
    File::options().create(true).append(true).mode(0o600).open(path)
}

/// Rotates by copying and emptying, because a daemon cannot be made to open another file; what it
/// writes between the two is lost. Where there is no room for the copy nothing is changed.
pub(crate) fn rotate(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_BYTES => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let copy = numbered(path, 0);
    if let Err(error) = fs::copy(path, &copy) {
        fs::remove_file(copy).ok();
        return Err(error);
    }
    for number in (0..KEPT).rev() {
        let older = numbered(path, number);
        if older.exists() {
            fs::rename(older, numbered(path, number + 1))?;
        }
    }
    File::options().write(true).open(path)?.set_len(0)
}

/// The log that this process's stderr is appended to, if it is a file.
pub(crate) fn is_stderr(path: &Path) -> bool {
    let Ok(of_path) = fs::metadata(path) else { return false };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|of_stderr| {
        of_stderr.st_ino == of_path.ino() && of_stderr.st_dev == of_path.dev()
    })
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The last lines written since the log had `from` bytes, without the frames of backtraces: those are
/// more than the lines that are shown, and why the process panicked stands before them.
pub(crate) fn tail(path: &Path, from: u64) -> LogTail {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        // A rotation in between has made the file shorter than it was.
        let from = if len < from { 0 } else { from };
        file.seek(SeekFrom::Start(from.max(len.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !is_of_a_backtrace(line)).collect();
    let lines = lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|&l| l.to_owned());
    LogTail { path: path.to_owned(), lines: lines.collect() }
}

/// Whether Rust's standard library wrote it behind a panic's message.
fn is_of_a_backtrace(line: &str) -> bool {
    let text = line.trim_start();
    let is_frame = text.split_once(": ").is_some_and(|(number, _)| {
        text != line && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    let is_place = line.starts_with("             at ");
    is_frame
        || is_place
        || line == "stack backtrace:"
        || line.starts_with("note: Some details are omitted, ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_moves_aside_and_its_writer_goes_on_in_the_empty_one() {
        use std::io::Write as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.log");
        let mut writer = open(&path).unwrap();
        writer.write_all(&vec![b'x'; MAX_BYTES as usize + 1]).unwrap();
        rotate(&path).unwrap();
        writer.write_all(b"after\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after\n");
        assert_eq!(fs::metadata(numbered(&path, 1)).unwrap().len(), MAX_BYTES + 1);
    }

    #[test]
    fn where_there_is_no_room_for_a_copy_the_older_logs_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.log");
        fs::write(numbered(&path, 1), "older").unwrap();
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        // Nothing can be copied over a folder.
        fs::create_dir(numbered(&path, 0)).unwrap();
        rotate(&path).unwrap_err();
        assert_eq!(fs::read_to_string(numbered(&path, 1)).unwrap(), "older");
        assert_eq!(fs::metadata(&path).unwrap().len(), MAX_BYTES + 1);
        assert!(open(&path).is_ok());
    }

    #[test]
    fn the_tail_starts_where_this_start_began() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.log");
        fs::write(&path, "old\nnew 1\nnew 2\n").unwrap();
        assert_eq!(tail(&path, 4).lines, ["new 1", "new 2"]);
        assert_eq!(tail(&path, 400).lines.len(), 3);
    }

    #[test]
    fn the_tail_says_why_a_process_panicked_and_not_where_it_was_called_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.log");
        let said = "1: starts\nthread 'main' panicked at src/main.rs:12:13:\nx\n";
        let frames =
            "   7: tokio::runtime::enter\n             at ./src/runtime.rs:7:9\n".repeat(40);
        let note = "note: Some details are omitted, run with `RUST_BACKTRACE=full` for more.\n";
        fs::write(&path, format!("{said}stack backtrace:\n{frames}{note}")).unwrap();
        assert_eq!(tail(&path, 0).lines.join("\n"), said.trim_end());
    }
}
