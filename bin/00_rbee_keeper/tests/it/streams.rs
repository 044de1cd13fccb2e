use std::time::Duration;

use serde_json::json;

use crate::{
    keeper::Keeper,
    queen::{
        self, CANCEL, CHAT, JOBS, Queen, RESTORE, Reply, STREAM, Step, answer_of, done, end,
        job_of, named, narrated, token,
    },
};
use narration_core::Narration;

/// An answer that breaks off after `Hello wor`.
fn broken() -> Vec<Step> {
    let narration = Narration::new("queen", "route", "chose a hive");
    vec![narrated(1, &narration), token(2, "Hello"), token(3, " wor"), Step::Break]
}

#[tokio::test]
async fn a_broken_stream_goes_on_after_the_last_event_seen() {
    let queen = Queen::saying(broken()).await;
    queen.on(STREAM, Reply::Events([vec![token(4, "ld")], answer_of(5, "!")].concat()));
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(0);
    assert_eq!(output.stdout, "Hello world!\n");
    let resumed = queen.requests(STREAM);
    assert_eq!(resumed.len(), 1);
    assert_eq!(resumed[0].headers["last-event-id"], "3");
    assert_eq!(queen.requests(CHAT).len(), 1);
}

#[tokio::test]
async fn what_a_resumed_stream_repeats_is_not_printed_again() {
    let queen = Queen::saying(broken()).await;
    let replay = [broken()[..3].to_vec(), vec![token(4, "ld")], answer_of(5, "!")].concat();
    queen.on(STREAM, Reply::Events(replay));
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(0);
    assert_eq!(output.stdout, "Hello world!\n");
    assert_eq!(output.stderr.matches("chose a hive").count(), 1);
    assert_eq!(output.stderr.matches("[keeper] resume:").count(), 1);
}

