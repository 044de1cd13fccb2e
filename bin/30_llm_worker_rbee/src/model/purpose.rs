use std::str::FromStr;

use llama_cpp_2::{context::params::LlamaPoolingType, model::LlamaModel};

use super::LoadError;

/// What a model was made for, as its file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It goes on with a text.
    Text,
    /// It makes a vector of a text.
    Vectors(Pooling),
    /// It makes a vector of each token, and nothing says how they become one.
    Tokens,
    /// It says how well one text answers another.
    Ranking,
    /// It says which of several classes a text is of.
    Classes,
}

/// How the vectors of a text's tokens become the text's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first one.
    Cls,
    /// The last one.
    Last,
    /// What the model makes of them: a number that says how well one text answers another.
    Rank,
}

impl Purpose {
    /// And whether the model is causal: a token sees earlier ones only.
    pub(super) fn of(llama: &LlamaModel) -> (Self, bool) {
        let architecture = llama.meta_val_str("general.architecture").unwrap_or_default();
        let stated = |key: &str| llama.meta_val_str(&format!("{architecture}.{key}")).ok();
        let causal = stated("attention.causal").is_none_or(|causal| causal != "false");
        let pooling = stated("pooling_type").and_then(|kind| kind.parse().ok());
        // Qwen's are asked for a "yes" or a "no", and llama.cpp gives the share of each.
        let ranks = architecture.starts_with("qwen3")
            || stated("classifier.output_labels").is_none_or(|labels| is_one(&labels));
        (Self::stated(pooling, causal, ranks), causal)
    }

    /// How vectors are made where it is served for them, and `None` where it is served for text.
    /// `wanted` is what whoever starts the worker says.
    pub fn served(self, wanted: Option<Pooling>) -> Result<Option<Pooling>, LoadError> {
        match (self, wanted) {
            (Self::Ranking, None) => Ok(Some(Pooling::Rank)),
            (Self::Ranking, Some(_)) => Err(LoadError::Ranks),
            (Self::Classes, _) => Err(LoadError::Classes),
            (_, Some(wanted)) => Ok(Some(wanted)),
            (Self::Vectors(pooling), None) => Ok(Some(pooling)),
            (Self::Text, None) => Ok(None),
            (Self::Tokens, None) => Err(LoadError::Unpooled),
        }
    }

    /// `pooling` is llama.cpp's number; `ranks` is whether what it makes of two texts is a rank.
    fn stated(pooling: Option<i32>, causal: bool, ranks: bool) -> Self {
        match pooling.map(LlamaPoolingType::from) {
            Some(LlamaPoolingType::Mean) => Self::Vectors(Pooling::Mean),
            Some(LlamaPoolingType::Cls) => Self::Vectors(Pooling::Cls),
            Some(LlamaPoolingType::Last) => Self::Vectors(Pooling::Last),
            Some(LlamaPoolingType::Rank) if ranks => Self::Ranking,
            Some(LlamaPoolingType::Rank) => Self::Classes,
            Some(LlamaPoolingType::None | LlamaPoolingType::Unspecified) | None => match causal {
                true => Self::Text,
                false => Self::Tokens,
            },
        }
    }
}

impl Pooling {
    /// As llama.cpp and other servers call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
            Self::Rank => "rank",
        }
    }

    pub(crate) fn llama(self) -> LlamaPoolingType {
        match self {
            Self::Mean => LlamaPoolingType::Mean,
            Self::Cls => LlamaPoolingType::Cls,
            Self::Last => LlamaPoolingType::Last,
            Self::Rank => LlamaPoolingType::Rank,
        }
    }
}

/// Whether an array, as llama.cpp writes one down, has one element.
fn is_one(labels: &str) -> bool {
    serde_json::from_str::<Vec<serde_json::Value>>(labels).is_ok_and(|labels| labels.len() == 1)
}

impl FromStr for Pooling {
    type Err = String;

    /// Of a text by itself; only a model's file says that it ranks.
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Mean, Self::Cls, Self::Last]
            .into_iter()
            .find(|pooling| pooling.name() == text)
            .ok_or_else(|| format!("`{text}` is no pooling: there are `mean`, `cls` and `last`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_of_pooling_and_attention_is_what_its_model_is_for() {
        for (pooling, causal, purpose) in [
            (None, true, Purpose::Text),
            (Some(0), true, Purpose::Text),
            (None, false, Purpose::Tokens),
            (Some(0), false, Purpose::Tokens),
            (Some(1), false, Purpose::Vectors(Pooling::Mean)),
            (Some(2), false, Purpose::Vectors(Pooling::Cls)),
            (Some(3), true, Purpose::Vectors(Pooling::Last)),
            (Some(4), false, Purpose::Ranking),
            (Some(99), true, Purpose::Text),
        ] {
            assert_eq!(Purpose::stated(pooling, causal, true), purpose, "{pooling:?} {causal}");
        }
        assert_eq!(Purpose::stated(Some(4), false, false), Purpose::Classes);
        assert_eq!(Purpose::stated(Some(1), false, false), Purpose::Vectors(Pooling::Mean));
    }

    #[test]
    fn a_model_of_several_classes_ranks_nothing() {
        for (labels, one) in
            [(r#"["LABEL_0"]"#, true), (r#"["ham", "spam"]"#, false), ("[]", false)]
        {
            assert_eq!(is_one(labels), one, "{labels}");
        }
    }

    #[test]
    fn whoever_starts_the_worker_says_how_vectors_are_made_where_the_file_does_not() {
        let (mean, last) = (Pooling::Mean, Pooling::Last);
        for (purpose, wanted, served) in [
            (Purpose::Text, None, Some(None)),
            (Purpose::Text, Some(last), Some(Some(last))),
            (Purpose::Vectors(mean), None, Some(Some(mean))),
            (Purpose::Vectors(mean), Some(last), Some(Some(last))),
            (Purpose::Tokens, Some(mean), Some(Some(mean))),
            (Purpose::Tokens, None, None),
            (Purpose::Ranking, Some(mean), None),
            (Purpose::Ranking, None, Some(Some(Pooling::Rank))),
            (Purpose::Classes, None, None),
            (Purpose::Classes, Some(mean), None),
        ] {
            assert_eq!(purpose.served(wanted).ok(), served, "{purpose:?} {wanted:?}");
        }
    }

    #[test]
    fn a_pooling_is_read_by_its_name() {
        for pooling in [Pooling::Mean, Pooling::Cls, Pooling::Last] {
            assert_eq!(pooling.name().parse(), Ok(pooling));
        }
        assert!("rank".parse::<Pooling>().is_err());
    }
}
