use std::{
    io::{self, IsTerminal as _},
    thread,
    time::Instant,
};

use anyhow::Context as _;
use jiff::{Timestamp, tz::TimeZone};
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize as _},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Table, Wrap},
};
use rbee_config::Environment;
use tokio::sync::mpsc;

use super::{
    Model,
    model::{Doing, Said, Shown},
};
use crate::{
    failure::Failure,
    render::{LogLine, Paint, fit_path, minutes, short_hash},
};

/// What a failure may take of the screen, in lines.
const MAX_FAILURE_HEIGHT: u16 = 14;

/// Keys that nobody has looked at yet.
const KEYS: usize = 16;

/// On less there are neither borders nor columns that can be done without.
const FULL_WIDTH: u16 = 60;
const FULL_HEIGHT: u16 = 14;

/// Of the columns beside the last one, with the blanks between them.
const COLUMNS_WIDTH: u16 = 6 + 14 + 12 + 8 + 12 + 8 + 6;

/// What the person at the terminal wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Leave,
    /// The screen has another size.
    Redraw,
    Rebuild,
    Pause,
    Logs,
    Help,
    /// So many lines back; negative ones forth.
    Scroll(isize),
}

/// Each key as it is shown, and what it does.
const HELP: [(&str, &str); 7] = [
    ("q, Ctrl-C", "leave; the chain goes on"),
    ("r", "build and replace now"),
    ("p", "pause: build nothing by itself; again: go on"),
    ("l", "what the chain logs, or what happens"),
    ("up, down, k, j", "scroll by a line"),
    ("PgUp, PgDn", "scroll by ten; Home, End: to the ends"),
    ("?", "show or hide this"),
];

/// What the person has chosen to see.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) is_helping: bool,
    /// In place of what happens; `None` when that is shown.
    pub(crate) logs: Option<Vec<LogLine>>,
    /// How many lines from the newest.
    pub(crate) scrolled: usize,
    /// Of paths in the tree this is left out.
    pub(crate) root: String,
}

impl View {
    pub(crate) fn scroll(&mut self, lines: isize) {
        self.scrolled = self.scrolled.saturating_add_signed(lines);
    }

    pub(crate) fn show_newest(&mut self) {
        self.scrolled = 0;
    }

    fn in_tree(&self, text: &str) -> String {
        if self.root.is_empty() { text.to_owned() } else { text.replace(&self.root, "") }
    }
}