#[tokio::test]
async fn a_stream_may_break_more_than_once() {
    let queen = Queen::saying(broken()).await;
    queen.on(STREAM, Reply::Events(vec![token(4, "ld"), Step::Break]));
    queen.on(STREAM, Reply::Events(vec![Step::Break]));
    queen.on(STREAM, Reply::Events(answer_of(5, "!")));
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(0);
    assert_eq!(output.stdout, "Hello world!\n");
    let last: Vec<_> = queen
        .requests(STREAM)
        .iter()
        .map(|request| request.headers["last-event-id"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!(last, ["3", "4", "4"]);
}

#[tokio::test]
async fn a_stream_that_ends_without_its_end_is_broken_too() {
    let queen = Queen::saying([token(1, "Hel")]).await;
    queen.on(STREAM, Reply::Events(answer_of(2, "lo")));
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(0);
    assert_eq!(output.stdout, "Hello\n");
}

#[tokio::test]
async fn half_an_answer_whose_job_goes_on_elsewhere_is_followed_there() {
    let queen = Queen::saying([token(1, "Hel"), end(2, "running")]).await;
    queen.on(STREAM, Reply::Events(answer_of(2, "lo")));
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(0);
    assert_eq!(output.stdout, "Hello\n");
    assert_eq!(queen.requests(STREAM)[0].headers["last-event-id"], "1");
}

#[tokio::test]
async fn an_answer_that_is_whole_needs_no_end() {
    let queen = Queen::saying([token(1, "Hello"), done(2)]).await;
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(0);
    assert_eq!(output.stdout, "Hello\n");
    assert!(queen.requests(STREAM).is_empty());
}

#[tokio::test]
async fn a_lost_job_is_asked_for_anew_while_nothing_has_been_said() {
    let queen = Queen::saying([Step::Break]).await;
    queen.on(CHAT, Reply::Events(answer_of(1, "Hello")));
    queen.on(STREAM, Reply::Json(404, queen::error(404, "job_not_found", "no such job")));
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(0);
    assert_eq!(output.stdout, "Hello\n");
    assert_eq!(queen.requests(CHAT).len(), 2);
}

#[tokio::test]
async fn a_lost_job_that_has_spoken_is_a_failure_and_repeats_nothing() {
    let queen = Queen::saying(broken()).await;
    queen.on(STREAM, Reply::Json(404, queen::error(404, "job_not_found", "no such job")));
    let keeper = Keeper::of(&queen).with("RBEE_NARRATION", "off");
    let output = keeper.run(&["infer", "hi"]).await.exits(1);
    assert_eq!(output.stdout, "Hello wor\n");
    insta::assert_snapshot!(output.stderr, @r"
    error: the queen that had the request is gone, and the request with it
      caused by: no such job
    ");
    assert_eq!(queen.requests(CHAT).len(), 1);
}

#[tokio::test]
async fn a_queen_after_one_that_died_is_told_where_the_answer_comes_from() {
    let worker = json!({"at": "worker", "job_id": "w", "last_event_id": 0});
    let origin = json!({"at": "hive", "job_id": "h", "last_event_id": 4, "origin": worker});
    let steps = vec![named(1, "origin", &origin), token(2, "Hello"), token(3, " wor"), Step::Break];
    let queen = Queen::saying(steps).await;
    queen.on(STREAM, Reply::Json(404, queen::error(404, "job_not_found", "no such job")));
    queen.on(STREAM, Reply::Events([vec![token(4, "ld")], answer_of(5, "!")].concat()));
    queen.on(RESTORE, Reply::Json(200, json!({})));
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(0);
    assert_eq!(output.stdout, "Hello world!\n");
    let worker = json!({"at": "worker", "job_id": "w", "last_event_id": 2});
    let origin = json!({"at": "hive", "job_id": "h", "last_event_id": 6, "origin": worker});
    let remains = json!({"last_event_id": 3, "origin": origin});
    assert_eq!(queen.requests(RESTORE)[0].body, remains);
    assert_eq!(queen.requests(CHAT).len(), 1);
}

#[tokio::test]
async fn events_that_the_queen_has_dropped_are_a_failure_in_its_words() {
    let queen = Queen::saying(broken()).await;
    queen.on(STREAM, Reply::Json(410, queen::error(410, "events_gone", "event 4 is gone")));
    let keeper = Keeper::of(&queen).with("RBEE_NARRATION", "off");
    let output = keeper.run(&["infer", "hi"]).await.exits(1);
    assert_eq!(output.stdout, "Hello wor\n");
    assert_eq!(output.stderr, "error: event 4 is gone\n");
}

#[tokio::test]
async fn a_frame_that_cannot_be_read_is_a_failure() {
    let queen = Queen::saying([Step::Frame("id: 1\nevent: end\ndata: {\n\n".to_owned())]).await;
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(1);
    assert!(output.stderr.starts_with("error: cannot read the event `end`"), "{}", output.stderr);
}

#[tokio::test]
async fn an_event_that_a_later_queen_invents_is_passed_over() {
    let steps = [vec![named(1, "weather", &json!("fair"))], answer_of(2, "Hello")].concat();
    let queen = Queen::saying(steps).await;
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(0);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("Hello\n", ""));
}

#[tokio::test]
async fn an_interrupt_cancels_the_job() {
    let queen = Queen::saying([token(1, "Hello"), Step::Hold]).await;
    let keeper = Keeper::of(&queen);
    let mut running = keeper.spawn(&["infer", "hi"]);
    running.says("Hello").await;
    running.interrupt();
    let output = running.finish().await.exits(130);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("\n", ""));
    assert_eq!(queen.requests(CANCEL).len(), 1);
}

#[tokio::test]
async fn a_second_interrupt_does_not_wait_for_the_queen() {
    let queen = Queen::start().await;
    queen.on(CHAT, Reply::Events(vec![token(1, "Hello"), Step::Hold]));
    queen.on(CANCEL, Reply::Hang);
    let keeper = Keeper::of(&queen);
    let mut running = keeper.spawn(&["infer", "hi"]);
    running.says("Hello").await;
    running.interrupt();
    queen.wait_for(CANCEL).await;
    running.interrupt();
    // Less than the keeper would wait for the queen by itself.
    running.finish_within(Duration::from_secs(4)).await.exits(130);
}

#[tokio::test]
async fn an_interrupt_before_the_answer_begins_leaves_at_once() {
    let queen = Queen::start().await;
    queen.on(CHAT, Reply::Hang);
    let keeper = Keeper::of(&queen);
    let running = keeper.spawn(&["infer", "hi"]);
    queen.wait_for(CHAT).await;
    running.interrupt();
    running.finish_within(Duration::from_secs(4)).await.exits(130);
    assert!(queen.requests(CANCEL).is_empty());
}

#[tokio::test]
async fn an_interrupt_cancels_a_download_too() {
    let queen = Queen::start().await;
    queen.on_job(vec![queen::progress(1, 10), Step::Hold]);
    queen.on(CANCEL, Reply::Json(200, json!({})));
    let keeper = Keeper::of(&queen);
    let running = keeper.spawn(&["model", "pull", "m"]);
    queen.wait_for(STREAM).await;
    running.interrupt();
    running.finish().await.exits(130);
    assert_eq!(queen.requests(CANCEL).len(), 1);
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_job_quietly() {
    let Step::Frame(frame) = token(1, "bees and more bees\n") else { unreachable!() };
    let queen = Queen::saying([Step::Forever(frame)]).await;
    let keeper = Keeper::of(&queen);
    let mut running = keeper.spawn(&["infer", "hi"]);
    running.says("bees and more bees\n").await;
    running.stop_reading();
    let output = running.finish().await.exits(0);
    assert_eq!(output.stderr, "");
    assert_eq!(queen.requests(CANCEL).len(), 1);
}

#[tokio::test]
async fn a_management_job_survives_a_broken_stream() {
    let queen = Queen::start().await;
    queen.on_job(vec![queen::progress(1, 10), Step::Break]);
    queen.on(STREAM, Reply::Events(job_of(&json!({ "name": "m" }))));
    let output = Keeper::of(&queen).run(&["model", "pull", "m", "--json"]).await;
    // The second stream begins with id 1, which has been seen: only its end is new.
    assert_eq!(output.exits(0).stdout, "null\n");
    assert_eq!(queen.requests(STREAM)[1].headers["last-event-id"], "1");
    assert_eq!(queen.requests(JOBS).len(), 1);
}

#[tokio::test]
async fn a_job_that_fails_without_a_word_is_still_a_failure() {
    let queen = Queen::saying([token(1, "Hello"), end(2, "failed")]).await;
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(1);
    assert_eq!(output.stderr, "error: the job failed and gave no reason\n");
}
