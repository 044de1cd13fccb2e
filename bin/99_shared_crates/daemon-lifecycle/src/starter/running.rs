use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use tokio::net::UnixStream;

use crate::{
    Error, Identity,
    bound::Bound,
    client,
    descriptor::is_own,
    edge, instance,
    instance::{GOOD_FILE, Good, Instance},
    process,
    protocol::Hello,
    state::State,
};

/// How long a generation may take to resume after the one that was to replace it has died or
/// begun to hang: two questions that are not answered, and its end.
const RESUME_LIMIT: Duration = Duration::from_secs(12);
const RESUME_POLL: Duration = Duration::from_millis(50);

/// A daemon that does not answer and is not suspended either may be waiting for its turn on a busy machine: for so
/// long it is not taken to hang.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

/// From SIGKILL to giving up.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Who holds an instance.
pub(crate) enum Running {
    Nobody,
    Answering(Box<Hello>),
    /// Alive, by the kernel's word, and silent.
    Silent(Box<Identity>),
}

/// What one control socket led to.
pub(crate) enum Answer {
    Hello(Box<Hello>),
    Silent(Box<Identity>),
    /// Nobody is behind it any more.
    Gone,
}

/// A daemon whose files were removed makes them anew within a second; one that has not by then is
/// silent.
const FOUND_AGAIN: Duration = Duration::from_secs(4);

/// The living daemons of a run directory, by name. Asks the kernel, not the daemons; where their
/// files have just been removed it waits a moment until they are there again.
#[expect(
    clippy::disallowed_methods,
    reason = "another process makes the files, and the kernel tells nobody of a lost socket"
)]
pub fn instances(run_dir: &Path) -> Vec<(String, Identity)> {
    let until = Instant::now() + FOUND_AGAIN;
    while instance::all(run_dir).iter().any(|one| !one.lost().is_empty()) && Instant::now() < until
    {
        std::thread::sleep(RESUME_POLL);
    }
    instance::all(run_dir)
        .into_iter()
        .filter_map(|instance| {
            let identity = instance.current().filter(Identity::is_alive)?;
            Some((instance.name().to_owned(), identity))
        })
        .collect()
}

/// Whether the daemon `running`, called `name` in that run directory, runs the binary that has stood
/// its probation there last.
pub fn has_proven_itself(run_dir: &Path, name: &str, running: &Identity) -> bool {
    let good: Option<Good> =
        Instance::new(run_dir, name).ok().and_then(|instance| instance.load(GOOD_FILE));
    good.is_some_and(|good| good.exe_hash == running.exe_hash)
}

/// Whether a daemon is alive whom a build should not slow down.
pub(super) fn is_serving(instance: &Instance) -> bool {
    instance.current().is_some_and(|current| current.is_alive())
}

/// Waits until daemons whose files were removed are to be found again, and names those that are not.
pub(crate) async fn lost(instance: &Instance) -> Vec<Identity> {
    let until = Instant::now() + FOUND_AGAIN;
    loop {
        let lost = instance.lost();
        if lost.is_empty() || Instant::now() > until {
            return lost.iter().filter_map(Bound::owner).collect();
        }
        tokio::time::sleep(RESUME_POLL).await;
    }
}

/// The serving generation, by its own word. Needs no lock and changes nothing.
pub(crate) async fn answering(instance: &Instance) -> Option<Hello> {
    let before = instance.generations();
    let found = answering_now(instance).await;
    // Its files are gone, or were gone a moment ago.
    if found.is_none() && (!instance.lost().is_empty() || instance.generations() != before) {
        lost(instance).await;
        return answering_now(instance).await;
    }
    found
}

async fn answering_now(instance: &Instance) -> Option<Hello> {
    let recorded = instance.current().map(|current| current.generation);
    // A lost record does not hide a daemon.
    let others = instance.generations().into_iter().rev();
    for generation in recorded.into_iter().chain(others.filter(|&one| Some(one) != recorded)) {
        if let Ok(hello) = client::hello(&instance.socket(generation)).await
            && accepts(hello.state)
        {
            return Some(hello);
        }
    }
    None
}

