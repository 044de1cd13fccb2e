use std::time::{Duration, Instant};

use insta::assert_snapshot;
use narration_core::{Level, Narration, lines};
use ratatui::{Terminal, backend::TestBackend};

use super::{Doing, Event, Model, QUIET};
use crate::{
    chain::{CHAIN, Freshness, Verdict},
    commands::Row,
    dev::screen::draw,
};

/// Far enough from the start of everything for a test to look back.
fn start() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn looked(level: usize, freshness: Freshness, inputs: &str) -> Event {
    let binary = &CHAIN[2 + level];
    let is_fresh = freshness == Freshness::Fresh;
    let verdict = Verdict {
        level: binary.level,
        binary: binary.name,
        freshness,
        reasons: if is_fresh { vec![] } else { vec!["`src/lib.rs` changed".to_owned()] },
        exe_hash: is_fresh.then(|| inputs.to_owned()),
    };
    Event::Looked { level, verdict, inputs: inputs.to_owned() }
}

fn row(level: &'static str, state: &'static str, hash: &str) -> Row {
    Row {
        state,
        pid: Some(4711),
        exe_hash: Some(hash.to_owned()),
        age_s: Some(75),
        ..Row::stopped(level, if level == "queen" { "queen" } else { "mine" })
    }
}

/// A chain in which everything is fresh and serves.
fn serving(now: Instant) -> Model {
    let mut model = Model::new(&CHAIN[2..]);
    for level in 0..3 {
        model.apply(looked(level, Freshness::Fresh, "one"), now);
    }
    model.begin_update();
    model.apply(Event::Updated(Ok(())), now);
    let rows = ["queen", "hive", "worker"].map(|level| row(level, "ready", "one"));
    model.apply(Event::Runs(rows.to_vec()), now);
    model
}

fn doings(model: &Model) -> Vec<Doing> {
    model.shown().iter().map(|shown| shown.doing).collect()
}

