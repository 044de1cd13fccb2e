//! What the README shows: an edit on the left, a stream that goes on over it on the right, as two
//! terminals saw a real chain with a real model; drawn as a picture that moves.

mod picture; // two terminals, as they were seen

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use chain_tests::{Chain, pause};

use self::picture::{Pane, Seen};

/// A file of a crate that every level uses.
const EDITED: &str = "bin/99_shared_crates/narration-core/src/lib.rs";
/// It is to be longer than what the edit sets off takes.
const STORY: &str = "Write a very long story about a bee, chapter by chapter.";
const QUESTION: &str = "What is a bee?";

/// From the first words of the story to the edit.
const BEFORE: Duration = Duration::from_secs(2);
/// From one command to the next, so that a person can follow.
const BETWEEN: Duration = Duration::from_millis(700);
/// How long the end is shown.
const AFTER: Duration = Duration::from_secs(6);
/// The picture moves so much faster than it was.
const SPEED: u32 = 2;
/// Between two looks at whether the story has begun.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the picture goes
    #[arg(long, default_value = "docs/film.svg")]
    svg: PathBuf,
    /// The file of the model that tells it
    #[arg(long)]
    model: PathBuf,
    /// Of the story; it is another one with each
    #[arg(long, default_value_t = 5)]
    seed: u32,
    /// The length of the story, in tokens
    #[arg(long, default_value_t = 1900)]
    tokens: u32,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    eprintln!("film: building a chain with a real worker");
    let chain = Chain::whole_with(&args.model);
    name_the_model(&chain, &args.model)?;
    chain.succeed(&["infer", "--max-tokens", "1", "hi"]);

    let begin = Instant::now();
    let (tokens, seed) = (args.tokens.to_string(), args.seed.to_string());
    let right = Terminal::new(begin);
    right.type_in(&format!("./rbee infer --max-tokens {tokens} \"{STORY}\""));
    let story = ["infer", "--temperature", "0.8", "--seed", &seed, "--max-tokens", &tokens, STORY];
    let mut story = right.start(chain.command(&story))?;
    let prompted = right.seen().len();
    while right.seen().len() == prompted {
        ensure!(begin.elapsed() < Duration::from_secs(60), "the story has not begun");
        pause(LOOK);
    }
    pause(BEFORE);

    let left = Terminal::new(begin);
    let sed = format!("sed -i 's/\"narration\"/\"narration-{}\"/' {EDITED}", a_number()?);
    left.type_in(&sed);
    let mut edit = Command::new("sh");
    edit.args(["-c", &sed]).current_dir(chain.checkout().root());
    left.start(edit)?.ends_well("the edit")?;
    pause(BETWEEN);
    left.type_in(&format!("./rbee infer --max-tokens 30 \"{QUESTION}\""));
    let asked = chain.command(&["infer", "--max-tokens", "30", "--temperature", "0", QUESTION]);
    left.start(asked)?.ends_well("the question")?;
    pause(BETWEEN);
    left.type_in("./rbee status");
    left.start(chain.command(&["status"]))?.ends_well("the status")?;
    let end = begin.elapsed() + AFTER;
    let went_on = story.is_running()?;
    story.ends_well("the story")?;
    ensure!(went_on, "the story was over before the edit was: take a longer one, or another seed");

    let model = args.model.parent().context("a model's file lies in a folder")?;
    let folders = [chain.checkout().root(), chain.target(), chain.home(), model];
    let folders = folders.map(|folder| format!("{}/", folder.display()));
    let shown = |terminal: &Terminal| {
        terminal.seen().into_iter().map(|seen| seen.without(&folders).faster(SPEED)).collect()
    };
    let panes = [
        Pane { title: "an edit of a crate that every level uses", columns: 78, seen: shown(&left) },
        Pane {
            title: "a stream that began before it; twice as fast",
            columns: 44,
            seen: shown(&right),
        },
    ];
    fs::write(&args.svg, picture::svg(&panes, end / SPEED))
        .with_context(|| format!("cannot write {}", args.svg.display()))?;
    println!("{} s are in {}, shown {SPEED} times as fast", end.as_secs(), args.svg.display());
    Ok(())
}

/// Gives the chain's default model a name as people would.
fn name_the_model(chain: &Chain, file: &Path) -> anyhow::Result<()> {
    let path = chain.home().join("config.toml");
    let config = fs::read_to_string(&path).context("the chain's configuration is gone")?;
    let config = config.replacen(&format!("{file:?}"), "\"smollm2\"", 1);
    fs::write(
        path,
        format!("{config}\n[model.\"smollm2\"]\nsource = {file:?}\nrepeat_penalty = 1.1\n"),
    )
    .context("the chain's configuration cannot be written")
}

/// What no earlier run has built: that would come from the artifact store.
fn a_number() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is not set")?.as_secs())
}

/// What a person would see of commands that are run in it one after the other.
#[derive(Debug)]
struct Terminal {
    begin: Instant,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Terminal {
    fn new(begin: Instant) -> Self {
        Self { begin, seen: Arc::default() }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn type_in(&self, command: &str) {
        self.add(&format!("$ {command}\n"), true);
    }

    fn add(&self, text: &str, is_typed: bool) {
        let seen = Seen { at: self.begin.elapsed(), text: text.to_owned(), is_typed };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }

    fn start(&self, mut command: Command) -> anyhow::Result<Running> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start the command that is shown")?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let readers = [out.map(|out| self.read(out)), err.map(|err| self.read(err))];
        Ok(Running { child, readers })
    }

    fn read(&self, mut from: impl Read + Send + 'static) -> JoinHandle<()> {
        let this = Self { begin: self.begin, seen: Arc::clone(&self.seen) };
        thread::spawn(move || {
            let (mut buffer, mut rest) = ([0; 4096], Vec::new());
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                rest.extend_from_slice(&buffer[..count]);
                // A character may come in two halves.
                let whole = match std::str::from_utf8(&rest) {
                    Ok(_) => rest.len(),
                    Err(error) => error.valid_up_to(),
                };
                let text: Vec<u8> = rest.drain(..whole).collect();
                this.add(&String::from_utf8_lossy(&text), false);
            }
        })
    }
}

/// A command that is shown while it runs.
#[derive(Debug)]
struct Running {
    child: Child,
    readers: [Option<JoinHandle<()>>; 2],
}

impl Running {
    fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait().context("the command is lost")?.is_none())
    }

    fn ends_well(mut self, what: &str) -> anyhow::Result<()> {
        let status = self.child.wait().context("the command is lost")?;
        for reader in self.readers.into_iter().flatten() {
            ensure!(reader.join().is_ok(), "what {what} said was not read");
        }
        ensure!(status.success(), "{what} ended with {status}");
        Ok(())
    }
}
