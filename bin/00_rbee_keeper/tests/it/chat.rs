use serde_json::json;

use crate::{
    keeper::Keeper,
    queen::{self, CHAT, Queen, Reply, answer_of},
};

#[tokio::test]
async fn each_turn_knows_the_turns_before_it() {
    let queen = Queen::saying(answer_of(1, "Hello")).await;
    queen.on(CHAT, Reply::Events(answer_of(1, "Yes")));
    let keeper = Keeper::of(&queen);
    let input = "Good day\n\nAre you a bee?\n";
    let output = keeper.run_with_input(&["chat", "--system", "be kind"], input).await.exits(0);
    assert_eq!(output.stdout, "Hello\nYes\n");
    let turns = queen.requests(CHAT);
    assert_eq!(turns.len(), 2);
    assert_eq!(
        turns[1].body["messages"],
        json!([
            { "role": "system", "content": "be kind" },
            { "role": "user", "content": "Good day" },
            { "role": "assistant", "content": "Hello" },
            { "role": "user", "content": "Are you a bee?" },
        ])
    );
}

#[tokio::test]
async fn a_turn_that_fails_is_forgotten_and_the_conversation_goes_on() {
    let queen = Queen::start().await;
    queen.on(CHAT, Reply::Json(500, queen::error(500, "out_of_memory", "no memory is left")));
    queen.on(CHAT, Reply::Events(answer_of(1, "Yes")));
    let output = Keeper::of(&queen).run_with_input(&["chat"], "first\nsecond\n").await.exits(0);
    assert_eq!(output.stdout, "Yes\n");
    assert_eq!(output.stderr, "error: no memory is left\n");
    let messages = &queen.requests(CHAT)[1].body["messages"];
    assert_eq!(*messages, json!([{ "role": "user", "content": "second" }]));
}
