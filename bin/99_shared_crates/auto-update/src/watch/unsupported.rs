use std::{ffi::OsStr, path::Path, time::Duration};

use rustix::{event::poll, fd::OwnedFd, io::Errno};

use crate::error::{Error, on};

/// No queue: it cannot be made.
#[derive(Debug)]
pub(crate) enum Events {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(dead_code, reason = "the other platforms' answers")]
pub(crate) enum Watched {
    Before,
    Now,
    NotThere,
}

impl Events {
    pub(crate) fn new() -> Option<Self> {
        None
    }

    pub(crate) fn watch_name(&mut self, _: &Path, _: &OsStr) -> Option<Watched> {
        match *self {}
    }

    pub(crate) fn watch_all(&mut self, _: &Path) -> Option<()> {
        match *self {}
    }

    pub(crate) fn heard(&mut self) -> Heard {
        match *self {}
    }

    pub(crate) fn pollable(&self) -> Result<OwnedFd, Error> {
        match *self {}
    }
}

/// Waits for `timeout`.
pub(crate) fn wait(_: Option<OwnedFd>, timeout: Duration) -> Result<(), Error> {
    let timeout = rustix::event::Timespec::try_from(timeout).ok();
    match poll(&mut [], timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(on("wait", "")(error.into())),
    }
}
