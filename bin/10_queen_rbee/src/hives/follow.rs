use std::{collections::HashSet, time::Duration};

use chain_level::{Level as _, Pool, Wanted};
use daemon_lifecycle::Waits;
use futures::{StreamExt as _, stream::FuturesUnordered};
use narration_core::{Level, Narration};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::Hives;

/// How often hives elsewhere are looked at: nobody there sees what is edited here.
const ROUND: Duration = Duration::from_secs(2);

/// How long one that was not brought up to date is left as it is, unless somebody asks for it.
const LEFT_ALONE: Duration = Duration::from_secs(20);

/// How a look at a hive came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    UpToDate,
    /// It failed, or was rolled back: that is not tried all the time.
    Behind,
}

impl Hives {
    /// Has hives on other machines follow the sources here, as hives on this one do by themselves, while
    /// `follows` says so. Never returns.
    pub(crate) async fn follow(&self, pool: &Pool<Self>, follows: impl Fn() -> bool) -> ! {
        let aliases = || if follows() { self.aliases() } else { Vec::new() };
        look_at_each(aliases, |alias| self.bring_up_to_date(pool, alias)).await
    }

    async fn bring_up_to_date(&self, pool: &Pool<Self>, alias: String) -> Look {
        if !self.falls_behind(pool, &alias).await {
            return Look::UpToDate;
        }
        let wanted = Wanted { waits: Waits::Nobody, ..Wanted::of(true, false) };
        if let Err(body) = pool.acquire(&alias, wanted).await {
            let why = format!("`{alias}` stays as it is: {}", body.error.message);
            let narration = Narration::new("queen", "hive_stale", why).about(&alias);
            narration.level(Level::Warn).emit();
        }
        match self.falls_behind(pool, &alias).await {
            true => Look::Behind,
            false => Look::UpToDate,
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

/// Looks at each of `aliases` in rounds of its own, so that none waits for another's slow line.
async fn look_at_each<F: Future<Output = Look>>(
    aliases: impl Fn() -> Vec<String>,
    look: impl Fn(String) -> F,
) -> ! {
    // Those that are looked at, or left alone.
    let mut busy = HashSet::new();
    let mut looks = FuturesUnordered::new();
    let mut rounds = interval_at(Instant::now() + ROUND, ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = rounds.tick() => {
                for alias in aliases().into_iter().filter(|alias| busy.insert(alias.clone())) {
                    let look = look(alias.clone());
                    looks.push(async {
                        if look.await == Look::Behind {
                            sleep(LEFT_ALONE).await;
                        }
                        alias
                    });
                }
            }
            Some(alias) = looks.next() => {
                busy.remove(&alias);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::pending};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hive_at_a_slow_line_keeps_no_other_waiting_and_one_that_fails_is_left_alone() {
        let seen = RefCell::new(Vec::new());
        let aliases = || ["slow", "well", "failing"].map(str::to_owned).to_vec();
        let look = async |alias: String| {
            seen.borrow_mut().push(alias.clone());
            match &*alias {
                "slow" => pending().await,
                "well" => Look::UpToDate,
                _ => Look::Behind,
            }
        };
        let limit = ROUND * 12 + Duration::from_secs(1);
        tokio::time::timeout(limit, look_at_each(aliases, look)).await.unwrap_err();
        let looks = |alias: &str| seen.borrow().iter().filter(|seen| *seen == alias).count();
        assert_eq!(["slow", "well", "failing"].map(looks), [1, 12, 2]);
    }
}
