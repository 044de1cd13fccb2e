use std::{sync::Arc, time::Duration};

use crate::{Embedder, Engine, EngineConfig, Model, Pooling, Rejected};

/// What a worker does with its model.
#[derive(Debug, Clone)]
pub enum Work {
    /// Generates text.
    Text(Engine),
    /// Makes vectors of texts.
    Vectors(Embedder),
}

impl Work {
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        match self {
            Self::Text(engine) => engine.model(),
            Self::Vectors(embedder) => embedder.model(),
        }
    }

    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        match self {
            Self::Text(engine) => engine.config(),
            Self::Vectors(embedder) => embedder.config(),
        }
    }

    /// Refuses a text of so many bytes that it cannot be one of the model's, before anybody counts its
    /// tokens.
    pub(super) fn require_room(&self, bytes: usize) -> Result<(), Rejected> {
        match self {
            Self::Text(engine) => engine.require_room(bytes),
            Self::Vectors(embedder) => embedder.require_room(bytes),
        }
    }

    /// How vectors are made, where they are.
    #[must_use]
    pub fn pooling(&self) -> Option<Pooling> {
        match self {
            Self::Text(_) => None,
            Self::Vectors(embedder) => Some(embedder.pooling()),
        }
    }

    /// For how long its thread has been at one thing that should not take so long, if it is.
    #[must_use]
    pub fn stuck_for(&self) -> Option<Duration> {
        match self {
            Self::Text(engine) => engine.stuck_for(),
            Self::Vectors(embedder) => embedder.stuck_for(),
        }
    }
}

impl From<Engine> for Work {
    fn from(engine: Engine) -> Self {
        Self::Text(engine)
    }
}

impl From<Embedder> for Work {
    fn from(embedder: Embedder) -> Self {
        Self::Vectors(embedder)
    }
}
