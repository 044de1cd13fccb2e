use std::time::Duration;

use anyhow::Context as _;
use narration_core::{Level, Narration};
use queen_lifecycle::{StopRequest, Supervised, find_queen, stop_queen, supervise_queen};
use rbee_config::Environment;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use crate::{
    app::{App, lifecycle_failure},
    cli::{Output, ServiceVerb},
    commands::print,
    failure::{Failure, Kind},
    render::Table,
    service::{Installed, Manager, Service, State},
};

/// How often a service whose queen was stopped by hand looks for one that was started by hand.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

pub(crate) async fn run(app: &App, verb: ServiceVerb) -> Result<(), Failure> {
    match verb {
        ServiceVerb::Install(args) => install(app, args.output).await,
        ServiceVerb::Uninstall(args) => uninstall(app, args.output).await,
        ServiceVerb::Status(args) => show(app, &manager()?.state().await?, args.output),
        ServiceVerb::Run => serve(app).await,
    }
}

async fn install(app: &App, output: Output) -> Result<(), Failure> {
    if let Some(url) = &app.config.queen.url {
        return Err(Failure::usage(format_args!(
            "the queen at `{url}` is somebody else's to keep running"
        ))
        .hint("a service is for a queen of this machine; leave `queen.url` out"));
    }
    let manager = manager()?;
    let service = Service::of(&app.config, Environment::capture())?;
    let installed = manager.install(&service).await?;
    let state = manager.state().await?;
    let (file, level) = (state.file.display(), Level::Info);
    let (human, level) = match installed {
        Installed::New => (format!("Installed `{file}` and started it"), level),
        Installed::Same => (format!("`{file}` was installed already; it runs"), level),
        Installed::Changed => (
            format!("Changed `{file}`; what runs goes on as it was until it is started anew"),
            Level::Warn,
        ),
    };
    Narration::new("keeper", "service", human).level(level).emit();
    if installed == Installed::New && matches!(manager, Manager::Systemd { .. }) {
        let human = "It starts when you log in; `loginctl enable-linger` has it start at boot";
        Narration::new("keeper", "service", human).emit();
    }
    if output.json { show(app, &state, output) } else { Ok(()) }
}

async fn uninstall(app: &App, output: Output) -> Result<(), Failure> {
    let manager = manager()?;
    let human = if manager.uninstall().await? {
        "The service is stopped and removed"
    } else {
        "No service is installed"
    };
    Narration::new("keeper", "service", human).emit();
    if output.json { show(app, &manager.state().await?, output) } else { Ok(()) }
}

/// In the foreground for the service manager: keeps the queen running until SIGTERM, which drains
/// the chain and stops it.
async fn serve(app: &App) -> Result<(), Failure> {
    let mut terminations =
        signal(SignalKind::terminate()).context("cannot listen for the end of the service")?;
    app.config.paths.create().map_err(|error| Failure::new(Kind::Failed, error))?;
    tokio::select! {
        failed = keep(app) => failed,
        _ = terminations.recv() => {
            Narration::new("keeper", "service", "Draining the chain, then stopping it").emit();
            let report = Box::pin(stop_queen(&app.config, StopRequest::default())).await;
            let stopped = report.map_err(lifecycle_failure)?.stopped;
            Narration::new("keeper", "service", format!("Stopped {}", stopped.join(", "))).emit();
            Ok(())
        }
    }
}

/// Returns when the queen failed too often.
async fn keep(app: &App) -> Result<(), Failure> {
    loop {
        let supervisor = supervise_queen(&app.config).map_err(lifecycle_failure)?;
        let mut status = supervisor.status();
        let end = status
            .wait_for(|status| matches!(status, Supervised::Failed { .. } | Supervised::Stopped))
            .await
            .context("the queen's supervisor died")?
            .clone();
        if let Supervised::Failed { why } = end {
            return Err(Failure::new(Kind::Unreachable, anyhow::anyhow!("{why}"))
                .context("the queen failed too often"));
        }
        let human = "The queen was stopped; it is kept running again once somebody starts it";
        Narration::new("keeper", "service", human).about("queen").emit();
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Box::pin(find_queen(&app.config)).await.map_err(lifecycle_failure)?.is_none() {
            looks.tick().await;
        }
    }
}

fn manager() -> Result<Manager, Failure> {
    Manager::of_this_machine(Environment::capture())
}

fn show(app: &App, state: &State, output: Output) -> Result<(), Failure> {
    print(app, output.json, state, |state| {
        if !state.installed {
            return "not installed\n".to_owned();
        }
        let mut table = Table::new(&["SERVICE", "ENABLED", "ACTIVE"]);
        table.row([
            state.file.display().to_string(),
            state.enabled.clone().unwrap_or_default(),
            state.active.clone().unwrap_or_default(),
        ]);
        table.text()
    })
}