fn picture(model: &Model) -> String {
    let mut terminal = Terminal::new(TestBackend::new(92, 18)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    let picture = terminal.backend().to_string().replace('"', "");
    // Borders in signs that source text may have.
    picture
        .replace('\u{2500}', "-")
        .replace('\u{2502}', "|")
        .replace(['\u{250c}', '\u{2510}', '\u{2514}', '\u{2518}'], "+")
}

#[test]
fn the_chain_is_brought_up_once_every_level_has_been_looked_at() {
    let now = start();
    let mut model = Model::new(&CHAIN[2..]);
    model.apply(looked(0, Freshness::Fresh, "one"), now);
    model.apply(looked(1, Freshness::Fresh, "one"), now);
    assert!(!model.wants_update(now));
    model.apply(looked(2, Freshness::Fresh, "one"), now);
    assert!(model.wants_update(now));
    assert_eq!(doings(&model), [Doing::Fresh; 3]);
    model.begin_update();
    assert!(!model.wants_update(now));
    model.apply(Event::Updated(Ok(())), now);
    assert!(!model.wants_update(now));
}

#[test]
fn nothing_is_built_before_the_edits_have_been_still_for_a_moment() {
    let now = start();
    let mut model = serving(now);
    assert!(!model.wants_update(now + QUIET));
    model.apply(looked(1, Freshness::Stale, "two"), now);
    assert!(!model.wants_update(now));
    let later = now + QUIET / 2;
    model.apply(looked(1, Freshness::Stale, "three"), later);
    assert!(!model.wants_update(now + QUIET));
    model.apply(looked(1, Freshness::Stale, "three"), now + QUIET);
    assert!(model.wants_update(later + QUIET));
    assert_eq!(doings(&model), [Doing::Serving, Doing::Stale, Doing::Serving]);
}

#[test]
fn what_failed_is_tried_again_after_the_next_edit_and_not_before() {
    let now = start();
    let mut model = serving(now);
    model.apply(looked(0, Freshness::Stale, "broken"), now);
    let later = now + QUIET;
    assert!(model.wants_update(later));
    model.begin_update();
    model.apply(Event::Updated(Err(vec!["error: no".to_owned()])), later);
    model.apply(looked(0, Freshness::Stale, "broken"), later + QUIET);
    assert!(!model.wants_update(later + QUIET * 9));
    model.apply(looked(0, Freshness::Stale, "mended"), later + QUIET);
    assert!(model.wants_update(later + QUIET * 2));
}

#[test]
fn an_edit_during_an_update_is_built_after_it() {
    let now = start();
    let mut model = serving(now);
    model.apply(looked(0, Freshness::Stale, "two"), now);
    model.begin_update();
    model.apply(looked(0, Freshness::Stale, "three"), now);
    assert!(!model.wants_update(now + QUIET));
    model.apply(Event::Updated(Ok(())), now + QUIET);
    assert!(model.wants_update(now + QUIET));
}

#[test]
fn an_edit_that_is_taken_back_replaces_what_runs_and_an_update_that_did_so_is_not_repeated() {
    let now = start();
    let mut model = serving(now);
    model.apply(looked(0, Freshness::Fresh, "zero"), now);
    assert_eq!(doings(&model)[0], Doing::Stale);
    assert!(model.wants_update(now));
    model.begin_update();
    model.apply(Event::Updated(Ok(())), now);
    // It was rolled back, say.
    assert!(!model.wants_update(now + QUIET));
    let rows = vec![row("queen", "ready", "zero"), row("queen", "draining", "one")];
    model.apply(Event::Runs(rows), now);
    assert_eq!(doings(&model)[..2], [Doing::Serving, Doing::Draining]);
    assert!(!model.wants_update(now + QUIET));
}

#[test]
fn narrations_move_the_level_that_they_are_about() {
    let now = start();
    let mut model = serving(now);
    let mut then = |narration: Narration| {
        model.apply(Event::Narrated(narration), now);
        doings(&model)
    };
    let serving = [Doing::Serving; 3];
    assert_eq!(then(lines::rebuilding("rbee-hive")), serving, "no update of ours");
    model.begin_update();
    let mut then = |narration: Narration| {
        model.apply(Event::Narrated(narration), now);
        doings(&model)[1]
    };
    assert_eq!(then(lines::checking("rbee-hive")), Doing::Serving);
    assert_eq!(then(lines::rebuilding("rbee-hive")), Doing::Building);
    assert_eq!(then(lines::rebuilt("rbee-hive")), Doing::HandingOver);
    assert_eq!(then(lines::spawning("store/abc/rbee-hive", &[])), Doing::HandingOver);
    let back = Narration::new("dmn-life", "replace", "the new one failed").about("rbee-hive");
    assert_eq!(then(back.level(Level::Warn)), Doing::Failed);
    model.apply(Event::Updated(Ok(())), now);
    assert_eq!(doings(&model), serving);
}

#[test]
fn each_change_is_told_once() {
    let now = start();
    let mut model = serving(now);
    assert_eq!(model.news()[0], "queen is serving (process 4711)");
    assert!(model.news().is_empty());
    model.apply(looked(2, Freshness::Stale, "two"), now);
    assert_eq!(model.news(), ["worker mine is stale (process 4711): `src/lib.rs` changed"]);
    model.begin_update();
    model.apply(Event::Narrated(lines::rebuilding("llamacpp-worker")), now);
    assert_eq!(model.news(), ["worker mine is building (process 4711)"]);
}

#[test]
fn a_chain_at_rest_is_a_table_and_what_was_said() {
    let now = start();
    let mut model = serving(now);
    model.apply(Event::Narrated(Narration::new("queen", "hive_ready", "`mine` is ready")), now);
    assert_snapshot!(picture(&model), @r"
    +rbee dev----------------------------------------------------------------------------------+
    |LEVEL  NAME           STATE        PID      BUILD        AGE      WHY                     |
    |queen  queen          serving      4711     one          1m 15s                           |
    |hive   mine           serving      4711     one          1m 15s                           |
    |worker mine           serving      4711     one          1m 15s                           |
    +------------------------------------------------------------------------------------------+
    +what happens------------------------------------------------------------------------------+
    |[queen] hive_ready: `mine` is ready                                                       |
    |                                                                                          |
    |                                                                                          |
    |                                                                                          |
    |                                                                                          |
    |                                                                                          |
    |                                                                                          |
    |                                                                                          |
    |                                                                                          |
    +------------------------------------------------------------------------------------------+
     watching | q leaves, and the chain goes on
    ");
}

#[test]
fn a_failed_build_stays_on_the_screen_until_the_sources_are_good() {
    let now = start();
    let mut model = serving(now);
    model.apply(looked(0, Freshness::Stale, "broken"), now);
    model.begin_update();
    let cargo = |line: &str| Event::Narrated(Narration::verbatim("dmn-life", line));
    model.apply(Event::Narrated(lines::rebuilding("queen-rbee")), now);
    model.apply(cargo("   Compiling queen-rbee v0.1.0"), now);
    model.apply(cargo("error: expected `;`, found `}`"), now);
    model.apply(cargo(" --> bin/10_queen_rbee/src/lib.rs:7:1"), now);
    model.apply(Event::Narrated(lines::rebuild_failed("queen-rbee")), now);
    let said = vec!["error: cannot bring up the queen".to_owned()];
    model.apply(Event::Updated(Err(said)), now);
    assert_snapshot!(without_symbols(&picture(&model)), @r"
    +rbee dev----------------------------------------------------------------------------------+
    |LEVEL  NAME           STATE        PID      BUILD        AGE      WHY                     |
    |queen  queen          failed       4711     one          1m 15s   `src/lib.rs` changed    |
    |hive   mine           serving      4711     one          1m 15s                           |
    |worker mine           serving      4711     one          1m 15s                           |
    +------------------------------------------------------------------------------------------+
    +what happens------------------------------------------------------------------------------+
    |error: expected `;`, found `}`                                                            |
    | --> bin/10_queen_rbee/src/lib.rs:7:1                                                     |
    (a narration)
    |error: cannot bring up the queen                                                          |
    +------------------------------------------------------------------------------------------+
    +what failed-------------------------------------------------------------------------------+
    |error: expected `;`, found `}`                                                            |
    | --> bin/10_queen_rbee/src/lib.rs:7:1                                                     |
    |error: cannot bring up the queen                                                          |
    +------------------------------------------------------------------------------------------+
     watching | q leaves, and the chain goes on
    ");
    for level in 0..3 {
        model.apply(looked(level, Freshness::Fresh, "one"), now);
    }
    assert!(model.failure().is_empty());
    assert_eq!(doings(&model), [Doing::Serving; 3]);
}

/// The symbols of narrations are another crate's, and as wide as the terminal likes.
fn without_symbols(picture: &str) -> String {
    let plain = |line| if str::is_ascii(line) { line } else { "(a narration)" };
    picture.lines().map(plain).collect::<Vec<_>>().join("\n")
}
