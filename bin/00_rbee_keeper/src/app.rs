use std::{
    fs, io,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use queen_lifecycle::{ensure_queen, find_queen};
use rbee_config::RbeeConfig;

use crate::{
    client::{ClientError, QueenClient},
    failure::{Failure, Kind},
    terminal::Terminal,
};

/// What every verb is given.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: RbeeConfig,
    pub(crate) terminal: Arc<Terminal>,
    current: Mutex<Option<CurrentJob>>,
}

/// The job that ends when the person at the terminal leaves.
#[derive(Debug, Clone)]
pub(crate) struct CurrentJob {
    pub(crate) queen: QueenClient,
    pub(crate) job_id: String,
}

impl App {
    pub(crate) fn new(config: RbeeConfig, terminal: Arc<Terminal>) -> Self {
        Self { config, terminal, current: Mutex::new(None) }
    }

    /// A queen that answers: started, or replaced when it was stale.
    ///
    /// With `queen.url` set, whatever answers there; it is neither started nor replaced.
    pub(crate) async fn queen(&self) -> Result<QueenClient, Failure> {
        if let Some(url) = &self.config.queen.url {
            return self.client(url.as_str());
        }
        let handle = Box::pin(ensure_queen(&self.config)).await.map_err(lifecycle_failure)?;
        self.client(handle.base_url())
    }

    /// The queen that runs, stale or not; nothing is started.
    pub(crate) async fn running_queen(&self) -> Result<Option<QueenClient>, Failure> {
        if let Some(url) = &self.config.queen.url {
            let client = self.client(url.as_str())?;
            return match client.health().await {
                Ok(_) => Ok(Some(client)),
                Err(ClientError::Unreachable { source, .. }) if source.is_connect() => Ok(None),
                Err(error) => Err(error.into()),
            };
        }
        let found = Box::pin(find_queen(&self.config)).await.map_err(lifecycle_failure)?;
        found.map(|handle| self.client(handle.base_url())).transpose()
    }

    /// Names the job that [`Self::take_current`] gives to whoever cancels it.
    pub(crate) fn set_current(&self, job: Option<CurrentJob>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = job;
    }

    pub(crate) fn take_current(&self) -> Option<CurrentJob> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn client(&self, base_url: &str) -> Result<QueenClient, Failure> {
        Ok(QueenClient::new(base_url, self.token()?)?)
    }

    /// The queen writes the file when it starts for the first time.
    fn token(&self) -> Result<Option<String>, Failure> {
        let path = &self.config.paths.token;
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("cannot read the token `{}`", path.display()))?
            }
        }
    }
}

pub(crate) fn lifecycle_failure(error: queen_lifecycle::Error) -> Failure {
    if error.is_build_failure() {
        return Failure::new(Kind::Build, error)
            .hint("mend the source and run this again")
            .hint("`--auto-update false` uses the binaries that there are");
    }
    match error {
        queen_lifecycle::Error::Config(_) | queen_lifecycle::Error::BaseUrl { .. } => {
            Failure::new(Kind::Usage, error)
        }
        _ => Failure::new(Kind::Unreachable, error)
            .hint("`./rbee logs queen` shows what it said; `./rbee doctor` what the machine lacks"),
    }
}
