use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http_guard::ApiError;
use job_server::JobEmitter;
use model_store::{ModelStore, NameKind, PullEvent, Template, spelled};
use narration_core::{Level, Narration};
use rbee_api::{
    Ability, ErrorBody, Model, ModelList, ModelReach, ModelRemoved, Progress, Sampling,
    StreamEvent, TemplateSetting, causes,
};
use rbee_config::{LiveConfig, ModelEntry, RbeeConfig};
use tracing::Span;
use worker_lifecycle::{WorkerType, read_template};

use crate::{failure, room};

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
        let config = self.config.current();
        let mut models = self.blocking(move |store| listed(store, &config)).await?;
        for model in &mut models {
            model.memory_bytes = (model.size_bytes > 0).then(|| room::needed(model.size_bytes));
        }
        Ok(ModelList { models })
    }

    /// One of them, by any of its spellings.
    pub(crate) async fn show(&self, name: &str) -> Result<Model, ErrorBody> {
        let spelling = self.spelling(name)?;
        let found = self.list().await?.models.into_iter().find(|model| model.name == spelling);
        found.ok_or_else(|| {
            failure::model(&model_store::Error::NotInStore { name: model_store::shown(name) })
        })
    }

    /// The name under which a worker serves the model.
    pub(crate) fn spelling(&self, name: &str) -> Result<String, ErrorBody> {
        match self.place(name) {
            Place::Named { configured: Some(name), .. } | Place::Unneeded { configured: name } => {
                Ok(name)
            }
            Place::Named { source, .. } => {
                spelled(&source).map(|(name, _)| name).map_err(|error| failure::model(&error))
            }
        }
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
            Place::Named { source, configured } => {
                let (spelled, kind) = spelled(source).map_err(|error| failure::model(&error))?;
                (configured.clone().unwrap_or(spelled), kind)
            }
            Place::Unneeded { configured } => return Ok(configured.clone()),
        };
        // Those that the configuration names are there for everybody, wherever they lie.
        let is_configured = || {
            if matches!(place, Place::Named { configured: Some(_), .. }) {
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
            Place::Unneeded { .. } => Ok(Some(PathBuf::new())),
        }
    }

    /// How the makers of the model say that its tokens are to be chosen.
    pub(crate) fn sampling(&self, name: &str) -> Sampling {
        match self.place(name) {
            Place::Named { source, .. } => model_store::sampling(&source),
            Place::Unneeded { .. } => Sampling::default(),
        }
    }

    /// Where the model of that name is to be had, by the configuration's table for it or else by
    /// the name.
    fn place(&self, name: &str) -> Place {
        let config = self.config.current();
        let Some((own, entry)) = configured(&config, name) else {
            return Place::Named { source: name.to_owned(), configured: None };
        };
        if let Some(source) = entry.source.clone() {
            return Place::Named { source, configured: Some(own.to_owned()) };
        }
        let kind = WorkerType::of(&config, own, Path::new(""));
        if kind == WorkerType::External && spelled(own).is_err() {
            // Its server knows where its model is.
            return Place::Unneeded { configured: own.to_owned() };
        }
        Place::Named { source: own.to_owned(), configured: Some(own.to_owned()) }
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

/// The table that the configuration has for a model, by any spelling of its name.
fn configured<'c>(config: &'c RbeeConfig, name: &str) -> Option<(&'c str, &'c ModelEntry)> {
    let spelling = || {
        let (name, _) = spelled(name).ok()?;
        let is_it = |own: &&String| spelled(own).is_ok_and(|(own, _)| own == name);
        config.model.keys().find(is_it).map(String::as_str)
    };
    config.model_called(name).or_else(|| config.model_called(spelling()?))
}

/// Where a model is to be had.
enum Place {
    /// By that name, as the store knows names; where a table of the configuration says so, with the
    /// table's name.
    Named { source: String, configured: Option<String> },
    /// Nowhere, and whatever serves it needs no file.
    Unneeded { configured: String },
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

/// The store's models, and those that have a table of their own.
fn listed(store: &ModelStore, config: &RbeeConfig) -> Result<Vec<Model>, model_store::Error> {
    let mut models = store.list()?;
    for (name, entry) in &config.model {
        if models.iter().any(|model| model.name == *name) {
            continue;
        }
        let source = entry.source.as_ref().unwrap_or(name);
        let is_external = spelled(source).is_err();
        let path = store.find(source).ok().flatten();
        let same = path.as_ref().and_then(|path| {
            let path = path.display().to_string();
            models.iter().find(|model| model.path.as_ref() == Some(&path)).cloned()
        });
        let size_bytes = path.as_deref().map_or(0, room::bytes_of);
        models.push(Model {
            name: name.clone(),
            size_bytes,
            is_approximate: false,
            memory_bytes: None,
            local: is_external || path.is_some(),
            path: path.map(|path| path.display().to_string()),
            sha256: same.as_ref().and_then(|model| model.sha256.clone()),
            sampling: model_store::sampling(source),
            license: same.and_then(|model| model.license),
            // Who may only chat is told of no path.
            description: match spelled(source) {
                Ok((_, NameKind::Path)) => None,
                Ok((source, _)) => Some(source),
                Err(_) => Some("by a server of its own".to_owned()),
            },
            abilities: Vec::new(),
        });
    }
    for model in &mut models {
        model.abilities = abilities(store, config, model);
    }
    models.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(models)
}

/// What the model's files say that it can be asked for.
fn abilities(store: &ModelStore, config: &RbeeConfig, model: &Model) -> Vec<Ability> {
    let path = model.path.as_ref().filter(|_| model.local);
    let Some(facts) = path.and_then(|path| store.facts(Path::new(path))) else { return Vec::new() };
    let chosen = configured(config, &model.name).and_then(|(_, own)| own.chat_template.as_ref());
    let template = match chosen {
        None => facts.usual_template(),
        // One that cannot be used shows nothing; who asks for the model is told why.
        Some(chosen) => match read_template(chosen) {
            Ok(TemplateSetting::Text(text)) => Template::of(&text),
            Ok(TemplateSetting::Named(name)) => facts.template(&name).unwrap_or_default(),
            Err(_) => Template::default(),
        },
    };
    facts.abilities(template)
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