/// Whoever holds the instance, whatever the record says. Call it with the lock held.
///
/// # Errors
///
/// When this process lacks what it needs to ask, such as descriptors: then nothing is known.
pub(crate) async fn find(instance: &Instance) -> Result<Running, Error> {
    let lost = lost(instance).await;
    let deadline = tokio::time::Instant::now() + RESUME_LIMIT;
    loop {
        let is_late = tokio::time::Instant::now() > deadline;
        let mut silent = lost.first().cloned().map(Box::new);
        let (mut may_change, mut newer) = (false, Vec::new());
        // The newest first: it is the likeliest.
        for generation in instance.generations().into_iter().rev() {
            match ask(instance, generation).await.map_err(|error| unknown(instance, &error))? {
                // Its starter may have told it to take over as the last thing it did, and whoever ended it
                // would make a good binary a bad one in the eyes of the one before.
                Answer::Hello(hello)
                    if hello.state == State::Starting && hello.is_ready && !is_late =>
                {
                    edge::passed("starter.one-decides");
                    may_change = true;
                    break;
                }
                Answer::Hello(hello) if accepts(hello.state) => {
                    // None of them has come to serve, and whoever started it is gone.
                    for (generation, identity) in newer {
                        end(instance, generation, &identity).await;
                    }
                    return Ok(Running::Answering(hello));
                }
                // Only the holder of the lock starts a generation, so whoever started this one is
                // gone, and while it lives it stands in the way of the next.
                Answer::Hello(hello) if hello.state == State::Starting => {
                    end(instance, generation, &hello.identity).await;
                }
                Answer::Hello(hello) => {
                    may_change |= matches!(hello.state, State::LameDuck | State::Probation);
                }
                Answer::Silent(identity) => {
                    newer.push((generation, Identity::clone(&identity)));
                    silent = silent.or(Some(identity));
                }
                Answer::Gone => instance::remove(&instance.socket(generation)),
            }
        }
        // A new generation that hangs is ended by the one before, which keeps its listener open.
        if !may_change || is_late {
            return Ok(silent.map_or(Running::Nobody, Running::Silent));
        }
        tokio::time::sleep(RESUME_POLL).await;
    }
}

/// Ends a generation with everything that it has started.
async fn end(instance: &Instance, generation: u64, identity: &Identity) {
    let (pid, start_time) = (identity.pid, identity.start_time);
    if process::end_session(pid, start_time, Duration::ZERO, KILL_LIMIT).await {
        instance::remove(&instance.socket(generation));
    }
}

fn unknown(instance: &Instance, error: &io::Error) -> Error {
    let name = instance.name().to_owned();
    Error::Hindered { name, reason: format!("nobody can say whether it runs: {error}") }
}

/// Asks one generation who it is.
///
/// # Errors
///
/// When it cannot be asked, for no reason of its own.
pub(crate) async fn ask(instance: &Instance, generation: u64) -> io::Result<Answer> {
    let socket = instance.socket(generation);
    let until = Instant::now() + BUSY_LIMIT;
    loop {
        let is_late = match client::hello(&socket).await {
            Ok(hello) => return Ok(Answer::Hello(Box::new(hello))),
            Err(error) => error.kind() == io::ErrorKind::TimedOut && Instant::now() < until,
        };
        let listener = match listener_of(&socket).await {
            Ok(Some(listener)) => listener,
            Ok(None) => return Ok(Answer::Gone),
            Err(error) if is_refusal(&error) => return Ok(Answer::Gone),
            Err(error) => return Err(error),
        };
        let stat = process::stat(listener.pid);
        if is_late && stat.is_some_and(|stat| !stat.suspended && !stat.zombie) {
            continue;
        }
        let recorded = instance.current().filter(|current| {
            current.pid == listener.pid && current.start_time == listener.start_time
        });
        let silent = recorded.unwrap_or(Identity { generation, ..listener });
        return Ok(Answer::Silent(Box::new(silent)));
    }
}

/// The process behind a socket, by the kernel's word, all else about it is unknown; `None` when it has just
/// ended, or is another user's.
async fn listener_of(socket: &Path) -> io::Result<Option<Identity>> {
    let stream = UnixStream::connect(socket).await?;
    if !is_own(&stream) {
        return Ok(None);
    }
    let pid = stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok());
    Ok(pid.and_then(|pid| {
        let start_time = process::stat(pid)?.start_time;
        Some(Identity { pid, start_time, boot_id: process::boot_id(), ..Identity::default() })
    }))
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

fn accepts(state: State) -> bool {
    matches!(state, State::Serving | State::Prepared)
}

/// The generations that finish what they have, oldest first.
pub(crate) async fn draining(instance: &Instance) -> Vec<Identity> {
    in_state(instance, State::Draining).await
}

/// The generations that are on their way to serve.
pub(crate) async fn starting(instance: &Instance) -> Vec<Identity> {
    in_state(instance, State::Starting).await
}

async fn in_state(instance: &Instance, state: State) -> Vec<Identity> {
    let mut found = Vec::new();
    for generation in instance.generations() {
        if let Ok(Answer::Hello(hello)) = ask(instance, generation).await
            && hello.state == state
        {
            found.push(hello.identity);
        }
    }
    found
}
