use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{Entry, Head, KINDS, MAGIC, Outcome, PREAMBLE, PackageOf, Trace, relative};
use crate::hash::{Digest, hash_bytes};

/// A group is checked by one thread; so many entries keep several busy.
const GROUP: usize = 256;

impl Head {
    /// The whole receipt as bytes. Entries are grouped by directory.
    pub(crate) fn encode(&self, entries: &mut [Entry], root: &Path) -> Vec<u8> {
        let mut head = Writer::default();
        self.write(&mut head);

        entries.sort_by(|a, b| {
            (a.path.parent(), &a.path, a.look).cmp(&(b.path.parent(), &b.path, b.look))
        });
        let mut groups = Vec::new();
        // The root itself is named from within, by no folder that holds it.
        let is_root = |entry: &Entry| entry.path == root;
        let are_siblings =
            |a: &Entry, b: &Entry| a.path.parent() == b.path.parent() && is_root(a) == is_root(b);
        for siblings in entries.chunk_by(are_siblings) {
            for part in siblings.chunks(GROUP) {
                let mut group = Writer::default();
                let dir = part[0].path.parent().filter(|_| !is_root(&part[0]));
                let dir = dir.map(|dir| relative(dir, root));
                write_group(&mut group, dir, part, root);
                groups.push(group.bytes);
            }
        }

        let mut body = Writer::default();
        body.blob(&head.bytes);
        body.number(groups.len());
        for group in &groups {
            body.blob(group);
        }
        let mut file = Writer::default();
        file.bytes.extend_from_slice(MAGIC);
        file.bytes.extend_from_slice(&((PREAMBLE + body.bytes.len()) as u64).to_le_bytes());
        file.bytes.extend_from_slice(&hash_bytes(&body.bytes));
        file.bytes.extend_from_slice(&body.bytes);
        file.bytes
    }

    fn write(&self, to: &mut Writer) {
        to.bytes.extend_from_slice(&self.key);
        match &self.outcome {
            Outcome::Built(output) => {
                to.byte(0);
                to.bytes.extend_from_slice(output.hash.as_bytes());
                to.path(&output.target_path);
                to.bytes.extend_from_slice(&output.target.0);
                to.bytes.extend_from_slice(&output.stored.0);
                to.optional(output.opaque.as_deref().map(str::as_bytes));
            }
            Outcome::Failed { diagnostics } => {
                to.byte(1);
                to.blob(diagnostics.as_bytes());
            }
        }
        to.number(self.packages.len());
        for PackageOf { dir, via } in &self.packages {
            to.path(dir);
            to.number(via.len());
            via.iter().for_each(|name| to.blob(name.as_bytes()));
        }
        to.number(self.variables.len());
        for (name, value) in &self.variables {
            to.blob(name.as_bytes());
            to.optional(value.as_ref().map(Digest::as_slice));
        }
        to.number(self.marks.len());
        for Trace { path, state, hash } in &self.marks {
            to.path(path);
            to.bytes.extend_from_slice(&state.0);
            to.bytes.extend_from_slice(hash);
        }
        to.optional(self.sysroot.as_deref().map(|path| path.as_os_str().as_bytes()));
        to.optional(self.toolchain.as_deref().map(OsStr::as_bytes));
        to.path(&self.root);
        to.number(self.listed.len());
        self.listed.iter().for_each(|dir| to.path(dir));
        to.number(self.tools.len());
        for (program, found) in &self.tools {
            to.path(program);
            to.optional(found.as_deref().map(|path| path.as_os_str().as_bytes()));
        }
        to.bytes.extend_from_slice(&self.leads);
    }
}

fn write_group(to: &mut Writer, dir: Option<&Path>, entries: &[Entry], root: &Path) {
    let dir: PathBuf = match dir {
        Some(dir) if !dir.as_os_str().is_empty() => dir.into(),
        _ => ".".into(),
    };
    to.terminated(dir.as_os_str());
    to.number(entries.len());
    for entry in entries {
        // The path from the root is kept whole, with where its last name begins: a directory with
        // many entries is opened once, one with few is not opened at all.
        let path = relative(&entry.path, root).as_os_str();
        let path = if path.is_empty() { OsStr::new(".") } else { path };
        let name = path.as_bytes().iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
        to.terminated(path);
        to.number(name);
        to.byte(entry.look as u8);
        let kind = KINDS.iter().position(|&kind| kind == entry.kind).expect("every kind is listed");
        to.byte(kind as u8);
        to.bytes.extend_from_slice(&entry.owner.unwrap_or(u16::MAX).to_le_bytes());
        to.bytes.extend_from_slice(&entry.stat.0);
        to.bytes.extend_from_slice(&entry.hash);
    }
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    fn number(&mut self, value: usize) {
        let value = u32::try_from(value).expect("a receipt is far smaller than 4 GiB");
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn blob(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    fn path(&mut self, path: &Path) {
        self.blob(path.as_os_str().as_bytes());
    }

    fn terminated(&mut self, text: &OsStr) {
        self.number(text.len() + 1);
        self.bytes.extend_from_slice(text.as_bytes());
        self.byte(0);
    }

    fn optional(&mut self, bytes: Option<&[u8]>) {
        self.byte(bytes.is_some().into());
        if let Some(bytes) = bytes {
            self.blob(bytes);
        }
    }
}
