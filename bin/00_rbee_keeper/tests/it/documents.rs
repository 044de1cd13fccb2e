use std::{fs, path::Path};

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use rbee_keeper::Cli;

/// Words that xtask takes for itself.
const TASKS: [&str; 8] =
    ["setup", "test", "tidy", "bench", "dist", "fuzz-api", "fuzz-freshness", "fuzz-chain"];

#[test]
fn every_command_that_a_document_shows_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let names = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let beside = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md"];
    let documents = beside.map(|name| root.join(name)).into_iter().chain(names);
    let mut seen = 0;
    for document in documents.filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(&document).unwrap();
        let mut is_fenced = false;
        for line in text.lines() {
            if line.starts_with("```") {
                is_fenced = !is_fenced;
            } else if is_fenced {
                let line = line.trim_start().trim_start_matches("$ ");
                if line.starts_with("./rbee ") || line.starts_with("rbee ") {
                    assert_is_command(line, Whole::Yes, &document);
                    seen += 1;
                }
            } else {
                for span in line.split('`').skip(1).step_by(2) {
                    if span.starts_with("./rbee ") {
                        assert_is_command(span, Whole::No, &document);
                        seen += 1;
                    }
                }
            }
        }
    }
    assert!(seen > 20, "{seen} commands were found");
}

#[test]
fn every_example_of_the_help_is_a_command() {
    fn check(command: &clap::Command) {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in after.lines().map(str::trim).filter(|line| line.starts_with("./rbee ")) {
            assert_is_command(line, Whole::Yes, Path::new(command.get_name()));
        }
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}

/// Whether all that a command needs is to be there, as where it is to be typed as it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

#[track_caller]
fn assert_is_command(line: &str, whole: Whole, place: &Path) {
    for words in words(line) {
        if words.get(1).is_none_or(|word| TASKS.contains(&word.as_str())) {
            continue;
        }
        let Err(error) = Cli::try_parse_from(&words) else { continue };
        let is_named = matches!(
            error.kind(),
            ErrorKind::MissingRequiredArgument
                | ErrorKind::MissingSubcommand
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        ) || error.to_string().contains("a value is required");
        let is_fine = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
            _ => whole == Whole::No && is_named,
        };
        assert!(is_fine, "{}: {line}\n{error}", place.display());
    }
}

/// The words of a line up to where the shell does something with it; one line for each of `a|b`.
fn words(line: &str) -> Vec<Vec<String>> {
    let mut lines = vec![Vec::new()];
    let mut word = String::new();
    let mut quote = None;
    let mut characters = line.chars().chain([' ']).peekable();
    while let Some(character) = characters.next() {
        match (character, quote) {
            (end, Some(begin)) if end == begin => quote = None,
            (other, Some(_)) => word.push(other),
            ('"' | '\'', None) => quote = Some(character),
            (' ', None) if word.is_empty() => {}
            (' ', None) => {
                if ["|", "||", "&&", ">", "<", "#"].contains(&word.as_str())
                    || word.contains(">")
                    // What is explained beside it in a list of examples.
                    || characters.peek() == Some(&' ') && characters.clone().nth(2) == Some(' ')
                {
                    if !word.contains(['|', '>', '<', '#', '&']) {
                        add(&mut lines, &word);
                    }
                    return lines;
                }
                add(&mut lines, &word);
                word.clear();
            }
            (other, None) => word.push(other),
        }
    }
    lines
}

fn add(lines: &mut Vec<Vec<String>>, word: &str) {
    let alternatives: Vec<_> = word.split('|').collect();
    *lines = lines
        .iter()
        .flat_map(|line| {
            alternatives.iter().map(|one| [line.clone(), vec![one.to_string()]].concat())
        })
        .collect();
}
