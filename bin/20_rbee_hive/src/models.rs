use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http_guard::ApiError;
use job_server::JobEmitter;
use model_store::{ModelStore, NameKind, PullEvent, spelled};
use narration_core::{Level, Narration};
use rbee_api::{ErrorBody, ModelList, ModelReach, ModelRemoved, Progress, StreamEvent, causes};
use rbee_config::LiveConfig;
use tracing::Span;

use crate::failure;

/// The host's model store, for asynchronous callers.
#[derive(Debug, Clone)]
pub(crate) struct Models {
    store: Arc<ModelStore>,
    config: LiveConfig,
}

impl Models {
    pub(crate) fn new(store: ModelStore, config: LiveConfig) -> Self {
        Self { store: Arc::new(store), config }
    }

    pub(crate) async fn list(&self) -> Result<ModelList, ErrorBody> {
        self.blocking(|store| store.list()).await.map(|models| ModelList { models })
    }

    pub(crate) async fn remove(&self, name: String) -> Result<ModelRemoved, ErrorBody> {
        self.blocking(move |store| store.remove(&name)).await
    }

    /// The one spelling of a model's name, if `reach` goes so far.
    ///
    /// What it does not reach is not looked for: whoever asks learns nothing of this host's files, and
    /// nothing is downloaded for them. `is_loaded` says of which models nobody needs a file any more.
    pub(crate) async fn admit(
        &self,
        name: &str,
        reach: ModelReach,
        is_loaded: impl Fn(&str) -> bool,
    ) -> Result<String, ErrorBody> {
        let (spelled, kind) = spelled(name).map_err(|error| failure::model(&error))?;
        // The one that the configuration names is there for everybody, wherever it lies.
        let is_default = || {
            let default = model_store::spelled(&self.config.current().models.default);
            default.is_ok_and(|(default, _)| default == spelled)
        };
        let is_admitted = match (kind, reach) {
            (_, ModelReach::Any) | (NameKind::Catalogue, ModelReach::Catalogue) => true,
            (NameKind::Path, _) | (_, ModelReach::Catalogue) if is_default() => true,
            (NameKind::Path, _) => false,
            (NameKind::Catalogue | NameKind::Download, _) => {
                is_loaded(&spelled) || matches!(self.find(spelled.clone()).await, Ok(Some(_)))
            }
        };
        if is_admitted { Ok(spelled) } else { Err(failure::unreachable(name)) }
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
                let pulled = store.pull(&name, &mut tell, &|| stopped.load(Ordering::Relaxed));
                hidden(&name, pulled)
            })
            .await;
        drop(stop);
        pulled
    }

    /// The model's file, whole; downloaded if `reach` goes so far and it is not on this host.
    ///
    /// llama.cpp must not see a file that is not whole. Its worker looks once more, at what it opens.
    pub(crate) async fn whole_file(
        &self,
        name: String,
        reach: ModelReach,
        job: Option<JobEmitter>,
    ) -> Result<PathBuf, ErrorBody> {
        let path = match self.find(name.clone()).await? {
            Some(path) => path,
            None => {
                self.admit(&name, reach, |_| false).await?;
                self.pull(name.clone(), job).await?
            }
        };
        let (name, inspected) = (name, path.clone());
        self.blocking(move |_| hidden(&name, model_store::gguf::inspect(&inspected).map(drop)))
            .await?;
        Ok(path)
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

/// Of a file of this host's only that it cannot be used is told: whether it is there, may be read, and
/// how it begins is the log's.
fn hidden<T>(name: &str, outcome: Result<T, model_store::Error>) -> Result<T, model_store::Error> {
    use model_store::Error::{File, Gguf, NoSuchFile, UnusableFile};
    match (spelled(name), outcome) {
        (
            Ok((path, NameKind::Path)),
            Err(error @ (NoSuchFile { .. } | Gguf { .. } | File { .. })),
        ) => {
            tracing::warn!(
                path,
                error = causes(&error),
                "a file that was asked for cannot be used"
            );
            Err(UnusableFile { path: path.into() })
        }
        (_, outcome) => outcome,
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
