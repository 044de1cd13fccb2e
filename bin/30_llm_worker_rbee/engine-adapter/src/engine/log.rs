//! What an engine writes: passed on to the worker's log, its last lines remembered.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// The engine appends to its log for as long as it lives; beyond this it begins anew.
const LOG_BYTES: u64 = 4 << 20;

/// At one look, so that a chatty engine does not hold the worker up.
const LOOK_BYTES: u64 = 256 << 10;

const LINES_KEPT: usize = 12;
const LINE_CHARS: usize = 400;

#[derive(Debug)]
pub(super) struct Log {
    file: File,
    at: u64,
    rest: String,
    last: VecDeque<String>,
}

impl Log {
    /// `from_start` reads what is there already, which the starter of an engine wants to see.
    pub(super) fn open(path: &Path, from_start: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let at = if from_start { 0 } else { file.metadata()?.len() };
        Ok(Self { file, at, rest: String::new(), last: VecDeque::new() })
    }

    /// Takes in what has been written since the last look; gives the newest line, if there is one.
    pub(super) fn look(&mut self) -> Option<&str> {
        let before = self.at;
        if let Err(error) = self.read() {
            tracing::debug!(%error, "cannot read the engine's log");
        }
        (self.at != before).then(|| self.last.back().map(String::as_str)).flatten()
    }

    /// The last lines, for a message that says why the engine has failed.
    pub(super) fn tail(&mut self) -> String {
        self.look();
        let lines: Vec<&str> = self.last.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    fn read(&mut self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        if len < self.at {
            self.at = 0;
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        (&self.file).take(LOOK_BYTES).read_to_end(&mut bytes)?;
        self.at += bytes.len() as u64;
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        while let Some(end) = self.rest.find(['\n', '\r']) {
            let line: String = self.rest.drain(..=end).collect();
            self.keep(&line);
        }
        if self.rest.len() > LOOK_BYTES as usize {
            let line = std::mem::take(&mut self.rest);
            self.keep(&line);
        }
        if self.at == len && len > LOG_BYTES {
            // It is opened for appending, so the engine goes on at the beginning.
            self.file.set_len(0)?;
            self.at = 0;
        }
        Ok(())
    }

    fn keep(&mut self, line: &str) {
        let line: String =
            line.trim().chars().filter(|c| !c.is_control()).take(LINE_CHARS).collect();
        if line.is_empty() {
            return;
        }
        tracing::info!(target: "engine", "{line}");
        if self.last.len() == LINES_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _};

    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_a_long_log_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut engine = File::options().create(true).append(true).open(&path).unwrap();
        let mut log = Log::open(&path, true).unwrap();
        assert_eq!(log.look(), None);
        engine.write_all(b"one\ntwo\nthr").unwrap();
        assert_eq!(log.look(), Some("two"));
        engine.write_all(b"ee\n").unwrap();
        assert_eq!(log.tail(), "one\ntwo\nthree");

        let line = [b'x'; 1023];
        for _ in 0..LOG_BYTES / 1024 + 1 {
            engine.write_all(&line).unwrap();
            engine.write_all(b"\n").unwrap();
        }
        while path.metadata().unwrap().len() > 0 {
            log.look();
        }
        engine.write_all(b"after\n").unwrap();
        assert_eq!(log.look(), Some("after"));
    }
}
