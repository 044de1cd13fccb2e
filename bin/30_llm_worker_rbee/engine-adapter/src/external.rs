use std::path::PathBuf;

use clap::Parser;

use crate::{Common, Plan, plan::INHERITED};

/// What servers of models are told by variables.
const VARIABLES: [&str; 7] =
    ["HIP_*", "ROCR_*", "GGML_*", "LLAMA_*", "NCCL_*", "NVIDIA_*", "VULKAN_*"];

/// Serves one model by any program that speaks OpenAI's API.
#[derive(Debug, Clone, Parser)]
#[command(name = "external-worker", version)]
pub struct External {
    #[command(flatten)]
    pub common: Common,

    /// What the program is called for a person.
    #[arg(long, value_name = "NAME")]
    pub title: String,

    /// The model's file or folder, which stands for `{model}` in the command.
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,

    /// What the program calls the model [default: its name].
    #[arg(long, value_name = "NAME")]
    pub upstream_model: Option<String>,

    /// A path that the program answers with success once it answers requests.
    #[arg(long, value_name = "PATH", default_value = "/health")]
    pub ready: String,

    /// Sets a variable for the program; may be given more than once.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,

    /// The program and its arguments. `{socket}` or `{port}` stand for where it is to listen,
    /// `{model}`, `{name}` and `{parallel}` for those of the worker.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| format!("`{text}` is not `NAME=VALUE`"))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl External {
    /// # Errors
    ///
    /// When the command does not say where the program is to listen, or names a model and there is
    /// none.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let common = &self.common;
        let model = self.model.as_ref().filter(|model| !model.as_os_str().is_empty());
        let has = |place: &str| self.command.iter().any(|argument| argument.contains(place));
        anyhow::ensure!(
            has("{socket}") != has("{port}"),
            "the command of `{}` must have one of `{{socket}}` and `{{port}}` in it, where it is to \
             listen",
            self.title
        );
        anyhow::ensure!(
            model.is_some() || !has("{model}"),
            "the command of `{}` has `{{model}}` in it, but `{}` has no file",
            self.title,
            common.name
        );
        let model = model.map(|model| model.display().to_string()).unwrap_or_default();
        let filled = |argument: &String| {
            argument
                .replace("{name}", &common.name)
                .replace("{parallel}", &common.parallel.to_string())
                .replace("{model}", &model)
        };
        Ok(Plan {
            engine: self.title.clone(),
            command: self.command.iter().map(filled).collect(),
            environment: self.env.clone(),
            inherits: INHERITED.into_iter().chain(VARIABLES).collect(),
            ready: Some(self.ready.clone()),
            model: self.upstream_model.clone().unwrap_or_else(|| common.name.clone()),
            needs: None,
            part: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::External;
    use crate::plan::Address;

    fn read(rest: &str) -> anyhow::Result<crate::Plan> {
        let args = "external-worker --name m --socket s --engine e --title server";
        External::parse_from(args.split_whitespace().chain(rest.split_whitespace())).plan()
    }

    #[test]
    fn the_places_of_a_command_are_filled_in() {
        let plan = read(
            "--model /m.gguf -- server -m {model} --alias {name} -np {parallel} --port {port}",
        );
        let plan = plan.unwrap();
        assert!(plan.wants_port());
        let command = plan.command_at(&Address::Port(7)).join(" ");
        assert_eq!(command, "server -m /m.gguf --alias m -np 4 --port 7");
    }

    #[test]
    fn a_command_that_cannot_work_is_refused_with_the_reason() {
        for (rest, wanted) in [
            ("-- server", "where it is to listen"),
            ("-- server {port} {socket}", "where it is to listen"),
            ("-- server {port} {model}", "has no file"),
        ] {
            let error = read(rest).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
