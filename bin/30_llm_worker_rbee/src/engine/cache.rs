//! Whose tokens are in the context's cache.
//!
//! All sequences share one pool of cells. A slot remembers, for one llama.cpp sequence, which
//! tokens the cache holds; they stay after a request has ended, for the next one that begins the
//! same way.

use llama_cpp_2::{context::LlamaContext, token::LlamaToken};

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// What the cache holds of this sequence, by position.
    pub(super) tokens: Vec<LlamaToken>,
    /// Whether a request is using it.
    pub(super) busy: bool,
    /// When it was last taken, counted in takings.
    used: u64,
}

/// The slots of a context; a slot's index is its sequence id.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    takings: u64,
    /// Whether cells can be shared: a recurrent model keeps one state and no cells.
    shares: bool,
}

impl Slots {
    pub(super) fn new(count: u32, shares: bool) -> Self {
        Self { slots: (0..count).map(|_| Slot::default()).collect(), takings: 0, shares }
    }

    pub(super) fn get(&self, id: usize) -> &Slot {
        &self.slots[id]
    }

    pub(super) fn get_mut(&mut self, id: usize) -> &mut Slot {
        &mut self.slots[id]
    }

    pub(super) fn has_free(&self) -> bool {
        self.slots.iter().any(|slot| !slot.busy)
    }

    /// Cells in use, at most: sequences that share a beginning share its cells.
    pub(super) fn cells(&self) -> usize {
        self.slots.iter().map(|slot| slot.tokens.len()).sum()
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
        let kept = if id == source {
            self.truncate(context, id, shared)
        } else {
            self.truncate(context, id, 0);
            self.share(context, source, id, shared)
        };
        debug_assert!(kept <= most);
        self.takings += 1;
        let slot = &mut self.slots[id];
        slot.busy = true;
        slot.used = self.takings;
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
        if slot.tokens.len() > keep {
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

    /// Forgets the free slot that was unused for longest; false when no free slot holds anything.
    pub(super) fn evict(&mut self, context: &mut LlamaContext<'_>) -> bool {
        let oldest = (0..self.slots.len())
            .filter(|&id| !self.slots[id].busy && !self.slots[id].tokens.is_empty())
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