/// The whole terminal, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// `None` where there is no terminal that can draw.
    pub(crate) fn open() -> Result<Option<Self>, Failure> {
        let mut variables = Environment::capture().into_iter();
        let is_dumb = variables.any(|(name, value)| name == "TERM" && value == "dumb");
        if is_dumb || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        let terminal = ratatui::try_init().context("cannot draw on the terminal")?;
        Ok(Some(Self { terminal }))
    }

    pub(crate) fn draw(&mut self, model: &Model, view: &mut View) -> Result<(), Failure> {
        let zone = TimeZone::system();
        self.terminal
            .draw(|frame| draw(frame, model, view, &zone, Instant::now()))
            .context("cannot draw on the terminal")?;
        Ok(())
    }

    /// Keys as they are pressed, read on a thread that ends with the process.
    pub(crate) fn keys() -> mpsc::Receiver<Key> {
        let (sender, keys) = mpsc::channel(KEYS);
        thread::spawn(move || {
            while let Ok(event) = event::read() {
                if let Some(key) = key(&event)
                    && sender.blocking_send(key).is_err()
                {
                    return;
                }
            }
        });
        keys
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn key(event: &Event) -> Option<Key> {
    match event {
        Event::Resize(..) => Some(Key::Redraw),
        Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
            // In this mode of the terminal it is no signal.
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Leave),
            KeyCode::Char('q') => Some(Key::Leave),
            KeyCode::Char('r') => Some(Key::Rebuild),
            KeyCode::Char('p') => Some(Key::Pause),
            KeyCode::Char('l') => Some(Key::Logs),
            KeyCode::Char('?') => Some(Key::Help),
            KeyCode::Up | KeyCode::Char('k') => Some(Key::Scroll(1)),
            KeyCode::Down | KeyCode::Char('j') => Some(Key::Scroll(-1)),
            KeyCode::PageUp => Some(Key::Scroll(10)),
            KeyCode::PageDown => Some(Key::Scroll(-10)),
            KeyCode::Home => Some(Key::Scroll(isize::MAX)),
            KeyCode::End => Some(Key::Scroll(isize::MIN)),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn draw(
    frame: &mut Frame<'_>,
    model: &Model,
    view: &mut View,
    zone: &TimeZone,
    now: Instant,
) {
    let area = frame.area();
    let is_full = area.width >= FULL_WIDTH && area.height >= FULL_HEIGHT;
    if is_full {
        draw_full(frame, model, view, zone, now);
    } else {
        draw_small(frame, model, view, zone, now);
    }
    if view.is_helping {
        draw_help(frame, is_full);
    }
}

fn draw_full(frame: &mut Frame<'_>, model: &Model, view: &mut View, zone: &TimeZone, now: Instant) {
    let shown = model.shown();
    // Two lines of border and one of headings.
    let levels = u16::try_from(shown.len()).unwrap_or(u16::MAX).saturating_add(3);
    let failure = match model.failure().len() {
        0 => 0,
        lines => u16::try_from(lines).unwrap_or(u16::MAX).saturating_add(2).min(MAX_FAILURE_HEIGHT),
    };
    let [top, middle, bottom, foot] = Layout::vertical([
        Constraint::Length(levels),
        Constraint::Min(3),
        Constraint::Length(failure),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(table(&shown, view, top.width, now), top);
    // Borders take two of them.
    let lines = lines(model, view, zone, middle.height.saturating_sub(2));
    let title = if view.logs.is_some() { "what is logged" } else { "what happens" };
    frame.render_widget(Paragraph::new(lines).block(pane(title)), middle);
    if failure > 0 {
        let block = pane("what failed").border_style(Color::Red);
        let failed = Paragraph::new(failed(model, view)).wrap(Wrap { trim: false });
        frame.render_widget(failed.block(block), bottom);
    }
    frame.render_widget(foot_line(model), foot);
}

/// Each process on a line of its own, then what failed, else what is said.
fn draw_small(
    frame: &mut Frame<'_>,
    model: &Model,
    view: &mut View,
    zone: &TimeZone,
    now: Instant,
) {
    let shown = model.shown();
    let levels = u16::try_from(shown.len()).unwrap_or(u16::MAX).min(frame.area().height / 2);
    let [top, middle, foot] =
        Layout::vertical([Constraint::Length(levels), Constraint::Min(1), Constraint::Length(1)])
            .areas(frame.area());
    let one = |shown: &Shown| {
        let age = shown.began.map(|began| age_of(began, now)).unwrap_or_default();
        let name = if shown.name == shown.level { "" } else { &shown.name };
        Line::from(vec![
            Span::raw(format!("{:<6} ", shown.level)),
            Span::styled(format!("{:<12} ", shown.doing.name()), style(shown.doing)),
            Span::raw(format!("{age:>6} {name}")),
        ])
    };
    frame.render_widget(Paragraph::new(shown.iter().map(one).collect::<Vec<_>>()), top);
    let said = if model.failure().is_empty() {
        Paragraph::new(lines(model, view, zone, middle.height))
    } else {
        Paragraph::new(failed(model, view)).wrap(Wrap { trim: false })
    };
    frame.render_widget(said, middle);
    frame.render_widget(foot_line(model), foot);
}

fn draw_help(frame: &mut Frame<'_>, is_full: bool) {
    let lines: Vec<_> =
        HELP.iter().map(|(key, does)| Line::raw(format!("{key:<15} {does}"))).collect();
    let area = frame.area();
    let border = if is_full { 2 } else { 0 };
    let height = (HELP.len() as u16 + border).min(area.height.saturating_sub(1));
    let at = Rect { y: area.bottom().saturating_sub(height + 1), height, ..area };
    frame.render_widget(Clear, at);
    let help = Paragraph::new(lines);
    frame.render_widget(if is_full { help.block(pane("keys")) } else { help }, at);
}

/// So many lines as there is room for, at the place that was scrolled to.
fn lines<'a>(model: &'a Model, view: &mut View, zone: &TimeZone, height: u16) -> Vec<Line<'a>> {
    let height = usize::from(height);
    let all = view.logs.as_ref().map_or_else(|| model.lines().len(), Vec::len);
    view.scrolled = view.scrolled.min(all.saturating_sub(height));
    let skipped = all.saturating_sub(height + view.scrolled);
    match &view.logs {
        Some(logs) => logs[skipped..]
            .iter()
            .take(height)
            .map(|line| Line::raw(line.human(zone, Paint::Plain)))
            .collect(),
        None => {
            let said = model.lines().skip(skipped).take(height);
            said.map(|said| Line::from(said_line(said, view, zone))).collect()
        }
    }
}

fn said_line(said: &Said, view: &View, zone: &TimeZone) -> Vec<Span<'static>> {
    let at = said.at_ms.and_then(|at| Timestamp::from_millisecond(i64::try_from(at).ok()?).ok());
    let at = at.map(|at| at.to_zoned_datetime(zone.clone()).strftime("%T ").to_string());
    let text = Span::raw(view.in_tree(&said.text));
    at.map(|at| Span::raw(at).dim()).into_iter().chain([text]).collect()
}

fn failed(model: &Model, view: &View) -> Vec<Line<'static>> {
    model.failure().iter().map(|line| Line::raw(view.in_tree(line))).collect()
}

