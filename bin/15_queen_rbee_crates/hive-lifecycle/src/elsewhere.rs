//! Hives on other machines: what is built here is brought there by its content hash, and the hive's own
//! binary there does the rest, as daemon-lifecycle does it here.

mod facts; // what kind of machine it is
mod glibc; // which one a binary needs
mod layout; // where things lie there
mod machine; // one of them, and the connection to it

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chain_daemon::{Binary, HIVE, LLAMACPP_WORKER, There, for_elsewhere};
use daemon_lifecycle::{BinaryFile, Identity, Outcome, Waits};
use rbee_api::causes;
use rbee_config::RbeeConfig;

use self::machine::{Connected, Machine};
use crate::Error;

/// How long a start there may take, beside the binaries' way: two generations, one after the other.
const START_LIMIT: Duration = Duration::from_mins(3);

/// The hives on other machines, by their aliases. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Elsewhere(Arc<Mutex<HashMap<String, Arc<Machine>>>>);

/// A hive on another machine that answers.
#[derive(Clone)]
pub struct HiveElsewhere {
    pub identity: Identity,
    /// What had to be done.
    pub outcome: Outcome,
    /// Where it answers here: a socket that leads to its own.
    pub socket: PathBuf,
    /// The secret that gives the right to change its state.
    pub token: String,
    connected: Arc<Connected>,
}

/// What was brought to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub host: String,
    /// 0 where everything was there.
    pub pushed_bytes: u64,
}

/// What a hive there runs from.
struct Built {
    hive: BinaryFile,
    worker: BinaryFile,
}

impl Elsewhere {
    /// Makes sure that an up-to-date hive answers there: builds here, brings there what is missing, and
    /// has the hive started, or replaced where it runs from another binary. One that runs goes on as it is
    /// where nothing can be brought to it.
    ///
    /// # Errors
    ///
    /// An alias that is not configured; a machine that is out of reach, or of another kind than this
    /// one; and as [`crate::execute_hive_start`].
    pub async fn start(
        &self,
        config: &RbeeConfig,
        alias: &str,
        waits: Waits,
    ) -> Result<HiveElsewhere, Error> {
        let machine = self.machine(config, alias)?;
        let _turn = machine.turn.lock().await;
        let connected = machine.connect().await?;
        let brought = match machine.suits(&connected) {
            Ok(()) => {
                let built = built(config, alias, waits).await?;
                let brought = machine.bring(&connected, &built, &config.models.default).await;
                brought.map(|_| built)
            }
            Err(error) => Err(error),
        };
        let built = match brought {
            Ok(built) => built,
            Err(error) => {
                // What runs there goes on with what it has.
                let Ok(Some(hive)) = machine.find(&connected).await else { return Err(error) };
                let outcome = Outcome::Stale { build_error: causes(&error) };
                return Ok(HiveElsewhere { outcome, ..hive });
            }
        };
        let script = connected.layout.start(&built.hive.hash);
        let said = machine.ask_for(START_LIMIT, &connected, "starting the hive", &script).await?;
        let hive = machine.hive(&connected, said)?;
        let hive = hive.ok_or_else(|| machine.failed("it says that it does not run"))?;
        let script = connected.layout.started(&hive.identity.exe_hash);
        machine.run(&connected, "noting which binary runs", &script).await?;
        if !connected.link.leads_to_somebody(&hive.socket).await {
            if hive.outcome == Outcome::Started {
                let script = connected.layout.manage("stop", "--now");
                machine.ask_for(START_LIMIT, &connected, "stopping the hive", &script).await?;
            }
            return Err(machine.forbidden());
        }
        machine.note_use(true);
        Ok(hive)
    }

    /// Whether the hive was started by a queen of this home, and not stopped since.
    pub fn is_used(&self, config: &RbeeConfig, alias: &str) -> bool {
        self.machine(config, alias).is_ok_and(|machine| machine.is_in_use())
    }

