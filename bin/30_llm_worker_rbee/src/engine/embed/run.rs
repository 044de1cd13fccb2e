use std::{collections::VecDeque, num::NonZeroU32, sync::Arc, time::Instant};

use llama_cpp_2::{
    context::params::LlamaContextParams, llama_batch::LlamaBatch, token::LlamaToken,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{Embedded, Job, turns};
use crate::{
    Pooling,
    engine::{
        EngineConfig,
        batch::BATCH_LEN,
        compute::{Compute, Decoded},
        places::Places,
        start::{Inbox, Message},
        watch::Watch,
    },
    model::{LoadError, Model, pooling_type},
};

/// Texts in one batch at most.
const TEXTS_MAX: u32 = 16;

/// Tokens that are computed in one go where a text goes through in parts. llama.cpp keeps a number for
/// each of them and each of the vocabulary's, and many more are hardly faster.
const PART_LEN: usize = 128;

/// Runs until every sender of `jobs` is gone and what came by it has ended.
///
/// `ready` hears when the first vector is made, or why there will be none.
pub(super) fn run(
    model: &Model,
    config: EngineConfig,
    pooling: Pooling,
    jobs: mpsc::Receiver<Message<Job>>,
    places: &Places,
    watch: Arc<Watch>,
    ready: oneshot::Sender<Result<(), LoadError>>,
) {
    let shape = Shape::of(model, config, pooling);
    let context = make_context(model, config, pooling, shape, Arc::clone(&watch));
    let mut maker = match context {
        Ok(context) => Loop {
            context,
            shape,
            inbox: Inbox::new(jobs, watch),
            places,
            batch: LlamaBatch::new(shape.batch, 1),
            waiting: VecDeque::new(),
        },
        Err(error) => {
            drop(ready.send(Err(error)));
            return;
        }
    };
    // This touches every weight.
    if let Err(reason) = maker.vectors(&[vec![model.any_token().0]], &[]) {
        drop(ready.send(Err(LoadError::FirstVector { reason: reason.unwrap_or_default() })));
        return;
    }
    if ready.send(Ok(())).is_err() {
        return;
    }
    while maker.receive() {
        maker.waiting.retain(|request| !request.answer.is_closed());
        maker.step();
    }
}

/// How texts go through the model.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Tokens that are computed in one go.
    batch: usize,
    /// Whether a text may be longer than that.
    in_parts: bool,
}

impl Shape {
    /// Where each token sees the earlier ones only and the last one's vector is the text's, a text
    /// goes through in parts. Any other goes through whole.
    fn of(model: &Model, config: EngineConfig, pooling: Pooling) -> Self {
        let in_parts = model.causal && matches!(pooling, Pooling::Last | Pooling::Rank);
        let whole = (config.context as usize).max(BATCH_LEN);
        Self { batch: if in_parts { PART_LEN } else { whole }, in_parts }
    }
}

fn make_context(
    model: &Model,
    config: EngineConfig,
    pooling: Pooling,
    shape: Shape,
    watch: Arc<Watch>,
) -> Result<Compute<'_, Embedded>, LoadError> {
    let batch = u32::try_from(shape.batch).unwrap_or(u32::MAX);
    let parameters = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(config.context.max(batch)))
        .with_n_batch(batch)
        .with_n_ubatch(batch)
        .with_n_seq_max(TEXTS_MAX)
        .with_embeddings(true)
        .with_pooling_type(pooling_type(pooling));
    Compute::new(model, config, watch, parameters)
}

struct Loop<'m> {
    context: Compute<'m, Embedded>,
    shape: Shape,
    inbox: Inbox<Job>,
    places: &'m Places,
    batch: LlamaBatch<'static>,
    /// The next one in turn first.
    waiting: VecDeque<Request>,
}

/// A request that has begun.
struct Request {
    texts: Vec<Vec<i32>>,
    lengths: Vec<usize>,
    vectors: Vec<Vec<f32>>,
    answer: mpsc::Sender<Embedded>,
    began: Instant,
    /// Held as long as the request.
    _place: OwnedSemaphorePermit,
}

/// `None` where nobody wants the vectors any more.
type NoVectors = Option<String>;

