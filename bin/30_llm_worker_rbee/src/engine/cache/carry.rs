use std::cmp::Reverse;

use llama_cpp_2::context::LlamaContext;

use super::{Slot, Slots, sequence};
use crate::engine::{
    carried::{Carried, NotKept},
    state::State,
};

impl Slots {
    /// The slots that nobody is using and that hold something, the one used last before the others.
    pub(in crate::engine) fn idle(&self) -> Vec<usize> {
        let mut idle: Vec<_> = (0..self.slots.len())
            .filter(|&id| !self.slots[id].busy && !self.slots[id].tokens.is_empty())
            .collect();
        idle.sort_by_key(|&id| Reverse(self.slots[id].used));
        idle
    }

    /// What slot `id` holds, for another engine; `None` where that is nothing, takes more than `most`
    /// bytes, or is not to be had.
    pub(in crate::engine) fn copy_of(
        &self,
        context: &LlamaContext<'_>,
        id: usize,
        most: usize,
    ) -> Option<Carried> {
        let slot = &self.slots[id];
        if slot.tokens.is_empty() || !self.shares {
            return None;
        }
        let llama_id = sequence(id).cast_signed();
        let state = match &slot.aside {
            Some(state) => (state.bytes().len() <= most).then(|| state.clone()),
            None if State::len_of(context, llama_id) > most => None,
            None => State::of(context, llama_id),
        };
        Some(Carried { tokens: slot.tokens.clone(), state: state?, used: slot.used? })
    }

    /// Keeps what another engine has computed: beside the cells, or in cells that are free.
    ///
    /// It takes the place of its own beginning, or of what was unused for longest, and of nothing that
    /// was used later than it.
    pub(in crate::engine) fn bring_in(
        &mut self,
        context: &mut LlamaContext<'_>,
        carried: Carried,
    ) -> Result<(), NotKept> {
        let Carried { tokens, state, used } = carried;
        if !self.shares {
            return Err(NotKept::NoCells);
        }
        if self.slots.iter().any(|slot| slot.tokens.starts_with(&tokens)) {
            return Err(NotKept::Known);
        }
        let free = (0..self.slots.len()).filter(|&id| !self.slots[id].busy);
        let is_beginning = |slot: &Slot| tokens.starts_with(&slot.tokens);
        let id = free.min_by_key(|&id| {
            let slot = &self.slots[id];
            let is_of_others = slot.tokens.is_empty() || !is_beginning(slot);
            (is_of_others, !slot.tokens.is_empty(), slot.used)
        });
        let id = id.ok_or(NotKept::NoPlace)?;
        let slot = &self.slots[id];
        if !is_beginning(slot) && slot.used >= Some(used) {
            return Err(NotKept::NoPlace);
        }
        let len = state.bytes().len();
        let is_aside = self.make_room_aside(len, id, Some(used));
        if !is_aside && self.cells() + tokens.len() > context.n_ctx() as usize {
            return Err(NotKept::NoRoom);
        }
        self.truncate(context, id, 0);
        if !is_aside && !state.put(context, sequence(id).cast_signed()) {
            drop(context.clear_kv_cache_seq(Some(sequence(id)), None, None));
            return Err(NotKept::NoRoom);
        }
        let slot = &mut self.slots[id];
        slot.tokens = tokens;
        slot.used = Some(used);
        slot.aside = is_aside.then_some(state);
        Ok(())
    }
}
