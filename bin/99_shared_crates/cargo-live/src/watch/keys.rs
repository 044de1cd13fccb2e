//! Keys that a person presses, while this process has the terminal.

use std::{
    io::{self, IsTerminal as _, Read as _},
    thread,
};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::sync::mpsc;

/// Keys that nobody has looked at yet.
const QUEUE: usize = 16;

pub(super) const HELP: &str = "           r build again, whatever has changed
           s start the program anew, as it is
           p pause, or go on
           c clear the screen
           q end the program and leave
           h show this";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Rebuild,
    Restart,
    Pause,
    Clear,
    Quit,
    Help,
    Blank,
}

/// The terminal as it was before keys were read one by one; it is that again when this is dropped.
pub(super) struct Keys(Termios);

impl Keys {
    /// `None` where there is no terminal to read keys from, or another program has it.
    pub(super) fn open() -> Option<(Self, mpsc::Receiver<Key>)> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let foreground = rustix::termios::tcgetpgrp(&stdin).ok()?;
        if foreground != rustix::process::getpgrp() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut single = before.clone();
        // Ctrl-C and its like stay signals, and output is drawn as it was.
        single.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        single.special_codes[SpecialCodeIndex::VMIN] = 1;
        single.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&stdin, OptionalActions::Now, &single).ok()?;
        let (sender, keys) = mpsc::channel(QUEUE);
        thread::spawn(move || {
            let mut byte = [0];
            // Ends with the process, or with the terminal.
            while let Ok(1) = io::stdin().read(&mut byte) {
                if let Some(key) = key(byte[0])
                    && sender.blocking_send(key).is_err()
                {
                    return;
                }
            }
        });
        Some((Self(before), keys))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        tcsetattr(io::stdin(), OptionalActions::Now, &self.0).unwrap_or(());
    }
}

fn key(byte: u8) -> Option<Key> {
    Some(match byte {
        b'r' => Key::Rebuild,
        b's' => Key::Restart,
        b'p' => Key::Pause,
        b'c' => Key::Clear,
        b'q' => Key::Quit,
        b'h' | b'?' => Key::Help,
        b'\n' | b'\r' => Key::Blank,
        _ => return None,
    })
}
