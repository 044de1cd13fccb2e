use llama_cpp_2::token::LlamaToken;

use super::{Model, file_template};

/// The template that says how two texts are written down, and what stands for them in it.
const TEMPLATE: &str = "rerank";
const QUERY: &str = "{query}";
const DOCUMENT: &str = "{document}";

/// What a vocabulary wants around two texts.
#[derive(Debug, Clone, Copy)]
struct Around {
    begin: Option<i32>,
    /// Behind each text.
    end: Option<i32>,
    /// Between them, beside the first one's end.
    between: Option<i32>,
}

impl Model {
    /// The tokens of a query and of a document that may answer it, as a model that ranks reads them. No
    /// part of either is a control token.
    pub(crate) fn pair(&self, query: &str, document: &str) -> Vec<i32> {
        let plain = |text: &str| self.tokens_of(text, false, false);
        match file_template(&self.llama, Some(TEMPLATE)) {
            Some(template) => {
                let written = |text: &str| self.tokens_of(text, false, true);
                let begin = self.around().begin.filter(|_| !self.bos.is_empty());
                begin
                    .into_iter()
                    .chain(filled(&template, query, document, written, plain))
                    .collect()
            }
            None => self.around().put(plain(query), plain(document)),
        }
    }

    fn around(&self) -> Around {
        let vocab = self.llama.vocab();
        let there = |token: LlamaToken, wanted: bool| Some(token.0).filter(|id| wanted && *id >= 0);
        let separator = there(vocab.sep(), vocab.should_add_sep());
        let begin = there(vocab.bos(), vocab.should_add_bos());
        match there(vocab.eos(), vocab.should_add_eos()) {
            Some(end) => Around { begin, end: Some(end), between: separator },
            None => Around { begin, end: separator, between: None },
        }
    }
}

impl Around {
    fn put(self, query: Vec<i32>, document: Vec<i32>) -> Vec<i32> {
        let Self { begin, end, between } = self;
        let parts = [begin.into_iter().collect(), query, end.into_iter().chain(between).collect()];
        let parts = parts.into_iter().chain([document, end.into_iter().collect()]);
        parts.flatten().collect()
    }
}

/// The tokens of a template with two texts in it.
fn filled(
    template: &str,
    query: &str,
    document: &str,
    written: impl Fn(&str) -> Vec<i32>,
    plain: impl Fn(&str) -> Vec<i32>,
) -> Vec<i32> {
    let (mut tokens, mut rest) = (Vec::new(), template);
    loop {
        let places = [(QUERY, query), (DOCUMENT, document)];
        let found =
            places.into_iter().filter_map(|(name, text)| Some((rest.find(name)?, name, text)));
        let Some((at, name, text)) = found.min_by_key(|(at, ..)| *at) else {
            tokens.extend(written(rest));
            return tokens;
        };
        tokens.extend(written(&rest[..at]));
        tokens.extend(plain(text));
        rest = &rest[at + name.len()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn around_two_texts_stands_what_the_vocabulary_wants() {
        // As of BERT, of RoBERTa, and of a model that knows only where texts end.
        for (around, tokens) in [
            (Around { begin: Some(1), end: Some(2), between: None }, vec![1, 7, 2, 8, 9, 2]),
            (Around { begin: Some(1), end: Some(2), between: Some(3) }, vec![1, 7, 2, 3, 8, 9, 2]),
            (Around { begin: None, end: Some(2), between: None }, vec![7, 2, 8, 9, 2]),
        ] {
            assert_eq!(around.put(vec![7], vec![8, 9]), tokens, "{around:?}");
        }
    }

    #[test]
    fn what_is_put_into_a_template_is_no_template() {
        let written = |text: &str| text.bytes().map(i32::from).collect::<Vec<_>>();
        let plain = |text: &str| text.bytes().map(|byte| -i32::from(byte)).collect::<Vec<_>>();
        let tokens = filled("a{query}b{document}c{query}", "{document}", "", written, plain);
        let query = plain("{document}");
        let expected = [written("a"), query.clone(), written("bc"), query].concat();
        assert_eq!(tokens, expected);
    }
}
