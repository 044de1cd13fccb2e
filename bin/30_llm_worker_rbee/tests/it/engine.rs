//! What the engine promises, on the real model.

use std::time::{Duration, Instant};

use futures::future::join_all;
use llm_worker_rbee::{
    Engine, Event, FinishReason, Form, Rejected, Request, Sampling, TokenLogprob,
};
use tokio::time::timeout;

use crate::support::{DEADLINE, Generated, engine, finish, generate, greedy, model};

/// Log-probabilities of one token differ by less than this between a prompt that was read at once and
/// the same text token by token: by up to 0.5 where it was measured, on this model.
const NOISE: f32 = 0.8;

pub(crate) fn chat(engine: &Engine, user: &str) -> Vec<i32> {
    let text = format!("<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n");
    engine.model().tokenize(&text)
}

pub(crate) fn watched(mut request: Request) -> Request {
    request.logprobs = Some(5);
    request
}

/// Fails unless both had the same choice at each step, up to one where it was a near tie: as likely a
/// token in the one as in the other, and whichever was chosen among the likeliest of both.
#[track_caller]
pub(crate) fn agree(left: &Generated, right: &Generated, what: &str) {
    let among = |id: i32, step: &TokenLogprob| {
        step.top.iter().find(|top| top.id == id).map(|top| top.logprob)
    };
    for (step, (a, b)) in left.logprobs.iter().zip(&right.logprobs).enumerate() {
        for id in [a.id, b.id] {
            let both = among(id, a).zip(among(id, b));
            let (one, other) = both.unwrap_or_else(|| panic!("{what}: step {step}: {a:?}, {b:?}"));
            assert!((one - other).abs() < NOISE, "{what}: step {step}: {id} by {one} and {other}");
        }
        if a.id != b.id {
            return;
        }
    }
    assert_eq!(left.text(), right.text(), "{what}");
}

#[tokio::test]
async fn requests_beyond_the_slots_all_complete_as_they_would_alone() {
    let engine = engine(4, 2048).await;
    let topics = ["bees", "the sea", "a train", "winter", "bread", "a lighthouse", "chess", "rain"];
    let request = |topic: &str| {
        let mut request = watched(greedy(chat(&engine, &format!("Tell me about {topic}.")), 24));
        request.reuse_cache = false;
        request
    };
    let mut alone = Vec::new();
    for topic in topics {
        alone.push(generate(&engine, request(topic)).await);
    }
    let events: Vec<_> =
        topics.iter().map(|topic| engine.submit(request(topic)).unwrap()).collect();
    let together = join_all(events.into_iter().map(finish)).await;
    for ((topic, alone), together) in topics.iter().zip(&alone).zip(&together) {
        assert_eq!(together.finish.usage.prompt_tokens, alone.finish.usage.prompt_tokens);
        assert!(!together.text().is_empty());
        agree(alone, together, topic);
    }
}

#[tokio::test]
async fn a_prompt_seen_before_is_not_decoded_again() {
    let engine = engine(2, 1024).await;
    let mut prompt =
        chat(&engine, "Count from one to ten, and explain each number in one sentence.");
    let first = generate(&engine, watched(greedy(prompt.clone(), 12))).await;
    assert_eq!(first.finish.usage.cached_tokens, 0);

    let again = generate(&engine, watched(greedy(prompt.clone(), 12))).await;
    assert_eq!(again.finish.usage.cached_tokens as usize, prompt.len() - 1);
    agree(&first, &again, "the same prompt");

    // The conversation goes on: the answer is in the cache too.
    prompt.extend(first.logprobs.iter().map(|token| token.id));
    let whole = prompt.len();
    prompt.extend(
        engine
            .model()
            .tokenize("<|im_end|>\n<|im_start|>user\nGo on.<|im_end|>\n<|im_start|>assistant\n"),
    );
    let next = generate(&engine, greedy(prompt, 4)).await;
    assert!(next.finish.usage.cached_tokens as usize >= whole - 1, "{:?}", next.finish.usage);
}

