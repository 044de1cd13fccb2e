use std::time::Instant;

use llama_cpp_2::token::LlamaToken;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::state::State;

/// A conversation that one engine has computed, for another one to go on with.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    pub(crate) tokens: Vec<LlamaToken>,
    pub(crate) state: State,
    /// When it was last gone on with.
    pub(crate) used: Instant,
}

/// What two contexts must have in common for one to go on with the other's states.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Origin {
    /// Which llama.cpp.
    pub(crate) build: String,
    /// The model's file.
    pub(crate) model: String,
    /// Its context, and what the cells are made of.
    pub(crate) context: String,
}

/// Why a conversation of another engine is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotKept {
    #[error("the model keeps one state and no cells")]
    NoCells,
    #[error("it is known already")]
    Known,
    #[error("every place is in use, or was used later")]
    NoPlace,
    #[error("there is no room for it")]
    NoRoom,
    #[error("the engine has stopped")]
    Stopped,
}

/// To the engine's thread.
pub(super) enum Carry {
    /// Hand out conversations as long as there are so many `bytes` left for them: those that nobody is
    /// using, of which `idle` hears the number, and then each that comes to its end.
    Give {
        to: mpsc::Sender<Carried>,
        bytes: usize,
        idle: oneshot::Sender<usize>,
    },
    /// Hand out what is still being answered too, and nothing more then.
    GiveRest {
        done: oneshot::Sender<()>,
    },
    Take {
        carried: Carried,
        kept: oneshot::Sender<Result<(), NotKept>>,
    },
}

/// One at a time is on its way to the thread.
pub(super) struct CarryJob {
    pub(super) carry: Carry,
    pub(super) _turn: OwnedSemaphorePermit,
}

/// Where conversations are handed out.
#[derive(Debug)]
pub(super) struct Giver {
    to: mpsc::Sender<Carried>,
    bytes_left: usize,
}

impl Giver {
    pub(super) fn new(to: mpsc::Sender<Carried>, bytes: usize) -> Self {
        Self { to, bytes_left: bytes }
    }

    pub(super) fn bytes_left(&self) -> usize {
        self.bytes_left
    }

    /// False when nobody takes any more.
    pub(super) fn give(&mut self, carried: Carried) -> bool {
        self.bytes_left = self.bytes_left.saturating_sub(carried.state.bytes().len());
        match self.to.try_send(carried) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::debug!("a conversation is not carried over: too many are on their way");
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(bytes: usize) -> Carried {
        let state = State::from_like(vec![0; bytes]);
        Carried { tokens: vec![LlamaToken::new(1)], state, used: Instant::now() }
    }

    #[test]
    fn what_is_handed_out_is_taken_from_what_may_be() {
        let (to, mut given) = mpsc::channel(1);
        let mut giver = Giver::new(to, 100);
        assert!(giver.give(carried(60)));
        assert_eq!(giver.bytes_left(), 40);
        // One for which there is no room is dropped, and nobody is waited for.
        assert!(giver.give(carried(30)));
        assert_eq!(given.try_recv().expect("the first").state.bytes().len(), 60);
        given.try_recv().expect_err("no other");
        drop(given);
        assert!(!giver.give(carried(1)), "nobody takes any more");
    }
}