impl Loop<'_> {
    /// Takes in what has come, waiting when there is nothing to do; false when nothing will come.
    fn receive(&mut self) -> bool {
        let Some(jobs) = self.inbox.receive(self.waiting.is_empty()) else { return false };
        self.waiting.extend(jobs.into_iter().map(|Job { texts, answer, _place }| Request {
            lengths: texts.iter().map(Vec::len).collect(),
            vectors: Vec::with_capacity(texts.len()),
            texts,
            answer,
            began: Instant::now(),
            _place,
        }));
        true
    }

    /// Makes the vectors of one batch, and answers the requests whose last one it has.
    fn step(&mut self) {
        let left: Vec<_> = self.waiting.iter().map(Request::left).collect();
        let taken = turns::next(&left, self.shape.batch.min(BATCH_LEN), TEXTS_MAX as usize);
        let (mut texts, mut wanted_by) = (Vec::new(), Vec::new());
        for (request, &count) in self.waiting.iter().zip(&taken).filter(|(_, count)| **count > 0) {
            let from = request.vectors.len();
            texts.extend(request.texts[from..from + count].iter().cloned());
            wanted_by.push(request.answer.clone());
        }
        if texts.is_empty() {
            return;
        }
        let made = self.vectors(&texts, &wanted_by);
        let turn = taken.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        match made {
            Ok(vectors) => {
                let mut vectors = vectors.into_iter();
                for (request, &count) in self.waiting.iter_mut().zip(&taken) {
                    request.vectors.extend(vectors.by_ref().take(count));
                }
            }
            // Who has gone is forgotten before the next step.
            Err(None) => return,
            Err(Some(reason)) => {
                tracing::error!(reason, "cannot make vectors");
                for (request, _) in self.waiting.iter().zip(&taken).filter(|(_, n)| **n > 0) {
                    // Its room is for this, and whoever has gone has closed it.
                    drop(request.answer.try_send(Err(reason.clone())));
                }
                let mut failed = taken.iter().map(|&count| count > 0);
                self.waiting.retain(|_| !failed.next().unwrap_or(false));
                return;
            }
        }
        self.waiting.rotate_left(turn.min(self.waiting.len()));
        let places = self.places;
        self.waiting.retain_mut(|request| {
            let ended = request.left().is_empty();
            if ended {
                places.record(request.began.elapsed());
                drop(request.answer.try_send(Ok(std::mem::take(&mut request.vectors))));
            }
            !ended
        });
    }

    /// The vectors of `texts`, which fit into one batch; or the one of a longer text.
    fn vectors(
        &mut self,
        texts: &[Vec<i32>],
        wanted_by: &[mpsc::Sender<Embedded>],
    ) -> Result<Vec<Vec<f32>>, NoVectors> {
        let made = self.compute(texts, wanted_by);
        // Every text begins at nothing.
        self.context.clear_kv_cache();
        made
    }

    fn compute(
        &mut self,
        texts: &[Vec<i32>],
        wanted_by: &[mpsc::Sender<Embedded>],
    ) -> Result<Vec<Vec<f32>>, NoVectors> {
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let part = if self.shape.in_parts { self.shape.batch } else { longest.max(1) };
        for from in (0..longest).step_by(part) {
            self.batch.clear();
            for (id, text) in (0_i32..).zip(texts) {
                for (at, &token) in text.iter().enumerate().skip(from).take(part) {
                    let position = i32::try_from(at).unwrap_or(i32::MAX);
                    let added = self.batch.add(LlamaToken::new(token), position, &[id], true);
                    added.map_err(|error| Some(error.to_string()))?;
                }
            }
            match self.context.decode(&mut self.batch, wanted_by.to_vec()) {
                Ok(Decoded::Whole) => {}
                Ok(Decoded::Unwanted) => return Err(None),
                Err(error) => {
                    return Err(Some(format!("llama.cpp cannot compute this text: {error}")));
                }
            }
        }
        let ids = (0_i32..).take(texts.len());
        let vectors = ids.map(|id| self.context.embeddings_seq_ith(id).map(<[f32]>::to_vec));
        vectors.collect::<Result<_, _>>().map_err(|error| Some(error.to_string()))
    }
}

impl Request {
    /// How long the texts are that wait.
    fn left(&self) -> &[usize] {
        &self.lengths[self.vectors.len()..]
    }
}
