use std::path::{Path, PathBuf};

use rbee_config::{ModelEntry, RbeeConfig};

use super::{Check, tools::program};

/// Prints the version of the vLLM that is installed beside a Python, without loading it.
const ASK_VERSION: &str = "import importlib.metadata; print(importlib.metadata.version('vllm'))";

/// The engines that the configuration names, and vLLM whether or not it does.
pub(super) async fn checks(config: &RbeeConfig) -> Vec<Check> {
    let mut checks = vec![vllm(config).await];
    for (name, external) in &config.worker.external {
        let what = format!("engine {name}");
        let named = external.command.first().map(String::as_str).unwrap_or_default();
        checks.push(match config.program(named) {
            Some(program) => Check::ok(what, program.display().to_string()),
            None => {
                let found = format!("`{named}` is no program that is there");
                let remedy = format!("install it, or mend `worker.external.\"{name}\".command`");
                let serves = |entry: &ModelEntry| entry.worker.as_ref() == Some(name);
                match config.model.values().any(serves) {
                    true => Check::fail(what, found),
                    false => Check::warn(what, found),
                }
                .remedy(remedy)
            }
        });
    }
    let models = config.model.iter();
    checks.extend(models.filter_map(|(name, entry)| model(name, entry)));
    checks
}

async fn vllm(config: &RbeeConfig) -> Check {
    const WHAT: &str = "engine vllm";
    // An installed release has no place to install it in.
    let (install, short) = match config.source_root {
        Some(_) => ("`./rbee setup --vllm` installs it where pip can", "`./rbee setup --vllm`"),
        None => (
            "install it where you like, and name it in `worker.vllm.command`",
            "`worker.vllm.command`",
        ),
    };
    let wanted: Vec<_> = config.model.iter().filter(|(_, entry)| is_for_vllm(entry)).collect();
    let named = config.worker.vllm.command.is_some();
    let Some(program) = config.vllm() else {
        let Some((model, _)) = wanted.first() else {
            let found = "not installed; only models in folders of safetensors need it";
            return Check::ok(WHAT, format!("{found} ({short})"));
        };
        return Check::fail(WHAT, format!("not installed, and the model `{model}` needs it"))
            .remedy(install);
    };
    let shown = program.display();
    if !program.is_file() {
        return Check::fail(WHAT, format!("{shown} is not there"))
            .remedy(format!("mend `worker.vllm.command`; without it, {install}"));
    }
    let python = program.with_file_name("python");
    if std::fs::symlink_metadata(&python).is_err() {
        return Check::ok(WHAT, format!("{shown}; in no environment that says its version"));
    }
    match self::program(Path::new("/"), WHAT, &python.display().to_string(), &["-c", ASK_VERSION])
        .await
    {
        Ok(check) => Check { found: format!("{}, {shown}", check.found), ..check },
        Err(why) => {
            let remedy = match named {
                true => "install vLLM there anew, or mend `worker.vllm.command`".to_owned(),
                false => install.to_owned(),
            };
            Check::fail(WHAT, why).remedy(remedy)
        }
    }
}

fn is_for_vllm(entry: &ModelEntry) -> bool {
    match entry.worker.as_deref() {
        Some(worker) => worker == "vllm",
        None => path(entry).is_some_and(|path| path.is_dir()),
    }
}

/// Says something only of a model whose files are said to be where nothing is.
fn model(name: &str, entry: &ModelEntry) -> Option<Check> {
    let path = path(entry)?;
    (!path.exists()).then(|| {
        Check::warn(format!("model {name}"), format!("{} is not there", path.display()))
            .remedy(format!("mend `model.\"{name}\".source`"))
    })
}

/// The source, if that is a path.
fn path(entry: &ModelEntry) -> Option<PathBuf> {
    let source = entry.source.as_deref()?;
    source.starts_with('/').then(|| PathBuf::from(source))
}
