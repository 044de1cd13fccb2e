use std::{
    io::{self, IsTerminal as _},
    thread,
};

use anyhow::Context as _;
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout},
    style::{Color, Style, Stylize as _},
    text::Line,
    widgets::{Block, Borders, Cell, Paragraph, Row, Table, Wrap},
};
use rbee_config::Environment;
use tokio::sync::mpsc;

use super::{
    Model,
    model::{Doing, Shown},
};
use crate::{
    failure::Failure,
    render::{age, short_hash},
};

/// What a failure may take of the screen, in lines.
const MAX_FAILURE_HEIGHT: u16 = 14;

/// Keys that nobody has looked at yet.
const KEYS: usize = 16;

/// What the person at the terminal wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Leave,
    /// The screen has another size.
    Redraw,
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

    pub(crate) fn draw(&mut self, model: &Model) -> Result<(), Failure> {
        self.terminal.draw(|frame| draw(frame, model)).context("cannot draw on the terminal")?;
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
            KeyCode::Char('q') => Some(Key::Leave),
            // In this mode of the terminal it is no signal.
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Leave),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
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
    frame.render_widget(table(&shown), top);
    // Borders take two of them.
    let height = usize::from(middle.height.saturating_sub(2));
    let skipped = model.lines().len().saturating_sub(height);
    let lines: Vec<_> = model.lines().skip(skipped).map(Line::raw).collect();
    frame.render_widget(Paragraph::new(lines).block(pane("what happens")), middle);
    if failure > 0 {
        let lines: Vec<_> = model.failure().iter().map(|line| Line::raw(line.as_str())).collect();
        let block = pane("what failed").border_style(Color::Red);
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), bottom);
    }
    let state = if model.is_updating() { "updating" } else { "watching" };
    let foot_line = format!(" {state} | q leaves, and the chain goes on");
    frame.render_widget(Line::raw(foot_line).dim(), foot);
}

fn table(shown: &[Shown]) -> Table<'_> {
    let rows = shown.iter().map(|shown| {
        Row::new([
            Cell::new(shown.level),
            Cell::new(shown.name.as_str()),
            Cell::new(shown.doing.name()).style(style(shown.doing)),
            Cell::new(shown.pid.map(|pid| pid.to_string()).unwrap_or_default()),
            Cell::new(shown.exe_hash.as_deref().map(short_hash).unwrap_or_default()),
            Cell::new(shown.age_s.map(age).unwrap_or_default()),
            Cell::new(shown.why.as_deref().unwrap_or_default()),
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
