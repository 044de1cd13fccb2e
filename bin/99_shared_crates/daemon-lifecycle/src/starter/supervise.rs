use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::{Duration, Instant},
};

use narration_core::Level;
use tokio::{sync::watch, task::AbortHandle};

use super::{
    narrate::say,
    running,
    spawn::{self, Again},
    stop::was_stopped,
};
use crate::{
    Error, Identity,
    process::Process,
    spec::{Spec, Waits},
};

/// How a daemon that dies is started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Before the first attempt; each failure doubles it.
    pub min_delay: Duration,
    pub max_delay: Duration,
    /// This many failures within `window` are the last.
    pub max_failures: usize,
    pub window: Duration,
    /// A daemon that served this long has recovered: the delay begins anew.
    pub healthy_after: Duration,
}

impl Default for RestartPolicy {
    /// From 1 s to 30 s, five failures within ten minutes, recovered after one minute.
    fn default() -> Self {
        Self {
            min_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            max_failures: 5,
            window: Duration::from_secs(600),
            healthy_after: Duration::from_secs(60),
        }
    }
}

/// What has become of a supervised daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supervised {
    /// It is being started, or built first.
    Starting,
    Running(Identity),
    /// It died, or did not start, for this reason, and is started again after `delay`.
    BackingOff {
        delay: Duration,
        why: String,
    },
    /// It failed too often. It is not started again.
    Failed {
        why: String,
    },
    /// Somebody stopped it. It is not started again.
    Stopped,
}

/// Keeps a daemon running for as long as this value lives; the daemon itself outlives it.
#[derive(Debug)]
pub struct Supervisor {
    status: watch::Receiver<Supervised>,
    task: AbortHandle,
}

impl Supervisor {
    /// What has become of the daemon, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<Supervised> {
        self.status.clone()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn supervise(mut spec: Spec, policy: RestartPolicy) -> Supervisor {
    // Nobody has asked by hand for what is started again and again.
    spec.update.waits = spec.update.waits.max(Waits::Program);
    spec.update.insists = true;
    let (report, status) = watch::channel(Supervised::Starting);
    let task = tokio::spawn(async move {
        let last = keep_running(&spec, policy, &report).await;
        report.send_replace(last);
    });
    Supervisor { status, task: task.abort_handle() }
}

/// Until it is stopped or has failed too often.
async fn keep_running(
    spec: &Spec,
    policy: RestartPolicy,
    report: &watch::Sender<Supervised>,
) -> Supervised {
    let mut backoff = Backoff::new(policy);
    loop {
        report.send_replace(Supervised::Starting);
        let why = match spawn::spawn(spec, Again::No).await {
            Ok(handle) => {
                let began = Instant::now();
                match follow(spec, handle.identity().clone(), report).await {
                    Ok(End::Stopped) => return Supervised::Stopped,
                    Ok(End::Died(why)) => {
                        backoff.served(began.elapsed());
                        why
                    }
                    Err(error) => chain(&error),
                }
            }
            Err(Error::Stopped { .. }) => return Supervised::Stopped,
            Err(error) => chain(&error),
        };
        let name = spec.name();
        let Some(delay) = backoff.failed(Instant::now(), jitter()) else {
            say("supervise", Level::Error, &name, format!("'{name}' failed too often: {why}"));
            return Supervised::Failed { why };
        };
        let seconds = delay.as_secs_f32();
        say(
            "supervise",
            Level::Warn,
            &name,
            format!("'{name}' failed ({why}); starting it again in {seconds:.1} s"),
        );
        report.send_replace(Supervised::BackingOff { delay, why });
        tokio::time::sleep(delay).await;
    }
}

enum End {
    Stopped,
    Died(String),
}

/// Waits for the end of the daemon, through all its replacements.
async fn follow(
    spec: &Spec,
    mut identity: Identity,
    report: &watch::Sender<Supervised>,
) -> Result<End, Error> {
    let instance = spec.instance()?;
    loop {
        report.send_replace(Supervised::Running(identity.clone()));
        if let Some(process) = Process::open(identity.pid, identity.start_time) {
            process.ended().await;
        }
        if was_stopped(&instance, &identity) {
            return Ok(End::Stopped);
        }
        match running::answering(&instance).await {
            Some(hello) => identity = hello.identity,
            None => return Ok(End::Died(format!("process {} ended", identity.pid))),
        }
    }
}

/// When to try again, and when not to any more.
struct Backoff {
    policy: RestartPolicy,
    recent: VecDeque<Instant>,
    /// Since the daemon last recovered.
    in_a_row: u32,
}

impl Backoff {
    fn new(policy: RestartPolicy) -> Self {
        Self { policy, recent: VecDeque::new(), in_a_row: 0 }
    }

    fn served(&mut self, length: Duration) {
        if length >= self.policy.healthy_after {
            self.in_a_row = 0;
        }
    }

    /// The time until the next attempt; `None` when there is to be none. `jitter` from 0 to 1
    /// spreads it over a fifth to either side, lest many daemons that died of one cause all come
    /// back at once.
    fn failed(&mut self, now: Instant, jitter: f64) -> Option<Duration> {
        let window = self.policy.window;
        self.recent.retain(|&failure| now.duration_since(failure) < window);
        self.recent.push_back(now);
        if self.recent.len() >= self.policy.max_failures {
            return None;
        }
        let doubled = self.policy.min_delay.saturating_mul(1 << self.in_a_row.min(16));
        self.in_a_row += 1;
        let delay = doubled.min(self.policy.max_delay).mul_f64(0.8 + 0.4 * jitter);
        Some(delay.clamp(self.policy.min_delay, self.policy.max_delay))
    }
}

fn jitter() -> f64 {
    // Keys of the standard library's hash tables are random, which is all that is needed here.
    let random = RandomState::new().build_hasher().finish();
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// An error and its causes in one line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_limit_and_the_budget_ends() {
        let policy = RestartPolicy { max_failures: 8, ..RestartPolicy::default() };
        let mut backoff = Backoff::new(policy);
        let now = Instant::now();
        let delays: Vec<_> =
            std::iter::from_fn(|| backoff.failed(now, 0.5)).map(|d| d.as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn jitter_keeps_within_the_limits() {
        let mut backoff = Backoff::new(RestartPolicy::default());
        let now = Instant::now();
        assert_eq!(backoff.failed(now, 0.0), Some(Duration::from_secs(1)));
        assert_eq!(backoff.failed(now, 1.0), Some(Duration::from_millis(2400)));
        assert!((0.0..1.0).contains(&jitter()));
    }

    #[test]
    fn old_failures_are_forgotten_and_a_recovery_begins_anew() {
        let mut backoff = Backoff::new(RestartPolicy::default());
        let now = Instant::now();
        for _ in 0..4 {
            assert!(backoff.failed(now, 0.5).is_some());
        }
        backoff.served(Duration::from_secs(61));
        let later = now + Duration::from_secs(601);
        assert_eq!(backoff.failed(later, 0.5), Some(Duration::from_secs(1)));
        assert_eq!(backoff.failed(later, 0.5), Some(Duration::from_secs(2)));
    }
}
