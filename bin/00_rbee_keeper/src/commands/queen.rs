use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use narration_core::Narration;
use queen_lifecycle::{StopRequest, stop_queen};
use rbee_api::{JobInfo, JobState};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    app::{App, lifecycle_failure},
    cli::{OutputArgs, QueenVerb, StopArgs},
    client::QueenClient,
    commands::{print, status},
    failure::Failure,
    render::age,
};

/// A stop that takes no longer needs no explanation.
const MOMENT: Duration = Duration::from_secs(1);

/// What a stop ended.
#[derive(Serialize)]
struct Stopped {
    stopped: Vec<String>,
}

pub(crate) async fn run(app: &App, verb: QueenVerb) -> Result<(), Failure> {
    match verb {
        QueenVerb::Start(args) => {
            let queen = app.queen().await?;
            ready(app, &queen, args.output.json).await
        }
        QueenVerb::Stop(StopArgs { keep_hives, now, output }) => {
            let stopped = stop(app, StopRequest { keep_hives, now }).await?;
            print(app, output.json, &stopped, |_| String::new())
        }
        QueenVerb::Status(args) => status::of_queen(app, args.output).await,
        QueenVerb::Restart(args) => {
            let queen = app.restart_queen().await?;
            ready(app, &queen, args.output.json).await
        }
    }
}

/// Starts the chain, and says that it stays and how it ends.
pub(crate) async fn serve(app: &App, args: OutputArgs) -> Result<(), Failure> {
    let queen = app.queen().await?;
    ready(app, &queen, args.output.json).await?;
    app.terminal.say(
        "It goes on in the background; `./rbee logs -f` shows what it does, `./rbee stop` ends it, \
         `./rbee service install` starts it with your session",
    );
    Ok(())
}

async fn ready(app: &App, queen: &QueenClient, json: bool) -> Result<(), Failure> {
    let health = queen.health().await?;
    let human = format!("The queen answers at {} (pid {})", queen.base_url(), health.pid);
    Narration::new("keeper", "queen_start", human).about("queen").emit();
    print(app, json, &health, |_| String::new())
}

async fn stop(app: &App, request: StopRequest) -> Result<Stopped, Failure> {
    app.is_ours_to("stop")?;
    let jobs = if request.now { Vec::new() } else { under_way(app).await };
    let stopping = Box::pin(stop_queen(&app.config, request));
    let report = waiting(app, jobs, stopping).await.map_err(lifecycle_failure)?;
    let human = match report.stopped.as_slice() {
        [] => "Nothing was running".to_owned(),
        stopped => format!("Stopped {}", stopped.join(", ")),
    };
    Narration::new("keeper", "queen_stop", human).about("queen").emit();
    Ok(Stopped { stopped: report.stopped })
}

/// The queen's jobs that have not ended; none where nobody could say.
async fn under_way(app: &App) -> Vec<JobInfo> {
    let Ok(Some(queen)) = app.running_queen().await else { return Vec::new() };
    let mut jobs = queen.jobs().await.map_or_else(|_| Vec::new(), |list| list.jobs);
    jobs.retain(|job| job.state == JobState::Running);
    jobs
}

/// Says for whom a stop waits, unless that is over in a moment.
async fn waiting<T>(app: &App, jobs: Vec<JobInfo>, stopping: impl Future<Output = T>) -> T {
    let mut stopping = pin!(stopping);
    if jobs.is_empty() {
        return stopping.await;
    }
    if let Ok(stopped) = timeout(MOMENT, &mut stopping).await {
        return stopped;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    let human = waits_for(&jobs, now, app.config.queen.drain_timeout.as_secs());
    Narration::new("keeper", "queen_stop", human).about("queen").emit();
    stopping.await
}

fn waits_for(jobs: &[JobInfo], now_ms: u64, drain_s: u64) -> String {
    let mut kinds: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for job in jobs {
        let (count, since) = kinds.entry(&job.operation).or_insert((0, job.created_at_ms));
        *count += 1;
        *since = job.created_at_ms.min(*since);
    }
    let kinds: Vec<_> = kinds
        .into_iter()
        .map(|(operation, (count, since))| {
            let begun = age(now_ms.saturating_sub(since) / 1000);
            match count {
                1 => format!("1 {operation} (begun {begun} ago)"),
                _ => format!("{count} {operation} (the oldest begun {begun} ago)"),
            }
        })
        .collect();
    let (requests, drain) = (kinds.join(", "), age(drain_s));
    format!("Waiting for what is under way: {requests}; for {drain} at most, `--now` cuts it")
}

#[cfg(test)]
mod tests {
    use rbee_api::{JobInfo, JobState};

    use super::waits_for;

    #[test]
    fn a_stop_names_the_requests_that_it_waits_for() {
        let job = |operation: &str, created_at_ms| JobInfo {
            job_id: "j".into(),
            operation: operation.into(),
            subject: None,
            state: JobState::Running,
            error: None,
            last_event_id: 1,
            created_at_ms,
        };
        let jobs = [job("chat", 60_000), job("model_pull", 1_000), job("chat", 1_000)];
        assert_eq!(
            waits_for(&jobs, 121_000, 1800),
            "Waiting for what is under way: 2 chat (the oldest begun 2m 0s ago), 1 model_pull \
             (begun 2m 0s ago); for 30m 0s at most, `--now` cuts it"
        );
    }
}
