use clap::Args;
use clap_complete::ArgValueCandidates;
use serde_json::{Value, json};

use super::{Output, model_name::model_name};
use crate::known::models;

/// An answer's length where nobody says another.
const MAX_TOKENS: u32 = 512;

/// Answer one prompt, its tokens on standard output as they come
///
/// Starts, builds and replaces whatever the answer needs. Ctrl-C cancels it everywhere; a second
/// Ctrl-C leaves at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ./rbee infer \"Write a haiku about bees\"
  ./rbee infer --model hf:ORG/REPO --temperature 0 --seed 1 \"2 + 2 =\"
  git log -5 | ./rbee infer --system \"Summarise this\"
  ./rbee infer --json \"hi\" | jq -r .text")]
pub(crate) struct InferArgs {
    /// What to answer; `-`, or none with something piped in: standard input
    pub(crate) prompt: Option<String>,

    #[command(flatten)]
    pub(crate) sampling: Sampling,

    /// Print the answer when it is whole
    #[arg(long)]
    pub(crate) no_stream: bool,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// Talk to a model; it knows what was said before
///
/// Ctrl-C cancels the answer that is under way, Ctrl-D or `/bye` leaves, `/help` lists what else can be
/// typed. What lies between `"""` and `"""`, and what is pasted, may have several lines.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ./rbee chat
  ./rbee chat --system \"You are a beekeeper\"")]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) sampling: Sampling,
}

/// What a completion is made with; what is not given is the worker's choice.
#[derive(Debug, Clone, Args)]
pub(crate) struct Sampling {
    /// Name, `hf:ORG/REPO[/FILE]`, URL or path of the model; without it `models.default`
    #[arg(long, short, value_parser = model_name, add = ArgValueCandidates::new(models))]
    pub(crate) model: Option<String>,

    /// What the model is told before the prompt
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,

    /// The answer's length at most, in tokens; a small model may find no end by itself [default: what
    /// is set for the model, else 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,

    /// 0 always takes the likeliest token; higher is more varied
    #[arg(long, value_name = "T", value_parser = number_within::<2>)]
    temperature: Option<f64>,

    /// Choose among the likeliest tokens that together have this probability
    #[arg(long, value_name = "P", value_parser = number_within::<1>)]
    top_p: Option<f64>,

    /// The same seed and request give the same answer
    #[arg(long, value_name = "N")]
    seed: Option<u32>,

    /// End the answer where this text would begin; may be given up to four times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
}

