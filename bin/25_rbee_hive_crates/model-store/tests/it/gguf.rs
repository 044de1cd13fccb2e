use std::{fs, io::Cursor};

use model_store::gguf::{GgufSummary, Pooling, Problem, Purpose, inspect, parse};
use tempfile::TempDir;

use crate::{
    model::{Gguf, array, string, tensor},
    world::chain,
};

#[test]
fn a_whole_file_says_what_it_is() {
    let model = Gguf::whole(1000);
    let bytes = model.bytes();
    let summary = read(&bytes).unwrap();
    assert_eq!(summary.architecture, "llama");
    assert_eq!(summary.name.as_deref(), Some("a small model"));
    assert_eq!((summary.context_length, summary.block_count), (Some(2048), Some(2)));
    assert_eq!(summary.head_count, None);
    assert_eq!((summary.purpose, summary.causal), (Purpose::Text, true));
    assert!(summary.templates.contains_key("") && !summary.fills_gaps);
    assert_eq!((summary.tensor_count, summary.tensor_bytes), (2, 1000 + 8 * 20));
    assert_eq!(summary.file_size, bytes.len() as u64);
}

#[test]
fn what_a_model_was_made_for_is_read_from_its_file() {
    let flag = |value: u8| [&7_u32.to_le_bytes()[..], &[value]].concat();
    let model = Gguf::whole(100)
        .number("llama.pooling_type", 2)
        .key("llama.attention.causal", &flag(0))
        .text("tokenizer.chat_template.tool_use", "{{ tools }}{{ tool_calls }}</think>");
    let summary = read(&model.bytes()).unwrap();
    assert_eq!((summary.purpose, summary.causal), (Purpose::Vectors(Pooling::Cls), false));
    let shown: Vec<_> = summary
        .templates
        .iter()
        .map(|(name, template)| (name.as_str(), template.tools, template.thoughts))
        .collect();
    assert_eq!(shown, [("", false, false), ("tool_use", true, true)]);

    let labels = |labels: &[&str]| {
        let texts: Vec<u8> = labels.iter().flat_map(|label| string(label)).collect();
        let labels = array(8, labels.len() as u64, &texts);
        let model = Gguf::whole(100).number("llama.pooling_type", 4);
        read(&model.key("llama.classifier.output_labels", &labels).bytes()).unwrap().purpose
    };
    assert_eq!((labels(&["a"]), labels(&["a", "b"])), (Purpose::Ranking, Purpose::Classes));
}

#[test]
fn a_vocabulary_says_whether_gaps_are_filled() {
    let vocabulary = |tokens: &[&str]| {
        let texts: Vec<u8> = tokens.iter().flat_map(|token| string(token)).collect();
        let tokens = array(8, tokens.len() as u64, &texts);
        let model = Gguf::whole(100).without("tokenizer.ggml.tokens");
        model.key("tokenizer.ggml.tokens", &tokens)
    };
    let long = "x".repeat(5000);
    let whole = ["a", &long, "<|fim_prefix|>", "<|fim_middle|>", "", "<|fim_suffix|>"];
    assert!(read(&vocabulary(&whole).bytes()).unwrap().fills_gaps);
    let model = vocabulary(&whole[..5]);
    assert!(!read(&model.bytes()).unwrap().fills_gaps);
    let named = model.number("tokenizer.ggml.fim_suf_token_id", 7);
    assert!(read(&named.bytes()).unwrap().fills_gaps);
}

