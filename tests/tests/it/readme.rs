use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use chain_tests::{Chain, Run};

/// What the README's addresses have; the chain of a test listens elsewhere.
const PORT: &str = "127.0.0.1:8500";

/// What only a person can fill in.
const URL: &str = "URL";

/// A fenced part of the README.
struct Block {
    language: String,
    lines: Vec<String>,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                open = Some(Block { language: language.to_owned(), lines: Vec::new() });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.lines.push(line.to_owned());
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The commands of a block: the lines behind `$ `, or all of one that begins with a command.
fn commands(block: &Block) -> Vec<String> {
    // The picture of the chain begins with its script, and is no command.
    let is_command = |line: &str| {
        let begins = ["./rbee ", "git ", "curl "].iter().find_map(|begin| line.strip_prefix(begin));
        begins.is_some_and(|rest| !rest.starts_with(' '))
    };
    let first = block.lines.first().map_or("", String::as_str);
    let has_prompts = first.starts_with("$ ");
    if !block.language.is_empty() || !(has_prompts || is_command(first)) {
        return Vec::new();
    }
    let mut commands: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in &block.lines {
        let begun = if has_prompts { line.strip_prefix("$ ") } else { Some(line.as_str()) };
        let (text, more) = match begun.unwrap_or(line).strip_suffix('\\') {
            Some(text) => (text, true),
            None => (begun.unwrap_or(line), false),
        };
        match (begun, commands.last_mut()) {
            (_, Some(last)) if goes_on => last.push_str(text.trim_start()),
            (Some(_), _) => commands.push(text.to_owned()),
            // What it shows.
            (None, _) => {}
        }
        goes_on = more && (begun.is_some() || goes_on);
    }
    commands
}

#[test]
fn commands_and_what_they_show_are_told_apart() {
    let text = "x\n```\n./rbee  ->  xtask\n```\n```\n$ sed a\n$ ./rbee infer hi\nout 1\nout 2\n```\n\
                ```toml\n./rbee x\n```\n```\ncurl a \\\n  -d b\n./rbee y\n```\n```\nNAME  STATE\n```\n";
    let found: Vec<String> = blocks(text).iter().flat_map(commands).collect();
    assert_eq!(found, ["sed a", "./rbee infer hi", "curl a -d b", "./rbee y"]);
}

#[test]
fn every_command_of_the_readme_works_as_it_stands_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let all: Vec<String> = blocks(&readme).iter().flat_map(commands).collect();
    assert!(all.len() >= 5, "{all:?}");
    let chain = Chain::new();
    // What the README's requests name is the model that there is.
    chain.configure(&format!("[model.\"smollm2:135m\"]\nsource = {:?}\n", Chain::model()));
    chain.succeed(&["infer", "hi"]);
    // A replaced queen has the port of the one before.
    let (queen, before) = (chain.queen(), chain.healths());
    for command in all {
        if let Some((clone, _)) =
            command.split_once(" && cd rbee").filter(|_| command.contains(URL))
        {
            cloned(&chain, root, clone);
            continue;
        }
        let run = shell(&chain, &command.replace(PORT, queen.trim_start_matches("http://")));
        assert_eq!(run.code, Some(0), "{command}\n{}{}", run.stdout, run.stderr);
        if command.starts_with("curl ") {
            assert!(run.stdout.contains("data: [DONE]"), "{command}\n{}", run.stdout);
        }
    }
    // One of them is the edit that the README is about.
    let hashes = |healths: [rbee_api::Health; 3]| healths.map(|health| health.exe_hash);
    for (before, after) in hashes(before).into_iter().zip(hashes(chain.healths())) {
        assert_ne!(before, after, "a level did not follow the edit");
    }
}

/// `git clone`, from this checkout, into a folder of the test's own.
fn cloned(chain: &Chain, root: &Path, clone: &str) {
    let folder = chain.home().join("clone");
    fs::create_dir(&folder).unwrap();
    let clone = clone.replace(URL, root.to_str().unwrap());
    let script = format!("{clone} && cd rbee && test -x rbee");
    let mut git = Command::new("bash");
    git.args(["-c", &script]).current_dir(&folder).stdin(Stdio::null());
    let run = Run::of(git);
    assert_eq!(run.code, Some(0), "{script}\n{}", run.stderr);
}

/// Runs the line where `./rbee` is.
fn shell(chain: &Chain, line: &str) -> Run {
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", line]).current_dir(chain.checkout().root());
    chain.environment(&mut bash);
    Run::of(bash)
}
