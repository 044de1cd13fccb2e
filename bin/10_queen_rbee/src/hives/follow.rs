use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use chain_level::{Level as _, Pool, Wanted};
use daemon_lifecycle::Waits;
use narration_core::{Level, Narration};

use super::Hives;

/// How often hives elsewhere are looked at: nobody there sees what is edited here.
const ROUND: Duration = Duration::from_secs(2);

/// How long one that was not brought up to date is left as it is, unless somebody asks for it.
const LEFT_ALONE: Duration = Duration::from_secs(20);

impl Hives {
    /// Has hives on other machines follow the sources here, as hives on this one do by themselves, while
    /// `follows` says so. Never returns.
    pub(crate) async fn follow(&self, pool: &Pool<Self>, follows: impl Fn() -> bool) -> ! {
        let mut tried: HashMap<String, Instant> = HashMap::new();
        loop {
            tokio::time::sleep(ROUND).await;
            if !follows() {
                continue;
            }
            for alias in self.aliases() {
                let is_recent = tried.get(&alias).is_some_and(|tried| tried.elapsed() < LEFT_ALONE);
                if is_recent || !self.falls_behind(pool, &alias).await {
                    continue;
                }
                let wanted = Wanted { waits: Waits::Nobody, ..Wanted::of(true, false) };
                if let Err(body) = pool.acquire(&alias, wanted).await {
                    let why = format!("`{alias}` stays as it is: {}", body.error.message);
                    let narration = Narration::new("queen", "hive_stale", why).about(&alias);
                    narration.level(Level::Warn).emit();
                }
                // What failed, or was rolled back, is not tried all the time.
                if self.falls_behind(pool, &alias).await {
                    tried.insert(alias, Instant::now());
                }
            }
        }
    }

    /// Whether it is to run, and this queen knows none that is up to date.
    async fn falls_behind(&self, pool: &Pool<Self>, alias: &str) -> bool {
        if !self.is_elsewhere(alias) || !self.0.elsewhere.is_used(&self.config(), alias) {
            return false;
        }
        match pool.places().occupant(alias).filter(|running| running.is_alive()) {
            Some(running) => !self.is_current(&running.handle).await,
            None => true,
        }
    }
}
