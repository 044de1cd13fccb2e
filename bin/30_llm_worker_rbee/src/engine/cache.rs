//! Whose tokens are in the context's cache.
//!
//! All sequences share one pool of cells. A slot remembers, for one llama.cpp sequence, which
//! tokens the cache holds; they stay after a request has ended, for the next one that begins the
//! same way.
//!
//! Attention looks at every cell in use, whoever uses it. What nobody is using is therefore kept
//! beside the cells while others compute.

mod carry; // to and from other engines

use std::time::Instant;

use llama_cpp_2::{context::LlamaContext, token::LlamaToken};

use super::state::State;

/// Memory for what is kept beside the cells. A token of a large model takes so much of it that few
/// fit; they stay in the cells, which cost such a model little in comparison.
const ASIDE_BYTES_MAX: usize = 256 << 20;

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// What the cache holds of this sequence, by position.
    pub(super) tokens: Vec<LlamaToken>,
    /// Whether a request is using it.
    pub(super) busy: bool,
    /// When it was last taken, if ever.
    used: Option<Instant>,
    /// What the cells held of it, while they do not.
    aside: Option<State>,
}

/// The slots of a context; a slot's index is its sequence id.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// Whether cells can be shared: a recurrent model keeps one state and no cells.
    shares: bool,
}

impl Slots {
    pub(super) fn new(count: u32, shares: bool) -> Self {
        Self { slots: (0..count).map(|_| Slot::default()).collect(), shares }
    }

    pub(super) fn get(&self, id: usize) -> &Slot {
        &self.slots[id]
    }

    pub(super) fn get_mut(&mut self, id: usize) -> &mut Slot {
        &mut self.slots[id]
    }

    pub(super) fn shares(&self) -> bool {
        self.shares
    }

    pub(super) fn has_free(&self) -> bool {
        self.slots.iter().any(|slot| !slot.busy)
    }

    /// Cells in use, at most: sequences that share a beginning share its cells.
    pub(super) fn cells(&self) -> usize {
        self.slots.iter().filter(|slot| slot.aside.is_none()).map(|slot| slot.tokens.len()).sum()
    }

    /// Takes a free slot for a sequence of `tokens`, with as much of their beginning in it as the
    /// cache has, though never all. `reuse` false leaves it empty.
    pub(super) fn take(
        &mut self,
        context: &mut LlamaContext<'_>,
        tokens: &[LlamaToken],
        reuse: bool,
    ) -> Option<usize> {
        let free = |slot: &Slot| !slot.busy;
        let oldest = (0..self.slots.len())
            .filter(|&id| free(&self.slots[id]))
            .min_by_key(|&id| self.slots[id].used)?;
        // Something must be left to decode, since only decoding gives logits.
        let most = tokens.len() - 1;
        let common = |slot: &Slot| common_prefix(&slot.tokens, tokens).min(most);
        let best = (0..self.slots.len())
            .max_by_key(|&id| (common(&self.slots[id]), free(&self.slots[id])));
        let (source, shared) = match best {
            Some(id) if reuse => (id, common(&self.slots[id])),
            _ => (oldest, 0),
        };
        // A slot that mostly agrees is continued. Otherwise its tokens may serve a conversation
        // that comes back, so the beginning is shared with the slot unused for longest.
        let continues = free(&self.slots[source]) && shared * 2 >= self.slots[source].tokens.len();
        let id = if continues && shared > 0 { source } else { oldest };
        if id != source || shared == 0 {
            self.truncate(context, id, 0);
        }
        self.put_aside(context, source);
        let kept = if shared == 0 {
            0
        } else if self.slots[source].aside.is_some() {
            self.fetch(context, source, id, shared)
        } else if id == source {
            self.truncate(context, id, shared)
        } else {
            self.share(context, source, id, shared)
        };
        self.put_aside(context, id);
        debug_assert!(kept <= most);
        let slot = &mut self.slots[id];
        slot.busy = true;
        slot.used = Some(Instant::now());
        Some(id)
    }

    /// Forgets what slot `id` holds from position `keep` on, or everything where the model cannot
    /// forget a part; returns how much it holds now.
    pub(super) fn truncate(
        &mut self,
        context: &mut LlamaContext<'_>,
        id: usize,
        keep: usize,
    ) -> usize {
        let slot = &mut self.slots[id];
        if slot.aside.is_some() && slot.tokens.len() > keep {
            // It is not taken apart there.
            slot.aside = None;
            slot.tokens.clear();
        } else if slot.tokens.len() > keep {
            let removed =
                context.clear_kv_cache_seq(Some(sequence(id)), Some(position(keep)), None);
            if matches!(removed, Ok(true)) {
                slot.tokens.truncate(keep);
            } else {
                // Removing a whole sequence cannot fail.
                drop(context.clear_kv_cache_seq(Some(sequence(id)), None, None));
                slot.tokens.clear();
            }
        }
        slot.tokens.len()
    }

