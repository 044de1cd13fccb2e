use std::{
    fs, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use narration_core::Narration;
use queen_lifecycle::{ensure_queen, find_queen, restart_queen};
use rbee_config::RbeeConfig;

use crate::{
    client::{ClientError, QueenClient},
    failure::{Failure, Kind},
    terminal::Terminal,
};

/// Said where a queen is started, and so once for each time that the chain is.
const WITHOUT_SOURCES: &str = "This is an installed release, without sources: auto-update is off, nothing is checked or built";

/// What every verb is given.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: RbeeConfig,
    pub(crate) terminal: Arc<Terminal>,
    queen: Mutex<Option<QueenClient>>,
    /// The last one that was made, and with which token: making one costs more than asking by it.
    client: Mutex<Option<(Option<String>, QueenClient)>>,
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
        Self {
            config,
            terminal,
            queen: Mutex::default(),
            client: Mutex::default(),
            current: Mutex::default(),
        }
    }

    /// A queen that answers; made sure of once, however many ask.
    pub(crate) async fn queen(&self) -> Result<QueenClient, Failure> {
        let known = lock(&self.queen).clone();
        match known {
            Some(queen) => Ok(queen),
            None => self.ensure_queen().await,
        }
    }

    /// Makes sure of a queen: starts one, or replaces one that is stale.
    ///
    /// With `queen.url` set, it is whatever answers there, and neither started nor replaced.
    pub(crate) async fn ensure_queen(&self) -> Result<QueenClient, Failure> {
        let queen = match &self.config.queen.url {
            Some(url) => self.client(url.as_str())?,
            None => {
                self.config.paths.create().map_err(no_folder)?;
                let ensured = Box::pin(ensure_queen(&self.config)).await;
                let ensured = ensured.map_err(lifecycle_failure)?;
                if ensured.started_pid().is_some() && self.config.source_root.is_none() {
                    Narration::new("keeper", "auto_update", WITHOUT_SOURCES).about("queen").emit();
                }
                self.client(ensured.base_url())?
            }
        };
        *lock(&self.queen) = Some(queen.clone());
        Ok(queen)
    }

    /// Replaces the queen, by the same binary where it is up to date; starts one where none runs.
    pub(crate) async fn restart_queen(&self) -> Result<QueenClient, Failure> {
        self.is_ours_to("restart")?;
        self.config.paths.create().map_err(no_folder)?;
        let restarted = Box::pin(restart_queen(&self.config)).await;
        let queen = self.client(restarted.map_err(lifecycle_failure)?.base_url())?;
        *lock(&self.queen) = Some(queen.clone());
        Ok(queen)
    }

    /// Refuses to `act` on a queen that somebody else runs.
    pub(crate) fn is_ours_to(&self, act: &str) -> Result<(), Failure> {
        let Some(url) = &self.config.queen.url else { return Ok(()) };
        let failure =
            Failure::usage(format_args!("the queen at `{url}` is not this keeper's to {act}"));
        Err(failure.hint(format!("`queen.url` says that somebody else runs it; {act} it there")))
    }

    /// The queen that runs, stale or not; nothing is started.
    pub(crate) async fn running_queen(&self) -> Result<Option<QueenClient>, Failure> {
        if let Some(url) = &self.config.queen.url {
            let client = self.client(url.as_str())?;
            return match client.health().await {
                Ok(_) => Ok(Some(client)),
                Err(ClientError::Unreachable { is_refused: true, .. }) => Ok(None),
                Err(error) => Err(error.into()),
            };
        }
        let found = Box::pin(find_queen(&self.config)).await.map_err(lifecycle_failure)?;
        found.map(|handle| self.client(handle.base_url())).transpose()
    }

    /// That there is no queen, and what to do about it.
    pub(crate) fn no_queen(&self) -> String {
        match &self.config.queen.url {
            Some(url) => {
                format!("No queen answers at `{url}`, which `queen.url` or `--queen-url` names")
            }
            None => "No queen runs; `./rbee serve` or a first prompt starts the chain".to_owned(),
        }
    }

    /// Names the job that [`Self::take_current`] gives to whoever cancels it.
    pub(crate) fn set_current(&self, job: Option<CurrentJob>) {
        *lock(&self.current) = job;
    }

    pub(crate) fn take_current(&self) -> Option<CurrentJob> {
        lock(&self.current).take()
    }

    fn client(&self, base_url: &str) -> Result<QueenClient, Failure> {
        let token = self.token()?;
        let mut last = lock(&self.client);
        if let Some((of, client)) = &*last
            && *of == token
            && client.base_url() == base_url.trim_end_matches('/')
        {
            return Ok(client.clone());
        }
        let client = QueenClient::new(base_url, token.clone())?;
        *last = Some((token, client.clone()));
        Ok(client)
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of a folder that cannot be made.
pub(crate) fn no_folder(error: rbee_config::Error) -> Failure {
    Failure::new(Kind::Failed, error).hint(
        "`./rbee config` shows why it is there (`paths`); RBEE_HOME puts all of them elsewhere",
    )
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
        _ if error.is_other_tree() => Failure::new(Kind::Unreachable, error)
            .hint(
                "`--takeover` replaces it, with all that it has started, by the chain of this tree",
            )
            .hint("another `RBEE_HOME`, with another `queen.port` in it, gives each tree a chain of its own"),
        _ if error.is_address_in_use() => Failure::new(Kind::Unreachable, error).hint(
            "`./rbee doctor` shows who does; `queen.port` in the configuration, or `RBEE_QUEEN_PORT`, gives \
             the queen another port",
        ),
        _ => Failure::new(Kind::Unreachable, error)
            .hint("`./rbee logs queen` shows what it said; `./rbee doctor` what the machine lacks"),
    }
}
