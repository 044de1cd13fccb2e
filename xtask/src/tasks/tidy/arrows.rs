use crate::tasks::tidy::{Tree, Violation};

/// The crates from top to bottom: a crate uses only those of lower rows. ARCHITECTURE.md says what
/// each is for.
const LAYERS: &[&[&str]] = &[
    &["xtask", "chain-bench", "chain-dist"],
    &["chain-tests"],
    &["rbee-keeper", "queen-rbee", "rbee-hive", "llm-worker-rbee", "engine-adapter"],
    &[
        "queen-lifecycle",
        "hive-lifecycle",
        "worker-lifecycle",
        "chain-level",
        "worker-service",
        "job-journal",
    ],
    &["chain-daemon", "cargo-live"],
    &["daemon-lifecycle", "job-server", "model-store", "router-client"],
    &[
        "auto-update",
        "http-guard",
        "job-client",
        "api-dialects",
        "queen-page",
        "release-archive",
        "ssh-host",
    ],
    &["narration-core", "rbee-config", "rbee-api", "feature-pins", "gguf-file"],
];

/// What a crate must not know although it lies lower, and why.
const UNKNOWN_TO: &[(&str, &[&str], &str)] = &[
    (
        "xtask",
        &[
            "rbee-keeper",
            "queen-rbee",
            "rbee-hive",
            "llm-worker-rbee",
            "engine-adapter",
            "worker-service",
            "queen-lifecycle",
            "hive-lifecycle",
            "worker-lifecycle",
            "chain-level",
            "chain-daemon",
            "chain-tests",
            "daemon-lifecycle",
            "job-client",
            "job-server",
            "model-store",
            "http-guard",
            "rbee-api",
        ],
        "xtask knows nothing behind the keeper",
    ),
    (
        "rbee-keeper",
        &[
            "hive-lifecycle",
            "worker-lifecycle",
            "chain-level",
            "model-store",
            "job-server",
            "job-journal",
        ],
        "the keeper talks to the queen only",
    ),
    (
        "queen-rbee",
        &["queen-lifecycle", "worker-lifecycle", "model-store"],
        "the queen knows hives, but no models' files and no workers",
    ),
    (
        "rbee-hive",
        &["queen-lifecycle", "hive-lifecycle", "job-journal"],
        "a hive does not know the queen",
    ),
    (
        "llm-worker-rbee",
        &["queen-lifecycle", "hive-lifecycle", "worker-lifecycle", "chain-level", "model-store"],
        "a worker knows neither hive nor queen",
    ),
    (
        "engine-adapter",
        &["queen-lifecycle", "hive-lifecycle", "worker-lifecycle", "chain-level", "model-store"],
        "a worker knows neither hive nor queen",
    ),
    ("daemon-lifecycle", &["http-guard", "rbee-config", "rbee-api"], "it is used without rbee"),
    (
        "cargo-live",
        &["job-client", "job-server", "model-store", "http-guard", "rbee-config", "rbee-api"],
        "it is used without rbee",
    ),
    (
        "auto-update",
        &["narration-core", "rbee-config", "rbee-api"],
        "it is used without rbee, and decides without narrating",
    ),
];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let members: Vec<_> = tree.members().map(|package| package.name.as_str()).collect();
    let mut violations = Vec::new();
    for package in tree.members() {
        let manifest = tree.manifest(package);
        let Some(from) = layer(&package.name) else {
            violations.push(Violation::new(
                manifest,
                format!(
                    "`{}` has no place among the layers in xtask/src/tasks/tidy/arrows.rs",
                    package.name
                ),
            ));
            continue;
        };
        let used = package.dependencies.iter().map(|dependency| dependency.name.as_str());
        for name in used.filter(|name| members.contains(name)) {
            // One that has no place is reported for itself.
            if layer(name).is_some_and(|to| to <= from) {
                violations.push(Violation::new(
                    manifest,
                    format!("`{}` must not use `{name}`: it does not lie below", package.name),
                ));
            } else if let Some(why) = unknown(&package.name, name) {
                violations.push(Violation::new(
                    manifest,
                    format!("`{}` must not use `{name}`: {why}", package.name),
                ));
            }
        }
    }
    violations
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn unknown(from: &str, to: &str) -> Option<&'static str> {
    let (_, _, why) =
        UNKNOWN_TO.iter().find(|(crate_, unknown, _)| *crate_ == from && unknown.contains(&to))?;
    Some(why)
}
