//! Short words for what other verbs do in two.

use clap::Args;
use clap_complete::ArgValueCandidates;

use super::{
    Output,
    generate::Sampling,
    manage::{ModelArgs, OfHive, StopArgs},
    model_name::model_name,
};
use crate::known::{hives, models};

/// Talk to a model, or answer one prompt where one is given
///
/// `run MODEL` is `chat -m MODEL`; `run MODEL PROMPT`, or with something piped in, is `infer -m MODEL PROMPT`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ./rbee run smollm2:135m
  ./rbee run smollm2:135m Why is the sky blue
  git diff | ./rbee run smollm2:135m --system \"Write a commit message\"")]
pub(crate) struct RunArgs {
    /// Name, `hf:ORG/REPO[/FILE]`, URL or path of the model; without it `models.default`
    #[arg(
        id = "run_model",
        value_name = "MODEL",
        conflicts_with = "model",
        value_parser = model_name,
        add = ArgValueCandidates::new(models)
    )]
    name: Option<String>,

    /// What to answer; several words are one prompt
    #[arg(value_name = "PROMPT")]
    words: Vec<String>,

    #[command(flatten)]
    sampling: Sampling,
}

/// What `run` stands for.
#[derive(Debug)]
pub(crate) enum Run {
    Chat(super::ChatArgs),
    Infer(super::InferArgs),
}

impl RunArgs {
    /// A prompt makes it one answer, and so does something piped in.
    pub(crate) fn meaning(self, piped: bool) -> Run {
        let mut sampling = self.sampling;
        sampling.model = self.name.or(sampling.model);
        if self.words.is_empty() && !piped {
            return Run::Chat(super::ChatArgs { sampling });
        }
        let prompt = (!self.words.is_empty()).then(|| self.words.join(" "));
        let output = Output { json: false };
        Run::Infer(super::InferArgs { prompt, sampling, no_stream: false, output })
    }
}

/// Stop queen, hives and workers, or unload one model; requests under way end first
///
/// `stop` is `queen stop`, which says for whom it waits; `stop MODEL` is `model unload MODEL`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ./rbee stop
  ./rbee stop smollm2:135m
  ./rbee stop --now
  ./rbee stop --keep-hives")]
pub(crate) struct StopWordArgs {
    /// A model, of which its worker alone ends
    #[arg(
        value_name = "MODEL",
        conflicts_with_all = ["keep_hives", "now"],
        value_parser = model_name,
        add = ArgValueCandidates::new(models)
    )]
    model: Option<String>,
    /// Of that hive, and no other
    #[arg(
        long,
        value_name = "ALIAS",
        requires = "model",
        add = ArgValueCandidates::new(hives)
    )]
    hive: Option<String>,
    #[command(flatten)]
    queen: StopArgs,
}

/// What `stop` stands for.
#[derive(Debug)]
pub(crate) enum Stop {
    Chain(StopArgs),
    Model(ModelArgs),
}

impl StopWordArgs {
    pub(crate) fn meaning(self) -> Stop {
        match self.model {
            None => Stop::Chain(self.queen),
            Some(model) => {
                let (hive, output) = (OfHive { alias: self.hive }, self.queen.output);
                Stop::Model(ModelArgs { model, hive, output })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::Run;
    use crate::cli::{Cli, Verb};

    fn meaning(line: &[&str], piped: bool) -> (&'static str, Option<String>, Option<String>) {
        let words = ["rbee", "run"].iter().chain(line);
        let Verb::Run(args) = Cli::try_parse_from(words).unwrap().verb else { panic!() };
        match args.meaning(piped) {
            Run::Chat(args) => ("chat", args.sampling.model, None),
            Run::Infer(args) => ("infer", args.sampling.model, args.prompt),
        }
    }

    #[test]
    fn run_is_a_talk_unless_there_is_something_to_answer() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(meaning(&[], false), ("chat", None, None));
        assert_eq!(meaning(&["m"], false), ("chat", text("m"), None));
        assert_eq!(meaning(&["--model", "m"], false), ("chat", text("m"), None));
        assert_eq!(meaning(&["m"], true), ("infer", text("m"), None));
        let answered = ("infer", text("m"), text("why is it so"));
        assert_eq!(meaning(&["m", "why is", "it so"], false), answered);
    }

    #[test]
    fn a_model_that_is_stopped_is_no_part_of_a_chain_that_is() {
        for line in ["m --now", "m --keep-hives", "--hive h", "m n"] {
            let words = ["rbee", "stop"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
        assert!(Cli::try_parse_from(["rbee", "stop", "m", "--hive", "h"]).is_ok());
    }

    #[test]
    fn a_model_is_named_once() {
        assert!(Cli::try_parse_from(["rbee", "run", "m", "--model", "n"]).is_err());
    }
}