fn foot_line(model: &Model) -> Line<'_> {
    let state = match model.progress() {
        _ if model.is_paused() => "paused",
        Some(progress) => progress,
        None if model.is_updating() => "updating",
        None => "watching",
    };
    Line::raw(format!(" q leaves | ? keys | {state}")).dim()
}

fn table<'a>(shown: &'a [Shown], view: &View, width: u16, now: Instant) -> Table<'a> {
    // Two of them are borders.
    let why_width = usize::from(width.saturating_sub(COLUMNS_WIDTH + 2));
    let rows = shown.iter().map(|shown| {
        let why = view.in_tree(shown.why.as_deref().unwrap_or_default());
        Row::new([
            Cell::new(shown.level),
            Cell::new(shown.name.as_str()),
            Cell::new(shown.doing.name()).style(style(shown.doing)),
            Cell::new(shown.pid.map(|pid| pid.to_string()).unwrap_or_default()),
            Cell::new(shown.exe_hash.as_deref().map(short_hash).unwrap_or_default()),
            Cell::new(shown.began.map(|began| age_of(began, now)).unwrap_or_default()),
            Cell::new(fit_path(&why, why_width)),
        ])
    });
    let widths = [
        Constraint::Length(6),
        Constraint::Length(14),
        Constraint::Length(12),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let head = Row::new(["LEVEL", "NAME", "STATE", "PID", "BUILD", "AGE", "WHY"]).bold();
    Table::new(rows, widths).header(head).block(pane("rbee dev"))
}

/// No finer than the screen is drawn anew.
fn age_of(began: Instant, now: Instant) -> String {
    minutes(now.saturating_duration_since(began).as_secs())
}

fn pane(title: &str) -> Block<'_> {
    Block::new().borders(Borders::ALL).title(title)
}

fn style(doing: Doing) -> Style {
    match doing {
        Doing::Fresh | Doing::Serving => Color::Green.into(),
        Doing::Stale | Doing::Building | Doing::HandingOver | Doing::Draining => {
            Color::Yellow.into()
        }
        Doing::Failed => Color::Red.into(),
    }
}
