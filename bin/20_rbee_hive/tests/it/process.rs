//! A worker's process in its parts: something that the kernel knows to be alive, until it crashes.

use std::{
    fs,
    sync::{Mutex, mpsc},
    thread::{self, JoinHandle},
};

use daemon_lifecycle::Identity;
use tokio::{sync::watch, task::AbortHandle};

/// A thread stands for it: the kernel has a number and a start time for each, as for a process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) identity: Identity,
    alive: Mutex<Option<(mpsc::Sender<()>, JoinHandle<()>)>>,
    crashed: watch::Sender<bool>,
    /// Ends with the process.
    server: Mutex<Option<AbortHandle>>,
}

impl Process {
    /// One that is like `other`, and another one.
    pub(crate) fn start(other: &Identity) -> Self {
        let (alive, end) = mpsc::channel::<()>();
        let (told, tell) = mpsc::channel();
        let thread = thread::spawn(move || {
            let name = fs::read_link("/proc/thread-self").unwrap();
            let pid = name.file_name().unwrap().to_str().unwrap().parse().unwrap();
            let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
            let fields = &stat[stat.rfind(')').unwrap() + 1..];
            let start_time = fields.split_ascii_whitespace().nth(19).unwrap().parse().unwrap();
            told.send((pid, start_time)).unwrap();
            // Until nobody keeps it alive.
            end.recv().unwrap_err();
        });
        let (pid, start_time) = tell.recv().unwrap();
        let instance_id = format!("{pid}-{start_time}");
        let identity = Identity { instance_id, pid, start_time, ..other.clone() };
        assert!(identity.is_alive());
        let alive = Mutex::new(Some((alive, thread)));
        Self { identity, alive, crashed: watch::Sender::new(false), server: Mutex::default() }
    }

    pub(crate) fn serves(&self, server: AbortHandle) {
        *self.server.lock().unwrap() = Some(server);
    }

    /// Its connections break, and then it has ended.
    pub(crate) fn crash(&self) {
        if let Some(server) = self.server.lock().unwrap().take() {
            server.abort();
        }
        self.crashed.send_replace(true);
        if let Some((alive, thread)) = self.alive.lock().unwrap().take() {
            drop(alive);
            thread.join().unwrap();
        }
    }

    pub(crate) async fn crashed(&self) {
        self.crashed.subscribe().wait_for(|crashed| *crashed).await.unwrap();
    }
}
