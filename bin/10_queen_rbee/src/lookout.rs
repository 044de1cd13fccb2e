//! What happens in the chain, for whoever looks on: nobody is asked anything while nobody looks.

mod board; // what is so, and what changes
mod hives; // what each hive tells
mod requests; // what is under way
mod leaving; // queens before this one

use std::sync::{Arc, Mutex, PoisonError, Weak};

use rbee_api::{BinarySeen, QueenSeen, seen};
use tokio::{sync::watch, task::JoinSet};

use self::board::Board;
pub(crate) use self::board::{Frame, Told};
use crate::Queen;

/// Lets many look at once, for whom one looks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lookout(Arc<Mutex<Weak<Looking>>>);

/// Looks for as long as somebody has it.
#[derive(Debug)]
pub(crate) struct Looking {
    board: Arc<Board>,
    /// Ended with it.
    _tasks: JoinSet<()>,
}

impl Lookout {
    /// Begins to look, or joins those who do.
    pub(crate) fn look(&self, queen: &Queen) -> Arc<Looking> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(looking) = known.upgrade() {
            return looking;
        }
        let looking = Arc::new(Looking::begin(queen));
        *known = Arc::downgrade(&looking);
        looking
    }
}

impl Looking {
    fn begin(queen: &Queen) -> Self {
        let (board, pulse) = (Arc::new(Board::new()), Pulse::default());
        let config = queen.config.current();
        let health = queen.health();
        let page = queen_page::version().to_owned();
        let auto_update = config.build_root().is_some();
        board.put(Frame::of(seen::QUEEN, "", &QueenSeen { health, page, auto_update }));
        let told = |board: &Board, binary: BinarySeen| {
            board.put(Frame::of(seen::BINARY, &binary.binary, &binary));
        };
        chain_daemon::watch_binaries(&config, &Arc::downgrade(&board), told);
        let mut tasks = JoinSet::new();
        let narrations = queen.told.listen();
        tasks.spawn(board::narrations(narrations, Arc::clone(&board), pulse.clone()));
        tasks.spawn(requests::look(queen.clone(), Arc::clone(&board), pulse.clone()));
        tasks.spawn(leaving::look(queen.clone(), Arc::clone(&board)));
        tasks.spawn(hives::look(queen.clone(), Arc::clone(&board), pulse));
        Self { board, _tasks: tasks }
    }

    /// What is so now, and what changes from now on.
    pub(crate) fn listen(&self) -> (Vec<Frame>, board::Changes) {
        self.board.listen()
    }
}

/// That something has happened which may be seen in any hive.
#[derive(Debug, Clone, Default)]
struct Pulse(watch::Sender<()>);

impl Pulse {
    fn beat(&self) {
        self.0.send_replace(());
    }

    fn feel(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}
