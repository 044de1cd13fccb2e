use std::{fs, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    process::Child,
    sync::{Notify, mpsc},
    time::timeout,
};

use crate::{
    keeper::Keeper,
    queen::{self, CHAT, Queen, Reply, Step, answer_of, done, end, finish, token},
    terminal::{Screen, seen},
};

const DEADLINE: Duration = Duration::from_secs(30);

/// A talk on a screen.
struct Talk {
    screen: Screen,
    child: Child,
    pieces: mpsc::Receiver<Vec<u8>>,
    /// What has not been listened to.
    rest: Vec<u8>,
}

impl Talk {
    /// As soon as there is a prompt.
    async fn begin(keeper: &Keeper, arguments: &[&str]) -> Self {
        let screen = Screen::open();
        let child = keeper.spawn_on(arguments, || screen.stdio());
        let pieces = screen.pieces();
        let mut talk = Self { screen, child, pieces, rest: Vec::new() };
        talk.hears("> ").await;
        talk
    }

    /// Waits for `text` behind what was heard last, and gives what came up to its end.
    async fn hears(&mut self, text: &str) -> String {
        loop {
            let said = String::from_utf8_lossy(&self.rest).into_owned();
            if let Some(at) = said.find(text) {
                let (heard, rest) = said.split_at(at + text.len());
                self.rest = rest.as_bytes().to_vec();
                return heard.to_owned();
            }
            match timeout(DEADLINE, self.pieces.recv()).await {
                Ok(Some(piece)) => self.rest.extend(piece),
                _ => panic!("`{text}` is not in {said:?}"),
            }
        }
    }

    fn types(&mut self, keys: &str) {
        self.screen.type_in(keys.as_bytes());
    }

    /// At the next prompt.
    async fn leaves(mut self, keys: &str) -> Option<i32> {
        self.hears("> ").await;
        self.types(keys);
        timeout(DEADLINE, self.child.wait()).await.expect("in time").unwrap().code()
    }
}

fn keeper(queen: &Queen) -> Keeper {
    Keeper::of(queen).with("TERM", "xterm")
}

/// What the model was told in the `turn`th request, without who said it.
fn told(queen: &Queen, turn: usize) -> Vec<Value> {
    let body = &queen.requests(CHAT)[turn].body;
    body["messages"].as_array().unwrap().iter().map(|message| message["content"].clone()).collect()
}

/// An answer by a build of its own.
fn answer_by(build: &str, text: &str) -> Vec<Step> {
    let choices = json!([{ "delta": { "content": text } }]);
    let chunk = json!({ "model": "m", "system_fingerprint": build, "choices": choices });
    let frame = Step::Frame(format!("id: 1\ndata: {chunk}\n\n"));
    vec![frame, finish(2, "stop"), done(3), end(4, "completed")]
}

fn too_long() -> Reply {
    Reply::Json(400, queen::error(400, "context_length_exceeded", "the prompt is too long"))
}

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

#[tokio::test]
async fn a_person_is_told_who_answers_and_how_to_leave() {
    let queen = Queen::saying(answer_of(1, "Hello")).await;
    let keeper = keeper(&queen);
    let screen = Screen::open();
    let mut child = keeper.spawn_on(&["chat", "-m", "mine"], || screen.stdio());
    let mut pieces = screen.pieces();
    let mut all = Vec::new();
    let mut screen = screen;
    let talk = async {
        while !seen(&all).contains("\n>") {
            all.extend(pieces.recv().await.expect("the keeper has not left"));
        }
        screen.type_in(b"hi\r");
        while !seen(&all).contains("Hello\n>") {
            all.extend(pieces.recv().await.expect("the keeper has not left"));
        }
        screen.type_in(b"/bye\r");
        child.wait().await.unwrap().code()
    };
    assert_eq!(timeout(DEADLINE, talk).await.expect("in time"), Some(0));
    let expected = "Talking to `mine`; `/help` lists what can be typed, Ctrl-D or `/bye` leaves\n> hi\nHello\n>";
    // Of what shows that the answer is awaited nothing stays.
    assert_eq!(seen(&all).trim_end(), expected);
}

