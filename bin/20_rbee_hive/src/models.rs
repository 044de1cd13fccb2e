use std::{
    path::{Path, PathBuf},
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
use worker_lifecycle::WorkerType;

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
        let place = self.place(name);
        let (spelled, kind) = match &place {
            Place::Named { source, is_configured } => {
                let told = spelled(source).map_err(|error| failure::model(&error))?;
                if *is_configured { (name.to_owned(), told.1) } else { told }
            }
            Place::Unneeded => return Ok(name.to_owned()),
        };
        // Those that the configuration names are there for everybody, wherever they lie.
        let is_configured = || {
            if matches!(place, Place::Named { is_configured: true, .. }) {
                return true;
            }
            let default = model_store::spelled(&self.config.current().models.default);
            default.is_ok_and(|(default, _)| default == spelled)
        };
        let is_admitted = match (kind, reach) {
            (_, ModelReach::Any) | (NameKind::Catalogue, ModelReach::Catalogue) => true,
            (NameKind::Path, _) | (_, ModelReach::Catalogue) if is_configured() => true,
            (NameKind::Path, _) => false,
            (NameKind::Catalogue | NameKind::Download, _) => {
                is_loaded(&spelled) || matches!(self.find(spelled.clone()).await, Ok(Some(_)))
            }
        };
        if is_admitted { Ok(spelled) } else { Err(failure::unreachable(name)) }
    }

    /// The model's file or folder, if it is on this host; an empty path for one that needs none.
    pub(crate) async fn find(&self, name: String) -> Result<Option<PathBuf>, ErrorBody> {
        match self.place(&name) {
            Place::Named { source, .. } => self.blocking(move |store| store.find(&source)).await,
            Place::Unneeded => Ok(Some(PathBuf::new())),
        }
    }

    /// Where the model of that name is to be had, by the configuration's table for it or else by
    /// the name.
    fn place(&self, name: &str) -> Place {
        let config = self.config.current();
        let Some(entry) = config.model.get(name) else {
            return Place::Named { source: name.to_owned(), is_configured: false };
        };
        if let Some(source) = entry.source.clone() {
            return Place::Named { source, is_configured: true };
        }
        let kind = WorkerType::of(&config, name, Path::new(""));
        if kind == WorkerType::External && spelled(name).is_err() {
            // Its server knows where its model is.
            return Place::Unneeded;
        }
        Place::Named { source: name.to_owned(), is_configured: true }
    }

    /// The model's file, downloaded if need be. What goes on is told to `job`; dropping the future
    /// stops a download, which a later one takes up where it stopped.
    pub(crate) async fn pull(
        &self,
        name: String,
        job: Option<JobEmitter>,
    ) -> Result<PathBuf, ErrorBody> {
        let Place::Named { source, .. } = self.place(&name) else { return Ok(PathBuf::new()) };
        let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop.0);
        let pulled = self
            .blocking(move |store| {
                let mut tell = |event: PullEvent| tell(&name, event, job.as_ref());
                let pulled = store.pull(&source, &mut tell, &|| stopped.load(Ordering::Relaxed));
                hidden(&source, pulled)
            })
            .await;
        drop(stop);
        pulled
    }

    /// The model's file, whole; downloaded if `reach` goes so far and it is not on this host.
    ///
    /// llama.cpp must not see a file that is not whole. Its worker looks once more, at what it opens.
    /// What another program reads is that one's affair, where it is in none of the known formats.
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
        let kind = WorkerType::of(&self.config.current(), &name, &path);
        let Place::Named { source, .. } = self.place(&name) else { return Ok(path) };
        let inspected = path.clone();
        self.blocking(move |_| hidden(&source, inspect(kind, &inspected))).await?;
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

/// Where a model is to be had.
enum Place {
    /// By that name, as the store knows names; `is_configured` where a table of the configuration
    /// says so.
    Named { source: String, is_configured: bool },
    /// Nowhere, and whatever serves it needs no file.
    Unneeded,
}

/// Whether the files are whole, and of a format that such a worker reads.
fn inspect(kind: WorkerType, path: &Path) -> Result<(), model_store::Error> {
    let is_gguf = path.extension().is_some_and(|extension| extension == "gguf");
    match kind {
        _ if path.is_dir() => model_store::safetensors::inspect(path).map(drop),
        WorkerType::External if !is_gguf => Ok(()),
        WorkerType::LlamaCpp | WorkerType::VLlm | WorkerType::External => {
            model_store::gguf::inspect(path).map(drop)
        }
    }
}

/// Of a file of this host's only that it cannot be used is told: whether it is there, may be read, and
/// how it begins is the log's.
fn hidden<T>(name: &str, outcome: Result<T, model_store::Error>) -> Result<T, model_store::Error> {
    use model_store::Error::{File, Folder, Gguf, NoSuchFile, UnusableFile};
    match (spelled(name), outcome) {
        (
            Ok((path, NameKind::Path)),
            Err(error @ (NoSuchFile { .. } | Gguf { .. } | Folder { .. } | File { .. })),
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
