use std::time::{Duration, Instant};

use insta::assert_snapshot;
use jiff::tz::TimeZone;
use narration_core::{Level, Narration, lines};
use ratatui::{Terminal, backend::TestBackend};

use super::{Doing, Event, Model, QUIET};
use crate::{
    chain::{CHAIN, Freshness, Verdict},
    commands::Row,
    dev::screen::{View, draw},
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
    picture_of(92, 18, model, &mut View::default())
}

fn picture_of(width: u16, height: u16, model: &Model, view: &mut View) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let now = start();
    terminal.draw(|frame| draw(frame, model, view, &TimeZone::UTC, now)).unwrap();
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
    model.apply(Event::Narrated(at(Narration::new("queen", "hive_ready", "`mine` is ready"))), now);
    assert_snapshot!(picture(&model), @r"
    +rbee dev----------------------------------------------------------------------------------+
    |LEVEL  NAME           STATE        PID      BUILD        AGE      WHY                     |
    |queen  queen          serving      4711     one          1m                               |
    |hive   mine           serving      4711     one          1m                               |
    |worker mine           serving      4711     one          1m                               |
    +------------------------------------------------------------------------------------------+
    +what happens------------------------------------------------------------------------------+
    |05:59:09 [queen] hive_ready: `mine` is ready                                              |
    |                                                                                          |
    |                                                                                          |
    |                                                                                          |
    |                                                                                          |
    |                                                                                          |
    |                                                                                          |
    |                                                                                          |
    |                                                                                          |
    +------------------------------------------------------------------------------------------+
     q leaves | ? keys | watching
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
    |queen  queen          failed       4711     one          1m       `src/lib.rs` changed    |
    |hive   mine           serving      4711     one          1m                               |
    |worker mine           serving      4711     one          1m                               |
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
     q leaves | ? keys | watching
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

/// Told at a certain time.
fn at(narration: Narration) -> Narration {
    Narration { at_ms: 1_795_931_949_453, ..narration }
}

#[test]
fn on_a_small_screen_each_level_is_a_line_and_a_failure_is_seen() {
    let now = start();
    let mut model = serving(now);
    model.apply(Event::Narrated(at(Narration::new("queen", "hive_ready", "`mine` is ready"))), now);
    let picture = picture_of(40, 8, &model, &mut View::default());
    let lines: Vec<_> = picture.lines().map(str::trim_end).collect();
    let expected = [
        "queen  serving          1m",
        "hive   serving          1m mine",
        "worker serving          1m mine",
        "05:59:09 [queen] hive_ready: `mine` is r",
        "",
        "",
        "",
        " q leaves | ? keys | watching",
    ];
    assert_eq!(lines, expected);
    model.apply(looked(0, Freshness::Stale, "broken"), now);
    model.begin_update();
    model.apply(Event::Narrated(Narration::verbatim("dmn-life", "error: expected `;`")), now);
    model.apply(Event::Updated(Err(vec!["error: no queen".to_owned()])), now);
    let picture = picture_of(40, 8, &model, &mut View::default());
    assert!(picture.contains("error: expected `;`"), "{picture}");
    let mut view = View { is_helping: true, ..View::default() };
    let picture = picture_of(40, 8, &model, &mut view);
    assert!(picture.contains("build and replace now"), "{picture}");
}

#[test]
fn paths_of_the_tree_are_relative_and_cut_at_their_beginning() {
    let now = start();
    let mut model = serving(now);
    let Event::Looked { mut verdict, .. } = looked(0, Freshness::Stale, "two") else { panic!() };
    verdict.reasons = vec!["`/tree/bin/10_queen_rbee/src/hives/choose.rs` changed".to_owned()];
    model.apply(Event::Looked { level: 0, verdict, inputs: "two".to_owned() }, now);
    let mut view = View { root: "/tree/".to_owned(), ..View::default() };
    let picture = picture_of(92, 18, &model, &mut view);
    assert!(picture.contains("`../choose.rs` changed"), "{picture}");
    let picture = picture_of(140, 18, &model, &mut view);
    assert!(picture.contains(" `bin/10_queen_rbee/src/hives/choose.rs` changed"), "{picture}");
}

#[test]
fn an_error_is_gone_as_soon_as_what_it_was_about_is_built_again() {
    let now = start();
    let mut model = serving(now);
    model.apply(looked(0, Freshness::Stale, "broken"), now);
    model.begin_update();
    model.apply(Event::Updated(Err(vec!["error: no".to_owned()])), now);
    assert_eq!(model.failure(), ["error: no"]);
    model.apply(looked(0, Freshness::Stale, "mended"), now);
    model.begin_update();
    assert!(model.failure().is_empty());
}

#[test]
fn paused_nothing_is_built_until_somebody_says_so() {
    let now = start();
    let mut model = serving(now);
    model.pause_or_go_on();
    model.apply(looked(0, Freshness::Stale, "two"), now);
    assert_eq!(model.update_at(), None);
    assert!(picture(&model).contains("| paused"));
    model.pause_or_go_on();
    assert_eq!(model.update_at(), Some(now + QUIET));
    // And what failed is tried again by whoever asks for it.
    model.begin_update();
    model.apply(Event::Updated(Err(vec!["error: no".to_owned()])), now);
    assert_eq!(model.update_at(), None);
    model.try_again();
    assert!(model.wants_update(now + QUIET));
}

#[test]
fn how_far_a_build_is_stands_at_the_foot_and_fills_no_lines() {
    let now = start();
    let mut model = serving(now);
    model.begin_update();
    for done in 0..9 {
        let told = lines::compiling("rbee-hive", done, 9, "", Duration::from_secs(done.into()));
        model.apply(Event::Narrated(told), now);
    }
    assert_eq!(model.lines().len(), 0);
    assert!(picture(&model).contains("8/9") || picture(&model).contains("8 of 9"));
    model.apply(Event::Updated(Ok(())), now);
    assert!(picture(&model).contains("| watching"));
}

#[test]
fn what_was_said_can_be_scrolled_back_to() {
    let now = start();
    let mut model = serving(now);
    for number in 0..40 {
        let line = Narration::verbatim("dmn-life", format!("line {number}."));
        model.apply(Event::Narrated(line), now);
    }
    let mut view = View::default();
    assert!(picture_of(92, 18, &model, &mut view).contains("line 39."));
    view.scroll(isize::MAX);
    let top = picture_of(92, 18, &model, &mut view);
    assert!(top.contains("line 0.") && !top.contains("line 39."), "{top}");
    view.scroll(-1);
    assert!(!picture_of(92, 18, &model, &mut view).contains("line 0."));
    view.scroll(isize::MIN);
    assert!(picture_of(92, 18, &model, &mut view).contains("line 39."));
}
