//! What a reader makes of a job's stream, and of streams that break.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use job_client::{Reading, Received, Taken, Tries, Unfinished};
use rbee_api::StreamEvent;

const TRIES: Tries = Tries::new(&[Duration::from_secs(1), Duration::from_secs(2)]);
const CHUNK: (&str, &str) = ("", "{}");
const DONE: (&str, &str) = ("", "[DONE]");
const RESULT: (&str, &str) = ("result", "{}");
const NARRATION: (&str, &str) = ("narration", "{}");
const ERROR: (&str, &str) = ("error", r#"{"error":{"message":"m","type":"t","code":"c"}}"#);
const STATES: [&str; 4] = ["running", "completed", "failed", "cancelled"];

#[test]
fn an_answer_is_whole_with_its_last_part_or_with_the_end_of_a_job_that_completed() {
    for (last, whole) in [(DONE, true), (RESULT, true), (CHUNK, false), (NARRATION, false)] {
        for state in STATES {
            let mut reading = Reading::new(TRIES);
            assert!(matches!(take(&mut reading, None, last), Taken::Event(_)));
            assert_eq!(reading.is_whole(), whole, "{last:?}");
            let end = (state, whole || state == "completed");
            let taken = take(&mut reading, None, ("end", &format!(r#"{{"state":"{state}"}}"#)));
            assert_eq!((state, matches!(taken, Taken::Whole)), end, "{last:?}: {taken:?}");
            assert_eq!(reading.is_whole(), end.1);
        }
    }
}

#[test]
fn an_end_that_makes_nothing_whole_says_how_it_came() {
    let ends = [Some(Unfinished::Elsewhere), None, Some(Unfinished::Failed)];
    for (state, how) in
        STATES.into_iter().zip(ends.into_iter().chain([Some(Unfinished::Cancelled)]))
    {
        let mut reading = Reading::new(TRIES);
        take(&mut reading, None, ERROR);
        let end = ("end", format!(r#"{{"state":"{state}"}}"#));
        match take(&mut reading, None, (end.0, &end.1)) {
            Taken::Unfinished(said) => assert_eq!(Some(said), how),
            taken => assert!(how.is_none() && matches!(taken, Taken::Whole), "{state}: {taken:?}"),
        }
    }
}

#[test]
fn what_was_seen_before_is_not_seen_again() {
    let mut reading = named();
    for (id, is_new) in [(1, true), (2, true), (0, false), (1, false), (2, false), (3, true)] {
        if id == 0 {
            // Another response follows.
            reading.fail();
        }
        let taken = take(&mut reading, Some(id), CHUNK);
        assert_eq!(matches!(taken, Taken::Event(_)), is_new, "{id}");
    }
    assert_eq!(reading.job().unwrap().last_event_id, 3);
}

#[test]
fn a_part_of_the_answer_is_told_from_what_is_said_about_it() {
    for (event, is_answer) in [(NARRATION, false), (ERROR, false), (CHUNK, true), (RESULT, true)] {
        let mut reading = Reading::new(TRIES);
        take(&mut reading, None, event);
        assert_eq!(reading.is_answered(), is_answer, "{event:?}");
    }
}

#[test]
fn an_origin_goes_on_with_each_chunk_and_is_told_to_nobody() {
    let mut reading = named();
    let worker = r#"{"at":"worker","job_id":"w","last_event_id":0}"#;
    let origin = format!(r#"{{"at":"hive","job_id":"h","last_event_id":4,"origin":{worker}}}"#);
    assert!(matches!(take(&mut reading, Some(1), ("origin", &origin)), Taken::Noted));
    for (id, event) in [(2, CHUNK), (3, NARRATION), (4, DONE)] {
        take(&mut reading, Some(id), event);
    }
    let remains = reading.job().unwrap().remains().unwrap();
    assert_eq!(remains.last_event_id, 4);
    assert_eq!(remains.origin.last_event_id, 6);
    assert_eq!(remains.origin.origin.unwrap().last_event_id, 2);
}

#[test]
fn a_job_that_has_not_said_where_its_answer_comes_from_cannot_be_restored() {
    let mut reading = named();
    take(&mut reading, Some(1), CHUNK);
    assert_eq!(reading.job().unwrap().remains(), None);
}

#[test]
fn tries_are_counted_in_a_row_and_each_new_event_begins_another_row() {
    let mut reading = named();
    let fail = |reading: &mut Reading| reading.fail().map(|wait| wait.as_secs());
    assert_eq!((fail(&mut reading), reading.failed()), (Some(1), 1));
    take(&mut reading, Some(1), CHUNK);
    assert_eq!((fail(&mut reading), fail(&mut reading)), (Some(1), Some(2)));
    take(&mut reading, Some(1), CHUNK);
    assert_eq!(fail(&mut reading), None, "a repetition is nothing new");
}

#[test]
fn the_first_name_of_a_job_stays() {
    let mut reading = named();
    reading.name("b", "other");
    assert_eq!(reading.job().unwrap().job_id, "j");
    reading.begin_anew();
    assert_eq!(reading.job(), None);
}

fn named() -> Reading {
    let mut reading = Reading::new(TRIES);
    reading.name("a", "j");
    reading
}

fn take(reading: &mut Reading, id: Option<u64>, (name, data): (&str, &str)) -> Taken {
    let event = StreamEvent::decode(name, data.to_owned()).unwrap().unwrap();
    reading.take(Received { id, event })
}
