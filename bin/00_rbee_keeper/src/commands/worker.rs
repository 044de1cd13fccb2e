use rbee_api::{Worker, WorkerList, WorkerState};

use crate::{
    app::App,
    cli::WorkerVerb,
    commands::print,
    failure::Failure,
    render::{Table, age, bytes},
};

pub(crate) async fn run(app: &App, verb: WorkerVerb) -> Result<(), Failure> {
    let WorkerVerb::List(args) = verb;
    let list = match app.running_queen().await? {
        Some(queen) => queen.workers().await?,
        None => {
            app.terminal.say(&app.no_queen());
            WorkerList::default()
        }
    };
    print(app, args.output.json, &list, table)
}

pub(crate) fn table(list: &WorkerList) -> String {
    let mut table =
        Table::new(&["ID", "MODEL", "STATE", "DEVICE", "PID", "MEMORY", "AGE", "BUSY", "DETAIL"]);
    for worker in list.workers.iter().chain(&list.leaving) {
        table.row(row(worker));
    }
    table.text()
}

fn row(worker: &Worker) -> [String; 9] {
    let health = worker.health.as_ref();
    [
        worker.id.clone(),
        worker.model.clone(),
        state_name(worker.state).to_owned(),
        worker.device.clone(),
        health.map(|health| health.pid.to_string()).unwrap_or_default(),
        worker.memory_bytes.map(bytes).unwrap_or_default(),
        health.map(|health| age(health.uptime_s)).unwrap_or_default(),
        worker.active_requests.to_string(),
        worker.detail.clone().or_else(|| part(worker)).unwrap_or_default(),
    ]
}

/// Of several that compute the model together.
fn part(worker: &Worker) -> Option<String> {
    let part = worker.part.as_ref()?;
    Some(match part.rank {
        0 => format!("head of {}", part.parts),
        rank => format!("part {rank} of {}", part.parts),
    })
}

pub(crate) fn state_name(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Starting => "starting",
        WorkerState::Ready => "ready",
        WorkerState::Draining => "draining",
        WorkerState::Failed => "failed",
    }
}
