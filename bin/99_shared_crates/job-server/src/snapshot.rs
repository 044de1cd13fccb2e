use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rbee_api::event;
use serde::{Deserialize, Serialize};

use crate::{event::Event, id::JobId};

/// A running job on its way from one server to another, which may be in another process.
///
/// Made by [`crate::JobWriter::depart`], taken up by [`crate::JobServer::adopt`]. It has the events
/// that the log still holds, so that readers go on from whichever they saw last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub(crate) id: JobId,
    pub(crate) operation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    created_at_ms: u64,
    /// Whether the job is to end when nobody reads it any more.
    pub(crate) watched: bool,
    /// Whether it is to outlive the process that has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) kept: bool,
    /// Whether its readers may have seen more of it than this.
    #[serde(skip)]
    pub(crate) behind: bool,
    /// The id of the first of `events`; the others follow without gaps.
    first_event_id: u64,
    events: Vec<SavedEvent>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedEvent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    data: String,
}

impl Snapshot {
    pub(crate) fn new<'a>(
        id: JobId,
        operation: &str,
        subject: Option<&str>,
        created_at: SystemTime,
        [watched, kept]: [bool; 2],
        first_event_id: u64,
        events: impl Iterator<Item = &'a Event>,
    ) -> Self {
        let since = created_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let events = events.map(|event| SavedEvent {
            name: event.name.map(str::to_owned),
            data: String::from_utf8_lossy(&event.data).into_owned(),
        });
        Self {
            id,
            operation: operation.to_owned(),
            subject: subject.map(str::to_owned),
            created_at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            watched,
            kept,
            behind: false,
            first_event_id,
            events: events.collect(),
        }
    }

    /// What is left of a job whose server died, by the account of its last reader: it goes on
    /// behind the event `last_event_id`, for that reader.
    pub fn survived(id: JobId, operation: &str, last_event_id: u64) -> Self {
        let none = std::iter::empty();
        Self::new(id, operation, None, SystemTime::now(), [true, false], last_event_id + 1, none)
    }

    /// The same of a job that goes on where it was once, and whose next events come again: whoever has
    /// seen some of them waits for those behind.
    #[must_use]
    pub fn behind_its_readers(self) -> Self {
        Self { behind: true, ..self }
    }

    pub fn id(&self) -> JobId {
        self.id
    }

    /// About what it takes in memory, in bytes.
    pub fn size(&self) -> usize {
        let events = self.events.iter().map(|event| size_of::<SavedEvent>() + event.data.len());
        size_of::<Self>() + events.sum::<usize>()
    }

    pub(crate) fn last_event_id(&self) -> u64 {
        (self.first_event_id + self.events.len() as u64).saturating_sub(1)
    }

    pub(crate) fn created_at(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.created_at_ms)).unwrap_or(UNIX_EPOCH)
    }

    /// One whose name this version does not know is kept: its id must not be missing.
    pub(crate) fn events(&self) -> Vec<Event> {
        let ids = self.first_event_id..;
        let events = ids.zip(&self.events).map(|(id, SavedEvent { name, data })| Event {
            id,
            name: name.as_deref().map(|name| event::known(name).unwrap_or(UNKNOWN)),
            data: Bytes::copy_from_slice(data.as_bytes()),
        });
        events.collect()
    }
}

/// Stands for a name that another version gave an event; clients pass over names they do not know.
const UNKNOWN: &str = "unknown";
