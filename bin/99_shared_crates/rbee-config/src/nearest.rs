/// Below this similarity a suggestion is more likely to mislead than to help.
const MIN_SIMILARITY: f64 = 0.6;

/// The name of `known` that `unknown` was most likely meant to be.
///
/// Dotted keys are compared whole and by their last part, so that a key in the wrong table is
/// recognised too.
pub(crate) fn nearest<'a>(
    unknown: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let scored = known.into_iter().map(|name| (similarity(unknown, name), name));
    let (similarity, name) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (similarity >= MIN_SIMILARITY).then_some(name)
}

fn similarity(unknown: &str, name: &str) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(unknown, name);
    let last = strsim::normalized_damerau_levenshtein(last_part(unknown), last_part(name));
    // A tie goes to the name that agrees as a whole.
    whole.max(last * 0.95)
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
