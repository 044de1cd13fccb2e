use narration_core::Narration;
use queen_lifecycle::{StopRequest, stop_queen};
use serde::Serialize;

use crate::{
    app::{App, lifecycle_failure},
    cli::QueenVerb,
    client::QueenClient,
    commands::{print, status},
    failure::Failure,
};

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
        QueenVerb::Stop { keep_hives, now, output } => {
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

async fn ready(app: &App, queen: &QueenClient, json: bool) -> Result<(), Failure> {
    let health = queen.health().await?;
    let human = format!("The queen answers at {} (pid {})", queen.base_url(), health.pid);
    Narration::new("keeper", "queen_start", human).about("queen").emit();
    print(app, json, &health, |_| String::new())
}

async fn stop(app: &App, request: StopRequest) -> Result<Stopped, Failure> {
    app.is_ours_to("stop")?;
    let report = Box::pin(stop_queen(&app.config, request)).await.map_err(lifecycle_failure)?;
    let human = match report.stopped.as_slice() {
        [] => "Nothing was running".to_owned(),
        stopped => format!("Stopped {}", stopped.join(", ")),
    };
    Narration::new("keeper", "queen_stop", human).about("queen").emit();
    Ok(Stopped { stopped: report.stopped })
}