#[tokio::test]
async fn a_beginning_is_shared_with_a_request_that_is_still_running() {
    let engine = engine(2, 2048).await;
    let prompt = chat(&engine, "Write a long story about a beekeeper who lives by the sea.");
    let mut long = engine.submit(greedy(prompt.clone(), 400)).unwrap();
    assert!(matches!(timeout(DEADLINE, long.recv()).await, Ok(Some(Event::Text { .. }))));
    let short = generate(&engine, greedy(prompt.clone(), 4)).await;
    assert_eq!(short.finish.usage.cached_tokens as usize, prompt.len() - 1);
    assert!(finish(long).await.finish.usage.completion_tokens > 4, "the other went on");
}

#[tokio::test]
async fn conversations_that_do_not_fit_into_the_cache_together_are_all_continued() {
    let engine = engine(3, 512).await;
    let prompt = |topic: &str| {
        let long = (1..).map(|count| chat(&engine, &topic.repeat(count)));
        long.into_iter().find(|prompt| prompt.len() > 512 / 3).unwrap()
    };
    let prompts = ["Honey is sweet. ", "The sea is wide. ", "Trains go far. "].map(prompt);
    let mut first = Vec::new();
    for prompt in &prompts {
        let answer = generate(&engine, watched(greedy(prompt.clone(), 8))).await;
        assert!(answer.finish.usage.cached_tokens < 20, "{:?}", answer.finish.usage);
        first.push(answer);
    }
    // Twice: what was brought back is kept again.
    for _ in 0..2 {
        for (prompt, first) in prompts.iter().zip(&first) {
            let again = generate(&engine, watched(greedy(prompt.clone(), 8))).await;
            assert_eq!(again.finish.usage.cached_tokens as usize, prompt.len() - 1);
            agree(first, &again, "the same prompt");
        }
    }
}

#[tokio::test]
async fn a_beginning_is_shared_with_a_conversation_that_nobody_is_using_and_left_to_it() {
    let engine = engine(3, 1024).await;
    let common = "The bees of the old keeper live on a hill by the sea. ".repeat(4);
    let prompt = |question: &str| chat(&engine, &format!("{common}{question}"));
    let old = prompt(&"They make honey of the heather there. ".repeat(12));
    let new = prompt("Who keeps them?");
    let first = generate(&engine, watched(greedy(old.clone(), 8))).await;
    generate(&engine, greedy(chat(&engine, "Tell me about winter."), 4)).await;
    let shared = generate(&engine, watched(greedy(new.clone(), 8))).await;
    let cached = shared.finish.usage.cached_tokens as usize;
    assert!((new.len() - 20..old.len() / 2).contains(&cached), "{:?}", shared.finish.usage);
    let again = generate(&engine, watched(greedy(old.clone(), 8))).await;
    assert_eq!(again.finish.usage.cached_tokens as usize, old.len() - 1);
    agree(&first, &again, "after another one has shared its beginning");
    let mut alone = watched(greedy(new, 8));
    alone.reuse_cache = false;
    agree(&generate(&engine, alone).await, &shared, "a shared beginning");
}

#[tokio::test]
async fn equal_seeds_give_equal_texts_and_others_do_not() {
    let engine = engine(2, 1024).await;
    let seeded = |seed| {
        let mut request =
            watched(greedy(chat(&engine, "Invent a name for a new planet, and describe it."), 40));
        request.sampling = Sampling { temperature: 1.2, seed, ..Sampling::default() };
        request.reuse_cache = false;
        request
    };
    let first = generate(&engine, seeded(7)).await;
    let second = generate(&engine, seeded(7)).await;
    assert_eq!(first.text(), second.text());
    let mut others = Vec::new();
    for seed in 8..11 {
        others.push(generate(&engine, seeded(seed)).await.text());
    }
    assert!(others.iter().any(|other| *other != first.text()), "{others:?}");
}

