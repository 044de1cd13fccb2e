//! A real bash at a terminal, which asks the keeper what words may become.

use std::{fs, time::Duration};

use serde_json::json;
use tokio::{
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

use crate::{
    keeper::Keeper,
    queen::{Queen, Reply},
    terminal::{COLUMNS, ROWS, Screen},
};

const DEADLINE: Duration = Duration::from_secs(30);
const TRIES: u32 = 6;
const PROMPT: &str = "> ";
/// Ctrl-U: removes what was typed.
const CLEAR: &[u8] = b"\x15";

struct Bash {
    screen: Screen,
    pieces: mpsc::Receiver<Vec<u8>>,
    parser: vt100::Parser,
    child: Child,
}

impl Bash {
    /// One that has read the keeper's script.
    async fn of(keeper: &Keeper) -> Self {
        let script = keeper.run(&["completions", "bash"]).await.exits(0).stdout;
        // The script of this tree would take a keeper that is built in it.
        let tree = format!("{}/rbee", rbee_of_this_tree());
        assert!(script.contains(&format!("\"{tree}\" --")), "{script}");
        let own = script.replace(&tree, env!("CARGO_BIN_EXE_rbee-keeper"));
        keeper.write("bashrc", &format!("PS1='{PROMPT}'\nbind 'set bell-style none'\n{own}"));
        let screen = Screen::open();
        let mut command = Command::new("bash");
        command.arg("--noprofile").arg("--rcfile").arg(keeper.home().join("bashrc")).arg("-i");
        command.current_dir(keeper.home()).env_clear().env("PATH", "/usr/bin:/bin");
        command.envs(keeper.variables()).env("TERM", "xterm").kill_on_drop(true);
        command.stdin(screen.stdio()).stdout(screen.stdio()).stderr(screen.stdio());
        let child = command.spawn().unwrap();
        let pieces = screen.pieces();
        let mut bash = Self { screen, pieces, parser: vt100::Parser::new(ROWS, COLUMNS, 0), child };
        bash.shows("").await;
        bash
    }

    /// Waits until the prompt and `line` are what is before the cursor.
    async fn shows(&mut self, line: &str) {
        if !self.shows_within(DEADLINE, line).await {
            panic!("`{line}` is not shown:\n{}", self.parser.screen().contents());
        }
    }

    async fn shows_within(&mut self, limit: Duration, line: &str) -> bool {
        let wanted = format!("{PROMPT}{line}");
        let shown = async {
            loop {
                let screen = self.parser.screen();
                let (row, column) = screen.cursor_position();
                let before = screen.contents_between(row, 0, row, column);
                if before == wanted {
                    return;
                }
                let piece = self.pieces.recv().await.expect("bash has not left");
                self.parser.process(&piece);
            }
        };
        timeout(limit, shown).await.is_ok()
    }

    async fn completes(&mut self, typed: &str, completed: &str) {
        self.screen.type_in(typed.as_bytes());
        // On a busy machine the queen may not have been asked in time, as a person sees.
        for _ in 0..TRIES {
            self.screen.type_in(b"\t");
            if self.shows_within(DEADLINE / TRIES, completed).await {
                break;
            }
        }
        self.shows(completed).await;
        self.screen.type_in(CLEAR);
        self.shows("").await;
    }
}

fn rbee_of_this_tree() -> String {
    let root = fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
    root.display().to_string()
}

#[tokio::test]
async fn bash_completes_models_hives_tasks_and_verbs() {
    let queen = Queen::start().await;
    let model = |name: &str, local: bool| {
        json!({ "name": name, "size_bytes": 98_000_000, "local": local, "path": null, "sha256": null,
                "license": null, "description": null })
    };
    let models = [model("qwen3:8b", false), model("smollm2:135m", true), model("gemma3:1b", true)];
    queen.on("GET /v1/models/store", Reply::Json(200, json!({ "models": models })));
    let keeper = Keeper::of(&queen);
    keeper.write(
        "config.toml",
        "[[hive]]\nalias = \"attic\"\n\n[model.writer]\nsource = \"/w.gguf\"\n",
    );
    let mut bash = Bash::of(&keeper).await;
    for (typed, completed) in [
        ("rbee run qw", "rbee run qwen3:8b "),
        // Words that bash cuts at colons and equals signs.
        ("rbee run gemma3:", "rbee run gemma3:1b "),
        ("rbee model show smollm2:1", "rbee model show smollm2:135m "),
        ("rbee infer --model=gemma3:1", "rbee infer --model=gemma3:1b "),
        ("rbee chat -m wri", "rbee chat -m writer "),
        ("./rbee hive start at", "./rbee hive start attic "),
        ("rbee pull --hive a", "rbee pull --hive attic "),
        ("rbee fuzz-f", "rbee fuzz-freshness "),
        ("rbee sta", "rbee status "),
        ("rbee infer --max", "rbee infer --max-tokens "),
    ] {
        bash.completes(typed, completed).await;
    }
    bash.screen.type_in(b"exit\r");
    timeout(DEADLINE, bash.child.wait()).await.expect("bash leaves").unwrap();
}

#[tokio::test]
async fn without_a_queen_the_configured_models_are_known_and_nothing_is_started() {
    let keeper = Keeper::alone();
    keeper.write("config.toml", "[model.writer]\nsource = \"/w.gguf\"\n");
    let mut bash = Bash::of(&keeper).await;
    bash.completes("rbee rm wri", "rbee rm writer ").await;
    bash.completes("rbee rm smol", "rbee rm smollm2:135m ").await;
    assert!(!keeper.home().join("run").exists() && !keeper.home().join("state").exists());
}
