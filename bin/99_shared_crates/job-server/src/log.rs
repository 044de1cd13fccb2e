use std::collections::VecDeque;

use bytes::Bytes;

use crate::event::{End, Event, JobState};

/// The last events of one job, and how it ended.
///
/// Ids in `events` have no gaps and the newest is `last_id`, so an id is an index.
#[derive(Debug)]
pub(crate) struct Log {
    events: VecDeque<Event>,
    last_id: u64,
    bytes: usize,
    max_bytes: usize,
    /// What all events have taken that were ever added.
    added: u64,
    state: JobState,
}

/// What a log holds at one id.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Event(Event),
    /// Nothing yet.
    Pending,
    /// Nothing any more.
    End(End),
    /// It fell out; `oldest` is the first id that is left.
    Gone {
        oldest: u64,
    },
}

impl Log {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            events: VecDeque::new(),
            last_id: 0,
            bytes: 0,
            max_bytes,
            added: 0,
            state: JobState::Running,
        }
    }

    /// A log that goes on where another one was left, behind the event `last_id`; `events` are the
    /// last ones up to it, without gaps.
    pub(crate) fn restored(max_bytes: usize, last_id: u64, events: Vec<Event>) -> Self {
        let bytes = events.iter().map(Event::cost).sum();
        Self {
            last_id,
            bytes,
            added: widened(bytes),
            events: events.into(),
            ..Self::new(max_bytes)
        }
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    pub(crate) fn state(&self) -> &JobState {
        &self.state
    }

    pub(crate) fn last_id(&self) -> u64 {
        self.last_id
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(crate) fn added(&self) -> u64 {
        self.added
    }

    /// What the events take from the one with this id on.
    pub(crate) fn bytes_from(&self, id: u64) -> u64 {
        self.events
            .iter()
            .rev()
            .take_while(|event| event.id >= id)
            .map(Event::cost)
            .map(widened)
            .sum()
    }

    /// The id of the oldest event that is left, or of the next one where none is.
    pub(crate) fn oldest(&self) -> u64 {
        self.last_id + 1 - self.events.len() as u64
    }

    /// The id of the last thing there is: the end counts as one.
    pub(crate) fn tail(&self) -> u64 {
        self.last_id + u64::from(self.state.is_ended())
    }

    /// `None` once the log has ended.
    ///
    /// Old events make room; the newest stays even where it alone is over the bound.
    pub(crate) fn append(&mut self, name: Option<&'static str>, data: Bytes) -> Option<u64> {
        if self.state.is_ended() {
            return None;
        }
        self.last_id += 1;
        let event = Event { id: self.last_id, name, data };
        self.bytes += event.cost();
        self.added += widened(event.cost());
        self.events.push_back(event);
        self.shed(self.max_bytes);
        Some(self.last_id)
    }

    /// Drops the oldest events until the others take no more than `most` bytes; the newest stays.
    pub(crate) fn shed(&mut self, most: usize) {
        while self.bytes > most && self.events.len() > 1 {
            if let Some(oldest) = self.events.pop_front() {
                self.bytes -= oldest.cost();
            }
        }
    }

    /// Whether this call was the one that ended it.
    pub(crate) fn end(&mut self, state: JobState) -> bool {
        if self.state.is_ended() {
            return false;
        }
        self.state = state;
        true
    }

    pub(crate) fn read(&self, id: u64) -> Read {
        if id > self.last_id {
            return match &self.state {
                JobState::Running => Read::Pending,
                state => Read::End(End { id: self.last_id + 1, state: state.clone() }),
            };
        }
        let oldest = self.oldest();
        let event = id.checked_sub(oldest).and_then(|index| {
            let index = usize::try_from(index).ok()?;
            self.events.get(index)
        });
        event.map_or(Read::Gone { oldest }, |event| Read::Event(event.clone()))
    }
}

/// Sums over a long job may be more than a small machine's addresses.
pub(crate) fn widened(bytes: usize) -> u64 {
    bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_event_stays_even_where_it_is_over_the_bound() {
        let mut log = Log::new(100);
        assert_eq!(log.append(None, Bytes::from_static(b"a")), Some(1));
        assert_eq!(log.append(None, Bytes::from(vec![b'b'; 1000])), Some(2));
        assert_eq!(log.read(1), Read::Gone { oldest: 2 });
        assert!(matches!(log.read(2), Read::Event(event) if event.id == 2));
        assert_eq!(log.append(None, Bytes::from_static(b"c")), Some(3));
        assert_eq!(log.read(2), Read::Gone { oldest: 3 });
        assert_eq!(log.bytes(), size_of::<Event>() + 1);
    }

    #[test]
    fn a_log_ends_once_and_takes_nothing_afterwards() {
        let mut log = Log::new(1000);
        log.append(None, Bytes::new());
        assert!(log.end(JobState::Cancelled));
        assert!(!log.end(JobState::Completed));
        assert_eq!(log.append(None, Bytes::new()), None);
        assert_eq!(log.read(2), Read::End(End { id: 2, state: JobState::Cancelled }));
    }
}