#[test]
fn a_file_that_was_cut_anywhere_is_refused_as_truncated() {
    let model = Gguf::whole(200);
    let (header, bytes) = (model.header().len(), model.bytes());
    for length in 1..bytes.len() {
        let problem = read(&bytes[..length]).unwrap_err();
        let is_named = match &problem {
            Problem::TensorOutside { tensor, .. } => length >= header && tensor == "b.weight",
            // A count that the rest of the file has no room for.
            Problem::Truncated { .. } | Problem::TooMany { .. } => length < header,
            _ => false,
        };
        assert!(is_named, "{length} of {} bytes: {problem}", bytes.len());
    }
    assert!(matches!(read(&[]), Err(Problem::Empty)));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let whole = || Gguf::whole(100);
    let key = |key: &str, value: &[u8]| whole().key(key, value).bytes();
    let tensors = |tensors| Gguf { tensors, ..whole() }.bytes();
    for (bytes, refusal) in [
        (
            b"<!DOCTYPE html>".to_vec(),
            "it is no GGUF file: it begins with `<!DO` and not with `GGUF`",
        ),
        (Gguf { magic: *b"GGML", ..whole() }.bytes(), "it begins with `GGML` and not with `GGUF`"),
        (Gguf { version: 1, ..whole() }.bytes(), "its GGUF version is 1; 2 and 3 are supported"),
        (Gguf { version: 4, ..whole() }.bytes(), "its GGUF version is 4; 2 and 3 are supported"),
        (Gguf { version: 3 << 24, ..whole() }.bytes(), "it is a GGUF file for big-endian machines"),
        (
            Gguf { tensor_count: Some(u64::MAX), ..whole() }.bytes(),
            "it claims 18446744073709551615 tensors at byte 8, more than",
        ),
        (
            Gguf { key_count: Some(1 << 40), ..whole() }.bytes(),
            "it claims 1099511627776 keys at byte 16, more than",
        ),
        (
            key("x", &array(8, u64::MAX, &[])),
            "it claims 18446744073709551615 elements of `x` at byte",
        ),
        (
            key("x", &array(6, 1 << 62, &[])),
            "it claims 4611686018427387904 elements of `x` at byte",
        ),
        (
            key("x", &[8_u32.to_le_bytes().to_vec(), u64::MAX.to_le_bytes().to_vec()].concat()),
            "it is truncated: `x` at byte",
        ),
        (
            key("general.name", &[&8_u32.to_le_bytes()[..], &string(&"n".repeat(2000))].concat()),
            "`general.name` at byte",
        ),
        (key("x", &array(9, 1, &[])), "`x` at byte"),
        (key("x", &13_u32.to_le_bytes()), "has the type 13, which does not exist"),
        (key("general.name", &[7, 0, 0, 0, 1]), "the key `general.name` at byte"),
        (
            whole().number("general.alignment", 48).bytes(),
            "its key `general.alignment` is missing or not a small power of two",
        ),
        (
            whole().number("general.alignment", 0).bytes(),
            "its key `general.alignment` is missing or not a small power of two",
        ),
        (
            whole().without("general.architecture").bytes(),
            "its key `general.architecture` is missing or not text",
        ),
        (
            whole().number("split.count", 3).bytes(),
            "it is one of 3 files of a split model; a model has to be one file",
        ),
        (tensors(vec![]), "it holds no tensors"),
        (tensors(vec![tensor("t", &[1], 99, 0, 4)]), "has the type 99, which is not known"),
        (tensors(vec![tensor("t", &[1; 5], 0, 0, 4)]), "has 5 dimensions; the most is 4"),
        (tensors(vec![tensor("t", &[33], 3, 0, 40)]), "has rows of 33, no multiple of 32"),
        (tensors(vec![tensor("t", &[4], 0, 32, 16)]), "has the offset 32 where 0 is due"),
        (tensors(vec![tensor("t", &[u64::MAX, 2], 0, 0, 4)]), "is impossibly large"),
        (tensors(vec![tensor("t", &[1 << 32, 1 << 32], 0, 0, 4)]), "is impossibly large"),
        (tensors(vec![tensor("t", &[1 << 62], 0, 0, 4)]), "is impossibly large"),
        (
            tensors(vec![tensor("t", &[1], 0, 0, 4), tensor("t", &[1], 0, 32, 4)]),
            "the tensor `t` at byte",
        ),
        (
            tensors(vec![tensor(&"t".repeat(64), &[1], 0, 0, 4)]),
            "claims a length of 64; the most is 63",
        ),
        (
            tensors(vec![tensor("t", &[1 << 40], 0, 0, 4)]),
            "it is truncated: the tensor `t` ends at byte 4398046511",
        ),
    ] {
        let problem = read(&bytes).unwrap_err();
        assert!(problem.to_string().contains(refusal), "{problem}\nis not: {refusal}");
    }
}

#[test]
fn text_that_is_no_text_is_refused() {
    let mut bytes = Gguf::whole(100).bytes();
    let at = bytes.windows(7).position(|window| window == b"a small").unwrap();
    bytes[at] = 0xff;
    let problem = read(&bytes).unwrap_err().to_string();
    assert!(problem.starts_with("`general.name` at byte"), "{problem}");
    assert!(problem.ends_with("is not UTF-8 text"), "{problem}");
}

#[test]
fn no_flipped_bit_gets_past_the_end_of_the_file() {
    let model = Gguf::whole(100);
    let bytes = model.bytes();
    for at in 0..model.header().len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            if let Ok(summary) = read(&flipped) {
                assert!(summary.tensor_bytes <= bytes.len() as u64, "byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn no_random_damage_makes_it_panic_or_read_outside() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let model = Gguf::whole(100);
    let (header, bytes) = (model.header().len(), model.bytes());
    let absurd = [0, 1, u64::from(u32::MAX), 1 << 31, 1 << 40, 1 << 63, u64::MAX - 7, u64::MAX];
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(0..header - 8);
            match random.u8(0..3) {
                0 => damaged[at] = random.u8(..),
                1 => damaged[at..at + 8]
                    .copy_from_slice(&random.choice(absurd).unwrap().to_le_bytes()),
                _ => damaged.truncate(random.usize(0..damaged.len()).max(header)),
            }
        }
        match read(&damaged) {
            Ok(summary) => assert!(summary.tensor_bytes <= damaged.len() as u64),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 10_000, "{refused}");
}

#[test]
fn a_path_is_named_with_what_is_wrong_with_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("m.gguf");
    let shown = path.display();
    assert!(chain(&inspect(&path).unwrap_err()).contains("cannot read at byte 0: No such file"));
    fs::write(&path, "").unwrap();
    let refusal = chain(&inspect(&path).unwrap_err());
    assert_eq!(refusal, format!("`{shown}` is not usable: it is empty"));
    let refusal = chain(&inspect(folder.path()).unwrap_err());
    assert!(refusal.ends_with("it is not a regular file"), "{refusal}");
    fs::write(&path, Gguf::whole(100).bytes()).unwrap();
    assert_eq!(inspect(&path).unwrap().architecture, "llama");
}

fn read(bytes: &[u8]) -> Result<GgufSummary, Problem> {
    parse(Cursor::new(bytes), bytes.len() as u64)
}