#[tokio::test]
async fn commands_change_what_is_asked() {
    let queen = Queen::saying(answer_of(1, "Yes")).await;
    let keeper = keeper(&queen);
    let mut talk = Talk::begin(&keeper, &["run", "one"]).await;
    for (typed, heard) in [
        ("/help", "/system [TEXT]"),
        ("/model two", "`two` answers"),
        ("/system be kind", "from its next answer on"),
        ("/set seed 7", "seed is 7"),
        ("/set top_p 7", "must be a number from 0 to 1"),
        ("/explode", "there is no `/explode`"),
    ] {
        talk.types(&format!("{typed}\r"));
        talk.hears(heard).await;
        talk.hears("> ").await;
    }
    talk.types("hi\r");
    talk.hears("Yes").await;
    talk.hears("> ").await;
    let path = keeper.home().join("talk.json");
    talk.types(&format!("/save {}\r", path.display()));
    talk.hears("Wrote the talk").await;
    talk.hears("> ").await;
    talk.types("/clear\r");
    talk.hears("forgotten").await;
    talk.hears("> ").await;
    talk.types("again\r");
    talk.hears("Yes").await;
    assert_eq!(talk.leaves("\x04").await, Some(0));
    let body = &queen.requests(CHAT)[0].body;
    assert_eq!((&body["model"], &body["seed"]), (&"two".into(), &7.into()));
    assert_eq!(told(&queen, 0), ["be kind", "hi"]);
    assert_eq!(told(&queen, 1), ["be kind", "again"]);
    let saved: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(saved["messages"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn several_lines_are_one_between_quotes_and_in_a_paste() {
    let queen = Queen::saying(answer_of(1, "Yes")).await;
    let mut talk = Talk::begin(&keeper(&queen), &["chat"]).await;
    talk.types("\"\"\"one\r");
    talk.types("two\"\"\"\r");
    talk.hears("Yes").await;
    talk.hears("> ").await;
    talk.types("\x1b[200~three\nfour\x1b[201~\r");
    talk.hears("Yes").await;
    assert_eq!(talk.leaves("\x04").await, Some(0));
    assert_eq!(told(&queen, 0), ["one\ntwo"]);
    assert_eq!(told(&queen, 1)[2], "three\nfour");
}

#[tokio::test]
async fn what_was_typed_is_there_in_the_next_talk() {
    let queen = Queen::saying(answer_of(1, "Yes")).await;
    let keeper = keeper(&queen);
    let mut talk = Talk::begin(&keeper, &["chat"]).await;
    talk.types("remember me\r");
    talk.hears("Yes").await;
    assert_eq!(talk.leaves("\x04").await, Some(0));
    let mut talk = Talk::begin(&keeper, &["chat"]).await;
    // The key that points up.
    talk.types("\x1b[A\r");
    talk.hears("Yes").await;
    assert_eq!(talk.leaves("\x04").await, Some(0));
    assert_eq!(told(&queen, 1), ["remember me"]);
}

#[tokio::test]
async fn what_is_typed_during_an_answer_is_the_next_line_and_not_amid_it() {
    let gate = Arc::new(Notify::new());
    let rest = answer_of(2, "hum.");
    let queen =
        Queen::saying([vec![token(1, "Bees "), Step::Gate(Arc::clone(&gate))], rest].concat())
            .await;
    queen.on(CHAT, Reply::Events(answer_of(1, "Yes")));
    let mut talk = Talk::begin(&keeper(&queen), &["chat"]).await;
    talk.types("hi\r");
    talk.hears("Bees ").await;
    talk.types("and you?\r");
    gate.notify_one();
    let heard = talk.hears("hum.").await;
    assert!(!heard.contains("and you?"), "{heard}");
    talk.hears("Yes").await;
    assert_eq!(talk.leaves("\x04").await, Some(0));
    assert_eq!(told(&queen, 1)[2], "and you?");
}

#[tokio::test]
async fn a_talk_that_outgrows_the_context_loses_its_oldest_turns_and_says_so() {
    let queen = Queen::saying(answer_of(1, "a0")).await;
    queen.on(CHAT, Reply::Events(answer_of(1, "a1")));
    queen.on(CHAT, too_long());
    queen.on(CHAT, Reply::Events(answer_of(1, "a2")));
    let output = Keeper::of(&queen).run_with_input(&["chat"], "q0\nq1\nq2\n").await.exits(0);
    assert_eq!(output.stdout, "a0\na1\na2\n");
    assert_eq!(
        output.stderr,
        "The talk has outgrown the model's context: its first 2 messages are not told any more; \
         `/save` writes them all\n"
    );
    assert_eq!(told(&queen, 3), ["q1", "a1", "q2"]);
}

#[tokio::test]
async fn a_question_that_has_no_room_alone_is_an_error_and_the_talk_goes_on() {
    let queen = Queen::start().await;
    queen.on(CHAT, too_long());
    queen.on(CHAT, Reply::Events(answer_of(1, "Yes")));
    let mut talk = Talk::begin(&keeper(&queen), &["chat"]).await;
    talk.types("far too long\r");
    talk.hears("the question alone has no room").await;
    talk.hears("> ").await;
    talk.types("short\r");
    talk.hears("Yes").await;
    assert_eq!(talk.leaves("\x04").await, Some(0));
    assert_eq!(told(&queen, 1), ["short"]);
}

#[tokio::test]
async fn an_answer_of_another_build_says_so() {
    let queen = Queen::saying(answer_by("rbee-one", "first")).await;
    queen.on(CHAT, Reply::Events(answer_by("rbee-one", "second")));
    queen.on(CHAT, Reply::Events(answer_by("rbee-two", "third")));
    let mut talk = Talk::begin(&keeper(&queen), &["chat"]).await;
    for expected in ["first", "second"] {
        talk.types("hi\r");
        talk.hears(expected).await;
        let heard = talk.hears("> ").await;
        assert!(!heard.contains("another build"), "{heard}");
    }
    talk.types("hi\r");
    talk.hears("`rbee-two`; before it was `rbee-one`").await;
    assert_eq!(talk.leaves("\x04").await, Some(0));
}

#[tokio::test]
async fn a_terminal_gets_its_mode_back_when_the_chat_is_told_to_end() {
    let queen = Queen::saying([token(1, "Bees "), Step::Hold]).await;
    let mut talk = Talk::begin(&keeper(&queen), &["chat"]).await;
    talk.types("hi\r");
    talk.hears("Bees ").await;
    assert!(!talk.screen.echoes());
    crate::keeper::signal(&talk.child, rustix::process::Signal::TERM);
    let code = timeout(DEADLINE, talk.child.wait()).await.expect("in time").unwrap().code();
    assert_eq!(code, Some(130));
    assert!(talk.screen.echoes());
    queen.wait_for(queen::CANCEL).await;
}
