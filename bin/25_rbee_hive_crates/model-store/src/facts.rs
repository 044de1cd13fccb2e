//! What a model was made for, as its files say.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use gguf_file::{Purpose, Template};
use rbee_api::Ability;

use crate::{gguf, safetensors};

/// What the files of one model say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub(crate) purpose: Purpose,
    pub(crate) fills_gaps: bool,
    /// Its templates for chats by their names; the usual one has none.
    pub(crate) templates: BTreeMap<String, Template>,
}

/// Facts of files, which are read again when these have changed.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashMap<PathBuf, Seen>>);

/// What was read of a file in one state.
#[derive(Debug)]
struct Seen {
    state: State,
    facts: Option<Arc<Facts>>,
}

/// What differs once the content does.
type State = [i64; 5];

impl Facts {
    fn read(path: &Path) -> Option<Self> {
        if path.is_dir() {
            let (purpose, templates) = safetensors::made_for(path)?;
            // No engine that reads such folders fills gaps.
            return Some(Self { purpose, fills_gaps: false, templates });
        }
        let summary = gguf::inspect(path).ok()?;
        let (purpose, fills_gaps) = (summary.purpose, summary.fills_gaps);
        Some(Self { purpose, fills_gaps, templates: summary.templates })
    }

    /// The template that is used where none is chosen; one that shows nothing where there is none.
    pub fn usual_template(&self) -> Template {
        self.template("").unwrap_or_default()
    }

    pub fn template(&self, name: &str) -> Option<Template> {
        self.templates.get(name).copied()
    }

    /// What it can be asked for where its chats are written down by `template`.
    pub fn abilities(&self, template: Template) -> Vec<Ability> {
        match self.purpose {
            Purpose::Text => {}
            Purpose::Vectors(_) | Purpose::Tokens => return vec![Ability::Embedding],
            Purpose::Ranking => return vec![Ability::Rerank],
            Purpose::Classes => return Vec::new(),
        }
        let all = [
            (true, Ability::Completion),
            (template.tools, Ability::Tools),
            (template.thoughts, Ability::Thinking),
            (self.fills_gaps, Ability::Insert),
        ];
        all.into_iter().filter_map(|(is_there, ability)| is_there.then_some(ability)).collect()
    }
}

impl Known {
    /// Of the file or folder at `path`; `None` where it is no model's that could be told.
    pub(crate) fn of(&self, path: &Path) -> Option<Arc<Facts>> {
        let state = state(path).ok()?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = known.get(path).filter(|seen| seen.state == state) {
            return seen.facts.clone();
        }
        // Others are not to wait while a file is read.
        drop(known);
        let facts = Facts::read(path).map(Arc::new);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(path.to_owned(), Seen { state, facts: facts.clone() });
        facts
    }
}

/// A model of several files is another one once its folder or what it is known by is.
fn state(path: &Path) -> io::Result<State> {
    let metadata = fs::metadata(path)?;
    let metadata = match metadata.is_dir() {
        true => fs::metadata(path.join(safetensors::CONFIG))?,
        false => metadata,
    };
    Ok([
        metadata.dev().cast_signed(),
        metadata.ino().cast_signed(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.size().cast_signed(),
    ])
}

#[cfg(test)]
mod tests {
    use gguf_file::Pooling;

    use super::*;

    fn facts(purpose: Purpose, fills_gaps: bool) -> Facts {
        Facts { purpose, fills_gaps, templates: BTreeMap::new() }
    }

    #[test]
    fn what_a_model_can_be_asked_for_is_what_it_was_made_for() {
        let (none, both) = (Template::default(), Template { tools: true, thoughts: true });
        let thinks = Template { tools: false, ..both };
        for (facts, template, abilities) in [
            (facts(Purpose::Text, false), none, &[Ability::Completion][..]),
            (facts(Purpose::Text, true), none, &[Ability::Completion, Ability::Insert]),
            (facts(Purpose::Text, false), thinks, &[Ability::Completion, Ability::Thinking]),
            (
                facts(Purpose::Text, true),
                both,
                &[Ability::Completion, Ability::Tools, Ability::Thinking, Ability::Insert],
            ),
            (facts(Purpose::Vectors(Pooling::Mean), true), both, &[Ability::Embedding]),
            (facts(Purpose::Tokens, false), none, &[Ability::Embedding]),
            (facts(Purpose::Ranking, false), both, &[Ability::Rerank]),
            (facts(Purpose::Classes, false), none, &[]),
        ] {
            assert_eq!(facts.abilities(template), abilities, "{facts:?} {template:?}");
        }
    }
}
