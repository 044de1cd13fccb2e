use std::sync::Arc;

use insta::assert_snapshot;
use serde_json::json;
use tokio::{net::TcpListener, sync::Notify};

use crate::{
    keeper::Keeper,
    queen::{self, CHAT, Queen, Reply, Step, answer_of, done, end, finish, named, token},
};

#[tokio::test]
async fn tokens_go_to_standard_output_and_nothing_else_does() {
    let queen = Queen::saying(answer_of(1, "Bees hum.")).await;
    let output = Keeper::of(&queen).run(&["infer", "Write about bees"]).await.exits(0);
    assert_eq!(output.stdout, "Bees hum.\n");
    assert_eq!(output.stderr, "");
}

#[tokio::test]
async fn tokens_appear_as_they_come() {
    let gate = Arc::new(Notify::new());
    let mut steps = vec![token(1, "Hello"), Step::Gate(Arc::clone(&gate))];
    steps.extend(answer_of(2, " bees"));
    let queen = Queen::saying(steps).await;
    let keeper = Keeper::of(&queen);
    let mut running = keeper.spawn(&["infer", "hi"]);
    running.says("Hello").await;
    gate.notify_one();
    assert_eq!(running.finish().await.exits(0).stdout, " bees\n");
}

#[tokio::test]
async fn a_warm_prompt_costs_one_request() {
    let queen = Queen::saying(answer_of(1, "hi")).await;
    queen.on("GET /health", Reply::Hang);
    Keeper::of(&queen).run(&["infer", "hi"]).await.exits(0);
    let asked = queen.requests(CHAT);
    assert_eq!(asked.len(), 1);
    assert!(queen.requests("GET /health").is_empty());
    assert_eq!(asked[0].headers["x-rbee-events"], "1");
    assert_eq!(asked[0].headers["x-rbee-fresh"], "1");
}

#[tokio::test]
async fn the_request_says_what_the_flags_say() {
    let queen = Queen::saying(answer_of(1, "hi")).await;
    let flags =
        ["infer", "-m", "tiny", "--max-tokens=9", "--seed=3", "--stop=x", "--system=be kind", "hi"];
    Keeper::of(&queen).run(&flags).await.exits(0);
    let body = &queen.requests(CHAT)[0].body;
    assert_eq!(body["model"], "tiny");
    assert_eq!(body["max_tokens"], 9);
    assert_eq!(body["seed"], 3);
    assert_eq!(body["stop"], json!(["x"]));
    assert_eq!(
        body["messages"],
        json!([{ "role": "system", "content": "be kind" }, { "role": "user", "content": "hi" }])
    );
}

#[tokio::test]
async fn the_configured_model_is_the_default() {
    let queen = Queen::saying(answer_of(1, "hi")).await;
    let keeper = Keeper::of(&queen);
    keeper.write("config.toml", "[models]\ndefault = \"mine\"\n");
    keeper.run(&["infer", "hi"]).await.exits(0);
    assert_eq!(queen.requests(CHAT)[0].body["model"], "mine");
}

#[tokio::test]
async fn the_token_of_this_home_is_sent() {
    let queen = Queen::saying(answer_of(1, "hi")).await;
    let keeper = Keeper::of(&queen);
    keeper.write("state/token", "s3cret\n");
    keeper.run(&["infer", "hi"]).await.exits(0);
    assert_eq!(queen.requests(CHAT)[0].headers["authorization"], "Bearer s3cret");
}

#[tokio::test]
async fn what_is_piped_in_is_the_prompt() {
    for arguments in [&["infer"][..], &["infer", "-"]] {
        let queen = Queen::saying(answer_of(1, "hi")).await;
        Keeper::of(&queen).run_with_input(arguments, "from a pipe\n").await.exits(0);
        assert_eq!(queen.requests(CHAT)[0].body["messages"][0]["content"], "from a pipe\n");
    }
}

#[tokio::test]
async fn an_empty_prompt_is_refused_before_anything_is_asked() {
    let queen = Queen::saying(answer_of(1, "hi")).await;
    let output = Keeper::of(&queen).run_with_input(&["infer"], " \n").await.exits(2);
    let how = "`./rbee infer \"Write a haiku about bees\"`, or pipe one in";
    assert_eq!(output.stderr, format!("error: the prompt is empty\nhint: {how}\n"));
    assert!(queen.requests(CHAT).is_empty());
}