#[tokio::test]
async fn a_stop_string_that_spans_tokens_ends_the_text_before_it() {
    let engine = engine(1, 1024).await;
    let request = greedy(chat(&engine, "Tell me about bees."), 60);
    let whole = generate(&engine, watched(greedy(request.prompt.clone(), 60))).await;
    let text = whole.text();
    // From within the eighth token to within the eleventh.
    let at =
        |token: usize| whole.logprobs[..token].iter().map(|token| token.bytes.len()).sum::<usize>();
    let stop = text[at(7) + 1..at(10) + 1].to_owned();
    assert!(stop.len() > 4 && text.find(&stop) == Some(at(7) + 1), "`{stop}` in `{text}`");

    let stopped =
        generate(&engine, Request { stop: vec!["\u{1f41d}".to_owned(), stop.clone()], ..request })
            .await;
    assert_eq!(stopped.finish.reason, FinishReason::Stop);
    assert_eq!(stopped.finish.stop.as_ref(), Some(&stop));
    assert_eq!(stopped.text(), text[..=at(7)]);
    assert_eq!(stopped.finish.usage.completion_tokens, 11);
}

#[tokio::test]
async fn the_models_end_of_turn_ends_the_answer() {
    let engine = engine(1, 1024).await;
    let ended = generate(&engine, greedy(chat(&engine, "Say only the word yes."), 200)).await;
    assert_eq!(ended.finish.reason, FinishReason::Stop);
    assert!(!ended.text().contains("<|im_end|>"), "{}", ended.text());
}

