//! A model that goes on with the alphabet: every letter of an answer is known beforehand, so one that
//! is lost, doubled or another's shows.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

/// Numbers in a vector; one for each token, so that a token's vector says which it is.
const WIDTH: usize = 384;
const HEADS: usize = 6;
const FEED_FORWARD: usize = 64;

/// Behind the 256 bytes, which are tokens.
const END: usize = 256;

/// How sure the model is: with less, chance would have a part in it.
const CERTAINTY: f32 = 4.0;

/// What the model says after a prompt that ends with `letter`.
pub(super) fn letters_after(letter: char, count: usize) -> String {
    let tokens = std::iter::successors(u8::try_from(letter).ok(), |last| Some(next(*last)));
    tokens.skip(1).take(count).map(char::from).collect()
}

fn next(token: u8) -> u8 {
    match token {
        b'a'..=b'y' => token + 1,
        _ => b'a',
    }
}

/// Writes the model as a folder of Hugging Face's.
pub(super) fn write(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let write = |name: &str, content: Value| {
        fs::write(folder.join(name), content.to_string()).unwrap();
    };
    write("config.json", config());
    write("tokenizer.json", tokenizer());
    write("tokenizer_config.json", tokenizer_config());
    fs::write(folder.join("model.safetensors"), weights()).unwrap();
}

fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": WIDTH,
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": 1,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": WIDTH / HEADS,
        "hidden_act": "silu",
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": false,
        "attention_bias": false,
        "dtype": "bfloat16",
        "bos_token_id": END + 1,
        "eos_token_id": END,
    })
}

/// One token for each byte.
fn tokenizer() -> Value {
    let vocabulary: Map<String, Value> =
        byte_names().into_iter().enumerate().map(|(id, name)| (name, json!(id))).collect();
    let special = |id: usize, content: &str| {
        json!({
            "id": id, "content": content, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(END, "<|end|>"), special(END + 1, "<|begin|>")],
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": null,
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": [],
        },
    })
}

/// By the convention of such tokenizers a byte that is no visible character is named by one from 256 on.
fn byte_names() -> Vec<String> {
    let is_visible = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 256..;
    (0..=u8::MAX)
        .map(|byte| {
            let code = if is_visible(byte) { u32::from(byte) } else { others.next().unwrap() };
            char::from_u32(code).unwrap().to_string()
        })
        .collect()
}

/// A prompt is what its messages say, so it ends with the last one's last letter.
fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 131_072,
        "bos_token": "<|begin|>",
        "eos_token": "<|end|>",
        "clean_up_tokenization_spaces": false,
        "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    })
}

/// Attention and what follows add nothing: what comes out is which token came last, and the head
/// makes that the next one.
fn weights() -> Vec<u8> {
    let embeddings = matrix(WIDTH, |row, column| if row == column { 1.0 } else { 0.0 });
    let head = matrix(WIDTH, |row, column| {
        let follows = u8::try_from(column).is_ok_and(|token| usize::from(next(token)) == row);
        if follows { CERTAINTY } else { 0.0 }
    });
    let tensor = |name: &str, shape: &[usize], values| Tensor {
        name: format!("{name}.weight"),
        shape: shape.to_vec(),
        values,
    };
    let mut tensors = vec![
        tensor("model.embed_tokens", &[WIDTH, WIDTH], embeddings),
        tensor("model.norm", &[WIDTH], vec![1.0; WIDTH]),
        tensor("lm_head", &[WIDTH, WIDTH], head),
    ];
    for norm in ["input_layernorm", "post_attention_layernorm"] {
        tensors.push(tensor(&format!("model.layers.0.{norm}"), &[WIDTH], vec![1.0; WIDTH]));
    }
    for (projection, rows, columns) in [
        ("self_attn.q_proj", WIDTH, WIDTH),
        ("self_attn.k_proj", WIDTH, WIDTH),
        ("self_attn.v_proj", WIDTH, WIDTH),
        ("self_attn.o_proj", WIDTH, WIDTH),
        ("mlp.gate_proj", FEED_FORWARD, WIDTH),
        ("mlp.up_proj", FEED_FORWARD, WIDTH),
        ("mlp.down_proj", WIDTH, FEED_FORWARD),
    ] {
        let (name, nothing) = (format!("model.layers.0.{projection}"), vec![0.0; rows * columns]);
        tensors.push(tensor(&name, &[rows, columns], nothing));
    }
    safetensors(&tensors)
}

struct Tensor {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

fn matrix(size: usize, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    (0..size * size).map(|at| value(at / size, at % size)).collect()
}

/// A length, a table of what lies where, and the numbers.
fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let (mut table, mut data) = (Map::new(), Vec::new());
    for Tensor { name, shape, values } in tensors {
        let begin = data.len();
        for value in values {
            // The upper half of a float is the same number as a bfloat16.
            data.extend_from_slice(&value.to_le_bytes()[2..]);
        }
        let entry = json!({"dtype": "BF16", "shape": shape, "data_offsets": [begin, data.len()]});
        table.insert(name.clone(), entry);
    }
    let header = Value::from(table).to_string();
    let length = u64::try_from(header.len()).unwrap().to_le_bytes();
    [&length[..], header.as_bytes(), &data].concat()
}
