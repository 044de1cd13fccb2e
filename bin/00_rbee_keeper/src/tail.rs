use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

/// Read from the end of a file at a time.
const BLOCK_BYTES: u64 = 64 << 10;

/// Read of a file at a time, so that a torrent of a log is shown piece by piece.
const PIECE_BYTES: u64 = 1 << 20;

/// The end of a file that others write to, truncate, and replace when they rotate it.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: u64,
    position: u64,
}

impl Tail {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    /// The last `lines` lines; what comes later is for [`Self::read_new`].
    pub(crate) fn last_lines(&mut self, lines: usize) -> io::Result<String> {
        let Some(mut open) = Open::at_start(&self.path)? else { return Ok(String::new()) };
        open.position = start_of_last_lines(&mut open.file, lines)?;
        let open = self.open.insert(open);
        let mut text = String::new();
        loop {
            let piece = open.read_piece()?;
            if piece.is_empty() {
                return Ok(text);
            }
            text.push_str(&piece);
        }
    }

    /// What has been written since the last call; at most a piece, so call again.
    ///
    /// The rest of a file that was rotated away comes before the beginning of its successor.
    pub(crate) fn read_new(&mut self) -> io::Result<String> {
        let current = match fs::metadata(&self.path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(open) = &mut self.open {
            let same = current.as_ref().is_some_and(|current| current.ino() == open.inode);
            if same && current.as_ref().is_some_and(|current| current.len() < open.position) {
                open.position = 0;
            }
            let piece = open.read_piece()?;
            if same || !piece.is_empty() {
                return Ok(piece);
            }
            self.open = None;
        }
        match Open::at_start(&self.path)? {
            Some(open) => self.open.insert(open).read_piece(),
            None => Ok(String::new()),
        }
    }
}

impl Open {
    fn at_start(path: &std::path::Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        Ok(Some(Self { file, inode, position: 0 }))
    }

    /// What follows `position`, without the first bytes of a character whose rest is to come.
    fn read_piece(&mut self) -> io::Result<String> {
        self.file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        (&self.file).take(PIECE_BYTES).read_to_end(&mut bytes)?;
        if let Err(error) = std::str::from_utf8(&bytes)
            && error.error_len().is_none()
        {
            bytes.truncate(error.valid_up_to());
        }
        self.position += bytes.len() as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Where the last `lines` lines of the file begin, searched from its end.
fn start_of_last_lines(file: &mut File, lines: usize) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let length = end;
    let mut wanted = lines;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        (&*file).take(end - start).read_to_end(&mut block)?;
        for (offset, byte) in block.iter().enumerate().rev() {
            let after = start + offset as u64 + 1;
            // The break at the very end ends the last line and begins none.
            if *byte == b'\n' && after < length {
                if wanted <= 1 {
                    return Ok(if lines == 0 { length } else { after });
                }
                wanted -= 1;
            }
        }
        end = start;
    }
    Ok(if lines == 0 { length } else { 0 })
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::Tail;

    fn file(content: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queen-1.log");
        fs::write(&path, content).unwrap();
        (folder, path)
    }

    fn append(path: &std::path::Path, text: &str) {
        fs::OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn only_the_last_lines_are_shown() {
        let (_folder, path) = file("one\ntwo\nthree\n");
        for (lines, expected) in
            [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (9, "one\ntwo\nthree\n")]
        {
            assert_eq!(Tail::new(path.clone()).last_lines(lines).unwrap(), expected, "{lines}");
        }
    }

    #[test]
    fn a_line_without_its_break_counts() {
        let (_folder, path) = file("one\ntwo");
        assert_eq!(Tail::new(path).last_lines(1).unwrap(), "two");
    }

    #[test]
    fn lines_longer_than_a_block_are_whole() {
        let long = "x".repeat(200_000);
        let (_folder, path) = file(&format!("first\n{long}\nlast\n"));
        let text = Tail::new(path).last_lines(2).unwrap();
        assert_eq!(text, format!("{long}\nlast\n"));
    }

    #[test]
    fn what_is_appended_comes_once() {
        let (_folder, path) = file("old\n");
        let mut tail = Tail::new(path.clone());
        tail.last_lines(0).unwrap();
        assert_eq!(tail.read_new().unwrap(), "");
        append(&path, "new\n");
        assert_eq!(tail.read_new().unwrap(), "new\n");
        assert_eq!(tail.read_new().unwrap(), "");
    }

    #[test]
    fn a_character_cut_in_two_comes_whole() {
        let (_folder, path) = file("");
        let mut tail = Tail::new(path.clone());
        tail.last_lines(0).unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"a\xf0\x9f").unwrap();
        assert_eq!(tail.read_new().unwrap(), "a");
        assert_eq!(tail.read_new().unwrap(), "");
        file.write_all(b"\x90\x9d").unwrap();
        assert_eq!(tail.read_new().unwrap(), "\u{1f41d}");
    }

    #[test]
    fn a_rotated_file_is_read_to_its_end_before_its_successor() {
        let (folder, path) = file("old\n");
        let mut tail = Tail::new(path.clone());
        tail.last_lines(0).unwrap();
        append(&path, "rest\n");
        fs::rename(&path, folder.path().join("queen-1.log.1")).unwrap();
        fs::write(&path, "next\n").unwrap();
        assert_eq!(tail.read_new().unwrap(), "rest\n");
        assert_eq!(tail.read_new().unwrap(), "next\n");
    }

    #[test]
    fn a_truncated_file_is_read_from_its_beginning() {
        let (_folder, path) = file("a long first content\n");
        let mut tail = Tail::new(path.clone());
        tail.last_lines(0).unwrap();
        fs::write(&path, "short\n").unwrap();
        assert_eq!(tail.read_new().unwrap(), "short\n");
    }
}
