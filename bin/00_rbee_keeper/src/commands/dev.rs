use std::{
    future::{Future, pending},
    iter::from_fn,
    pin::Pin,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use narration_core::Narration;
use rbee_api::JobRequest;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use crate::{
    app::App,
    chain::CHAIN,
    cli::DevArgs,
    commands::status::{Row, rows},
    dev::{Event, Key, Model, QUIET, Screen, watch},
    failure::Failure,
    job::Job,
    render::Paint,
};

/// How often what runs is looked at, besides after each change.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

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
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // What was edited last is quiet some time after it was heard of.
    let mut quiet = interval(QUIET);
    quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut happened = Vec::new();
        tokio::select! {
            Some(event) = events.recv() => happened.push(event),
            Some(narration) = narrations.recv() => happened.push(Event::Narrated(narration)),
            result = done(&mut update) => {
                update = None;
                look.get_or_insert_with(|| Box::pin(running(app)));
                let said = result.map_err(|failure| failure.lines(Paint::Plain));
                // What the update told comes before its end.
                happened.extend(from_fn(|| narrations.try_recv().ok()).map(Event::Narrated));
                happened.push(Event::Updated(said));
            }
            rows = done(&mut look) => {
                look = None;
                happened.extend(rows.map(Event::Runs));
            }
            _ = looks.tick() => {
                look.get_or_insert_with(|| Box::pin(running(app)));
            }
            _ = quiet.tick() => {}
            key = pressed(&mut keys) => match key {
                Some(Key::Redraw) => {}
                Some(Key::Leave) | None => break,
            },
            _ = interrupts.recv() => break,
            _ = terminations.recv() => break,
        }
        for event in happened {
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
        }
        if let Some(screen) = &mut screen {
            screen.draw(&model)?;
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
