use narration_core::Narration;
use rbee_api::{Capabilities, Hive, HiveInstalled, HiveList, HiveState, JobRequest};
use rbee_config::{ConfigFile, HiveEntry, hive_lines};

use crate::{
    app::App,
    cli::{HiveAddArgs, HiveArgs, HiveVerb},
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
        HiveVerb::Update(args) => job(app, args, |alias| JobRequest::HiveUpdate { alias }).await,
        HiveVerb::Install(args) => install(app, args).await,
        HiveVerb::Uninstall { models, hive } => {
            job(app, hive, |alias| JobRequest::HiveUninstall { alias, models }).await
        }
        HiveVerb::Status(args) => {
            let hive = one(list(app).await?, known(app, args.alias)?)?;
            print(app, args.output.json, &hive, describe)
        }
        HiveVerb::List(args) => {
            print(app, args.output.json, &list(app).await?, |list| table(&list.hives))
        }
        HiveVerb::Add(args) => add(app, &args),
        HiveVerb::Remove { alias } => remove(app, &alias).await,
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
        return Err(unknown(app, alias.as_deref().unwrap_or_default(), error));
    }
    Ok(alias)
}

/// What there is, or how the alias that was meant comes to be.
fn unknown(app: &App, alias: &str, error: rbee_config::Error) -> Failure {
    let is_misspelt = matches!(&error, rbee_config::Error::UnknownHive { nearest: Some(_), .. });
    let failure = Failure::usage(error).hint("`./rbee hive list` shows the hives");
    match HiveEntry::beside(&app.config.hives, app.config.queen.port, alias, None) {
        Ok(hive) if !is_misspelt => {
            let lines = hive_lines(&hive).trim_end().replace('\n', "\n  ");
            let path = app.config.paths.config_file.display();
            failure.hint(format!("`./rbee hive add {alias}` writes this into `{path}`:\n  {lines}"))
        }
        _ => failure,
    }
}

fn add(app: &App, args: &HiveAddArgs) -> Result<(), Failure> {
    app.is_ours_to("configure")?;
    let hives = &app.config.hives;
    let hive = match &args.host {
        Some(host) => HiveEntry::elsewhere(hives, &args.alias, host),
        None => HiveEntry::beside(hives, app.config.queen.port, &args.alias, args.port),
    };
    let hive = hive.map_err(Failure::usage)?;
    let path = &app.config.paths.config_file;
    let mut file = ConfigFile::open(&app.config).map_err(Failure::usage)?;
    // The hive that is there without a word must be written once there are others.
    let unwritten = if file.has_hives() { &[][..] } else { hives };
    let added: Vec<_> = unwritten.iter().chain([&hive]).cloned().collect();
    file.add_hives(&added);
    file.save().map_err(Failure::usage)?;
    let names: Vec<_> = added.iter().map(|hive| format!("`{}`", hive.alias)).collect();
    let human = format!("Wrote {} into `{}`", names.join(" and "), path.display());
    Narration::new("keeper", "hive_add", human).about(&hive.alias).emit();
    app.terminal.say(&format!("`./rbee hive start {}` starts it", hive.alias));
    Ok(())
}

async fn remove(app: &App, alias: &str) -> Result<(), Failure> {
    app.is_ours_to("configure")?;
    app.config
        .hive(Some(alias))
        .map_err(|error| Failure::usage(error).hint("`./rbee hive list` shows the hives"))?;
    let runs = list(app).await?.hives.into_iter().any(|hive| {
        hive.alias == alias && matches!(hive.state, HiveState::Ready | HiveState::Starting)
    });
    if runs {
        return Err(Failure::usage(format_args!("the hive `{alias}` runs"))
            .hint(format!("`./rbee hive stop {alias}` first; its workers stop with it")));
    }
    let path = &app.config.paths.config_file;
    let mut file = ConfigFile::open(&app.config).map_err(Failure::usage)?;
    if !file.remove_hive(alias) {
        return Err(Failure::usage(format_args!(
            "the hive `{alias}` is there because `{}` names no other",
            path.display()
        ))
        .hint("`./rbee hive add` writes another one"));
    }
    file.save().map_err(Failure::usage)?;
    let human = format!("Took `{alias}` out of `{}`", path.display());
    Narration::new("keeper", "hive_remove", human).about(alias).emit();
    Ok(())
}

/// Makes sure of a hive, with what that takes told as it happens.
pub(crate) async fn ensure(app: &App, alias: Option<String>) -> Result<(), Failure> {
    let request = JobRequest::HiveStart { alias: known(app, alias)? };
    Job::start(app, &request).await?.finish().await.map(drop)
}

async fn install(app: &App, args: HiveArgs) -> Result<(), Failure> {
    let request = JobRequest::HiveInstall { alias: known(app, args.alias)? };
    let result = Job::start(app, &request).await?.finish().await?;
    print(app, args.output.json, &result, |result| {
        let installed = result.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok());
        let Some(HiveInstalled { alias, host, pushed_bytes }) = installed else {
            return String::new();
        };
        let brought = match pushed_bytes {
            0 => "all of it was there".to_owned(),
            pushed => format!("{} brought there", bytes(pushed)),
        };
        format!("`{alias}` is on `{host}`: {brought}; `./rbee hive start {alias}` starts it\n")
    })
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
    let stopped = |hive: &HiveEntry| Hive {
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
        leaving: Vec::new(),
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
            match hive.port {
                // Reached over SSH.
                0 if hive.base_url.as_deref().is_none_or(|url| url.starts_with("ssh:")) => {
                    "-".into()
                }
                port => port.to_string(),
            },
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
