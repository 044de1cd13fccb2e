//! The loop.

use std::{collections::VecDeque, num::NonZeroU32, sync::Arc, time::Instant};

use llama_cpp_2::{
    DecodeError, context::params::LlamaContextParams, llama_batch::LlamaBatch, token::LlamaToken,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    EngineConfig, Speculative,
    batch::{BATCH_LEN, Pace},
    cache::{Slots, sequence},
    carried::{Carry, CarryJob, Giver, Origin},
    compute::{Compute, Decoded},
    job::{Job, Work},
    places::Places,
    request::Event,
    sequence::{Sequence, Step},
    start::{Inbox, Message},
    state::build,
    watch::Watch,
    worth::{DRAFT_MAX, Worth},
};
use crate::model::{LoadError, Model};

/// Runs until every sender of `jobs` is gone and what came by it has ended.
///
/// `ready` hears when the first token is decoded, or why there will be none.
pub(super) fn run(
    model: &Model,
    config: EngineConfig,
    jobs: mpsc::Receiver<Message<Work>>,
    places: &Places,
    watch: Arc<Watch>,
    ready: oneshot::Sender<Result<(), LoadError>>,
) {
    let context = make_context(model, config, Arc::clone(&watch)).and_then(|mut context| {
        warm_up(model, &mut context)?;
        Ok(context)
    });
    let context = match context {
        Ok(context) => context,
        Err(error) => {
            drop(ready.send(Err(error)));
            return;
        }
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    let slots = config.parallel as usize;
    let shares = !model.llama.is_recurrent() && !model.llama.is_hybrid();
    let mut engine = Loop {
        model,
        context,
        config,
        places,
        inbox: Inbox::new(jobs, watch),
        batch: LlamaBatch::new(BATCH_LEN + slots, 1),
        slots: Slots::new(config.parallel, shares),
        running: (0..slots).map(|_| None).collect(),
        waiting: VecDeque::new(),
        arrived: 0,
        pace: Pace::default(),
        // What is not chosen has to be forgotten again, which takes cells.
        guesses: shares && config.speculative == Speculative::Ngram,
        worth: Worth::new(config.batch_cost),
        giver: None,
    };
    while engine.receive() {
        engine.forget_abandoned();
        engine.admit();
        engine.step();
    }
}

fn make_context(
    model: &Model,
    config: EngineConfig,
    watch: Arc<Watch>,
) -> Result<Compute<'_, Event>, LoadError> {
    Compute::new(model, config, watch, parameters(config))
}

fn parameters(config: EngineConfig) -> LlamaContextParams {
    let batch = u32::try_from(BATCH_LEN).unwrap_or(u32::MAX) + config.parallel;
    LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(config.context))
        .with_n_batch(batch)
        .with_n_ubatch(batch)
        .with_n_seq_max(config.parallel)
}

/// What a context has in common with all whose states can be brought into it.
pub(super) fn origin(model: &Model, config: EngineConfig) -> Origin {
    let parameters = parameters(config);
    let context = format!(
        "{} tokens of {} requests; keys {:?}, values {:?}, flash attention {}, whole windows {}; \
         positions {:?}, {}, {}",
        config.context,
        config.parallel,
        parameters.type_k(),
        parameters.type_v(),
        parameters.flash_attention_policy(),
        parameters.swa_full(),
        parameters.rope_scaling_type(),
        parameters.rope_freq_base(),
        parameters.rope_freq_scale(),
    );
    Origin { build: build(), model: model.file.clone(), context }
}

/// Decodes one token, which touches every weight, and forgets it.
fn warm_up(model: &Model, context: &mut Compute<'_, Event>) -> Result<(), LoadError> {
    let mut batch = LlamaBatch::new(1, 1);
    batch
        .add(model.any_token(), 0, &[0], true)
        .map_err(|source| LoadError::WarmUp { source: source.into() })?;
    context
        .decode(&mut batch, Vec::new())
        .map_err(|source| LoadError::WarmUp { source: source.into() })?;
    context.clear_kv_cache();
    Ok(())
}

