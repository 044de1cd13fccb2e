//! The first token of a conversation whose worker was replaced: carried over, not carried over, and
//! without a replacement, through the whole chain.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use chain_tests::Chain;
use rbee_api::carry::SOCKET;
use serde_json::{Value, json};

use crate::{
    endpoint::{Completion, Endpoint},
    samples::{Samples, seconds, shown, verdict},
    words::words,
};

/// How many times as fast as the whole prompt a carried one is to be there.
const GOAL: f64 = 5.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A model's file
    #[arg(long)]
    model: PathBuf,
    #[arg(long, default_value_t = 2)]
    threads: u32,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Words of a conversation before its last question
    #[arg(long, value_delimiter = ',', default_values_t = [1200, 3200])]
    words: Vec<usize>,
}

/// What happens before the next question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    /// The worker is replaced.
    Carried,
    /// The worker is replaced by one that is handed nothing.
    NotCarried,
}

impl Between {
    const ALL: [Self; 3] = [Self::Nothing, Self::Carried, Self::NotCarried];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no replacement",
            Self::Carried => "replaced, carried over",
            Self::NotCarried => "replaced, read again",
        }
    }
}

/// What came of one way.
#[derive(Debug, Default)]
struct Figures {
    first_token: Samples,
    cached: Samples,
    /// From the edit to an answer of what took the worker's place.
    replacement: Samples,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let chain = start(args)?;
    let queen = chain.queen();
    let queen = Endpoint::Tcp(queen.trim_start_matches("http://").to_owned());
    println!(
        "{:<8} {:<24} {:>12} {:>12} {:>14}",
        "tokens", "medians", "cached", "first token", "edit to answer"
    );
    let (mut seed, mut met) = (0, true);
    for &words in &args.words {
        let mut figures = Between::ALL.map(|_| Figures::default());
        let mut tokens = Samples::default();
        for round in 0..usize::from(args.rounds) {
            // In turn, so that whatever else the machine does falls on each of them.
            for place in 0..Between::ALL.len() {
                let index = (place + round) % Between::ALL.len();
                seed += 1;
                let done = next_question(&chain, &queen, (words, seed), Between::ALL[index]);
                tokens.add(done?.add_to(&mut figures[index]));
            }
        }
        met &= report(tokens, figures);
    }
    println!("\ncarried over {GOAL} x as fast as read again or more: {}", verdict(met));
    Ok(())
}

fn start(args: &Args) -> anyhow::Result<Chain> {
    let chain = Chain::real();
    chain.configure(&format!(
        "[models]\ndefault = \"bench\"\n[model.bench]\nsource = {:?}\n\
         [worker]\nthreads = {}\ncontext = 8192\n",
        std::path::absolute(&args.model).context("the model has no path")?,
        args.threads
    ));
    eprintln!("carry: starting the chain");
    chain.succeed(&["infer", "--max-tokens", "1", "Hi"]);
    Ok(chain)
}

/// One conversation's next question.
struct Done {
    question: Completion,
    replacement: Option<f64>,
}

impl Done {
    /// Returns how many tokens the prompt has.
    fn add_to(&self, figures: &mut Figures) -> f64 {
        let Completion { asked, first, cached_tokens, prompt_tokens, .. } = self.question;
        figures.first_token.add(seconds(first - asked));
        figures.cached.add(cached_tokens as f64);
        self.replacement.into_iter().for_each(|took| figures.replacement.add(took));
        prompt_tokens as f64
    }
}

fn next_question(
    chain: &Chain,
    queen: &Endpoint,
    (count, seed): (usize, usize),
    between: Between,
) -> anyhow::Result<Done> {
    let prompt = words(count, seed);
    queen.complete(&body(&prompt))?;
    let mut replacement = None;
    if between != Between::Nothing {
        if between == Between::NotCarried {
            forget_sockets(chain.home())?;
        }
        let edited = Instant::now();
        // A seed would have the prompt read again in any case.
        chain.succeed(&["model", "set", "bench", &format!("top_k={seed}")]);
        chain.succeed(&["infer", "--max-tokens", "1", "Hi"]);
        replacement = Some(seconds(edited.elapsed()));
    }
    let question = queen.complete(&body(&format!("{prompt} {}", words(12, seed + 1_000_000))))?;
    let is_cached = question.cached_tokens * 2 > question.prompt_tokens;
    ensure!(
        is_cached == (between != Between::NotCarried),
        "{}: {} of {} tokens were there",
        between.name(),
        question.cached_tokens,
        question.prompt_tokens
    );
    Ok(Done { question, replacement })
}

fn body(prompt: &str) -> Value {
    json!({
        "model": "bench", "prompt": prompt, "max_tokens": 2, "temperature": 0.0, "stream": true,
        "ignore_eos": true, "stream_options": { "include_usage": true },
    })
}

/// Takes from every worker what it hands conversations on by.
fn forget_sockets(home: &Path) -> anyhow::Result<()> {
    for instance in fs::read_dir(home.join("run")).context("no instance is there")? {
        let socket = instance.context("the instances cannot be listed")?.path().join(SOCKET);
        if socket.exists() {
            fs::remove_file(&socket)
                .with_context(|| format!("cannot remove `{}`", socket.display()))?;
        }
    }
    Ok(())
}

/// Prints what came of prompts of that length, and returns whether it is as fast as it is to be.
fn report(tokens: Samples, figures: [Figures; 3]) -> bool {
    let tokens = format!("{:.0}", tokens.median());
    let firsts = Between::ALL.into_iter().zip(figures).map(|(between, figures)| {
        let Figures { first_token, cached, replacement } = figures;
        let first_token = first_token.median();
        let replacement = match replacement.len() {
            0 => String::new(),
            _ => shown(replacement.median()),
        };
        println!(
            "{tokens:<8} {:<24} {:>12.0} {:>12} {replacement:>14}",
            between.name(),
            cached.median(),
            shown(first_token)
        );
        first_token
    });
    let firsts: Vec<_> = firsts.collect();
    firsts[2] >= GOAL * firsts[1]
}
