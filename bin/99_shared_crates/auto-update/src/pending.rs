//! An answer that another thread gives, awaited on any executor.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{error::Error, freshness::Artifact};

type Answered = Result<Artifact, Error>;

/// Ready once the answer is given.
#[derive(Debug)]
pub(crate) struct Pending {
    slot: Arc<Mutex<Slot>>,
}

/// The side that gives the answer. Dropped without one, it answers that the builder is lost.
#[derive(Debug)]
pub(crate) struct Answer {
    binary: String,
    slot: Arc<Mutex<Slot>>,
}

#[derive(Debug, Default)]
struct Slot {
    answer: Option<Answered>,
    waker: Option<Waker>,
    is_given: bool,
}

impl Pending {
    pub(crate) fn new(binary: String) -> (Self, Answer) {
        let slot = Arc::new(Mutex::new(Slot::default()));
        (Self { slot: slot.clone() }, Answer { binary, slot })
    }
}

impl Future for Pending {
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = slot.answer.take() {
            return Poll::Ready(answer);
        }
        slot.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Answer {
    pub(crate) fn give(self, answer: Answered) {
        self.put(answer);
    }

    fn put(&self, answer: Answered) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_given {
            return;
        }
        slot.is_given = true;
        slot.answer = Some(answer);
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let binary = self.binary.clone();
        self.put(Err(Error::BuilderLost { binary }));
    }
}
