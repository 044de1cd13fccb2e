use std::{
    future::{Future, pending},
    iter::from_fn,
    path::Path,
    pin::Pin,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use narration_core::Narration;
use rbee_api::JobRequest;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep_until},
};

use crate::{
    app::App,
    chain::CHAIN,
    cli::DevArgs,
    commands::{
        Logs,
        status::{Row, rows},
    },
    dev::{Below, Ear, Event, Key, Model, Screen, View, watch},
    failure::Failure,
    job::Job,
    render::Paint,
};

/// How often what runs is looked at while it changes.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked at otherwise, besides whenever its records change.
const REST_INTERVAL: Duration = Duration::from_secs(60);

/// What has just changed may go on changing for so long.
const RESTLESS: Duration = Duration::from_secs(3);

/// How often the logs are read while they are shown.
const LOG_INTERVAL: Duration = Duration::from_millis(500);

/// What is kept of the logs, in lines.
const LOG_LINES: usize = 500;

/// What has happened and has not been looked at yet.
const EVENTS: usize = 1024;

/// Something that is under way, if it is.
type UnderWay<'a, T> = Option<Pin<Box<dyn Future<Output = T> + 'a>>>;

/// Until the person leaves; nothing that goes wrong meanwhile ends it.
pub(crate) async fn run(app: &App, args: &DevArgs, interrupts: &mut Signal) -> Result<(), Failure> {
    let levels = &CHAIN[2..];
    let Some(root) = app.config.build_root() else {
        return Err(Failure::usage(
            "there is nothing to watch: nothing is built from sources here",
        )
        .hint("`./rbee config` shows `source_root` and `auto_update.enabled`"));
    };
    // Told to end, it still gives the screen back.
    let mut terminations =
        signal(SignalKind::terminate()).context("cannot listen for the end of the process")?;
    let (sender, mut events) = mpsc::channel(EVENTS);
    watch(root, &app.config.auto_update.profile, levels, &sender)?;
    let mut screen = if args.no_tui { None } else { Screen::open()? };
    let mut keys = screen.as_ref().map(|_| Screen::keys());
    let (told, mut narrations) = mpsc::channel(EVENTS);
    let _listening = app.terminal.listen(told, screen.is_some());

    let mut model = Model::new(levels);
    let mut update: UnderWay<'_, Result<(), Failure>> = None;
    let mut look: UnderWay<'_, Option<Vec<Row>>> = None;
    let mut records = records(&app.config.paths.run);
    let mut view = View { root: format!("{}/", root.display()), ..View::default() };
    let mut logs = Logs::of(app, None);
    let mut log_ticks = interval(LOG_INTERVAL);
    log_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last_look, mut last_change) = (None, Instant::now());
    loop {
        let is_restless = model.is_moving() || last_change.elapsed() < RESTLESS;
        let look_after = if is_restless { LOOK_INTERVAL } else { REST_INTERVAL };
        let look_at = last_look.map_or_else(Instant::now, |last: Instant| last + look_after);
        let update_at = model.update_at();
        let mut happened = Vec::new();
        // What is drawn costs more than what is asked.
        let mut is_drawn = true;
        tokio::select! {
            Some(event) = events.recv() => happened.push(event),
            Some(narration) = narrations.recv() => happened.push(Event::Narrated(narration)),
            result = done(&mut update) => {
                update = None;
                last_change = Instant::now();
                look.get_or_insert_with(|| Box::pin(running(app)));
                let said = result.map_err(|failure| failure.lines(Paint::Plain));
                // What the update told comes before its end.
                happened.extend(from_fn(|| narrations.try_recv().ok()).map(Event::Narrated));
                happened.push(Event::Updated(said));
            }
            rows = done(&mut look) => {
                look = None;
                last_look = Some(Instant::now());
                happened.extend(rows.map(Event::Runs));
            }
            () = sleep_until(look_at.into()), if look.is_none() => {
                look = Some(Box::pin(running(app)));
                is_drawn = false;
            }
            Some(()) = records.recv() => {
                last_change = Instant::now();
                is_drawn = false;
            }
            () = at(update_at) => {}
            _ = log_ticks.tick(), if view.logs.is_some() => {
                let new = logs.new_lines()?;
                let shown = view.logs.get_or_insert_default();
                shown.extend(new);
                shown.drain(..shown.len().saturating_sub(LOG_LINES));
            }
            key = pressed(&mut keys) => match key {
                Some(Key::Leave) | None => break,
                Some(Key::Redraw) => {}
                Some(Key::Rebuild) => model.try_again(),
                Some(Key::Pause) => model.pause_or_go_on(),
                Some(Key::Help) => view.is_helping = !view.is_helping,
                Some(Key::Scroll(lines)) => view.scroll(lines),
                Some(Key::Logs) => {
                    view.show_newest();
                    view.logs = match view.logs.take() {
                        None => Some(logs.last(LOG_LINES)?),
                        Some(_) => None,
                    };
                }
            },
            _ = interrupts.recv() => break,
            _ = terminations.recv() => break,
        }
        for event in happened {
            if !matches!(event, Event::Runs(_)) {
                last_change = Instant::now();
            }
            let said = match &event {
                Event::Updated(Err(said)) => said.clone(),
                _ => Vec::new(),
            };
            model.apply(event, Instant::now());
            if screen.is_none() {
                tell(&mut model);
                said.iter().for_each(|line| app.terminal.say(line));
            }
        }
        if update.is_none() && model.wants_update(Instant::now()) {
            model.begin_update();
            update = Some(Box::pin(bring_up_to_date(app)));
            is_drawn = true;
        }
        if let Some(screen) = screen.as_mut().filter(|_| is_drawn) {
            screen.draw(&model, &mut view)?;
        }
    }
    Ok(())
}

/// A line for each process that does something else now.
fn tell(model: &mut Model) {
    for news in model.news() {
        Narration::new("keeper", "dev", news).emit();
    }
}

/// The queen through its lifecycle, everything below through the queen.
async fn bring_up_to_date(app: &App) -> Result<(), Failure> {
    app.ensure_queen().await?;
    Job::start(app, &JobRequest::ChainUpdate {}).await?.finish().await.map(drop)
}

/// What runs; `None` when nobody could say, as for a moment while a queen is replaced.
async fn running(app: &App) -> Option<Vec<Row>> {
    match app.running_queen().await {
        Ok(Some(queen)) => rows(&queen).await.ok(),
        Ok(None) => Some(Vec::new()),
        Err(_) => None,
    }
}

/// Tells whenever a process of the chain may have begun, ended or given way: each writes that into
/// the run folder. Ends when nobody listens.
fn records(folder: &Path) -> mpsc::Receiver<()> {
    let (sender, heard) = mpsc::channel(1);
    let folder = folder.to_owned();
    thread::spawn(move || {
        let mut ear = Ear::over(vec![(folder, Below::Everything)]);
        while !sender.is_closed() {
            if ear.wait(REST_INTERVAL) && sender.try_send(()).is_err() && sender.is_closed() {
                return;
            }
        }
    });
    heard
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => pending().await,
    }
}

async fn done<T>(under_way: &mut UnderWay<'_, T>) -> T {
    match under_way {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn pressed(keys: &mut Option<mpsc::Receiver<Key>>) -> Option<Key> {
    match keys {
        Some(keys) => keys.recv().await,
        None => pending().await,
    }
}
