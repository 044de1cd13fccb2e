//! What is set for a model, its template's file and its own file are inputs of its worker.

use std::{fs, path::Path};

use chain_tests::Chain;
use rbee_api::HEADER_FRESH;
use serde_json::{Value, json};

use crate::real_streams::{story, while_all_run};

const STREAMS: usize = 4;
const WORDS: usize = 60;

#[test]
fn an_edit_of_a_model_s_settings_template_or_file_replaces_its_worker_under_running_streams() {
    let chain = Chain::real();
    let (file, template) = (chain.home().join("words.gguf"), chain.home().join("chat.jinja"));
    fs::copy(Chain::model(), &file).unwrap();
    // One thread, so that what takes the streams' place is not kept from starting by them.
    chain.configure(&format!(
        "[worker]\nparallel = {STREAMS}\nthreads = 1\n[models]\ndefault = \"words\"\n\
         [model.words]\nsource = {file:?}\n"
    ));
    chain.succeed(&["infer", "--max-tokens", "1", "Hi"]);
    let queen = chain.queen();
    let worker = || chain.healths()[2].pid;
    let replaced_by = |what: &str, edit: &dyn Fn()| {
        let before = worker();
        edit();
        let said = chain.succeed(&["infer", "--max-tokens", "1", "Hi"]).stderr;
        assert!(said.contains("the chat template or the file of `words` have changed"), "{said}");
        let after = answered(&queen);
        assert_ne!(worker(), before, "{what} replaced no worker");
        after
    };
    let set =
        |settings: &[&str]| drop(chain.succeed(&[&["model", "set", "words"], settings].concat()));

    let ended = while_all_run(&queen, (STREAMS, WORDS), || {
        let Answered { tokens, .. } =
            replaced_by("a setting", &|| set(&["max_tokens=3", "system=You are a bee."]));
        assert_eq!(tokens, 3);

        fs::write(&template, "A{% for m in messages %}({{ m.role }}){% endfor %}").unwrap();
        let named = format!("chat_template={}", template.display());
        let Answered { prompt, .. } = replaced_by("a template", &|| set(&[&named]));
        assert_eq!(prompt, "A(system)(user)");
        let edited = "B{% for m in messages %}({{ m.content }}){% endfor %}";
        let edit = || fs::write(&template, edited).unwrap();
        let Answered { prompt, .. } = replaced_by("an edit of the template's file", &edit);
        assert_eq!(prompt, "B(You are a bee.)(Hi)");
        set(&["--unset", "chat_template"]);
        assert!(answered(&queen).prompt.starts_with("<|im_start|>system\nYou are a bee."));

        // As a download puts it into its place.
        let put = || put_another(&file, "C{{ messages[1].content }}");
        let Answered { prompt, .. } = replaced_by("another file", &put);
        assert_eq!(prompt, "CHi");

        let before = worker();
        set(&["aliases=[\"w\"]", "pinned=true", "keep_alive=1h", "preload=true"]);
        answered(&queen);
        let by_alias = chain.succeed(&["infer", "-m", "w", "--max-tokens", "1", "Hi"]);
        assert_eq!(worker(), before, "what concerns no answer replaced a worker: {by_alias:?}");
    });
    for (number, text) in ended.iter().enumerate() {
        let whole = Value::from(story(number, WORDS)).to_string();
        assert_eq!(*text, whole, "stream {number}");
    }

    // What cannot be used replaces nothing, and says why to whoever wants the newest.
    let before = worker();
    set(&[&format!("chat_template={}", template.display())]);
    fs::write(&template, "{% for %}").unwrap();
    let refused = chain.rbee(&["infer", "--max-tokens", "1", "Hi"]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(
        refused.stderr.contains("the chat template that is set does not compile"),
        "{refused:?}"
    );
    assert_eq!(worker(), before);
    let body = json!({"model": "words", "messages": [{"role": "user", "content": "Hi"}]});
    let answer = ask(&queen, "/v1/chat/completions", false, &body);
    assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");
}

/// What a chat comes to.
struct Answered {
    tokens: u64,
    prompt: String,
}

/// Asks whatever is fresh by then.
fn answered(queen: &str) -> Answered {
    let body = json!({
        "model": "words", "ignore_eos": true, "messages": [{"role": "user", "content": "Hi"}],
    });
    let answer = ask(queen, "/v1/chat/completions", true, &body);
    let prompt = ask(queen, "/apply-template", true, &body);
    Answered {
        tokens: answer["usage"]["completion_tokens"].as_u64().unwrap(),
        prompt: prompt["prompt"].as_str().unwrap().to_owned(),
    }
}

pub(crate) fn ask(queen: &str, path: &str, fresh: bool, body: &Value) -> Value {
    let answer = ureq::post(format!("{queen}{path}"))
        .header("content-type", "application/json")
        .header(HEADER_FRESH, if fresh { "1" } else { "0" })
        .send(body.to_string());
    let text = answer.unwrap().into_body().read_to_string().unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Puts a copy of the model with another chat template in the file's place.
fn put_another(file: &Path, template: &str) {
    const BEGINS: &[u8] = b"{% for message in messages %}{% if loop.first";
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(BEGINS.len()).position(|part| part == BEGINS).unwrap();
    let length = u64::from_le_bytes(bytes[at - 8..at].try_into().unwrap());
    let room = usize::try_from(length).unwrap() - template.len() - 4;
    let padded = format!("{template}{{#{}#}}", " ".repeat(room));
    bytes[at..at + padded.len()].copy_from_slice(padded.as_bytes());
    let beside = file.with_extension("new");
    fs::write(&beside, bytes).unwrap();
    fs::rename(beside, file).unwrap();
}