#[tokio::test]
async fn without_streaming_the_answer_comes_whole() {
    let queen = Queen::saying([vec![token(1, "one ")], answer_of(2, "two")].concat()).await;
    let output = Keeper::of(&queen).run(&["infer", "--no-stream", "hi"]).await.exits(0);
    assert_eq!(output.stdout, "one two\n");
}

#[tokio::test]
async fn an_answer_as_json_is_one_object() {
    let queen = Queen::saying([vec![token(1, "one ")], answer_of(2, "two")].concat()).await;
    let output = Keeper::of(&queen).run(&["infer", "--json", "hi"]).await.exits(0);
    assert_snapshot!(output.stdout, @r#"
    {
      "job_id": "job-1",
      "model": "m",
      "text": "one two",
      "finish_reason": "stop",
      "usage": {
        "total_tokens": 7
      }
    }
    "#);
}

#[tokio::test]
async fn an_answer_cut_at_its_limit_says_so() {
    let steps = [token(1, "one"), finish(2, "length"), done(3), end(4, "completed")];
    let queen = Queen::saying(steps).await;
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(0);
    assert_eq!(output.stdout, "one\n");
    assert_snapshot!(output.stderr, @"[keeper] infer: The answer ends at its limit of tokens; --max-tokens raises it");
}

#[tokio::test]
async fn a_refusal_is_told_in_the_queens_words_with_a_hint() {
    let queen = Queen::start().await;
    let refusal = queen::error(404, "model_not_found", "no model is called `x`");
    queen.on(CHAT, Reply::Json(404, refusal));
    let keeper = Keeper::of(&queen);
    let output = keeper.run(&["infer", "-m", "x", "hi"]).await.exits(2);
    assert_eq!(output.stdout, "");
    assert_snapshot!(output.stderr, @r"
    error: no model is called `x`
    hint: `./rbee model list` shows the models
    ");
}

#[tokio::test]
async fn a_full_queue_says_when_to_try_again() {
    let queen = Queen::start().await;
    let refusal = queen::error(429, "queue_full", "64 requests wait for `m` already");
    queen.on(CHAT, Reply::RetryAfter(429, refusal, 7));
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(1);
    assert_snapshot!(output.stderr, @r"
    error: 64 requests wait for `m` already
    hint: try again in 7 s
    ");
}

#[tokio::test]
async fn an_error_in_the_stream_ends_with_its_exit_code() {
    for (code, exit) in [("build_failed", 3), ("worker_unavailable", 4), ("out_of_memory", 1)] {
        let error = queen::error(500, code, "it did not work");
        let steps = [token(1, "Bees "), named(2, "error", &error), end(3, "failed")];
        let queen = Queen::saying(steps).await;
        let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(exit);
        assert_eq!(output.stdout, "Bees \n");
        let first = output.stderr.lines().next();
        assert_eq!(first, Some("error: it did not work"), "{}", output.stderr);
    }
}

#[tokio::test]
async fn a_job_that_somebody_cancelled_is_a_failure() {
    let queen = Queen::saying([token(1, "Bees"), end(2, "cancelled")]).await;
    let output = Keeper::of(&queen).run(&["infer", "hi"]).await.exits(1);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("Bees\n", "error: the job was cancelled\n")
    );
}

#[tokio::test]
async fn a_queen_that_is_not_there_is_exit_code_4() {
    let queen = Queen::start().await;
    let keeper = Keeper::alone().with("RBEE_QUEEN_URL", &nobody().await);
    let output = keeper.run(&["infer", "hi"]).await.exits(4);
    assert_eq!(output.stdout, "");
    let first = output.stderr_of(&keeper, &queen);
    assert!(first.starts_with("error: no queen answers at `http://127.0.0.1:"), "{first}");
    let causes = "`: nobody listens there\nhint: `./rbee status` shows what runs\n";
    assert!(first.ends_with(causes), "{first}");
}

#[tokio::test]
async fn a_stranger_in_the_queens_place_is_named_as_one() {
    let queen = Queen::start().await;
    queen.on(CHAT, Reply::Json(200, json!("hello")));
    let keeper = Keeper::of(&queen);
    let output = keeper.run(&["infer", "hi"]).await.exits(4);
    assert_snapshot!(output.stderr_of(&keeper, &queen), @r"
    error: what answers at `http://127.0.0.1:PORT` is not rbee's queen: `application/json` where a stream of events was due
    hint: `./rbee doctor` shows who holds the ports; `queen.port` changes rbee's
    ");
}

/// The address of a port that nobody listens on.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
