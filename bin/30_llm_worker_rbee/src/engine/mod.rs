//! One thread, one context, many sequences.
//!
//! The thread owns llama.cpp's context. At every step it decodes one batch: the next token of
//! each request that is generating, and a piece of the prompts of those that are not there yet. A
//! request keeps its place from [`Engine::submit`] until its events end or their receiver is
//! dropped; the number of places is bounded.

mod batch; // what is decoded next
mod compute; // llama.cpp's context and its threads
mod share; // how many of these, beside others who are busy
mod cache; // whose tokens are in the context's cache
mod state; // one sequence's cells, beside the context
mod carried; // conversations to and from other engines
mod draft; // what is likely to come next
mod worth; // how much of that a batch is worth
mod embed; // vectors of texts
mod form; // what an answer must match
mod gate; // for what of it
mod places; // how many requests are taken at a time
mod request; // what goes in and what comes out
mod sampler; // choosing tokens
mod job; // a request on its way to the thread
mod sequence; // one request on its way
mod start; // a thread, from its start to its end
mod text; // bytes of tokens to text
mod thread; // the loop
mod watch; // whether the thread gets on

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use tokio::sync::{Semaphore, mpsc, oneshot};

pub(crate) use self::{
    carried::{Carried, NotKept, Origin},
    state::State,
    text::TextStream,
};
use self::{
    carried::{Carry, CarryJob},
    job::{Job, Work},
    places::Places,
    sampler::Sampler,
    start::Message,
    watch::Watch,
};
pub use self::{
    embed::{Embedded, Embedder},
    form::Form,
    request::{Event, Finish, FinishReason, Holds, Request, Sampling, TokenLogprob, Usage},
    start::EngineThread,
};
use crate::model::{LoadError, Model};

/// What [`Engine::start`] needs besides the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Threads that compute, among them the engine's own.
    pub threads: NonZeroU32,
    /// Requests that are answered at the same time.
    pub parallel: u32,
    /// Tokens that they may take together; one alone may take them all.
    pub context: u32,
    /// Whether tokens are guessed where an answer repeats what there is already.
    pub speculative: Speculative,
    /// What a batch takes, by which it is decided how many guesses it is worth; measured where it is not
    /// given, so that what is guessed depends on the machine and its load.
    pub batch_cost: Option<BatchCost>,
}

/// What decoding a batch of generated tokens takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchCost {
    /// Whatever it holds.
    pub batch: Duration,
    /// More for each of its tokens.
    pub token: Duration,
}

/// Where guesses come from of what an answer says next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Speculative {
    /// The prompt and the answer so far.
    #[default]
    Ngram,
    /// Nothing is guessed.
    Off,
}

/// A way to the engine's thread, cheap to clone.
///
/// The thread ends when the last clone is gone and the requests under way have ended.
#[derive(Debug, Clone)]
pub struct Engine {
    jobs: mpsc::Sender<Message<Work>>,
    /// Held by what is on its way to the thread and is no request.
    turn: Arc<Semaphore>,
    places: Arc<Places>,
    model: Arc<Model>,
    config: EngineConfig,
    watch: Arc<Watch>,
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
    #[error("a text has {tokens} tokens, of {context} at most")]
    TextTooLong { tokens: usize, context: u32 },
    #[error(
        "the prompt has {bytes} bytes, and a context of {context} tokens has room for {most} at most"
    )]
    TooManyBytes { bytes: usize, most: usize, context: u32 },
    #[error("token {token} is not in the vocabulary of {vocabulary}")]
    UnknownToken { token: i32, vocabulary: u32 },
    #[error("what the answer must look like cannot be used: {reason}")]
    Form { reason: String },
    #[error("what there is of the answer does not fit its grammar")]
    Unfit,
    #[error("the engine has stopped")]
    Stopped,
}

