//! Conversations of a worker that is replaced, on their way to the one in its place.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    os::unix::net::UnixStream as StdUnixStream,
    path::Path,
    time::Duration,
};

use chain_daemon::InstanceName;
use daemon_lifecycle::{receive_descriptor, send_descriptor};
use rbee_api::carry::{GIVE, SOCKET, TAKE, TAKEN};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::mpsc,
    time::timeout,
};

use crate::world::{CHUNKS, World};

/// What a worker was told.
struct Told {
    id: String,
    word: u8,
    end: OwnedFd,
}

/// Listens as the worker with that id does.
fn listen(folder: &Path, id: &str, told: &mpsc::Sender<Told>) {
    std::fs::create_dir_all(folder).unwrap();
    let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
    let (id, told) = (id.to_owned(), told.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (word, end) = receive_descriptor(&stream).await.unwrap().unwrap();
            if word == TAKE {
                send_descriptor(&stream, TAKEN, None).await.unwrap();
            }
            drop(told.send(Told { id: id.clone(), word, end: end.unwrap() }).await);
        }
    });
}

async fn next(told: &mut mpsc::Receiver<Told>) -> Told {
    timeout(Duration::from_secs(20), told.recv()).await.expect("in time").unwrap()
}

fn stream(end: OwnedFd) -> UnixStream {
    UnixStream::from_std(StdUnixStream::from(end)).unwrap()
}

/// Replaces a worker, in its place or beside it, and looks where its conversations go.
async fn replaced(in_its_place: bool) {
    let world = World::new();
    let model = world.model("a");
    world.complete(&model, true).await;
    let (to_us, mut told) = mpsc::channel(8);
    let old = world.machine.state(|machine| machine.spawned[0].clone());
    let new = match in_its_place {
        true => old.clone(),
        false => InstanceName::worker(&model, 1, "h").to_string(),
    };
    for id in [&old, &new].into_iter().take(if in_its_place { 1 } else { 2 }) {
        listen(&world.folder_of(id), id, &to_us);
    }
    world.machine.state(|machine| {
        machine.current = false;
        if in_its_place {
            machine.available = machine.resident - 1;
        }
    });
    assert_eq!(world.complete(&model, true).await.body, CHUNKS);
    assert_eq!(world.machine.state(|machine| machine.spawned.clone()), [old.clone(), new.clone()]);

    let (given, taken) = (next(&mut told).await, next(&mut told).await);
    assert_eq!((given.id, given.word), (old, GIVE));
    assert_eq!((taken.id, taken.word), (new, TAKE));
    // What goes in at the one end comes out at the other.
    let (from, to) = (stream(given.end), stream(taken.end));
    send_descriptor(&from, b'x', Some(to.as_fd())).await.unwrap();
    assert!(matches!(receive_descriptor(&to).await.unwrap(), Some((b'x', Some(_)))));
}

#[tokio::test]
async fn a_worker_s_conversations_go_to_the_one_beside_it() {
    replaced(false).await;
}

#[tokio::test]
async fn a_worker_s_conversations_go_to_the_one_that_is_put_in_its_place() {
    replaced(true).await;
}

#[tokio::test]
async fn a_worker_that_takes_no_conversations_keeps_nobody_waiting() {
    let world = World::new();
    let model = world.model("a");
    world.complete(&model, true).await;
    let (to_us, mut told) = mpsc::channel(8);
    let old = world.machine.state(|machine| machine.spawned[0].clone());
    listen(&world.folder_of(&old), &old, &to_us);
    // It accepts, and says nothing.
    let new = InstanceName::worker(&model, 1, "h").to_string();
    let folder = world.folder_of(&new);
    std::fs::create_dir_all(&folder).unwrap();
    let _silent = std::os::unix::net::UnixListener::bind(folder.join(SOCKET)).unwrap();
    world.machine.state(|machine| machine.current = false);
    let answered = timeout(Duration::from_secs(10), world.complete(&model, true)).await;
    assert_eq!(answered.expect("it is answered").body, CHUNKS);
    assert_eq!(next(&mut told).await.word, GIVE);
    assert_eq!(world.machine.state(|machine| machine.spawned.clone()), [old, new]);
}