    /// Builds what a hive there runs from, and brings it there; starts nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub async fn install(&self, config: &RbeeConfig, alias: &str) -> Result<Installed, Error> {
        let machine = self.machine(config, alias)?;
        let _turn = machine.turn.lock().await;
        let connected = machine.connect().await?;
        machine.suits(&connected)?;
        let built = built(config, alias, Waits::Person).await?;
        let pushed_bytes = machine.bring(&connected, &built, &config.models.default).await?;
        Ok(Installed { host: machine.host().to_owned(), pushed_bytes })
    }

    /// The hive if it runs, stale or not; starts nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::start`]. A machine that was out of reach a moment ago is not asked again.
    pub async fn find(
        &self,
        config: &RbeeConfig,
        alias: &str,
    ) -> Result<Option<HiveElsewhere>, Error> {
        let machine = self.machine(config, alias)?;
        let connected = machine.connect_unless_just_tried().await?;
        machine.find(&connected).await
    }

    /// The same for whoever waits for a way to it: the machine is asked in any case.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub async fn find_again(
        &self,
        config: &RbeeConfig,
        alias: &str,
    ) -> Result<Option<HiveElsewhere>, Error> {
        let machine = self.machine(config, alias)?;
        let connected = machine.connect().await?;
        machine.find(&connected).await
    }

    /// Whether the process runs what the sources here say now, and has that worker. Builds nothing,
    /// narrates nothing, and asks nobody there.
    pub async fn is_current(&self, config: &RbeeConfig, alias: &str, hive: &Identity) -> bool {
        let Ok(machine) = self.machine(config, alias) else { return false };
        fresh(config, alias, HIVE).await.is_some_and(|hash| hash == hive.exe_hash)
            && fresh(config, alias, LLAMACPP_WORKER)
                .await
                .is_some_and(|hash| machine.has_worker(&hash))
    }

    /// Stops the hive and its workers; says what ran.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub async fn stop(
        &self,
        config: &RbeeConfig,
        alias: &str,
        now: bool,
    ) -> Result<Vec<String>, Error> {
        let machine = self.machine(config, alias)?;
        let _turn = machine.turn.lock().await;
        let connected = machine.connect().await?;
        machine.note_use(false);
        let flags = if now { "--now" } else { "" };
        let script = connected.layout.manage("stop", flags);
        let limit = config.queen.drain_timeout + START_LIMIT;
        let said = machine.ask_for(limit, &connected, "stopping the hive", &script).await?;
        // The connection is nobody's any more.
        machine.forget();
        Ok(match said {
            There::Stopped { names } => names,
            _ => Vec::new(),
        })
    }

    /// Stops the hive at once and removes everything that was brought there, and what it has written;
    /// its models only if `models`.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub async fn uninstall(
        &self,
        config: &RbeeConfig,
        alias: &str,
        models: bool,
    ) -> Result<Vec<String>, Error> {
        let stopped = self.stop(config, alias, true).await?;
        let machine = self.machine(config, alias)?;
        let connected = machine.connect().await?;
        let script = connected.layout.remove(models);
        machine.run(&connected, "removing the hive", &script).await?;
        machine.forget();
        Ok(stopped)
    }

    /// Ends a hive that hangs, at once, and none of its workers.
    pub async fn end(&self, config: &RbeeConfig, alias: &str) {
        let ended = async {
            let machine = self.machine(config, alias)?;
            let connected = machine.connect_unless_just_tried().await?;
            let script = connected.layout.manage("kill", "");
            machine.ask(&connected, "ending the hive", &script).await
        };
        if let Err(error) = ended.await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, alias, "a hive that hangs is not ended");
        }
    }

    /// Whether there was no way to the machine a moment ago.
    pub fn is_out_of_reach(&self, alias: &str) -> bool {
        let machines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        machines.get(alias).is_some_and(|machine| machine.is_out_of_reach())
    }

    fn machine(&self, config: &RbeeConfig, alias: &str) -> Result<Arc<Machine>, Error> {
        let hive = config.hive(Some(alias)).map_err(Error::UnknownHive)?;
        let not_elsewhere = || Error::NotElsewhere { alias: hive.alias.clone() };
        let destination = hive.ssh_destination().ok_or_else(not_elsewhere)?;
        let mut machines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = machines.get(&hive.alias).filter(|machine| machine.host() == destination);
        if let Some(machine) = known {
            return Ok(Arc::clone(machine));
        }
        // A new one, or one that the configuration has moved.
        let machine = Machine::new(&hive.alias, destination, &config.paths.state.join("ssh"));
        let machine = Arc::new(machine);
        machines.insert(hive.alias.clone(), Arc::clone(&machine));
        Ok(machine)
    }
}

impl HiveElsewhere {
    /// Whether there is a way to it: it is noticed within 15 s that there is none any more.
    pub fn is_linked(&self) -> bool {
        self.connected.link.is_up()
    }

    /// Whether its machine answers within `limit`, whatever the hive does.
    pub async fn machine_answers(&self, limit: Duration) -> bool {
        self.connected.link.answers(limit).await
    }

    /// What `ssh` calls its machine.
    pub fn host(&self) -> &str {
        self.connected.link.host().destination()
    }
}

impl fmt::Debug for HiveElsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, outcome, .. } = self;
        f.debug_struct("HiveElsewhere")
            .field("identity", identity)
            .field("outcome", outcome)
            .finish_non_exhaustive()
    }
}

async fn built(config: &RbeeConfig, alias: &str, waits: Waits) -> Result<Built, Error> {
    // One after the other: the first build compiles what the second needs.
    let hive = made(config, alias, HIVE, waits).await?;
    Ok(Built { hive, worker: made(config, alias, LLAMACPP_WORKER, waits).await? })
}

async fn made(
    config: &RbeeConfig,
    alias: &str,
    binary: Binary,
    waits: Waits,
) -> Result<BinaryFile, Error> {
    let failed = |error| Error::Build { alias: alias.to_owned(), source: Box::new(error) };
    let manager = for_elsewhere(config, alias, binary, waits).map_err(failed)?;
    manager.binary().await.map_err(failed)
}

/// The hash of what is built, where nothing has to be built for it.
async fn fresh(config: &RbeeConfig, alias: &str, binary: Binary) -> Option<String> {
    let manager = for_elsewhere(config, alias, binary, Waits::Nobody).ok()?;
    Some(manager.fresh_binary().await?.hash)
}
