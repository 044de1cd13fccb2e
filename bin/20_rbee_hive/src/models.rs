use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http_guard::ApiError;
use job_server::JobEmitter;
use model_store::{ModelStore, PullEvent};
use narration_core::{Level, Narration};
use rbee_api::{ErrorBody, ModelList, ModelRemoved, Progress, StreamEvent};
use tracing::Span;

use crate::failure;

/// The host's model store, for asynchronous callers.
#[derive(Debug, Clone)]
pub(crate) struct Models {
    store: Arc<ModelStore>,
}

impl Models {
    pub(crate) fn new(store: ModelStore) -> Self {
        Self { store: Arc::new(store) }
    }

    pub(crate) async fn list(&self) -> Result<ModelList, ErrorBody> {
        self.blocking(|store| store.list()).await.map(|models| ModelList { models })
    }

    pub(crate) async fn remove(&self, name: String) -> Result<ModelRemoved, ErrorBody> {
        self.blocking(move |store| store.remove(&name)).await
    }

    /// The model's file, if it is on this host.
    pub(crate) async fn find(&self, name: String) -> Result<Option<PathBuf>, ErrorBody> {
        self.blocking(move |store| store.find(&name)).await
    }

    /// The model's file, downloaded if need be. What goes on is told to `job`; dropping the future
    /// stops a download, which a later one takes up where it stopped.
    pub(crate) async fn pull(
        &self,
        name: String,
        job: Option<JobEmitter>,
    ) -> Result<PathBuf, ErrorBody> {
        let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop.0);
        let pulled = self
            .blocking(move |store| {
                let mut tell = |event: PullEvent| tell(&name, event, job.as_ref());
                store.pull(&name, &mut tell, &|| stopped.load(Ordering::Relaxed))
            })
            .await;
        drop(stop);
        pulled
    }

    /// Refuses a file that is not a whole GGUF file, with what is wrong with it.
    pub(crate) async fn inspect(&self, path: PathBuf) -> Result<(), ErrorBody> {
        let inspect = move |_: &ModelStore| model_store::gguf::inspect(&path).map(drop);
        self.blocking(inspect).await
    }

    /// Runs `act` where it may block, in the caller's span.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&ModelStore) -> Result<T, model_store::Error> + Send + 'static,
    ) -> Result<T, ErrorBody> {
        let (store, span) = (Arc::clone(&self.store), Span::current());
        match tokio::task::spawn_blocking(move || span.in_scope(|| act(&store))).await {
            Ok(outcome) => outcome.map_err(|error| failure::model(&error)),
            Err(error) => Err(ApiError::internal(error).into()),
        }
    }
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn tell(name: &str, event: PullEvent, job: Option<&JobEmitter>) {
    let (level, human) = match event {
        PullEvent::Progress { done, total } => {
            let progress =
                Progress { target: name.to_owned(), done_bytes: done, total_bytes: total };
            if let Some(job) = job {
                job.send(StreamEvent::Progress(progress));
            }
            return;
        }
        PullEvent::Source { description } => {
            (Level::Info, format!("getting `{name}` from {description}"))
        }
        PullEvent::Verifying => (Level::Info, format!("verifying `{name}`")),
        PullEvent::Retry { why, .. } => (Level::Warn, format!("`{name}`: {why}; trying again")),
        PullEvent::FellBack { from, why, to } => {
            (Level::Warn, format!("`{name}` is not to be had from {from} ({why}); trying {to}"))
        }
    };
    Narration::new("hive", "model_pull", human).about(name).level(level).emit();
}
