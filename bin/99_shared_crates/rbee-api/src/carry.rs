//! How conversations get from a worker to the one in its place, on a socket in the folder of each.
//!
//! Whoever replaces a worker makes a pair of sockets and names an end of it to each of the two. What is
//! said is one byte at a time, some with a descriptor; `docs/handover.md` has them all.

/// The socket's file, beside the one for HTTP.
pub const SOCKET: &str = "carry.sock";

/// To the old worker, with an end: send your conversations there, now and until you end.
pub const GIVE: u8 = b'g';
/// To the new worker, with the other end: conversations come from there.
pub const TAKE: u8 = b't';
/// The new worker's answer: what was there at once is taken.
pub const TAKEN: u8 = b'k';
/// Between the workers, with a file: a conversation.
pub const CONVERSATION: u8 = b'c';
/// Between the workers: all has been sent that nobody was using.
pub const ALL_IDLE: u8 = b'i';

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    #[test]
    fn the_words_in_the_paper_are_those_in_the_code() {
        let paper = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/handover.md");
        let paper = fs::read_to_string(paper).expect("the paper is there");
        let table = paper.split("<!-- carry -->").nth(1).expect("it has the table");
        let row = |line: &str| {
            let mut cells = line.split('`').skip(1).step_by(2).map(str::to_owned);
            cells.next().zip(cells.next())
        };
        let drawn: BTreeSet<_> = table.lines().filter_map(row).collect();
        let constant = |line: &str| {
            let (name, value) = line.strip_prefix("pub const ")?.split_once(": u8 = b'")?;
            Some((name.to_owned(), value.strip_suffix("';")?.to_owned()))
        };
        let coded: BTreeSet<_> = include_str!("carry.rs").lines().filter_map(constant).collect();
        assert!(coded.len() > 2, "{coded:?}");
        assert_eq!(drawn, coded);
    }
}
