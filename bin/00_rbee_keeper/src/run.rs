use std::{
    io::{self, IsTerminal as _},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use narration_core::{Level, Narration, NarrationLayer, TARGET};
use rbee_config::{NarrationMode, RbeeConfig};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    app::{App, CurrentJob},
    chain::is_first_run,
    cli::{Cli, Run, Verb},
    commands,
    failure::{Failure, Kind},
    terminal::{LogWriter, Terminal},
};

/// What `--verbose` shows where `RBEE_LOG` does not say.
const VERBOSE: &str = "debug,hyper_util=info,reqwest=info";

/// How long leaving waits for the queen to hear that a job is not wanted any more.
const CANCEL_DEADLINE: Duration = Duration::from_secs(5);

/// Does what was typed.
///
/// # Errors
///
/// What is to be told to the person, and the exit code.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let loaded = RbeeConfig::load(&cli.globals.overrides());
    let narration = loaded.as_ref().map_or(NarrationMode::Human, |config| config.narration);
    let terminal = Arc::new(Terminal::new(narration));
    let (verb, config) = match (cli.verb, loaded) {
        (Verb::Completions(args), _) => return commands::completions::run(&terminal, &args),
        (Verb::Doctor(args), Err(error)) => {
            return commands::doctor::without_config(&terminal, &args, &error);
        }
        (_, Err(error)) => {
            return Err(
                Failure::new(Kind::Usage, error).hint("`./rbee doctor` goes through everything")
            );
        }
        (verb, Ok(config)) => (verb, config),
    };
    let filter = config.log.as_deref().or(cli.globals.verbose.then_some(VERBOSE));
    start_tracing(&terminal, filter);
    for warning in config.warnings() {
        Narration::new("keeper", "config", warning).level(Level::Warn).emit();
    }
    if matches!(verb, Verb::Infer(_) | Verb::Chat(_) | Verb::Run(_)) && is_first_run(&config) {
        terminal.tell_steps();
    }
    let app = App::new(config, terminal);
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let result = runtime.block_on(drive(&app, verb));
    // A thread that reads standard input ends with the process.
    runtime.shutdown_background();
    let ended = app.terminal.end_line();
    result.and(ended)
}

/// Runs the verb until it ends or the person interrupts it, and cancels what they leave behind.
async fn drive(app: &App, verb: Verb) -> Result<(), Failure> {
    let mut interrupts = signal(SignalKind::interrupt()).context("cannot listen for interrupts")?;
    let result = match verb {
        Verb::Run(args) => match args.meaning(!io::stdin().is_terminal()) {
            Run::Chat(args) => commands::chat::run(app, &args, &mut interrupts).await,
            Run::Infer(args) => until_interrupt(app, Verb::Infer(args), &mut interrupts).await,
        },
        // Ctrl-C means something else there.
        Verb::Chat(args) => commands::chat::run(app, &args, &mut interrupts).await,
        Verb::Dev(args) => Box::pin(commands::dev::run(app, &args, &mut interrupts)).await,
        verb => until_interrupt(app, verb, &mut interrupts).await,
    };
    app.terminal.end_progress();
    if let Err(Failure { kind: Kind::Interrupted | Kind::Closed, .. }) = &result
        && let Some(job) = app.take_current()
    {
        cancel(job, &mut interrupts).await;
    }
    result
}

async fn until_interrupt(app: &App, verb: Verb, interrupts: &mut Signal) -> Result<(), Failure> {
    tokio::select! {
        result = Box::pin(commands::run(app, verb)) => result,
        _ = interrupts.recv() => Err(Failure::interrupted()),
    }
}

/// Tells the queen that nobody waits for the job; a further interrupt leaves at once.
pub(crate) async fn cancel(job: CurrentJob, interrupts: &mut Signal) {
    let cancelled = timeout(CANCEL_DEADLINE, job.queen.cancel(&job.job_id));
    tokio::select! {
        outcome = cancelled => match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, job = job.job_id, "the job was not cancelled"),
            Err(_) => tracing::warn!(job = job.job_id, "the queen did not hear of the cancellation"),
        },
        _ = interrupts.recv() => {}
    }
}

/// Narrations go to the terminal always, the log of this process where `filter` asks for it.
fn start_tracing(terminal: &Arc<Terminal>, filter: Option<&str>) {
    let narrator = Arc::clone(terminal);
    let narration = NarrationLayer::new(move |narration| narrator.narrate(&narration))
        .with_filter(filter_fn(|metadata| metadata.target() == TARGET));
    let registry = tracing_subscriber::registry().with(narration);
    if let Some(filter) = filter {
        // Narrations are shown already.
        let filter = EnvFilter::new(format!("{filter},{TARGET}=off"));
        let log = fmt::layer().with_ansi(false).with_writer(LogWriter(Arc::clone(terminal)));
        registry.with(log.with_filter(filter)).init();
    } else {
        registry.init();
    }
}