struct Loop<'m> {
    model: &'m Model,
    context: Compute<'m, Event>,
    config: EngineConfig,
    places: &'m Places,
    inbox: Inbox<Work>,
    batch: LlamaBatch<'static>,
    slots: Slots,
    /// The sequence of each slot.
    running: Vec<Option<Sequence>>,
    waiting: VecDeque<Sequence>,
    arrived: u64,
    pace: Pace,
    /// Whether what comes next is guessed.
    guesses: bool,
    worth: Worth,
    /// Where conversations go that come to their ends, once another engine goes on with them.
    giver: Option<Giver>,
}

/// What the batch holds of one slot.
struct Part {
    slot: usize,
    /// Tokens of the slot's sequence up to here are in the cache once the batch is decoded.
    until: usize,
    /// The batch's index of its last token, where that one's logits are wanted.
    output: Option<i32>,
    /// What is likely to come then, and how much of it is in the batch behind that token.
    guess: Vec<LlamaToken>,
    drafted: usize,
}

/// What is likely to come of one sequence.
#[derive(Debug, Default)]
struct Draft {
    guess: Vec<LlamaToken>,
    /// How much of it the batch holds.
    shown: usize,
}

impl Loop<'_> {
    /// Takes in what has come, waiting when there is nothing to do; false when nothing will come.
    fn receive(&mut self) -> bool {
        let idle = self.waiting.is_empty() && self.running.iter().all(Option::is_none);
        let Some(jobs) = self.inbox.receive(idle) else { return false };
        for job in jobs {
            match job {
                Work::Job(job) => self.enqueue(job),
                Work::Carry(CarryJob { carry, _turn }) => self.carry(carry),
            }
        }
        true
    }

    fn carry(&mut self, carry: Carry) {
        match carry {
            Carry::Give { to, bytes, idle } => {
                self.giver = Some(Giver::new(to, bytes));
                let given = self.slots.idle().into_iter().filter(|&slot| self.give(slot)).count();
                // Nobody asks any more where that fails.
                let _ = idle.send(given);
            }
            Carry::GiveRest { done } => {
                for slot in 0..self.running.len() {
                    if self.running[slot].is_some() {
                        self.give(slot);
                    }
                }
                self.giver = None;
                let _ = done.send(());
            }
            Carry::Take { carried, kept } => {
                let _ = kept.send(self.slots.bring_in(&mut self.context, carried));
            }
        }
    }

    /// Hands out what `slot` holds, if somebody takes it; false where nothing went.
    fn give(&mut self, slot: usize) -> bool {
        let Some(giver) = &mut self.giver else { return false };
        if self.slots.get(slot).tokens.is_empty() {
            return false;
        }
        let carried = self.slots.copy_of(&self.context, slot, giver.bytes_left());
        let Some(carried) = carried else {
            tracing::debug!(
                slot,
                "a conversation is not carried over: it takes too much memory, or has no cells"
            );
            return false;
        };
        let is_taken = giver.give(carried);
        if !is_taken {
            self.giver = None;
        }
        is_taken
    }

    fn enqueue(&mut self, job: Job) {
        self.arrived += 1;
        let context = self.config.context as usize;
        self.waiting.push_back(Sequence::new(job, self.arrived, context, self.model));
    }

    fn forget_abandoned(&mut self) {
        self.waiting.retain(|sequence| !sequence.is_abandoned());
        for slot in 0..self.running.len() {
            if self.running[slot].as_ref().is_some_and(Sequence::is_abandoned) {
                self.release(slot);
                self.give(slot);
            }
        }
    }

    /// Ends the sequence of `slot`. What the cache holds stays for whoever begins the same way.
    fn release(&mut self, slot: usize) {
        if let Some(sequence) = self.running[slot].take() {
            self.places.record(sequence.age());
        }
        self.slots.get_mut(slot).busy = false;
    }

    /// Gives slots to waiting sequences, in the order of their arrival, as far as they fit.
    fn admit(&mut self) {
        while self.slots.has_free() {
            let next = self.waiting.iter().position(|next| !self.has_begun_elsewhere(next));
            let Some((at, next)) = next.and_then(|at| Some((at, self.waiting.get(at)?))) else {
                return;
            };
            // Room for its prompt and for every running answer to grow a little: a sequence that
            // is started only to be put back would decode its prompt twice.
            let taken: usize =
                self.running.iter().flatten().map(|running| running.tokens.len()).sum();
            let count = self.running.iter().flatten().count();
            let wanted = taken + next.tokens.len() + (count + 1) * 32;
            if count > 0 && wanted > self.config.context as usize {
                return;
            }
            let Some(mut sequence) = self.waiting.remove(at) else { return };
            let reuse = sequence.reuses_cache();
            let Some(slot) = self.slots.take(&mut self.context, &sequence.tokens, reuse) else {
                self.waiting.insert(at, sequence);
                return;
            };
            sequence.placed(self.slots.get(slot).tokens.len());
            self.running[slot] = Some(sequence);
        }
    }

    /// Whether another sequence has begun to decode the same prompt: what that one has decoded is shared
    /// once it is there, so waiting is less work.
    fn has_begun_elsewhere(&self, next: &Sequence) -> bool {
        let prompt = &next.tokens;
        self.slots.shares()
            && next.reuses_cache()
            && self.running.iter().enumerate().any(|(slot, running)| {
                running.as_ref().is_some_and(|running| running.tokens.starts_with(prompt))
                    && self.slots.get(slot).tokens.len() + 1 < prompt.len()
            })
    }

    /// Decodes one batch and advances every sequence whose next token it yields.
    fn step(&mut self) {
        let mut guesses = self.guesses;
        let parts = loop {
            let parts = self.fill(guesses);
            if parts.is_empty() {
                return;
            }
            let drafted: usize = parts.iter().map(|part| part.drafted).sum();
            let tokens = self.batch.n_tokens().unsigned_abs() as usize;
            if self.slots.cells() + tokens > self.config.context as usize {
                if drafted > 0 {
                    guesses = false;
                    continue;
                }
                if self.slots.evict(&mut self.context) {
                    continue;
                }
            }
            let began = Instant::now();
            let wanted_by = self.wanted_by(&parts);
            match self.context.decode(&mut self.batch, wanted_by) {
                Ok(Decoded::Whole) => {
                    if tokens == parts.len() + drafted {
                        self.worth.record(tokens, began.elapsed());
                    } else {
                        self.pace.record(tokens, began.elapsed());
                    }
                    break parts;
                }
                // Who has gone is forgotten before the next step.
                Ok(Decoded::Unwanted) => return,
                Err(DecodeError::NoKvCacheSlot) if drafted > 0 => guesses = false,
                Err(DecodeError::NoKvCacheSlot) if self.make_room() => {}
                Err(error) => {
                    self.fail_all(&parts, &error);
                    return;
                }
            }
        };
        for part in parts {
            self.advance(part);
        }
    }

    /// Chooses the next token of a part that has come to its sequence's end, and those behind it for as
    /// long as they are the guessed ones.
    fn advance(&mut self, Part { slot, until, output, guess, drafted }: Part) {
        let Some(sequence) = &mut self.running[slot] else { return };
        let kept = &mut self.slots.get_mut(slot).tokens;
        kept.extend_from_slice(&sequence.tokens[kept.len()..until]);
        let Some(mut output) = output else { return };
        sequence.shown(drafted);
        let (mut step, mut right) = (Step::Continues, 0);
        while step == Step::Continues {
            step = sequence.advance(self.model, &self.context, output);
            let chosen = sequence.tokens.last().filter(|_| step == Step::Continues);
            let Some((&guessed, &chosen)) = guess.get(right).zip(chosen) else { break };
            let (is_shown, is_right) = (right < drafted, guessed == chosen);
            sequence.guessed(is_shown, is_right);
            if !is_shown || !is_right {
                break;
            }
            kept.push(chosen);
            (right, output) = (right + 1, output + 1);
        }
        if right < drafted {
            self.slots.forget_behind(&mut self.context, slot);
        }
        if step == Step::Ended {
            self.release(slot);
            self.give(slot);
        }
    }

    /// Where the answers to what the batch holds go.
    fn wanted_by(&self, parts: &[Part]) -> Vec<mpsc::Sender<Event>> {
        let running = parts.iter().filter_map(|part| self.running[part.slot].as_ref());
        running.map(Sequence::events).collect()
    }

    /// Fills the batch: the last token of each sequence that needs no other, then pieces of
    /// prompts in the order of arrival; or, where no prompt is there to be read, what is likely to come
    /// behind those last tokens, if there are to be `guesses`.
    fn fill(&mut self, guesses: bool) -> Vec<Part> {
        self.batch.clear();
        let mut parts = Vec::with_capacity(self.running.len());
        let (mut generating, mut prompts) = (Vec::new(), Vec::new());
        for slot in 0..self.running.len() {
            let Some(sequence) = &self.running[slot] else { continue };
            if sequence.tokens.len() - self.slots.get(slot).tokens.len() == 1 {
                generating.push(slot);
            } else {
                prompts.push((sequence.number, slot));
            }
        }
        let drafts = self.drafts(&generating, guesses && prompts.is_empty());
        for (slot, draft) in generating.into_iter().zip(drafts) {
            self.add(slot, 1, draft, &mut parts);
        }
        prompts.sort_unstable();
        let mut left = self.pace.chunk(parts.len());
        for (_, slot) in prompts {
            if left == 0 {
                break;
            }
            left -= self.add(slot, left, Draft::default(), &mut parts);
        }
        parts
    }

    /// What those that generate are likely to say, and how much of it the batch is to hold.
    fn drafts(&mut self, generating: &[usize], guesses: bool) -> Vec<Draft> {
        let mut drafts: Vec<_> = generating.iter().map(|_| Draft::default()).collect();
        if !guesses {
            return drafts;
        }
        let mut trusts = vec![0.0; generating.len()];
        for (at, &slot) in generating.iter().enumerate() {
            let Some(sequence) = &mut self.running[slot] else { continue };
            drafts[at].guess = sequence.guess(DRAFT_MAX);
            if !drafts[at].guess.is_empty() {
                trusts[at] = sequence.trust();
            }
        }
        for (draft, most) in drafts.iter_mut().zip(self.worth.drafts(&trusts)) {
            draft.shown = most.min(draft.guess.len());
        }
        drafts
    }

    /// Adds up to `most` tokens that `slot` has not decoded, and what of `draft` is to be shown behind
    /// its last one; returns how many without that.
    fn add(&mut self, slot: usize, most: usize, draft: Draft, parts: &mut Vec<Part>) -> usize {
        let Some(sequence) = &self.running[slot] else { return 0 };
        let from = self.slots.get(slot).tokens.len();
        let until = sequence.tokens.len().min(from + most);
        let complete = until == sequence.tokens.len();
        let id = [self::sequence(slot).cast_signed()];
        let shown = &draft.guess[..draft.shown];
        let first = self.batch.n_tokens();
        for (at, &token) in (from..).zip(sequence.tokens[from..until].iter().chain(shown)) {
            let wanted = complete && at + 1 >= until;
            // The batch has room for every slot's token besides a full chunk, or as many guessed ones,
            // and positions are bounded by a context that is counted in 32 bits.
            let position = i32::try_from(at).unwrap_or(i32::MAX);
            if self.batch.add(token, position, &id, wanted).is_err() {
                tracing::error!(slot, at, "the batch is full");
                return 0;
            }
        }
        let last = first + i32::try_from(until - from).unwrap_or(i32::MAX) - 1;
        let output = complete.then_some(last);
        parts.push(Part { slot, until, output, guess: draft.guess, drafted: draft.shown });
        until - from
    }

    /// Frees cells: those that nobody uses first, then the youngest sequence's, which starts again
    /// once there is room. False when a single sequence holds them all.
    fn make_room(&mut self) -> bool {
        if self.slots.evict(&mut self.context) {
            return true;
        }
        let running = self.running.iter().enumerate();
        let youngest =
            running.filter_map(|(slot, sequence)| Some((sequence.as_ref()?.number, slot))).max();
        let Some((_, slot)) = youngest else { return false };
        if self.running.iter().flatten().count() < 2 {
            return false;
        }
        if let Some(sequence) = self.running[slot].take() {
            tracing::debug!(
                slot,
                tokens = sequence.tokens.len(),
                "the cache is full: a request waits again"
            );
            self.waiting.push_front(sequence);
        }
        self.slots.get_mut(slot).busy = false;
        self.slots.truncate(&mut self.context, slot, 0);
        true
    }

    /// Ends the sequences of a batch that could not be decoded.
    fn fail_all(&mut self, parts: &[Part], error: &DecodeError) {
        tracing::error!(%error, "cannot decode a batch");
        for part in parts {
            if let Some(sequence) = &self.running[part.slot] {
                sequence.fail(format!("llama.cpp cannot decode this request: {error}"));
            }
            self.release(part.slot);
        }
        // What the cache holds after a failure is unknown.
        self.slots.clear(&mut self.context);
    }
}