    /// Has the cells of slot `id` hold no more than its tokens, behind which others were decoded that do
    /// not count.
    pub(super) fn forget_behind(&mut self, context: &mut LlamaContext<'_>, id: usize) {
        let keep = position(self.slots[id].tokens.len());
        let removed = context.clear_kv_cache_seq(Some(sequence(id)), Some(keep), None);
        if !matches!(removed, Ok(true)) {
            self.truncate(context, id, 0);
        }
    }

    /// Lets slot `to` use the first `count` cells of slot `from` too.
    fn share(
        &mut self,
        context: &mut LlamaContext<'_>,
        from: usize,
        to: usize,
        count: usize,
    ) -> usize {
        if count == 0 || !self.shares {
            return 0;
        }
        let copied = context.copy_kv_cache_seq(
            sequence(from).cast_signed(),
            sequence(to).cast_signed(),
            Some(0),
            Some(position(count)),
        );
        if copied.is_ok() {
            self.slots[to].tokens = self.slots[from].tokens[..count].to_vec();
        }
        self.slots[to].tokens.len()
    }

    /// Takes out of the cells what nobody is using, except for slot `except`.
    fn put_aside(&mut self, context: &mut LlamaContext<'_>, except: usize) {
        if !self.shares {
            return;
        }
        for id in 0..self.slots.len() {
            let slot = &self.slots[id];
            if id == except || slot.busy || slot.tokens.is_empty() || slot.aside.is_some() {
                continue;
            }
            let llama_id = sequence(id).cast_signed();
            let bytes = State::len_of(context, llama_id);
            if !self.make_room_aside(bytes, except, None) {
                continue;
            }
            match State::of(context, llama_id) {
                Some(state) => {
                    // Removing a whole sequence cannot fail.
                    drop(context.clear_kv_cache_seq(Some(sequence(id)), None, None));
                    self.slots[id].aside = Some(state);
                }
                None => tracing::warn!("llama.cpp gives no sequence out of the cache"),
            }
        }
    }

    /// Forgets what has been beside the cells for longest, until `bytes` more fit there; slot
    /// `except` is not touched, nor what was used later than `before`. False when they will not fit.
    fn make_room_aside(&mut self, bytes: usize, except: usize, before: Option<Instant>) -> bool {
        let size = |slot: &Slot| slot.aside.as_ref().map_or(0, |state| state.bytes().len());
        while self.slots.iter().map(size).sum::<usize>() + bytes > ASIDE_BYTES_MAX {
            let kept = self.slots.iter_mut().enumerate();
            let kept = kept.filter(|(id, slot)| {
                let is_earlier = before.is_none() || slot.used < before;
                *id != except && slot.aside.is_some() && is_earlier
            });
            let Some((_, oldest)) = kept.min_by_key(|(_, slot)| slot.used) else { return false };
            oldest.aside = None;
            oldest.tokens.clear();
        }
        true
    }

    /// Brings the first `count` tokens of slot `from` back into the cells, for slot `to`; returns
    /// how many it has then. What is beside the cells stays there for another one.
    fn fetch(
        &mut self,
        context: &mut LlamaContext<'_>,
        from: usize,
        to: usize,
        count: usize,
    ) -> usize {
        let tokens = self.slots[from].tokens.clone();
        let Some(state) = self.slots[from].aside.take() else { return 0 };
        self.slots[from].tokens.clear();
        let mut fits = true;
        while fits && self.cells() + tokens.len() > context.n_ctx() as usize {
            fits = self.evict(context);
        }
        let fetched = fits && state.put(context, sequence(to).cast_signed());
        if from != to {
            self.slots[from].tokens.clone_from(&tokens);
            self.slots[from].aside = Some(state);
        }
        if fetched {
            self.slots[to].tokens = tokens;
            self.truncate(context, to, count)
        } else {
            drop(context.clear_kv_cache_seq(Some(sequence(to)), None, None));
            0
        }
    }

    /// Forgets the free slot that was unused for longest; false when no free slot has cells.
    pub(super) fn evict(&mut self, context: &mut LlamaContext<'_>) -> bool {
        let oldest = (0..self.slots.len())
            .filter(|&id| {
                let slot = &self.slots[id];
                !slot.busy && !slot.tokens.is_empty() && slot.aside.is_none()
            })
            .min_by_key(|&id| self.slots[id].used);
        match oldest {
            Some(id) => {
                self.truncate(context, id, 0);
                true
            }
            None => false,
        }
    }

    /// Forgets everything, whoever uses it.
    pub(super) fn clear(&mut self, context: &mut LlamaContext<'_>) {
        context.clear_kv_cache();
        for slot in &mut self.slots {
            slot.tokens.clear();
            slot.aside = None;
        }
    }
}

/// A slot's sequence id for llama.cpp; there are at most 64 slots.
pub(super) fn sequence(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(u32::MAX)
}

/// A position in a sequence; contexts are counted in 32 bits.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn common_prefix(left: &[LlamaToken], right: &[LlamaToken]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}
