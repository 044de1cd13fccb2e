//! Conversations that go on in another worker, on the real model. The tests stand for whoever replaces
//! workers.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use daemon_lifecycle::{receive_descriptor, send_descriptor};
use http_body_util::BodyExt as _;
use llm_worker_rbee::{Carrier, Engine, Event};
use rbee_api::carry::{CONVERSATION, GIVE, SOCKET, TAKE, TAKEN};
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::json;
use tempfile::TempDir;
use tokio::{net::UnixStream, time::timeout};

use crate::{
    engine::{agree, chat, watched},
    process::start,
    support::{
        DEADLINE, Generated, TestEngine, engine, engine_of, finish, generate, greedy, model_path,
    },
};

/// Tells the worker whose socket is in `folder` what an end of a pair is for.
async fn told(folder: &Path, word: u8, end: BorrowedFd<'_>) -> UnixStream {
    let worker = UnixStream::connect(folder.join(SOCKET)).await.unwrap();
    send_descriptor(&worker, word, Some(end)).await.unwrap();
    worker
}

/// The next word on `stream`, and what came with it.
async fn heard(stream: &UnixStream) -> Option<(u8, Option<OwnedFd>)> {
    timeout(DEADLINE, receive_descriptor(stream)).await.expect("a word").unwrap()
}

/// Has one worker's conversations go to another; returns when those are there that nobody was using, with
/// what closes when no more will come.
async fn carry(from: &Path, to: &Path) -> UnixStream {
    let (giving, taking) = UnixStream::pair().unwrap();
    told(from, GIVE, giving.as_fd()).await;
    let told = told(to, TAKE, taking.as_fd()).await;
    assert!(matches!(heard(&told).await, Some((TAKEN, None))));
    told
}

/// An engine, and where its conversations are handed on.
struct Side {
    engine: TestEngine,
    carrier: Carrier,
    folder: TempDir,
}

