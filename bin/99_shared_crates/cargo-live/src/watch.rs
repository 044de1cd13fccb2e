//! `cargo live watch`: the program runs, and each time its sources make another program, that one
//! takes its place.
//!
//! Sockets are held here and passed on, so that nobody who connects is refused while one process
//! gives way to the next.

mod options; // the command line
mod unsafety; // what the compiler cannot check
mod sockets; // what is held for the program
mod kernel; // what the kernel says of a process
mod launch; // one process, from its start to its end
mod ready; // when a process answers
mod states; // which files have changed
mod follower; // waits for changes and builds
mod tell; // what is said
mod keys; // what is pressed
mod processes; // those of the program
mod conductor; // which of them runs

use std::{io, process::ExitCode, sync::mpsc as orders, thread};

use auto_update::AutoUpdater;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use self::{
    conductor::Conductor,
    follower::Follower,
    keys::Keys,
    launch::{Launcher, Terminal},
    processes::Processes,
    sockets::Sockets,
    tell::Teller,
};
pub(crate) use self::{
    launch::{Prepare, become_with_sockets},
    options::WatchArgs,
};

/// The hidden subcommand that becomes the program with `LISTEN_PID` set.
pub(crate) const WITH_SOCKETS: &str = "become-with-sockets";

/// What has happened and has not been looked at yet.
const QUEUE: usize = 256;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Sockets(#[from] sockets::Error),
    #[error("cannot watch")]
    Prepare { source: io::Error },
}

/// Runs the program of `updater` and follows its sources until a person or a signal ends it.
pub(crate) fn watch<E: From<Error>>(
    find: impl FnOnce() -> Result<AutoUpdater, E>,
    prepare: impl FnOnce(&AutoUpdater) -> Prepare,
    args: WatchArgs,
    quiet: bool,
) -> Result<ExitCode, E> {
    // Before anything else is opened.
    let sockets = Sockets::open(&args.listen).map_err(Error::from)?;
    let updater = find()?;
    let teller = Teller::new(args.json, quiet, updater.workspace_root(), updater.name());
    let updater = updater.colours(teller.is_coloured());
    let prepared = |source| Error::Prepare { source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let prepare = prepare(&updater);
    let code = runtime.map_err(prepared)?.block_on(follow(updater, prepare, sockets, teller, args));
    Ok(code.map_err(prepared)?)
}

async fn follow(
    updater: AutoUpdater,
    prepare: Prepare,
    sockets: Sockets,
    teller: Teller,
    args: WatchArgs,
) -> io::Result<ExitCode> {
    let mut signals = [
        (SignalKind::interrupt(), Signal::INT),
        (SignalKind::terminate(), Signal::TERM),
        (SignalKind::hangup(), Signal::HUP),
    ]
    .map(|(kind, sent)| signal(kind).map(|signal| (signal, sent)));
    let [Ok((interrupts, _)), Ok((terminations, _)), Ok((hangups, _))] = &mut signals else {
        return Err(io::Error::other("no signals can be listened for"));
    };
    let opened = if args.terminal { None } else { Keys::open() };
    let (held, mut keys) = opened.unzip();
    let terminal = match (&held, args.terminal) {
        (Some(_), _) => Terminal::Ours,
        (None, true) => Terminal::Programs,
        (None, false) => Terminal::Absent,
    };
    let folder = tempfile::Builder::new().prefix("cargo-live-").tempdir()?;
    let launcher = Launcher { prepare, sockets, terminal, is_output_ours: args.json, folder };
    let (order, orders) = orders::channel();
    let (sender, mut news) = mpsc::channel(QUEUE);
    let (outcome, mut outcomes) = mpsc::channel(QUEUE);
    let name = updater.name().to_owned();
    let processes = Processes::new(launcher, args, outcome);
    let mut conductor = Conductor::new(teller, processes, order);
    conductor.announce(&name);
    let follower = Follower::new(updater, orders, sender);
    thread::spawn(move || follower.run());

    let signal = loop {
        tokio::select! {
            Some(outcome) = outcomes.recv() => conductor.outcome(outcome),
            heard = news.recv() => match heard {
                Some(news) => conductor.news(news),
                None => break Signal::TERM,
            },
            key = pressed(&mut keys) => match key {
                Some(key) if conductor.key(key) => {}
                Some(_) => break Signal::TERM,
                // The terminal is gone, and signals say what that means.
                None => keys = None,
            },
            Some(()) = interrupts.recv() => break Signal::INT,
            Some(()) = terminations.recv() => break Signal::TERM,
            Some(()) = hangups.recv() => break Signal::HUP,
        }
    };
    // Once more means at once.
    let mut is_killed = false;
    let ended = tokio::select! {
        () = conductor.end(signal) => true,
        Some(()) = interrupts.recv() => false,
        Some(()) = terminations.recv() => false,
    };
    if !ended {
        is_killed = true;
        conductor.kill();
    }
    end_builds();
    drop(held);
    const SIGNALLED: u8 = 128;
    Ok(match signal {
        _ if is_killed => ExitCode::from(SIGNALLED + 9),
        Signal::INT => ExitCode::from(SIGNALLED + 2),
        Signal::HUP => ExitCode::from(SIGNALLED + 1),
        _ => ExitCode::SUCCESS,
    })
}

async fn pressed(keys: &mut Option<mpsc::Receiver<keys::Key>>) -> Option<keys::Key> {
    match keys {
        Some(keys) => keys.recv().await,
        None => std::future::pending().await,
    }
}

/// Whatever this process has started for a build ends with it.
fn end_builds() {
    for pid in kernel::children() {
        if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
            // It is gone already, then.
            kill_process(pid, Signal::TERM).unwrap_or(());
        }
    }
}
