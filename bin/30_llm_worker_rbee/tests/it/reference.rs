//! What the engine computes, against what llama.cpp itself computed: `tests/reference/make.py`.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::json;

use crate::support::{engine, generate, greedy, post_json, routes};

#[derive(Deserialize)]
struct Reference {
    /// How far builds for other instruction sets were from the recorded one.
    other_builds: HashMap<String, Difference>,
    cases: HashMap<String, Case>,
}

/// Of log-probabilities.
#[derive(Deserialize)]
struct Difference {
    largest: f32,
    mean: f32,
}

#[derive(Deserialize)]
struct Case {
    /// The prompt as text, and as llama.cpp tokenised it.
    text: String,
    prompt: Vec<i32>,
    /// The tokens that followed, the most probable one at each step.
    following: Vec<i32>,
    /// The most probable tokens with their log-probabilities, which are the logits less one number:
    /// after the prompt, and after each that followed.
    top: Vec<Vec<(i32, f32)>>,
}

/// How far the engine may be from the recorded build.
///
/// llama.cpp's own builds for other instruction sets differ from it by what the file states, since
/// they sum in another order and round activations to 8 bits on the way. The engine also cuts its
/// batches elsewhere, so it gets twice that: for the largest difference and for the mean, which a
/// computation that is wrong by a little everywhere would exceed first.
fn tolerance(reference: &Reference) -> Difference {
    let most =
        |of: fn(&Difference) -> f32| reference.other_builds.values().map(of).fold(0.0, f32::max);
    Difference { largest: 2.0 * most(|build| build.largest), mean: 2.0 * most(|build| build.mean) }
}

fn recorded() -> Reference {
    serde_json::from_str(include_str!("reference.json")).unwrap()
}

#[tokio::test]
async fn logits_are_those_that_llama_cpp_computes() {
    let reference = recorded();
    let tolerance = tolerance(&reference);
    let engine = engine(2, 512).await;
    let (mut differences, mut decided) = (Vec::new(), 0);
    for (name, case) in &reference.cases {
        for (step, recorded) in case.top.iter().enumerate() {
            let mut request = greedy([&case.prompt, &case.following[..step]].concat(), 1);
            request.logprobs = Some(20);
            // Probabilities are reported before any bias, but not of a token that ends the turn.
            request.sampling.logit_bias = vec![(0, -100.0), (2, -100.0)];
            let generated = generate(&engine, request).await;
            let token = &generated.logprobs[0];
            let ours =
                |id: i32| token.top.iter().find(|other| other.id == id).map(|other| other.logprob);
            for &(id, logprob) in recorded {
                let here = ours(id).unwrap_or_else(|| {
                    panic!("{name}, step {step}: token {id} is not among the best")
                });
                let apart = (here - logprob).abs();
                assert!(apart <= tolerance.largest, "{name}, step {step}, token {id}: {apart}");
                differences.push(apart);
            }
            let (best, logprob) = recorded[0];
            if logprob - recorded[1].1 > 2.0 * tolerance.largest {
                assert_eq!(token.top[0].id, best, "{name}, step {step}");
                decided += 1;
            }
        }
    }
    let mean = differences.iter().sum::<f32>() / differences.len() as f32;
    assert!(mean <= tolerance.mean, "the differences are {mean} in the mean");
    assert!(differences.len() == 320 && decided >= 20, "{} and {decided}", differences.len());
    println!("{decided} choices, a mean difference of {mean}");
}

#[tokio::test]
async fn a_chat_becomes_the_tokens_that_the_models_template_makes() {
    let reference = recorded();
    let engine = engine(1, 512).await;
    let case = &reference.cases["chat"];
    assert_eq!(engine.model().tokenize(&case.text), case.prompt);
    assert_eq!(
        engine.model().tokenize(&reference.cases["plain"].text),
        reference.cases["plain"].prompt
    );

    let routes = routes(&engine);
    let messages = json!([{ "role": "user", "content": "Write a haiku about bees" }]);
    let body = json!({ "messages": messages, "temperature": 0, "max_tokens": 1, "logprobs": true });
    let chat = post_json(&routes, "/v1/chat/completions", body).await.json();
    let body = json!({ "prompt": case.prompt, "temperature": 0, "max_tokens": 1, "logprobs": 0 });
    let plain = post_json(&routes, "/v1/completions", body).await.json();
    assert_eq!(chat["usage"]["prompt_tokens"], case.prompt.len());
    // The second finds the first's prompt in the cache only where the tokens are the same.
    assert_eq!(plain["usage"]["prompt_tokens_details"]["cached_tokens"], case.prompt.len() - 1);
}
