use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    num::NonZero,
    os::fd::OwnedFd,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use narration_core::{Level, Narration};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use tokio::{sync::mpsc, task::spawn_blocking, time::timeout};

use crate::{
    keeper::Keeper,
    queen::{CANCEL, Queen, Step, answer_of, narrated, progress, token},
};

pub(crate) const ROWS: NonZero<u16> = NonZero::new(24).unwrap();
pub(crate) const COLUMNS: NonZero<u16> = NonZero::new(80).unwrap();
const DEADLINE: Duration = Duration::from_secs(30);

/// A screen of 24 lines and 80 columns that the keeper writes to.
pub(crate) struct Screen {
    master: File,
    slave: PathBuf,
}

impl Screen {
    pub(crate) fn open() -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size =
            Winsize { ws_row: ROWS.get(), ws_col: COLUMNS.get(), ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let slave = ptsname(&master, Vec::new()).unwrap().into_string().unwrap().into();
        Self { master: File::from(master), slave }
    }

    pub(crate) fn stdio(&self) -> Stdio {
        let slave = OpenOptions::new().read(true).write(true).open(&self.slave).unwrap();
        Stdio::from(OwnedFd::from(slave))
    }

    /// Whether what is typed is shown.
    pub(crate) fn echoes(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.master).unwrap().local_modes;
        modes.contains(rustix::termios::LocalModes::ECHO)
    }

    /// What the keys would send.
    pub(crate) fn type_in(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    /// Everything that is written, piece by piece, until nobody has the screen open any more.
    pub(crate) fn pieces(&self) -> mpsc::Receiver<Vec<u8>> {
        let (sender, receiver) = mpsc::channel(64);
        let mut master = self.master.try_clone().unwrap();
        spawn_blocking(move || {
            let mut piece = [0; 4096];
            // The last one to close the other side is seen as an error.
            while let Ok(length @ 1..) = master.read(&mut piece) {
                if sender.blocking_send(piece[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

/// Runs the keeper on a screen, and gives what it wrote and its exit code.
async fn written(keeper: &Keeper, arguments: &[&str]) -> (Vec<u8>, Option<i32>) {
    let screen = Screen::open();
    let mut child = keeper.spawn_on(arguments, || screen.stdio());
    let mut pieces = screen.pieces();
    let collect = async {
        let mut all = Vec::new();
        while let Some(piece) = pieces.recv().await {
            all.extend(piece);
        }
        (all, child.wait().await.unwrap().code())
    };
    timeout(DEADLINE, collect).await.expect("the keeper ends in time")
}

/// What is to be seen in the end, without the blanks at the ends of lines.
pub(crate) fn seen(written: &[u8]) -> String {
    let mut parser = vt100::Parser::new(ROWS, COLUMNS, 0);
    parser.process(written);
    let contents = parser.screen().contents();
    contents.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn narration(human: &str, level: Level) -> Narration {
    Narration::new("queen", "route", human).level(level)
}

#[tokio::test]
async fn a_line_between_tokens_begins_on_a_line_of_its_own() {
    let mut steps = vec![token(1, "Bees "), narrated(2, &narration("half way", Level::Info))];
    steps.extend(answer_of(3, "hum."));
    let queen = Queen::saying(steps).await;
    let (written, code) = written(&Keeper::of(&queen), &["infer", "hi"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(seen(&written), "Bees\n[queen] route: half way\nhum.\n");
}

#[tokio::test]
async fn bars_leave_nothing_behind_and_garble_nothing() {
    let mut steps = vec![narrated(1, &narration("before", Level::Info))];
    steps.extend((0..50).map(|step| progress(2 + step, step * 10)));
    steps.push(narrated(60, &narration("half way", Level::Warn)));
    steps.extend((50..100).map(|step| progress(11 + step, step * 10)));
    steps.extend(answer_of(200, "Hello\nbees"));
    let queen = Queen::saying(steps).await;
    let (written, code) =
        written(&Keeper::of(&queen).with("TERM", "xterm"), &["infer", "hi"]).await;
    assert_eq!(code, Some(0));
    let drawn = String::from_utf8_lossy(&written);
    assert!(drawn.contains("m ["), "no bar was drawn: {drawn}");
    assert_eq!(seen(&written), "[queen] route: before\n[queen] route: half way\nHello\nbees\n");
}

#[tokio::test]
async fn a_terminal_that_cannot_draw_gets_lines() {
    let queen = Queen::saying([vec![progress(1, 500)], answer_of(2, "Hello")].concat()).await;
    let keeper = Keeper::of(&queen).with("TERM", "dumb");
    let (written, _) = written(&keeper, &["infer", "hi"]).await;
    assert_eq!(seen(&written), "m: 50% (500 B of 1.0 kB)\nHello\n");
}

#[tokio::test]
async fn a_terminal_has_colour_unless_the_environment_refuses_it() {
    for (variable, value, coloured) in
        [("TERM", "xterm", true), ("NO_COLOR", "1", false), ("TERM", "dumb", false)]
    {
        let queen = Queen::saying(vec![
            narrated(1, &narration("careful", Level::Warn)),
            answer_of(2, "Hello").remove(0),
            Step::Frame("id: 3\nevent: end\ndata: {\"state\":\"completed\"}\n\n".to_owned()),
        ])
        .await;
        let keeper = Keeper::of(&queen).with("TERM", "xterm").with(variable, value);
        let (written, _) = written(&keeper, &["infer", "hi"]).await;
        let text = String::from_utf8_lossy(&written);
        assert_eq!(text.contains("\u{1b}[33m"), coloured, "{variable}={value}: {text:?}");
        assert_eq!(seen(&written), "[queen] route: careful\nHello\n");
    }
}

#[tokio::test]
async fn an_interrupt_in_a_chat_cancels_the_answer_and_the_chat_goes_on() {
    let queen = Queen::saying([token(1, "Bees "), Step::Hold]).await;
    let keeper = Keeper::of(&queen);
    let mut screen = Screen::open();
    let mut child = keeper.spawn_on(&["chat"], || screen.stdio());
    let mut pieces = screen.pieces();
    let mut all = Vec::new();
    let conversation = async {
        wait_for(&mut pieces, &mut all, "> ").await;
        screen.type_in(b"Are you a bee?\r");
        wait_for(&mut pieces, &mut all, "Bees ").await;
        crate::keeper::interrupt(&child);
        queen.wait_for(CANCEL).await;
        wait_for(&mut pieces, &mut all, "> ").await;
        screen.type_in(b"\x04");
        child.wait().await.unwrap().code()
    };
    let code = timeout(DEADLINE, conversation).await.expect("in time");
    assert_eq!(code, Some(0));
}

/// Reads on until what came since the last call holds `text`.
async fn wait_for(pieces: &mut mpsc::Receiver<Vec<u8>>, all: &mut Vec<u8>, text: &str) {
    all.clear();
    while !String::from_utf8_lossy(all).contains(text) {
        all.extend(pieces.recv().await.expect("the keeper has not left"));
    }
}
