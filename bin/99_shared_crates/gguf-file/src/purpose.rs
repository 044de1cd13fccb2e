use std::str::FromStr;

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
    /// `pooling` is llama.cpp's number, `labels` how many classes the file names, if it names any.
    pub(crate) fn stated(
        architecture: &str,
        pooling: Option<u64>,
        causal: bool,
        labels: Option<u64>,
    ) -> Self {
        match pooling {
            Some(1) => Self::Vectors(Pooling::Mean),
            Some(2) => Self::Vectors(Pooling::Cls),
            Some(3) => Self::Vectors(Pooling::Last),
            // Qwen's are asked for a "yes" or a "no", and llama.cpp gives the share of each.
            Some(4) if architecture.starts_with("qwen3") => Self::Ranking,
            Some(4) if labels.is_none_or(|labels| labels == 1) => Self::Ranking,
            Some(4) => Self::Classes,
            Some(_) | None if causal => Self::Text,
            Some(_) | None => Self::Tokens,
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
            let stated = Purpose::stated("bert", pooling, causal, None);
            assert_eq!(stated, purpose, "{pooling:?} {causal}");
        }
    }

    #[test]
    fn a_model_of_several_classes_ranks_nothing() {
        let of = |architecture, labels| Purpose::stated(architecture, Some(4), false, labels);
        assert_eq!(of("bert", Some(1)), Purpose::Ranking);
        assert_eq!(of("bert", Some(2)), Purpose::Classes);
        assert_eq!(of("bert", Some(0)), Purpose::Classes);
        assert_eq!(of("qwen3", Some(2)), Purpose::Ranking);
        let vectors = Purpose::stated("bert", Some(1), false, Some(2));
        assert_eq!(vectors, Purpose::Vectors(Pooling::Mean));
    }

    #[test]
    fn a_pooling_is_read_by_its_name() {
        for pooling in [Pooling::Mean, Pooling::Cls, Pooling::Last] {
            assert_eq!(pooling.name().parse(), Ok(pooling));
        }
        assert!("rank".parse::<Pooling>().is_err());
    }
}
