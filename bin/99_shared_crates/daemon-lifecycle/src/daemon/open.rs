use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, watch};

use super::core::lock;

/// Connections of one server at once, where the process may have descriptors for them.
const MOST: usize = 2048;

/// Of a connection, and of another one to a next daemon behind it.
const DESCRIPTORS_EACH: u64 = 2;

/// For everything that is no connection: files, sources that are watched, programs that are run.
const DESCRIPTORS_ASIDE: u64 = 224;

/// The connections of one server.
///
/// When there are as many as there may be, the one that has been quiet the longest makes room: who
/// opens connections and sends nothing keeps nobody else out. While all of them are being answered, the
/// next one waits.
#[derive(Clone)]
pub(super) struct Open {
    shared: Arc<Shared>,
}

struct Shared {
    most: usize,
    places: Mutex<BTreeMap<u64, Arc<Connected>>>,
    /// How many there are.
    count: watch::Sender<usize>,
    /// Counts connections and their requests, so that a lower number is longer ago.
    clock: AtomicU64,
}

struct Connected {
    /// Requests whose answers have not been sent.
    answering: AtomicUsize,
    /// When it was opened, or its last answer had been sent.
    quiet_since: AtomicU64,
    /// Whether its place is wanted.
    wanted: AtomicBool,
    told: Notify,
}

/// One connection's place among them, until the last clone is dropped.
#[derive(Clone)]
pub(super) struct Place(Arc<Held>);

struct Held {
    number: u64,
    connected: Arc<Connected>,
    shared: Arc<Shared>,
}

/// A request that is being answered.
pub(super) struct Answering(Place);

impl Open {
    /// For a process that may have so many descriptors.
    pub(super) fn with(descriptors: u64) -> Self {
        Self::of(most(descriptors))
    }

    fn of(most: usize) -> Self {
        let (places, count, clock) = (Mutex::default(), watch::Sender::new(0), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { most, places, count, clock }) }
    }

    /// Waits until there is room for another connection.
    pub(super) async fn room(&self) {
        let mut count = self.shared.count.subscribe();
        while *count.borrow_and_update() >= self.shared.most {
            if !self.want_the_quietest() && count.changed().await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// A place for a connection that has just been accepted.
    pub(super) fn take(&self) -> Place {
        let number = self.shared.now();
        let connected = Arc::new(Connected {
            answering: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(number),
            wanted: AtomicBool::new(false),
            told: Notify::new(),
        });
        let mut places = lock(&self.shared.places);
        places.insert(number, Arc::clone(&connected));
        self.shared.count.send_replace(places.len());
        drop(places);
        Place(Arc::new(Held { number, connected, shared: Arc::clone(&self.shared) }))
    }

    /// False where none is quiet, or one is making room already.
    fn want_the_quietest(&self) -> bool {
        let places = lock(&self.shared.places);
        if places.values().any(|place| place.wanted.load(Relaxed)) {
            return false;
        }
        let quiet = places.values().filter(|place| place.answering.load(Relaxed) == 0);
        let quietest = quiet.min_by_key(|place| place.quiet_since.load(Relaxed));
        let Some(quietest) = quietest else { return false };
        quietest.wanted.store(true, Relaxed);
        quietest.told.notify_one();
        true
    }
}

impl Shared {
    /// Has whoever waits for room look again.
    fn look_again(&self) {
        if *self.count.borrow() >= self.most {
            self.count.send_modify(|_| ());
        }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Relaxed)
    }
}

impl Place {
    /// A request of this connection is being answered, until the answer lets go of it.
    pub(super) fn busy(&self) -> Answering {
        self.0.connected.answering.fetch_add(1, Relaxed);
        Answering(self.clone())
    }

    /// Until the place is wanted while nothing is being answered.
    pub(super) async fn wanted(&self) {
        let Held { connected, shared, .. } = &*self.0;
        loop {
            connected.told.notified().await;
            if connected.answering.load(Relaxed) == 0 {
                return;
            }
            // A request came at the last moment, so another connection makes room.
            connected.wanted.store(false, Relaxed);
            shared.look_again();
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Held { connected, shared, .. } = &*self.0.0;
        connected.quiet_since.store(shared.now(), Relaxed);
        connected.answering.fetch_sub(1, Relaxed);
        shared.look_again();
    }
}

fn most(descriptors: u64) -> usize {
    let connections = descriptors.saturating_sub(DESCRIPTORS_ASIDE) / DESCRIPTORS_EACH;
    usize::try_from(connections).map_or(MOST, |connections| connections.clamp(1, MOST))
}

/// An answer's body, which counts as being answered until it has been sent or dropped.
pub(super) struct Sending<B> {
    body: Pin<Box<B>>,
    _answering: Answering,
}

impl Answering {
    pub(super) fn until_sent<B>(self, body: B) -> Sending<B> {
        Sending { body: Box::pin(body), _answering: self }
    }
}

impl<B: Body> Body for Sending<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut places = lock(&self.shared.places);
        places.remove(&self.number);
        self.shared.count.send_replace(places.len());
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::{MOST as AT_MOST, *};

    const MOST: usize = 20;

    async fn is_wanted(place: &Place) -> bool {
        let mut wanted = std::pin::pin!(place.wanted());
        poll_fn(|cx| Poll::Ready(wanted.as_mut().poll(cx).is_ready())).await
    }

    async fn has_room(open: &Open) -> bool {
        let mut room = std::pin::pin!(open.room());
        for _ in 0..10 {
            if poll_fn(|cx| Poll::Ready(room.as_mut().poll(cx).is_ready())).await {
                return true;
            }
            tokio::task::yield_now().await;
        }
        false
    }

    #[test]
    fn connections_are_as_many_as_there_are_descriptors_for() {
        let cases = [(1024, 400), (4096, 1936), (8192, AT_MOST), (u64::MAX, AT_MOST), (20, 1)];
        for (descriptors, connections) in cases {
            assert_eq!(most(descriptors), connections, "{descriptors}");
        }
    }

    #[tokio::test]
    async fn the_connection_that_has_been_quiet_the_longest_makes_room() {
        let open = Open::of(MOST);
        let mut places: Vec<_> = (0..MOST).map(|_| open.take()).collect();
        // The first one asks something and becomes the last to have been quiet.
        drop(places[0].busy());
        assert!(!has_room(&open).await);
        assert!(is_wanted(&places[1]).await);
        assert!(!is_wanted(&places[0]).await && !is_wanted(&places[2]).await);
        places.remove(1);
        assert!(has_room(&open).await);
    }

    #[tokio::test]
    async fn while_all_are_answered_the_next_one_waits_for_one_that_becomes_quiet() {
        let open = Open::of(MOST);
        let mut places: Vec<_> = (0..MOST).map(|_| open.take()).collect();
        let mut answering: Vec<_> = places.iter().map(Place::busy).collect();
        assert!(!has_room(&open).await);
        assert!(!is_wanted(&places[0]).await);
        answering.remove(7);
        assert!(!has_room(&open).await);
        assert!(is_wanted(&places[7]).await);
        places.remove(7);
        assert!(has_room(&open).await);
    }

    #[tokio::test]
    async fn a_request_that_comes_at_the_last_moment_is_answered_and_another_makes_room() {
        let open = Open::of(MOST);
        let places: Vec<_> = (0..MOST).map(|_| open.take()).collect();
        assert!(!has_room(&open).await);
        let answering = places[0].busy();
        assert!(!is_wanted(&places[0]).await);
        assert!(!has_room(&open).await);
        assert!(is_wanted(&places[1]).await);
        drop(answering);
    }
}
