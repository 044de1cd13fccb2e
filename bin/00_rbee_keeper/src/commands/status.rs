use rbee_api::{Health, Hive, HiveState, Status, Worker};
use serde::Serialize;

use crate::{
    app::App,
    chain::{CHAIN, ENGINE_WORKERS, Freshness, Verdict, engine_verdicts, verdicts},
    cli::{Output, StatusArgs},
    client::QueenClient,
    commands::{hive, print, worker},
    failure::{Failure, Kind},
    render::{Table, age, short_hash},
};

/// What runs of the chain.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Whether a queen answers; without one nothing is known of the levels below.
    running: bool,
    levels: Vec<Row>,
}

/// One process, or one that is configured and does not run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// `queen`, `hive` or `worker`.
    pub(crate) level: &'static str,
    pub(crate) name: String,
    /// What the process calls itself: its binary's name.
    #[serde(skip)]
    pub(crate) binary: Option<String>,
    pub(crate) state: &'static str,
    pub(crate) pid: Option<u32>,
    pub(crate) port: Option<u16>,
    pub(crate) exe_hash: Option<String>,
    pub(crate) age_s: Option<u64>,
    /// `None` while it does not run, and where there are no sources to compare with.
    pub(crate) freshness: Option<Freshness>,
    /// What made it stale, or why it failed.
    pub(crate) detail: Option<String>,
}

pub(crate) async fn run(app: &App, args: StatusArgs) -> Result<(), Failure> {
    let queen = app.running_queen().await?;
    let report = show(app, queen.as_ref(), args.output).await?;
    verdict(&report)
}

/// The whole chain, as `queen` knows it.
pub(crate) async fn show(
    app: &App,
    queen: Option<&QueenClient>,
    output: Output,
) -> Result<Report, Failure> {
    let report = report(app, queen).await?;
    if report.running || output.json {
        print(app, output.json, &report, table)?;
    } else {
        app.terminal.say(&app.no_queen());
    }
    Ok(report)
}

/// The exit code that scripts go by.
fn verdict(report: &Report) -> Result<(), Failure> {
    let is_broken = |row: &Row| matches!(row.state, "failed" | "stuck");
    match report {
        Report { running: false, .. } => Err(Failure::said(Kind::Unreachable)),
        Report { levels, .. } if levels.iter().any(is_broken) => Err(Failure::said(Kind::Failed)),
        Report { .. } => Ok(()),
    }
}

/// The queen alone.
pub(crate) async fn of_queen(app: &App, output: Output) -> Result<(), Failure> {
    let queen = app.running_queen().await?;
    let report = match &queen {
        Some(queen) => {
            let mut levels = vec![queen_row(queen).await?];
            judge(&mut levels, &verdicts(&app.config, &CHAIN[2..3]).await?);
            Report { running: true, levels }
        }
        None => Report { running: false, levels: vec![stopped_queen(app)] },
    };
    print(app, output.json, &report, table)?;
    verdict(&report)
}

async fn report(app: &App, queen: Option<&QueenClient>) -> Result<Report, Failure> {
    let Some(queen) = queen else {
        return Ok(Report { running: false, levels: vec![stopped_queen(app)] });
    };
    let mut levels = rows(queen).await?;
    let mut verdicts = verdicts(&app.config, &CHAIN[2..]).await?;
    if levels.iter().any(|row| row.is_of_engine()) {
        verdicts.extend(engine_verdicts(&app.config).await?);
    }
    judge(&mut levels, &verdicts);
    Ok(Report { running: true, levels })
}

/// Every process that the queen knows, itself included, without a verdict.
pub(crate) async fn rows(queen: &QueenClient) -> Result<Vec<Row>, Failure> {
    let mut rows = vec![queen_row(queen).await?];
    for hive in queen.hives().await?.hives {
        rows.push(hive_row(&hive));
        rows.extend(hive.workers.workers.iter().map(worker_row));
    }
    Ok(rows)
}

/// Compares each running binary with the verdict on it.
///
/// A build that is up to date does not make a process fresh that runs an older one.
fn judge(rows: &mut [Row], verdicts: &[Verdict]) {
    for row in rows {
        let verdict = verdicts.iter().find(|verdict| row.runs(verdict.level, verdict.binary));
        let (Some(running), Some(verdict)) = (&row.exe_hash, verdict) else { continue };
        let old = verdict.freshness == Freshness::Fresh
            && verdict.exe_hash.as_ref().is_some_and(|built| built != running);
        row.freshness = Some(if old { Freshness::Stale } else { verdict.freshness });
        if row.detail.is_none() {
            row.detail = if old {
                Some("runs an older build than there is".to_owned())
            } else {
                verdict.reasons.first().cloned()
            };
        }
    }
}

async fn queen_row(queen: &QueenClient) -> Result<Row, Failure> {
    let health = queen.health().await?;
    let row = Row { port: port_of(queen.base_url()), ..Row::stopped("queen", "queen") };
    Ok(row.with_health(&health))
}

fn stopped_queen(app: &App) -> Row {
    // 0 is no port: the system chooses one.
    let port = Some(app.config.queen.port).filter(|port| *port != 0);
    Row { port, ..Row::stopped("queen", "queen") }
}

