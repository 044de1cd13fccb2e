//! What there is to be named on a command line, for a shell that completes words.

use std::{collections::BTreeSet, time::Duration};

use clap_complete::CompletionCandidate;
use rbee_api::Model;
use rbee_config::{NarrationMode, Overrides, RbeeConfig};
use tokio::{runtime, time::timeout};

use crate::{app::App, render::bytes, terminal::Terminal};

/// Whoever presses a key waits no longer; what the configuration knows is completed then.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

/// Models by their names: those of the store before those that would be downloaded.
pub(crate) fn models() -> Vec<CompletionCandidate> {
    let Ok(config) = RbeeConfig::load(&Overrides::default()) else { return Vec::new() };
    let mut names: Vec<(String, String)> =
        [(config.models.default.clone(), "the default".to_owned())].into();
    let own = config.model.iter().flat_map(|(name, entry)| {
        let of = |called: &String| (called.clone(), format!("set in the configuration: {name}"));
        std::iter::once(name).chain(&entry.aliases).map(of).collect::<Vec<_>>()
    });
    names.extend(own);
    let mut known = known_models(config);
    known.sort_by_key(|model| !model.local);
    names.extend(known.into_iter().map(|model| {
        let size = bytes(model.size_bytes);
        let what = if model.local { size } else { format!("{size} to download") };
        (model.name, what)
    }));
    let mut seen = BTreeSet::new();
    names.retain(|(name, _)| seen.insert(name.clone()));
    names.into_iter().map(|(name, help)| candidate(name, help)).collect()
}

/// Hives by their aliases.
pub(crate) fn hives() -> Vec<CompletionCandidate> {
    let config = RbeeConfig::load(&Overrides::default());
    let hives = config.map(|config| config.hives).unwrap_or_default();
    hives.into_iter().map(|hive| candidate(hive.alias, hive.host)).collect()
}

/// What a queen that runs knows; none is started or waited for.
fn known_models(config: RbeeConfig) -> Vec<Model> {
    let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let app = App::new(config, Terminal::new(NarrationMode::Off).into());
    let asked = async {
        let queen = match app.config.queen.url {
            Some(_) => app.queen().await.ok()?,
            None => app.running_queen().await.ok().flatten()?,
        };
        queen.models(None).await.ok()
    };
    let answer = runtime.block_on(async { timeout(ANSWER_DEADLINE, asked).await });
    answer.ok().flatten().map(|list| list.models).unwrap_or_default()
}

fn candidate(value: String, help: String) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(help.into()))
}
