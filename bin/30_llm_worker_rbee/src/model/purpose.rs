use gguf_file::{Pooling, Purpose};
use llama_cpp_2::context::params::LlamaPoolingType;

use super::LoadError;

/// See [`super::Model::served`].
pub(super) fn served(
    purpose: Purpose,
    wanted: Option<Pooling>,
) -> Result<Option<Pooling>, LoadError> {
    match (purpose, wanted) {
        (Purpose::Ranking, None) => Ok(Some(Pooling::Rank)),
        (Purpose::Ranking, Some(_)) => Err(LoadError::Ranks),
        (Purpose::Classes, _) => Err(LoadError::Classes),
        (_, Some(wanted)) => Ok(Some(wanted)),
        (Purpose::Vectors(pooling), None) => Ok(Some(pooling)),
        (Purpose::Text, None) => Ok(None),
        (Purpose::Tokens, None) => Err(LoadError::Unpooled),
    }
}

pub(crate) fn pooling_type(pooling: Pooling) -> LlamaPoolingType {
    match pooling {
        Pooling::Mean => LlamaPoolingType::Mean,
        Pooling::Cls => LlamaPoolingType::Cls,
        Pooling::Last => LlamaPoolingType::Last,
        Pooling::Rank => LlamaPoolingType::Rank,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_starts_the_worker_says_how_vectors_are_made_where_the_file_does_not() {
        let (mean, last) = (Pooling::Mean, Pooling::Last);
        for (purpose, wanted, expected) in [
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
            assert_eq!(served(purpose, wanted).ok(), expected, "{purpose:?} {wanted:?}");
        }
    }
}