#[tokio::test]
async fn max_tokens_and_the_context_end_the_answer_by_its_length() {
    let engine = engine(1, 64).await;
    let prompt = engine.model().tokenize("one two three four five six seven eight nine ten");
    let short = generate(&engine, greedy(prompt.clone(), 3)).await;
    assert_eq!(
        (short.finish.reason, short.finish.usage.completion_tokens),
        (FinishReason::Length, 3)
    );

    let mut endless = greedy(prompt.clone(), u32::MAX);
    endless.sampling.logit_bias = vec![(0, -100.0), (2, -100.0)];
    let full = generate(&engine, endless).await;
    assert_eq!(full.finish.reason, FinishReason::Length);
    assert_eq!(full.finish.usage.completion_tokens as usize, 64 - prompt.len());
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_refused_with_the_numbers() {
    let engine = engine(1, 64).await;
    let refused = engine.submit(greedy(vec![100; 64], 1));
    assert!(matches!(refused, Err(Rejected::TooLong { prompt: 64, context: 64 })), "{refused:?}");
    assert!(engine.submit(greedy(vec![100; 63], 1)).is_ok());
    assert!(matches!(engine.submit(greedy(Vec::new(), 1)), Err(Rejected::Empty)));
    let unknown = engine.submit(greedy(vec![49152], 1));
    assert!(
        matches!(unknown, Err(Rejected::UnknownToken { token: 49152, vocabulary: 49152 })),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn a_dropped_receiver_frees_its_slot_at_once() {
    let engine = engine(1, 4096).await;
    let long = greedy(chat(&engine, "Write a very long story."), 3000);
    let mut events = engine.submit(long).unwrap();
    assert!(matches!(timeout(DEADLINE, events.recv()).await, Ok(Some(Event::Text { .. }))));
    drop(events);
    // Three thousand tokens would take tens of seconds.
    let began = Instant::now();
    generate(&engine, greedy(chat(&engine, "Hi"), 2)).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_request_dropped_while_its_prompt_is_decoded_frees_its_slot_at_once() {
    let engine = engine(1, 4096).await;
    let words = "the quick brown fox jumps over the lazy dog and runs away ".repeat(300);
    let prompt = engine.model().tokenize(&words);
    assert!(prompt.len() > 3200 && prompt.len() < 4096, "{}", prompt.len());
    let began = Instant::now();
    generate(&engine, greedy(prompt[..400].to_vec(), 1)).await;
    let an_eighth = began.elapsed();

    let events = engine.submit(Request { reuse_cache: false, ..greedy(prompt, 1) }).unwrap();
    tokio::time::sleep(an_eighth / 4).await;
    drop(events);
    let began = Instant::now();
    generate(&engine, greedy(chat(&engine, "Hi"), 2)).await;
    let waited = began.elapsed();
    assert!(
        waited < an_eighth * 3,
        "{waited:?} after a prompt that takes eight times {an_eighth:?}"
    );
}

#[tokio::test]
async fn a_long_prompt_does_not_hold_up_an_answer_under_way() {
    let engine = engine(2, 8192).await;
    let mut answer = greedy(chat(&engine, "Write a long story."), 2000);
    answer.sampling.logit_bias = vec![(0, -100.0), (2, -100.0)];
    let mut answer = engine.submit(answer).unwrap();
    assert!(matches!(timeout(DEADLINE, answer.recv()).await, Ok(Some(Event::Text { .. }))));
    let words = "the quick brown fox jumps over the lazy dog and runs away ".repeat(60);
    let prompt = engine.submit(greedy(engine.model().tokenize(&words), 1)).unwrap();
    let mut prompt = Box::pin(finish(prompt));
    let mut tokens = 0;
    loop {
        tokio::select! {
            biased;
            event = answer.recv() => match event {
                Some(Event::Text { .. }) => tokens += 1,
                other => panic!("the answer ended first, after {tokens} tokens: {other:?}"),
            },
            _ = &mut prompt => break,
        }
    }
    assert!(tokens >= 5, "only {tokens} tokens came while a prompt of hundreds was decoded");
}

#[tokio::test]
async fn the_queue_is_bounded_and_says_when_to_come_back() {
    let engine = engine(1, 2048).await;
    let request = || greedy(chat(&engine, "Write a very long story."), 1500);
    let mut taken = Vec::new();
    let retry_after = loop {
        match engine.submit(request()) {
            Ok(events) => taken.push(events),
            Err(Rejected::Full { retry_after, .. }) => break retry_after,
            Err(other) => panic!("{other}"),
        }
        assert!(taken.len() < 1000, "the queue has no end");
    };
    assert_eq!(taken.len(), 65);
    assert!((Duration::from_secs(1)..=Duration::from_secs(60)).contains(&retry_after));
    // Whoever leaves the queue makes room in it.
    drop(taken);
    let later = timeout(DEADLINE, async {
        loop {
            match engine.submit(greedy(chat(&engine, "Hi"), 1)) {
                Ok(events) => break finish(events).await,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
    assert_eq!(later.await.expect("room again").finish.usage.completion_tokens, 1);
}

#[tokio::test]
async fn requests_that_outgrow_the_cache_together_complete_one_after_the_other() {
    let engine = engine(4, 256).await;
    let request = |topic: &str| {
        let mut request = watched(greedy(chat(&engine, &format!("Tell me about {topic}.")), 100));
        request.reuse_cache = false;
        // None may end early: together they need 4 times more than half of the cache.
        request.sampling.logit_bias = vec![(0, -100.0), (2, -100.0)];
        request
    };
    let topics = ["bees", "the sea", "a train", "winter"];
    let events: Vec<_> =
        topics.iter().map(|topic| engine.submit(request(topic)).unwrap()).collect();
    let together = join_all(events.into_iter().map(finish)).await;
    for (topic, together) in topics.iter().zip(&together) {
        assert_eq!(together.finish.usage.completion_tokens, 100, "{topic}");
        agree(&generate(&engine, request(topic)).await, together, topic);
    }
}

#[tokio::test]
async fn no_event_ends_within_a_character() {
    let engine = engine(1, 512).await;
    // Bytes that are no characters of their own in this vocabulary: emoji and CJK by bias.
    let prompt = engine.model().tokenize(
        "\u{1f41d}\u{1f41d}\u{1f41d}\u{1f41d} \u{871c}\u{8702}\u{871c}\u{8702} \u{1f41d}\u{1f41d}",
    );
    let generated = generate(&engine, watched(greedy(prompt, 40))).await;
    let bytes: Vec<u8> = generated.logprobs.iter().flat_map(|token| token.bytes.clone()).collect();
    let split = generated.logprobs.iter().any(|token| std::str::from_utf8(&token.bytes).is_err());
    assert!(split, "no token was part of a character: {:?}", generated.pieces);
    // The text is what the bytes are, however they were cut.
    assert_eq!(generated.text(), String::from_utf8_lossy(&bytes));
    let whole = generated.pieces[..generated.pieces.len() - 1]
        .iter()
        .all(|piece| !piece.contains('\u{fffd}'));
    assert!(whole, "{:?}", generated.pieces);
}

#[tokio::test]
async fn the_engine_ends_when_nobody_holds_it() {
    let config = *engine(1, 256).await.config();
    let (engine, thread) = Engine::start(model().await, config).await.unwrap();
    let prompt = chat(&engine, "Hi");
    let prompt_tokens = prompt.len();
    let events = engine.submit(greedy(prompt, 5)).unwrap();
    drop(engine);
    assert_eq!(finish(events).await.finish.usage.prompt_tokens as usize, prompt_tokens);
    timeout(DEADLINE, tokio::task::spawn_blocking(|| thread.join()))
        .await
        .expect("the thread ends")
        .unwrap();
}

#[tokio::test]
async fn an_engine_that_is_told_to_end_answers_what_it_has_taken_and_nothing_more() {
    let config = *engine(1, 256).await.config();
    let (engine, thread) = Engine::start(model().await, config).await.unwrap();
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(engine.submit(greedy(chat(&engine, "Hi"), 5)).unwrap());
    }
    timeout(DEADLINE, tokio::task::spawn_blocking(|| thread.join()))
        .await
        .expect("the thread ends while the engine is held")
        .unwrap();
    for events in taken {
        assert!(finish(events).await.finish.usage.completion_tokens > 0);
    }
    assert!(matches!(engine.submit(greedy(vec![1], 1)), Err(Rejected::Stopped)));
}

/// One that has alternatives in abundance, none of which the model wants to begin with.
fn heavy_grammar(alternatives: usize) -> String {
    let alternatives: Vec<_> = (0..alternatives)
        .map(|n| format!("(\"{n}\" | [\u{4e00}-\u{9fff}] | \"\u{1f41d}{n}\")* \"x{n}\""))
        .collect();
    format!("root ::= {}", alternatives.join(" | "))
}

#[tokio::test]
async fn a_grammar_that_is_too_much_work_ends_its_own_request_only() {
    let engine = engine(2, 512).await;
    let mut request = greedy(chat(&engine, "Say hello."), 40);
    request.sampling.form = Some(Form::Gbnf(heavy_grammar(400)));
    let mut heavy = engine.submit(request).unwrap();
    let other = generate(&engine, greedy(chat(&engine, "Hi"), 3)).await;
    assert_eq!(other.finish.usage.completion_tokens, 3);
    // The whole answer would take minutes; it may end well on a machine that is fast enough.
    let ended = timeout(DEADLINE, async {
        loop {
            match heavy.recv().await {
                Some(Event::Text { .. }) => {}
                other => break other,
            }
        }
    });
    match ended.await.expect("the grammar has an end") {
        Some(Event::Failed(reason)) => assert!(reason.contains("too much work"), "{reason}"),
        Some(Event::End(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(engine.stuck_for(), None);
}

#[tokio::test]
async fn a_grammar_whose_client_has_gone_is_broken_off() {
    let engine = engine(1, 512).await;
    let mut request = greedy(chat(&engine, "Say hello."), 40);
    request.sampling.form = Some(Form::Gbnf(heavy_grammar(400)));
    drop(engine.submit(request).unwrap());
    let next = generate(&engine, greedy(chat(&engine, "Hi"), 2)).await;
    assert_eq!(next.finish.usage.completion_tokens, 2);
}
