use rbee_api::{Capabilities, Hive, HiveList, HiveState, JobRequest};

use crate::{
    app::App,
    cli::{HiveArgs, HiveVerb},
    commands::{print, worker},
    failure::Failure,
    job::Job,
    render::{Table, age, bytes, short_hash},
};

pub(crate) async fn run(app: &App, verb: HiveVerb) -> Result<(), Failure> {
    match verb {
        HiveVerb::Start(args) => job(app, args, |alias| JobRequest::HiveStart { alias }).await,
        HiveVerb::Stop { now, hive } => {
            job(app, hive, |alias| JobRequest::HiveStop { alias, now }).await
        }
        HiveVerb::Status(args) => {
            let hive = one(list(app).await?, known(app, args.alias)?)?;
            print(app, args.output.json, &hive, describe)
        }
        HiveVerb::List(args) => {
            print(app, args.output.json, &list(app).await?, |list| table(&list.hives))
        }
    }
}

/// The hives as the queen sees them; as they are configured when no queen runs.
pub(crate) async fn list(app: &App) -> Result<HiveList, Failure> {
    match app.running_queen().await? {
        Some(queen) => Ok(queen.hives().await?),
        None => Ok(HiveList { hives: configured(app) }),
    }
}

/// Refuses an alias that is not configured, before anything is started for it.
pub(crate) fn known(app: &App, alias: Option<String>) -> Result<Option<String>, Failure> {
    // A queen elsewhere has its own configuration.
    if app.config.queen.url.is_none()
        && let Err(error) = app.config.hive(alias.as_deref())
    {
        return Err(Failure::usage(error).hint("`./rbee hive list` shows the hives"));
    }
    Ok(alias)
}

/// Makes sure of a hive, with what that takes told as it happens.
pub(crate) async fn ensure(app: &App, alias: Option<String>) -> Result<(), Failure> {
    let request = JobRequest::HiveStart { alias: known(app, alias)? };
    Job::start(app, &request).await?.finish().await.map(drop)
}

async fn job(
    app: &App,
    args: HiveArgs,
    request: impl FnOnce(Option<String>) -> JobRequest,
) -> Result<(), Failure> {
    let request = request(known(app, args.alias)?);
    let result = Job::start(app, &request).await?.finish().await?;
    print(app, args.output.json, &result, |_| String::new())
}

fn configured(app: &App) -> Vec<Hive> {
    let stopped = |hive: &rbee_config::HiveEntry| Hive {
        alias: hive.alias.clone(),
        host: hive.host.clone(),
        port: hive.port,
        base_url: None,
        state: HiveState::Stopped,
        detail: Some("not known: no queen runs".to_owned()),
        health: None,
        capabilities: None,
        workers: Default::default(),
        models: Default::default(),
    };
    app.config.hives.iter().map(stopped).collect()
}

fn one(list: HiveList, alias: Option<String>) -> Result<Hive, Failure> {
    let mut hives = list.hives.into_iter();
    let found = match &alias {
        Some(alias) => hives.find(|hive| hive.alias == *alias),
        None => hives.next(),
    };
    found.ok_or_else(|| match alias {
        Some(alias) => Failure::usage(format_args!("the queen knows no hive `{alias}`"))
            .hint("`./rbee hive list` shows the hives"),
        None => Failure::failed("the queen knows no hive"),
    })
}

pub(crate) fn state_name(state: HiveState) -> &'static str {
    match state {
        HiveState::Stopped => "stopped",
        HiveState::Starting => "starting",
        HiveState::Ready => "ready",
        HiveState::Failed => "failed",
    }
}

fn table(hives: &[Hive]) -> String {
    let mut table = Table::new(&["ALIAS", "HOST", "PORT", "STATE", "WORKERS", "DETAIL"]);
    for hive in hives {
        table.row([
            hive.alias.clone(),
            hive.host.clone(),
            hive.port.to_string(),
            state_name(hive.state).to_owned(),
            hive.workers.workers.len().to_string(),
            hive.detail.clone().unwrap_or_default(),
        ]);
    }
    table.text()
}

fn describe(hive: &Hive) -> String {
    let mut facts = Table::facts();
    facts.fact("alias", &hive.alias);
    facts.fact("state", state_name(hive.state));
    facts.fact("address", hive.base_url.as_deref().unwrap_or("none"));
    if let Some(health) = &hive.health {
        facts.fact("pid", &health.pid.to_string());
        facts.fact("build", short_hash(&health.exe_hash));
        facts.fact("age", &age(health.uptime_s));
    }
    if let Some(detail) = &hive.detail {
        facts.fact("detail", detail);
    }
    for line in hive.capabilities.iter().flat_map(devices) {
        facts.fact("device", &line);
    }
    if let Some(Capabilities { memory_available_bytes, memory_total_bytes, .. }) = hive.capabilities
    {
        let (free, total) = (bytes(memory_available_bytes), bytes(memory_total_bytes));
        facts.fact("memory", &format!("{free} free of {total}"));
    }
    let mut text = facts.text();
    if !hive.workers.workers.is_empty() {
        text.push('\n');
        text.push_str(&worker::table(&hive.workers));
    }
    text
}

fn devices(capabilities: &Capabilities) -> Vec<String> {
    let line = |device: &rbee_api::Device| {
        let cores = device.cores.map(|cores| format!(", {cores} cores")).unwrap_or_default();
        let memory =
            device.memory_bytes.map(|memory| format!(", {}", bytes(memory))).unwrap_or_default();
        format!("{}: {}{cores}{memory}", device.id, device.name)
    };
    capabilities.devices.iter().map(line).collect()
}