fn hive_row(hive: &Hive) -> Row {
    let row = Row {
        port: hive
            .base_url
            .as_deref()
            .and_then(port_of)
            .or(Some(hive.port).filter(|port| *port != 0)),
        detail: hive.detail.clone(),
        ..Row::stopped("hive", &hive.alias)
    };
    let row = match &hive.health {
        Some(health) => row.with_health(health),
        None => row,
    };
    // A draining hive says so itself.
    match (hive.state, row.state) {
        (HiveState::Ready, "draining") => row,
        (state, _) => Row { state: hive::state_name(state), ..row },
    }
}

fn worker_row(worker: &Worker) -> Row {
    let row = Row { detail: worker.detail.clone(), ..Row::stopped("worker", &worker.model) };
    let row = match &worker.health {
        Some(health) => row.with_health(health),
        None => row,
    };
    Row { state: worker::state_name(worker.state), ..row }
}

impl Row {
    /// Whether it is of that level, and of that binary as far as is known.
    pub(crate) fn runs(&self, level: &str, binary: &str) -> bool {
        let is_of_another = self.binary.as_ref().is_some_and(|own| own != binary);
        self.level == level && !(is_of_another && self.level == "worker")
    }

    fn is_of_engine(&self) -> bool {
        ENGINE_WORKERS.iter().any(|worker| self.binary.as_deref() == Some(worker.name))
    }

    pub(crate) fn stopped(level: &'static str, name: &str) -> Self {
        Self {
            level,
            name: name.to_owned(),
            binary: None,
            state: "stopped",
            pid: None,
            port: None,
            exe_hash: None,
            age_s: None,
            freshness: None,
            detail: None,
        }
    }

    fn with_health(self, health: &Health) -> Self {
        Self {
            state: match health.status {
                Status::Ok => "ready",
                Status::Draining => "draining",
                Status::Stuck => "stuck",
            },
            binary: Some(health.role.clone()),
            pid: Some(health.pid),
            exe_hash: Some(health.exe_hash.clone()),
            age_s: Some(health.uptime_s),
            ..self
        }
    }
}

fn port_of(base_url: &str) -> Option<u16> {
    reqwest::Url::parse(base_url).ok()?.port()
}

fn table(report: &Report) -> String {
    let mut table =
        Table::new(&["LEVEL", "NAME", "STATE", "PID", "PORT", "BUILD", "AGE", "FRESH", "DETAIL"]);
    for row in &report.levels {
        table.row([
            row.level.to_owned(),
            row.name.clone(),
            row.state.to_owned(),
            row.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            row.port.map(|port| port.to_string()).unwrap_or_default(),
            row.exe_hash.as_deref().map(short_hash).unwrap_or_default().to_owned(),
            row.age_s.map(age).unwrap_or_default(),
            row.freshness.map(Freshness::name).unwrap_or_default().to_owned(),
            row.detail.clone().unwrap_or_default(),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::{Freshness, Row, Verdict, judge};

    fn judged(
        running: &str,
        freshness: Freshness,
        built: Option<&str>,
    ) -> (Option<Freshness>, String) {
        let row = Row { exe_hash: Some(running.into()), ..Row::stopped("hive", "my-hive") };
        let verdict = Verdict {
            level: "hive",
            binary: "rbee-hive",
            freshness,
            reasons: vec!["`src/lib.rs` changed".into()],
            exe_hash: built.map(Into::into),
        };
        let mut rows = [row];
        judge(&mut rows, &[verdict]);
        let [row] = rows;
        (row.freshness, row.detail.unwrap_or_default())
    }

    #[test]
    fn a_process_of_the_last_build_is_as_fresh_as_that_build() {
        assert_eq!(judged("a", Freshness::Fresh, Some("a")).0, Some(Freshness::Fresh));
        let (freshness, detail) = judged("a", Freshness::Stale, Some("a"));
        assert_eq!((freshness, detail.as_str()), (Some(Freshness::Stale), "`src/lib.rs` changed"));
    }

    #[test]
    fn a_process_of_an_older_build_is_stale_however_fresh_the_build() {
        let (freshness, detail) = judged("old", Freshness::Fresh, Some("new"));
        assert_eq!(freshness, Some(Freshness::Stale));
        assert_eq!(detail, "runs an older build than there is");
    }

    #[test]
    fn a_worker_is_judged_by_its_own_binary() {
        let worker = |binary: &str| Row {
            exe_hash: Some("a".into()),
            binary: Some(binary.into()),
            ..Row::stopped("worker", "m")
        };
        let verdict = |binary: &'static str, built: &str| Verdict {
            level: "worker",
            binary,
            freshness: Freshness::Fresh,
            reasons: Vec::new(),
            exe_hash: Some(built.into()),
        };
        let mut rows = [worker("vllm-worker"), worker("llamacpp-worker"), worker("other")];
        judge(&mut rows, &[verdict("llamacpp-worker", "b"), verdict("vllm-worker", "a")]);
        let told = rows.map(|row| row.freshness);
        assert_eq!(told, [Some(Freshness::Fresh), Some(Freshness::Stale), None]);
    }

    #[test]
    fn nothing_is_said_of_what_does_not_run() {
        let mut rows = [Row::stopped("hive", "my-hive")];
        let verdict = Verdict {
            level: "hive",
            binary: "rbee-hive",
            freshness: Freshness::Stale,
            reasons: Vec::new(),
            exe_hash: None,
        };
        judge(&mut rows, &[verdict]);
        assert_eq!(rows[0].freshness, None);
    }
}
