//! Vectors of texts.
//!
//! A context that makes vectors makes nothing else, so a model has this or an [`super::Engine`].

mod turns; // whose texts are next
mod run; // the loop

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    EngineConfig, EngineThread, Rejected, check, places::Places, require_room, start,
    start::Message, watch::Watch,
};
use crate::{
    Pooling,
    model::{LoadError, Model},
};

/// The vectors of a request's texts, in their order and as long as the model makes them, or why there
/// are none.
pub type Embedded = Result<Vec<Vec<f32>>, String>;

/// A way to the thread that makes vectors, cheap to clone.
///
/// The thread ends when the last clone is gone and the requests under way have ended.
#[derive(Debug, Clone)]
pub struct Embedder {
    jobs: mpsc::Sender<Message<Job>>,
    places: Arc<Places>,
    model: Arc<Model>,
    config: EngineConfig,
    pooling: Pooling,
    watch: Arc<Watch>,
}

/// A request on its way to the thread.
struct Job {
    /// Each of them with a token at least, and short enough.
    texts: Vec<Vec<i32>>,
    /// Has room for the one answer.
    answer: mpsc::Sender<Embedded>,
    /// Its place among the bounded number of requests, given back when the job is dropped.
    _place: OwnedSemaphorePermit,
}

impl Embedder {
    /// Makes the context and a first vector; then it is ready. A text may have `config.context`
    /// tokens, but no more than the model was trained for: some have no place for a later one.
    pub async fn start(
        model: Arc<Model>,
        mut config: EngineConfig,
        pooling: Pooling,
    ) -> Result<(Self, EngineThread), LoadError> {
        let trained = model.facts.context_train;
        if trained > 0 {
            config.context = config.context.min(trained);
        }
        let places = Arc::new(Places::new(config.parallel));
        let watch = Arc::new(Watch::default());
        let (jobs, thread) = start::start(Places::count(config.parallel), {
            let (model, places) = (Arc::clone(&model), Arc::clone(&places));
            let watch = Arc::clone(&watch);
            move |jobs, ready| run::run(&model, config, pooling, jobs, &places, watch, ready)
        })
        .await?;
        Ok((Self { jobs, places, model, config, pooling, watch }, thread))
    }

    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    #[must_use]
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// As [`super::Engine::require_room`], for one text.
    pub fn require_room(&self, bytes: usize) -> Result<(), Rejected> {
        require_room(&self.model, self.config.context, bytes)
    }

    /// As [`super::Engine::stuck_for`].
    #[must_use]
    pub fn stuck_for(&self) -> Option<Duration> {
        self.watch.stuck_for()
    }

    /// Takes the tokens of `texts` or says why not. Dropping the receiver cancels the request.
    pub fn submit(&self, texts: Vec<Vec<i32>>) -> Result<mpsc::Receiver<Embedded>, Rejected> {
        let context = self.config.context;
        for tokens in &texts {
            check(&self.model, tokens)?;
            if tokens.len() > context as usize {
                return Err(Rejected::TextTooLong { tokens: tokens.len(), context });
            }
        }
        let place = self.places.take()?;
        let (answer, receiver) = mpsc::channel(1);
        let job = Job { texts, answer, _place: place };
        self.jobs.try_send(Message::Job(Box::new(job))).map_err(|_closed| Rejected::Stopped)?;
        Ok(receiver)
    }
}