impl Engine {
    /// Makes the context and decodes a first token; then the engine is ready.
    pub async fn start(
        model: Arc<Model>,
        config: EngineConfig,
    ) -> Result<(Self, EngineThread), LoadError> {
        let places = Arc::new(Places::new(config.parallel));
        let watch = Arc::new(Watch::default());
        // One place more, for conversations of other engines.
        let (jobs, thread) = start::start(Places::count(config.parallel) + 1, {
            let (model, places) = (Arc::clone(&model), Arc::clone(&places));
            let watch = Arc::clone(&watch);
            move |jobs, ready| thread::run(&model, config, jobs, &places, watch, ready)
        })
        .await?;
        let turn = Arc::new(Semaphore::new(1));
        Ok((Self { jobs, turn, places, model, config, watch }, thread))
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
        require_room(&self.model, self.config.context, bytes)
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
        check(&self.model, &request.prompt)?;
        let prompt = request.prompt.len() + request.begun.len();
        // Behind what there is of an answer there need not be room for more.
        if prompt >= context as usize + usize::from(!request.begun.is_empty()) {
            return Err(Rejected::TooLong { prompt, context });
        }
        let place = self.places.take()?;
        let mut sampler = Sampler::new(&self.model, &request.sampling)
            .map_err(|reason| Rejected::Form { reason })?;
        sampler.pass(&self.model, &request.begun).map_err(|_refused| Rejected::Unfit)?;
        // Room for an event a token: the engine never waits for a client, and what it buffers for
        // a slow one is bounded by the answer's length.
        let room = request.max_tokens.min(context) as usize + 2;
        let (events, receiver) = mpsc::channel(room);
        let job = Job { request, sampler, events, _place: place };
        self.jobs
            .try_send(Message::Job(Box::new(Work::Job(job))))
            .map_err(|_closed| Rejected::Stopped)?;
        Ok(receiver)
    }

    /// What another engine must have in common with this one to go on with its conversations.
    pub(crate) fn origin(&self) -> Origin {
        thread::origin(&self.model, self.config)
    }

    /// Has conversations handed out for as long as they take no more than `bytes` together: the number
    /// of those that nobody is using, which come first, the latest before the others; then each that
    /// comes to its end. `None` once the engine has stopped.
    pub(crate) async fn give(&self, bytes: usize) -> Option<(usize, mpsc::Receiver<Carried>)> {
        let (to, given) = mpsc::channel(2 * self.config.parallel as usize);
        let (idle, counted) = oneshot::channel();
        self.carry(Carry::Give { to, bytes, idle }).await?;
        Some((counted.await.ok()?, given))
    }

    /// Hands out what is still being answered too, and nothing more from then on.
    pub(crate) async fn give_rest(&self) {
        let (done, is_done) = oneshot::channel();
        if self.carry(Carry::GiveRest { done }).await.is_some() {
            drop(is_done.await);
        }
    }

    /// Keeps a conversation of another engine, which must have the same [`Origin`].
    pub(crate) async fn take(&self, carried: Carried) -> Result<(), NotKept> {
        let (kept, is_kept) = oneshot::channel();
        self.carry(Carry::Take { carried, kept }).await.ok_or(NotKept::Stopped)?;
        is_kept.await.unwrap_or(Err(NotKept::Stopped))
    }

    async fn carry(&self, carry: Carry) -> Option<()> {
        let turn = Arc::clone(&self.turn).acquire_owned().await.ok()?;
        let job = Work::Carry(CarryJob { carry, _turn: turn });
        self.jobs.try_send(Message::Job(Box::new(job))).ok()
    }
}

/// Refuses a text of so many bytes that they cannot become few enough tokens.
fn require_room(model: &Model, context: u32, bytes: usize) -> Result<(), Rejected> {
    let most = model.bytes_of(context);
    if bytes > most { Err(Rejected::TooManyBytes { bytes, most, context }) } else { Ok(()) }
}

/// Refuses what are no tokens of the model's.
fn check(model: &Model, tokens: &[i32]) -> Result<(), Rejected> {
    let vocabulary = model.facts.vocabulary;
    if tokens.is_empty() {
        return Err(Rejected::Empty);
    }
    let unknown = |token: &&i32| u32::try_from(**token).map_or(true, |id| id >= vocabulary);
    match tokens.iter().find(unknown) {
        Some(&token) => Err(Rejected::UnknownToken { token, vocabulary }),
        None => Ok(()),
    }
}
