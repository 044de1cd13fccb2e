//! One thread, one context, many sequences.
//!
//! The thread owns llama.cpp's context. At every step it decodes one batch: the next token of
//! each request that is generating, and a piece of the prompts of those that are not there yet. A
//! request keeps its place from [`Engine::submit`] until its events end or their receiver is
//! dropped; the number of places is bounded.

mod batch; // what is decoded next
mod compute; // llama.cpp's context and its threads
mod cache; // whose tokens are in the context's cache
mod request; // what goes in and what comes out
mod sampler; // choosing tokens
mod sequence; // one request on its way
mod text; // bytes of tokens to text
mod thread; // the loop
mod watch; // whether the thread gets on

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{Semaphore, mpsc, oneshot};

pub use self::request::{Event, Finish, FinishReason, Request, Sampling, TokenLogprob, Usage};
use self::{
    request::{Job, Message},
    sampler::Sampler,
    watch::Watch,
};
use crate::model::{LoadError, Model};

/// Requests that may wait while others are answered.
const QUEUE_LEN: usize = 64;

/// What [`Engine::start`] needs besides the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Threads that compute, among them the engine's own.
    pub threads: NonZeroU32,
    /// Requests that are answered at the same time.
    pub parallel: u32,
    /// Tokens that they may take together; one alone may take them all.
    pub context: u32,
}

/// A way to the engine's thread, cheap to clone.
///
/// The thread ends when the last clone is gone and the requests under way have ended.
#[derive(Debug, Clone)]
pub struct Engine {
    jobs: mpsc::Sender<Message>,
    places: Arc<Semaphore>,
    model: Arc<Model>,
    config: EngineConfig,
    load: Arc<Load>,
    watch: Arc<Watch>,
}

/// What the thread tells about its work.
#[derive(Debug, Default)]
struct Load {
    /// Milliseconds that recent requests took, as a moving average.
    request_ms: AtomicU64,
}

/// The engine's thread, to wait for.
#[derive(Debug)]
pub struct EngineThread {
    handle: JoinHandle<()>,
    jobs: mpsc::WeakSender<Message>,
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    #[error("{waiting} requests are waiting already")]
    Full { waiting: usize, retry_after: Duration },
    #[error("the prompt has no tokens")]
    Empty,
    #[error(
        "the prompt has {prompt} tokens, and with its answer it must fit into a context of {context}"
    )]
    TooLong { prompt: usize, context: u32 },
    #[error(
        "the prompt has {bytes} bytes, and a context of {context} tokens has room for {most} at most"
    )]
    TooManyBytes { bytes: usize, most: usize, context: u32 },
    #[error("token {token} is not in the vocabulary of {vocabulary}")]
    UnknownToken { token: i32, vocabulary: u32 },
    #[error("the grammar is not one that llama.cpp understands")]
    Grammar,
    #[error("the engine has stopped")]
    Stopped,
}

impl Engine {
    /// Makes the context and decodes a first token; then the engine is ready.
    pub async fn start(
        model: Arc<Model>,
        config: EngineConfig,
    ) -> Result<(Self, EngineThread), LoadError> {
        let places = config.parallel as usize + QUEUE_LEN;
        // A message for each place, and the last one.
        let (jobs, incoming) = mpsc::channel(places + 1);
        let (ready, started) = oneshot::channel();
        let (load, watch) = (Arc::new(Load::default()), Arc::new(Watch::default()));
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn({
                let (model, load) = (Arc::clone(&model), Arc::clone(&load));
                let watch = Arc::clone(&watch);
                move || thread::run(&model, config, incoming, &load, watch, ready)
            })
            .map_err(|source| LoadError::Thread { source })?;
        started.await.map_err(|_ended| LoadError::Died)??;
        let places = Arc::new(Semaphore::new(places));
        let thread = EngineThread { handle: thread, jobs: jobs.downgrade() };
        Ok((Self { jobs, places, model, config, load, watch }, thread))
    }

    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Refuses a prompt of so many bytes that they cannot become few enough tokens, before anybody
    /// counts these.
    pub fn require_room(&self, bytes: usize) -> Result<(), Rejected> {
        let context = self.config.context;
        let most = self.model.bytes_of(context);
        if bytes > most { Err(Rejected::TooManyBytes { bytes, most, context }) } else { Ok(()) }
    }

    /// For how long the thread has been at one thing that should not take so long, if it is: it
    /// will answer nobody before that ends.
    #[must_use]
    pub fn stuck_for(&self) -> Option<Duration> {
        self.watch.stuck_for()
    }

    /// Takes `request` or says why not. Dropping the receiver cancels the request at once.
    ///
    /// Compiling a grammar takes a while: call this where blocking is allowed.
    pub fn submit(&self, request: Request) -> Result<mpsc::Receiver<Event>, Rejected> {
        let context = self.config.context;
        let vocabulary = self.model.facts.vocabulary;
        if request.prompt.is_empty() {
            return Err(Rejected::Empty);
        }
        if request.prompt.len() >= context as usize {
            return Err(Rejected::TooLong { prompt: request.prompt.len(), context });
        }
        let unknown = |token: &&i32| u32::try_from(**token).map_or(true, |id| id >= vocabulary);
        if let Some(&token) = request.prompt.iter().find(unknown) {
            return Err(Rejected::UnknownToken { token, vocabulary });
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Err(Rejected::Full { waiting: QUEUE_LEN, retry_after: self.retry_after() });
        };
        let sampler =
            Sampler::new(&self.model, &request.sampling).map_err(|_refused| Rejected::Grammar)?;
        // Room for an event a token: the engine never waits for a client, and what it buffers for
        // a slow one is bounded by the answer's length.
        let room = request.max_tokens.min(context) as usize + 2;
        let (events, receiver) = mpsc::channel(room);
        let job = Job { request, sampler, events, _place: place };
        self.jobs.try_send(Message::Job(Box::new(job))).map_err(|_closed| Rejected::Stopped)?;
        Ok(receiver)
    }

    /// When a place is likely to be free again.
    fn retry_after(&self) -> Duration {
        let queue = QUEUE_LEN as u64 / u64::from(self.config.parallel.max(1));
        let expected = self.load.request_ms.load(Ordering::Relaxed).saturating_mul(queue / 2);
        Duration::from_millis(expected).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }
}

impl EngineThread {
    /// Has requests refused from now on, and waits until those under way have ended.
    pub fn join(self) {
        if let Some(jobs) = self.jobs.upgrade() {
            // Fails only when the thread has ended.
            drop(jobs.try_send(Message::Stop));
        }
        if self.handle.join().is_err() {
            tracing::error!("the engine's thread panicked");
        }
    }
}

impl Load {
    fn record(&self, took: Duration) {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let before = self.request_ms.load(Ordering::Relaxed);
        let now = if before == 0 { took } else { (before.saturating_mul(7) + took) / 8 };
        self.request_ms.store(now, Ordering::Relaxed);
    }
}