impl Sampling {
    /// OpenAI's body for `/v1/chat/completions`. `limit_of` says how long a model's answers are at most
    /// where nothing else does.
    pub(crate) fn body(
        &self,
        default_model: &str,
        limit_of: impl FnOnce(&str) -> Option<u32>,
        messages: &[Value],
    ) -> Value {
        let model = self.model.as_deref().unwrap_or(default_model);
        let max_tokens = self.max_tokens.or_else(|| limit_of(model)).unwrap_or(MAX_TOKENS);
        let mut body = json!({
            "model": model,
            "messages": messages,
            "max_tokens": max_tokens,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        let optional = [
            ("temperature", self.temperature.map(Value::from)),
            ("top_p", self.top_p.map(Value::from)),
            ("seed", self.seed.map(Value::from)),
            ("stop", (!self.stop.is_empty()).then(|| Value::from(self.stop.clone()))),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        body
    }

    /// What a person may change while they talk, each with its value.
    pub(crate) fn settings(&self) -> [(&'static str, Option<String>); 5] {
        [
            ("max_tokens", self.max_tokens.map(|number| number.to_string())),
            ("temperature", self.temperature.map(|number| number.to_string())),
            ("top_p", self.top_p.map(|number| number.to_string())),
            ("seed", self.seed.map(|number| number.to_string())),
            ("stop", (!self.stop.is_empty()).then(|| self.stop.join(", "))),
        ]
    }

    /// Changes one of [`Self::settings`]; `off` leaves it to the worker, or to the default.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let is_off = value == "off";
        let whole = || value.parse::<u32>().ok().ok_or_else(|| "must be a whole number".to_owned());
        let positive =
            |number| if number == 0 { Err("must be 1 or more".to_owned()) } else { Ok(number) };
        match key {
            "max_tokens" if is_off => self.max_tokens = None,
            "max_tokens" => self.max_tokens = Some(whole().and_then(positive)?),
            "temperature" => {
                self.temperature = if is_off { None } else { Some(number_within::<2>(value)?) };
            }
            "top_p" => self.top_p = if is_off { None } else { Some(number_within::<1>(value)?) },
            "seed" => self.seed = if is_off { None } else { Some(whole()?) },
            "stop" if is_off => self.stop.clear(),
            "stop" => self.stop = vec![value.to_owned()],
            _ => {
                let known = self.settings().map(|(key, _)| key).join(", ");
                return Err(format!("is nothing that can be set; there are {known}"));
            }
        }
        Ok(())
    }

    /// The conversation's beginning: the system text, if there is one.
    pub(crate) fn opening(&self) -> Vec<Value> {
        self.system.iter().map(|text| message("system", text)).collect()
    }
}

pub(crate) fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

fn number_within<const MAX: u8>(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=f64::from(MAX)).contains(number));
    number.ok_or_else(|| format!("must be a number from 0 to {MAX}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::message;
    use crate::cli::{Cli, Verb};

    fn limit_of(model: &str) -> Option<u32> {
        (model == "bounded").then_some(9)
    }

    fn body(flags: &[&str]) -> serde_json::Value {
        let words = ["rbee", "infer"].iter().chain(flags).chain(&["hi"]);
        let Verb::Infer(args) = Cli::try_parse_from(words).unwrap().verb else { panic!() };
        args.sampling.body("default-model", limit_of, &[message("user", "hi")])
    }

    #[test]
    fn what_is_not_given_is_not_sent() {
        let body = body(&[]);
        assert_eq!(body["model"], "default-model");
        assert_eq!(body["stream"], true);
        assert_eq!(body["max_tokens"], 512);
        for key in ["temperature", "top_p", "seed", "stop"] {
            assert!(body.get(key).is_none(), "{key}");
        }
    }

    #[test]
    fn an_answer_is_as_long_as_is_said_or_set_for_the_model() {
        for (flags, limit) in [
            (&["--model=bounded"][..], 9),
            (&["--model=bounded", "--max-tokens=5"], 5),
            (&["--model=other"], 512),
        ] {
            assert_eq!(body(flags)["max_tokens"], limit, "{flags:?}");
        }
    }

    #[test]
    fn every_flag_reaches_the_body() {
        let body = body(&[
            "--model=m",
            "--max-tokens=5",
            "--temperature=0",
            "--top-p=0.5",
            "--seed=7",
            "--stop=a",
            "--stop=b",
        ]);
        assert_eq!(body["model"], "m");
        assert_eq!(body["max_tokens"], 5);
        assert_eq!(body["temperature"], 0.0);
        assert_eq!(body["top_p"], 0.5);
        assert_eq!(body["seed"], 7);
        assert_eq!(body["stop"], serde_json::json!(["a", "b"]));
    }

    #[test]
    fn what_is_set_in_a_talk_reaches_the_body_and_nonsense_does_not() {
        let Verb::Chat(args) = Cli::try_parse_from(["rbee", "chat"]).unwrap().verb else {
            panic!()
        };
        let mut sampling = args.sampling;
        for (key, value) in
            [("max_tokens", "7"), ("temperature", "0.5"), ("seed", "3"), ("stop", "a")]
        {
            sampling.set(key, value).unwrap();
        }
        let body = sampling.body("m", limit_of, &[]);
        assert_eq!((&body["max_tokens"], &body["temperature"]), (&7.into(), &0.5.into()));
        assert_eq!((&body["seed"], &body["stop"]), (&3.into(), &serde_json::json!(["a"])));
        for (key, value) in [("max_tokens", "0"), ("top_p", "2"), ("seed", "x"), ("top_k", "1")] {
            assert!(sampling.set(key, value).is_err(), "{key}");
        }
        for (key, _) in sampling.settings() {
            sampling.set(key, "off").unwrap();
        }
        assert!(sampling.settings().iter().all(|(_, value)| value.is_none()));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for flag in ["--temperature=3", "--temperature=nan", "--top-p=-1", "--max-tokens=0"] {
            assert!(Cli::try_parse_from(["rbee", "infer", flag, "hi"]).is_err(), "{flag}");
        }
    }
}
