use std::{convert::Infallible, future::pending, time::Duration};

use anyhow::Context as _;
use narration_core::{Level, Narration};
use queen_lifecycle::{
    StopRequest, Supervised, find_queen, notify_service_manager, stop_queen, supervise_queen,
    watchdog_interval,
};
use rbee_config::Environment;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use crate::{
    app::{App, lifecycle_failure, no_folder},
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
    if installed == Installed::New && matches!(manager, Manager::Systemd { .. }) {
        let human = "Starting the chain; `journalctl --user -fu rbee` shows how far it is";
        Narration::new("keeper", "service", human).emit();
    }
    manager.start().await?;
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
    app.config.paths.create().map_err(no_folder)?;
    tokio::select! {
        failed = keep(app) => failed,
        never = live() => match never {},
        _ = terminations.recv() => {
            notify_service_manager("STOPPING=1\nSTATUS=Draining the chain, then stopping it\n");
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
        let end = loop {
            let now = status.borrow_and_update().clone();
            notify_service_manager(&state_of(&now));
            if matches!(now, Supervised::Failed { .. } | Supervised::Stopped) {
                break now;
            }
            status.changed().await.context("the queen's supervisor died")?;
        };
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

/// Tells the service manager that this process does not hang, where it wants to hear that.
async fn live() -> Infallible {
    let Some(within) = watchdog_interval() else { return pending().await };
    let mut beats = interval(within / 2);
    loop {
        beats.tick().await;
        notify_service_manager("WATCHDOG=1\n");
    }
}

/// What a service manager is told of the queen, each thing on one line.
fn state_of(queen: &Supervised) -> String {
    let (ready, status) = match queen {
        Supervised::Starting => ("", "Starting the queen".to_owned()),
        Supervised::Running(queen) => {
            ("READY=1\n", format!("The queen listens at {}", queen.address))
        }
        Supervised::BackingOff { why, .. } => ("", format!("The queen is started again: {why}")),
        Supervised::Failed { why } => ("", format!("The queen failed too often: {why}")),
        Supervised::Stopped => ("", "The queen was stopped".to_owned()),
    };
    format!("{ready}STATUS={}\n", status.replace('\n', " "))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use queen_lifecycle::Supervised;

    use super::state_of;

    #[test]
    fn a_service_manager_gets_each_thing_on_a_line_of_its_own() {
        let why = "it ended; the end of `queen.log`:\n    no room".to_owned();
        let queen = Supervised::BackingOff { delay: Duration::from_secs(1), why };
        let said =
            "STATUS=The queen is started again: it ended; the end of `queen.log`:     no room\n";
        assert_eq!(state_of(&queen), said);
        assert_eq!(state_of(&Supervised::Starting), "STATUS=Starting the queen\n");
    }
}
