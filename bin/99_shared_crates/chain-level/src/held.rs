use std::future;

use crate::Busy;

/// What is held of a process while it answers a request.
pub trait Hold: Send + Sync {
    /// Resolves, with the reason, once the process is given up: what it was answering is not waited for
    /// any more.
    fn given_up(&self) -> impl Future<Output = String> + Send {
        future::pending()
    }
}

impl Hold for () {}

/// A process of a [`crate::Pool`], as a request holds it; `None` for one that the pool does not have.
#[derive(Debug)]
pub struct Held<T>(Option<Busy<T>>);

impl<T: Send + Sync> Hold for Held<T> {
    async fn given_up(&self) -> String {
        match &self.0 {
            Some(busy) => busy.given_up().await,
            None => future::pending().await,
        }
    }
}

impl<T> From<Busy<T>> for Held<T> {
    fn from(busy: Busy<T>) -> Self {
        Self(Some(busy))
    }
}

impl<T> From<Option<Busy<T>>> for Held<T> {
    fn from(busy: Option<Busy<T>>) -> Self {
        Self(busy)
    }
}