impl Side {
    async fn new(engine: TestEngine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let carrier = Carrier::start(Engine::clone(&engine), folder.path()).unwrap();
        Self { engine, carrier, folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

async fn pair() -> (Side, Side) {
    (Side::new(engine(2, 2048).await).await, Side::new(engine(2, 2048).await).await)
}

/// A conversation of two questions, of which the first is answered.
struct Talk {
    /// With the first answer.
    next: Vec<i32>,
    /// How much of it was computed for the first.
    computed: usize,
}

async fn talk(engine: &Engine, about: &str) -> Talk {
    let first = chat(engine, &format!("Tell me more about {about}. ").repeat(20));
    let answer = generate(engine, watched(greedy(first.clone(), 12))).await;
    Talk::answered(engine, first, &answer)
}

impl Talk {
    fn answered(engine: &Engine, first: Vec<i32>, answer: &Generated) -> Self {
        let mut next = first;
        next.extend(answer.logprobs.iter().map(|token| token.id));
        let computed = next.len() - 1;
        let question = "<|im_end|>\n<|im_start|>user\nAnd then?<|im_end|>\n<|im_start|>assistant\n";
        next.extend(engine.model().tokenize(question));
        Self { next, computed }
    }

    /// How the second answer goes.
    async fn goes_on(&self, engine: &Engine) -> Generated {
        generate(engine, watched(greedy(self.next.clone(), 12))).await
    }
}

fn cached(answer: &Generated) -> usize {
    answer.finish.usage.cached_tokens as usize
}

#[tokio::test]
async fn a_conversation_goes_on_in_another_worker_as_it_would_have_here() {
    let (old, new) = pair().await;
    let (bees, sea) = (talk(&old.engine, "bees").await, talk(&old.engine, "the sea").await);
    carry(old.path(), new.path()).await;
    for talk in [&bees, &sea] {
        let there = talk.goes_on(&new.engine).await;
        assert!(cached(&there) >= talk.computed, "{:?}", there.finish.usage);
        let here = talk.goes_on(&old.engine).await;
        assert_eq!(cached(&here), cached(&there));
        agree(&here, &there, "the second answer");
    }
}

#[tokio::test]
async fn what_is_answered_while_a_worker_is_replaced_is_handed_on_at_its_end() {
    let (old, new) = pair().await;
    let prompt = chat(&old.engine, &"Tell me a story about a beekeeper. ".repeat(9));
    let events = old.engine.submit(watched(greedy(prompt.clone(), 60))).unwrap();
    let told = carry(old.path(), new.path()).await;
    let answer = finish(events).await;
    old.carrier.finish().await;
    assert!(heard(&told).await.is_none(), "nothing more will come");
    let story = Talk::answered(&new.engine, prompt, &answer);
    let there = story.goes_on(&new.engine).await;
    assert!(cached(&there) >= story.computed, "{:?}", there.finish.usage);
    agree(&story.goes_on(&old.engine).await, &there, "the second answer");
}

#[tokio::test]
async fn what_is_still_answered_when_a_worker_ends_is_handed_on_as_far_as_it_is() {
    let (old, new) = pair().await;
    let prompt = chat(&old.engine, &"Tell me a story about a beekeeper. ".repeat(9));
    let mut events = old.engine.submit(greedy(prompt.clone(), 900)).unwrap();
    let told = carry(old.path(), new.path()).await;
    assert!(matches!(timeout(DEADLINE, events.recv()).await, Ok(Some(Event::Text { .. }))));
    old.carrier.finish().await;
    assert!(heard(&told).await.is_none(), "nothing more will come");
    let there = generate(&new.engine, greedy(prompt.clone(), 1)).await;
    assert_eq!(cached(&there), prompt.len() - 1);
}

#[tokio::test]
async fn a_conversation_with_another_model_s_file_or_other_settings_is_not_carried_over() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.gguf");
    fs::copy(model_path(), &copy).unwrap();
    let old = Side::new(engine(2, 2048).await).await;
    let bees = talk(&old.engine, "bees").await;
    for other in [engine_of(copy, 2, 2048), engine_of(model_path(), 2, 1024)] {
        let new = Side::new(other.await).await;
        carry(old.path(), new.path()).await;
        let there = bees.goes_on(&new.engine).await;
        assert_eq!(cached(&there), 0, "{:?}", there.finish.usage);
    }
}

#[tokio::test]
async fn what_is_not_as_it_was_sent_is_not_kept() {
    let (old, new) = pair().await;
    let bees = talk(&old.engine, "bees").await;
    let here = bees.goes_on(&old.engine).await;
    let half = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let flipped = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    let version = |bytes: &mut Vec<u8>| bytes[7] += 1;
    for damage in [&half as &Damage, &flipped, &version] {
        through(&old, &new, damage).await;
    }
    let there = bees.goes_on(&new.engine).await;
    assert_eq!(cached(&there), 0, "{:?}", there.finish.usage);
    agree(&here, &there, "read again");
    // What is left alone goes through by the same way.
    let (sea, nothing) = (talk(&old.engine, "the sea").await, |_: &mut Vec<u8>| ());
    through(&old, &new, &nothing).await;
    assert!(cached(&sea.goes_on(&new.engine).await) >= sea.computed);
}

type Damage = dyn Fn(&mut Vec<u8>);

/// Has the conversations of `old` go to `new`, each file as `damage` leaves it.
async fn through(old: &Side, new: &Side, damage: &Damage) {
    let (giving, given) = UnixStream::pair().unwrap();
    told(old.path(), GIVE, giving.as_fd()).await;
    let (to_new, taking) = UnixStream::pair().unwrap();
    let told = told(new.path(), TAKE, taking.as_fd()).await;
    drop(taking);
    let mut conversations = 0;
    loop {
        let (word, file) = heard(&given).await.expect("a word");
        let Some(file) = file else {
            // All has come that nobody is using.
            send_descriptor(&to_new, word, None).await.unwrap();
            break;
        };
        let mut bytes = Vec::new();
        let mut file = File::from(file);
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        damage(&mut bytes);
        let mut sent = File::from(memfd_create("sent", MemfdFlags::CLOEXEC).unwrap());
        sent.write_all(&bytes).unwrap();
        send_descriptor(&to_new, word, Some(sent.as_fd())).await.unwrap();
        conversations += 1;
    }
    assert!(conversations > 0);
    assert!(matches!(heard(&told).await, Some((TAKEN, None))));
}

#[tokio::test]
async fn a_conversation_that_was_read_again_meanwhile_stays_as_it_is() {
    let (old, new) = pair().await;
    let bees = talk(&old.engine, "bees").await;
    let read = bees.goes_on(&new.engine).await;
    assert_eq!(cached(&read), 0);
    carry(old.path(), new.path()).await;
    let again = bees.goes_on(&new.engine).await;
    assert_eq!(cached(&again), bees.next.len() - 1);
    agree(&read, &again, "the same prompt");
}

#[tokio::test]
async fn a_worker_outlives_whatever_it_is_told_of_conversations() {
    let (old, new) = pair().await;
    let bees = talk(&old.engine, "bees").await;
    let file = File::open(model_path()).unwrap();
    let datagrams = std::os::unix::net::UnixDatagram::unbound().unwrap();
    for side in [&old, &new] {
        // Each is answered with the connection's end.
        for word in [GIVE, TAKE, TAKEN, b'?'] {
            for odd in [file.as_fd(), datagrams.as_fd()] {
                assert!(heard(&told(side.path(), word, odd).await).await.is_none());
            }
            let nothing = UnixStream::connect(side.path().join(SOCKET)).await.unwrap();
            send_descriptor(&nothing, word, None).await.unwrap();
            assert!(heard(&nothing).await.is_none());
        }
        // The other side is dead, or says what nobody understands, or sends no file.
        let (one, other) = UnixStream::pair().unwrap();
        drop(other);
        told(side.path(), GIVE, one.as_fd()).await;
        let taken = told(side.path(), TAKE, one.as_fd()).await;
        drop(one);
        assert!(heard(&taken).await.is_none());
        for (word, sent) in
            [(b'?', None), (CONVERSATION, None), (CONVERSATION, Some(datagrams.as_fd()))]
        {
            let (one, other) = UnixStream::pair().unwrap();
            let taken = told(side.path(), TAKE, one.as_fd()).await;
            drop(one);
            send_descriptor(&other, word, sent).await.unwrap();
            drop(other);
            assert!(heard(&taken).await.is_none());
        }
    }
    // Both answer, and go on with one another's.
    carry(old.path(), new.path()).await;
    assert!(cached(&bees.goes_on(&new.engine).await) >= bees.computed);
    assert!(cached(&bees.goes_on(&old.engine).await) >= bees.computed);
}

/// Processes, in their sandboxes.
#[tokio::test]
async fn a_worker_that_ends_hands_on_what_it_was_answering() {
    const PATH: &str = "/v1/completions";
    let flags = ["--lease", "600"];
    let (old, new) = (start(&model_path(), &flags), start(&model_path(), &flags));
    let idle = json!({ "prompt": "The sea is wide. ".repeat(30), "max_tokens": 4 });
    let long = json!({
        "prompt": "Honey is sweet. ".repeat(30), "max_tokens": 30, "ignore_eos": true, "stream": true,
    });
    old.json("POST", PATH, idle.clone()).await;
    new.json("GET", "/health", json!({})).await;
    let mut stream = old.send("POST", PATH, long.clone()).await.into_body();
    stream.frame().await.expect("a first token").unwrap();
    let told = carry(old.folder(), new.folder()).await;
    old.terminate();
    let rest = stream.collect().await.unwrap().to_bytes();
    assert!(rest.ends_with(b"data: [DONE]\n\n"), "the stream came to its end");
    let (status, log) = old.end().await;
    assert!(status.success(), "{status}: {log}");
    assert!(heard(&told).await.is_none(), "nothing more will come");
    for mut prompt in [idle, long] {
        prompt["stream"] = false.into();
        prompt["max_tokens"] = 1.into();
        let usage = &new.json("POST", PATH, prompt).await["usage"];
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64();
        let wanted = usage["prompt_tokens"].as_u64().unwrap() - 1;
        assert_eq!(cached, Some(wanted), "{usage}");
    }
}

/// As where memory does not allow two.
#[tokio::test]
async fn what_a_worker_handed_on_waits_for_one_that_is_started_after_its_end() {
    const PATH: &str = "/v1/completions";
    let flags = ["--lease", "600"];
    let old = start(&model_path(), &flags);
    let asked = json!({ "prompt": "The sea is wide. ".repeat(30), "max_tokens": 1 });
    old.json("POST", PATH, asked.clone()).await;
    let (giving, taking) = UnixStream::pair().unwrap();
    told(old.folder(), GIVE, giving.as_fd()).await;
    drop(giving);
    old.terminate();
    let (status, log) = old.end().await;
    assert!(status.success(), "{status}: {log}");

    let new = start(&model_path(), &flags);
    new.json("GET", "/health", json!({})).await;
    let told = told(new.folder(), TAKE, taking.as_fd()).await;
    assert!(matches!(heard(&told).await, Some((TAKEN, None))));
    let usage = &new.json("POST", PATH, asked).await["usage"];
    let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert_eq!(cached + 1, usage["prompt_tokens"].as_u64().unwrap(), "{usage}");
}
