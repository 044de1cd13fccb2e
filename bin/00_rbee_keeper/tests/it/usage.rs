use crate::keeper::Keeper;

const VERBS: [&str; 23] = [
    "infer",
    "chat",
    "status",
    "queen",
    "hive",
    "worker",
    "model",
    "run",
    "serve",
    "stop",
    "pull",
    "list",
    "rm",
    "ps",
    "show",
    "update",
    "dev",
    "logs",
    "config",
    "doctor",
    "service",
    "completions",
    "self-update",
];

#[tokio::test]
async fn help_names_every_verb_the_workspace_tasks_and_the_exit_codes() {
    let output = Keeper::alone().run(&["--help"]).await.exits(0);
    for word in VERBS.iter().chain(&["setup", "test", "tidy", "bench", "dist", "Exit codes", "130"])
    {
        assert!(output.stdout.contains(word), "{word} is not in\n{}", output.stdout);
    }
}

#[tokio::test]
async fn every_verb_has_help_with_an_example() {
    let keeper = Keeper::alone();
    for verb in VERBS {
        let output = keeper.run(&[verb, "--help"]).await.exits(0);
        let example = format!("./rbee {verb}");
        let shown = output.stdout.matches(&example).count();
        // The usage line is the first.
        assert!(shown >= 2, "{verb}:\n{}", output.stdout);
    }
}

#[tokio::test]
async fn what_is_not_a_verb_or_a_flag_is_exit_code_2() {
    let keeper = Keeper::alone();
    for arguments in [
        &["infre", "hi"][..],
        &["hive", "explode"],
        &["infer", "--no-such-flag", "hi"],
        &["infer", "--temperature", "hot", "hi"],
        &["logs", "beekeeper"],
        &["--narration", "loud", "status"],
        &["--queen-url", "http://example.org:1", "status"],
        &[],
    ] {
        let output = keeper.run(arguments).await.exits(2);
        assert_eq!(output.stdout, "", "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn help_of_a_verb_is_that_verbs_help() {
    let keeper = Keeper::alone();
    let asked = keeper.run(&["help", "infer"]).await.exits(0).stdout;
    assert_eq!(asked, keeper.run(&["infer", "--help"]).await.exits(0).stdout);
    let all = keeper.run(&["help"]).await.exits(0).stdout;
    assert_eq!(all, keeper.run(&["--help"]).await.exits(0).stdout);
}

#[tokio::test]
async fn a_misspelt_verb_is_answered_with_the_right_one() {
    let output = Keeper::alone().run(&["infre", "hi"]).await.exits(2);
    assert!(output.stderr.contains("'infer'"), "{}", output.stderr);
}

#[tokio::test]
async fn there_are_completions_for_five_shells() {
    let keeper = Keeper::alone();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = keeper.run(&["completions", shell]).await.exits(0);
        assert!(output.stdout.contains("_RBEE_COMPLETE"), "{shell}");
        assert_eq!(output.stderr, "");
    }
}

#[tokio::test]
async fn completions_and_help_need_no_configuration() {
    let keeper = Keeper::alone();
    keeper.write("config.toml", "not toml");
    keeper.run(&["completions", "bash"]).await.exits(0);
    keeper.run(&["--version"]).await.exits(0);
}
