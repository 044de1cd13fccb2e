//! Tokens that are guessed, and that none is chosen because of that.

use futures::future::join_all;
use llm_worker_rbee::{Engine, FinishReason, Form, Request, Sampling};

use crate::{
    engine::{agree, chat, watched},
    support::{Generated, TestEngine, finish, generate, greedy, with_guesses_and_without},
};

/// What the model goes on repeating.
const REPEATED: &str = "The bees of the old keeper live on the hill above the sea, and in June they fly \
                        down to the heather. ";

fn repeating(engine: &Engine, max_tokens: u32) -> Request {
    let mut request = greedy(engine.model().tokenize(&REPEATED.repeat(5)), max_tokens);
    // Chance and penalties choose less likely tokens too.
    request.logprobs = Some(200);
    request
}

/// The answer of both engines to the same request, which agree.
async fn both(
    [guessing, plain]: &[TestEngine; 2],
    what: &str,
    request: impl Fn(&Engine) -> Request,
) -> Generated {
    let guessed = generate(guessing, request(guessing)).await;
    let alone = generate(plain, request(plain)).await;
    assert_eq!(alone.finish.usage.drafted_tokens, 0);
    agree(&guessed, &alone, what);
    guessed
}

#[tokio::test]
async fn an_answer_is_the_same_with_guesses_and_without() {
    let engines = with_guesses_and_without(1, 2048).await;
    let repeated = both(&engines, "a repetition", |engine| repeating(engine, 80)).await;
    let usage = &repeated.finish.usage;
    assert_eq!(usage.completion_tokens, 80);
    assert!(usage.accepted_tokens > 30, "{usage:?}");
    assert!(usage.accepted_tokens <= usage.drafted_tokens, "{usage:?}");
    for question in [
        "Repeat: red lamp, blue boat, green stone, red lamp, blue boat, green stone.",
        "List the numbers from one to ten, then list them again.",
        "Write this in capitals: bees live on the hill above the sea.",
        "Tell me about winter.",
    ] {
        let ask = |engine: &Engine| watched(greedy(chat(engine, question), 60));
        both(&engines, question, ask).await;
    }
}

#[tokio::test]
async fn answers_beside_one_another_are_the_same_with_guesses_and_without() {
    let [guessing, plain] = with_guesses_and_without(4, 4096).await;
    let texts = [
        REPEATED.repeat(5),
        "one two three four five six seven eight ".repeat(8),
        "<|im_start|>user\nTell me about chess.<|im_end|>\n<|im_start|>assistant\n".to_owned(),
        "let bees = hive.bees(); for bee in bees { bee.fly(); } ".repeat(6),
    ];
    let answers = async |engine: &TestEngine| {
        let requests = texts.iter().map(|text| watched(greedy(engine.model().tokenize(text), 60)));
        let asked: Vec<_> = requests.map(|request| engine.submit(request).unwrap()).collect();
        join_all(asked.into_iter().map(finish)).await
    };
    let (guessed, alone) = (answers(&guessing).await, answers(&plain).await);
    for ((guessed, alone), text) in guessed.iter().zip(&alone).zip(&texts) {
        agree(guessed, alone, text);
    }
}

#[tokio::test]
async fn chance_is_the_same_with_guesses_and_without() {
    let engines = with_guesses_and_without(1, 2048).await;
    for seed in [1, 2, 3] {
        both(&engines, "a seed", |engine| {
            let mut request = repeating(engine, 60);
            request.sampling = Sampling { temperature: 0.9, seed, ..Sampling::default() };
            request
        })
        .await;
    }
}

#[tokio::test]
async fn what_an_answer_must_be_like_holds_with_guesses() {
    let engines = with_guesses_and_without(1, 2048).await;
    let constrained = |engine: &Engine| {
        let mut request = repeating(engine, 60);
        request.sampling.form =
            Some(Form::Gbnf(r#"root ::= ("sea " "hill " | "bees ")+"#.to_owned()));
        request
    };
    let [guessed, alone] = [&engines[0], &engines[1]].map(|engine| (engine, constrained(engine)));
    let guessed = generate(guessed.0, guessed.1).await;
    assert!(guessed.finish.usage.accepted_tokens > 0, "{:?}", guessed.finish.usage);
    assert_eq!(guessed.text(), generate(alone.0, alone.1).await.text());
    both(&engines, "penalties", |engine| {
        let mut request = repeating(engine, 60);
        request.sampling.repeat_penalty = 1.3;
        request.sampling.frequency_penalty = 0.4;
        request
    })
    .await;
    let stopped = both(&engines, "a stop", |engine| {
        let mut request = repeating(engine, 60);
        request.stop = vec!["the heather".to_owned()];
        request
    })
    .await;
    assert_eq!(stopped.finish.reason, FinishReason::Stop);
    assert!(stopped.finish.usage.accepted_tokens > 0, "{:?}", stopped.finish.usage);
    // Whatever was guessed, it ends where it is to.
    for most in [1, 2, 17, 18, 19, 20] {
        let ended = both(&engines, "a limit", |engine| repeating(engine, most)).await;
        assert_eq!(ended.finish.usage.completion_tokens, most);
    }
}

#[tokio::test]
async fn what_was_guessed_wrongly_is_forgotten() {
    let engines = with_guesses_and_without(1, 2048).await;
    // What it repeats is not all that comes, so some guesses are wrong.
    let mut text = REPEATED.repeat(4);
    let mut refused = 0;
    for place in ["lake", "river", "wood"] {
        let prompt = engines[0].model().tokenize(&text);
        let answer = both(&engines, place, |_| watched(greedy(prompt.clone(), 70))).await;
        let usage = &answer.finish.usage;
        refused += usage.drafted_tokens - usage.accepted_tokens;
        text = format!("{text}{} And they fly to the {place}.", answer.text());
        let prompt = engines[0].model().tokenize(&text);
        let mut anew = watched(greedy(prompt.clone(), 20));
        anew.reuse_cache = false;
        let anew = generate(&engines[1], anew).await;
        let on = generate(&engines[0], watched(greedy(prompt, 20))).await;
        assert!(on.finish.usage.cached_tokens > on.finish.usage.prompt_tokens / 2);
        agree(&on, &anew, "what is built on it");
    }
    assert!(refused > 0, "each guess was right");
}

#[tokio::test]
async fn guesses_take_no_cells_from_others_where_there_are_few() {
    let [guessing, plain] = with_guesses_and_without(2, 384).await;
    let answers = async |engine: &TestEngine| {
        let asked: Vec<_> = (0..2).map(|_| engine.submit(repeating(engine, 60)).unwrap()).collect();
        join_all(asked.into_iter().map(finish)).await
    };
    let (guessed, alone) = (answers(&guessing).await, answers(&plain).await);
    for (guessed, alone) in guessed.iter().zip(&alone) {
        assert_eq!(guessed.finish.usage.completion_tokens, 60);
        agree(guessed, alone, "in a small context");
    }
}
