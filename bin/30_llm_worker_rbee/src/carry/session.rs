use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix,
    },
    sync::Arc,
    time::Duration,
};

use daemon_lifecycle::{is_own, receive_descriptor, send_descriptor};
use rbee_api::carry::{ALL_IDLE, CONVERSATION, GIVE, TAKE, TAKEN};
use rustix::net::{AddressFamily, SocketType, sockopt};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::parcel::{self, Fits};
use crate::Engine;

/// Connections at a time; who replaces a worker makes one to each.
const SESSIONS_MAX: usize = 8;
/// From a connection to what it is for.
const WORD_WITHIN: Duration = Duration::from_secs(5);
/// Until there is room for one more conversation on its way.
const ROOM_WITHIN: Duration = Duration::from_secs(10);
/// After accepting has failed, for want of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Of the memory that is free, what conversations may take while they are handed on: one part of so many.
const PARTS_OF_MEMORY: u64 = 8;

/// Answers whoever names ends of pairs of sockets; what is given is tracked by `giving`.
pub(super) async fn listen(engine: Engine, listener: UnixListener, giving: TaskTracker) {
    let free = Arc::new(Semaphore::new(SESSIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "nobody is accepted who would hand conversations on");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if !is_own(&stream) {
            tracing::warn!("a process of another user would hand conversations on");
            continue;
        }
        let Ok(place) = Arc::clone(&free).try_acquire_owned() else { continue };
        let (engine, giving) = (engine.clone(), giving.clone());
        tokio::spawn(async move {
            if let Err(error) = answer(engine, stream, &giving).await {
                tracing::debug!(%error, "no conversation is carried over any more");
            }
            drop(place);
        });
    }
}

async fn answer(engine: Engine, stream: UnixStream, giving: &TaskTracker) -> io::Result<()> {
    let word = timeout(WORD_WITHIN, receive_descriptor(&stream)).await??;
    match word {
        Some((GIVE, Some(fd))) => {
            let to = socket(fd)?;
            giving.track_future(give(&engine, &to)).await
        }
        Some((TAKE, Some(fd))) => take(&engine, &socket(fd)?, &stream).await,
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A descriptor that came from elsewhere, if it is what it is to be: in the sandbox none must be another.
fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let is_unix = sockopt::socket_domain(&fd)? == AddressFamily::UNIX;
    if !is_unix || sockopt::socket_type(&fd)? != SocketType::STREAM {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let stream = unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Sends what nobody is using, and then each conversation that comes to its end, until the engine gives no
/// more.
async fn give(engine: &Engine, to: &UnixStream) -> io::Result<()> {
    let bytes = usize::try_from(memory()).unwrap_or(usize::MAX);
    let Some((idle, mut given)) = engine.give(bytes).await else { return Ok(()) };
    tracing::debug!(idle, "conversations are carried over");
    let origin = Arc::new(engine.origin());
    let mut count = 0;
    loop {
        if count == idle {
            timeout(ROOM_WITHIN, send_descriptor(to, ALL_IDLE, None)).await??;
        }
        let Some(carried) = given.recv().await else { return Ok(()) };
        let origin = Arc::clone(&origin);
        let packed = spawn_blocking(move || parcel::pack(&carried, &origin)).await;
        let file = packed.map_err(io::Error::other)??;
        let sent = send_descriptor(to, CONVERSATION, Some(file.as_fd()));
        timeout(ROOM_WITHIN, sent).await??;
        count += 1;
    }
}

/// Keeps what comes, until the other side has ended; `told` hears when all has come that was there at once.
async fn take(engine: &Engine, from: &UnixStream, told: &UnixStream) -> io::Result<()> {
    while let Some(word) = receive_descriptor(from).await? {
        match word {
            (CONVERSATION, Some(fd)) => keep(engine, File::from(fd)).await?,
            // Whoever waited for it may have gone on.
            (ALL_IDLE, None) => drop(send_descriptor(told, TAKEN, None).await),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(())
}

async fn keep(engine: &Engine, file: File) -> io::Result<()> {
    let fits = Fits {
        origin: engine.origin(),
        context: engine.config().context,
        vocabulary: engine.model().facts().vocabulary,
        bytes: memory(),
    };
    let unpacked = spawn_blocking(move || parcel::unpack(&file, &fits)).await;
    let carried = match unpacked.map_err(io::Error::other)? {
        Ok(carried) => carried,
        Err(why) => {
            let why = rbee_api::causes(&why);
            tracing::debug!(why, "a conversation is not carried over");
            return Ok(());
        }
    };
    let tokens = carried.tokens.len();
    match engine.take(carried).await {
        Ok(()) => tracing::debug!(tokens, "a conversation is carried over"),
        Err(why) => tracing::debug!(%why, tokens, "a conversation is not carried over"),
    }
    Ok(())
}

/// Bytes that conversations may take now while they are handed on; none where the system does not tell.
fn memory() -> u64 {
    let memory = MemoryRefreshKind::nothing().with_ram();
    let system = System::new_with_specifics(RefreshKind::nothing().with_memory(memory));
    system.map_or(0, |system| system.available_memory() / PARTS_OF_MEMORY)
}
