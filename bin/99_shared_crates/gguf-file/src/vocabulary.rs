//! The tokens around the two texts between which a model is to write, by which llama.cpp knows one that
//! was made for that.

/// What they are called, by who made the model: in front of the text before, of the text behind, and of
/// what comes between.
const GAP: [[&str; 3]; 8] = [
    // Qwen
    ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
    // Granite
    ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    // DeepSeek
    [
        "<\u{ff5c}fim\u{2581}begin\u{ff5c}>",
        "<\u{ff5c}fim\u{2581}hole\u{ff5c}>",
        "<\u{ff5c}fim\u{2581}end\u{ff5c}>",
    ],
    ["<PRE>", "<SUF>", "<MID>"],
    // CodeLlama
    ["\u{2581}<PRE>", "\u{2581}<SUF>", "\u{2581}<MID>"],
    // GLM
    ["<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"],
    // Falcon
    ["<|prefix|>", "<|suffix|>", "<|middle|>"],
];

/// The keys by which a file names them itself, the older ones too.
const KEYS: [[&str; 2]; 3] = [
    ["tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"],
    ["tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"],
    ["tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"],
];

/// No token that is looked for is longer.
pub(crate) const LONGEST: usize = 24;

/// Which of the three a vocabulary has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gap([bool; 3]);

impl Gap {
    pub(crate) fn key(&mut self, key: &str) {
        for (place, keys) in KEYS.iter().enumerate() {
            self.0[place] |= keys.contains(&key);
        }
    }

    pub(crate) fn token(&mut self, text: &[u8]) {
        for tokens in GAP {
            for (place, token) in tokens.iter().enumerate() {
                self.0[place] |= token.as_bytes() == text;
            }
        }
    }

    /// Whether all are there.
    pub(crate) fn is_whole(self) -> bool {
        self.0 == [true; 3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_filled_by_who_has_all_three_tokens_by_text_or_by_key() {
        let mut gap = Gap::default();
        gap.token(b"<|fim_prefix|>");
        gap.token(b"<|fim_suffix|>");
        gap.key("tokenizer.ggml.suffix_token_id");
        gap.key("tokenizer.ggml.bos_token_id");
        gap.token(b"<|im_start|>");
        assert!(!gap.is_whole());
        gap.key("tokenizer.ggml.fim_mid_token_id");
        assert!(gap.is_whole());
    }

    #[test]
    fn no_token_that_is_looked_for_is_longer_than_that() {
        assert!(GAP.as_flattened().iter().all(|token| token.len() <= LONGEST));
    }
}
