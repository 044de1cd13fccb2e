use std::fs;

use crate::keeper::Keeper;

#[tokio::test]
async fn what_a_release_has_besides_programs_is_written_for_its_name_there() {
    let keeper = Keeper::alone();
    keeper.run(&["generate", "made"]).await.exits(0);
    let made = keeper.home().join("made");
    let page = |name: &str| fs::read_to_string(made.join("share/man/man1").join(name)).unwrap();
    let first = page("rbee.1");
    assert!(first.contains("rbee infer") && first.contains("Exit codes"), "{first}");
    assert!(!first.contains("Workspace tasks"), "{first}");
    for entry in fs::read_dir(made.join("share/man/man1")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with("rbee") && !page(&name).contains("./rbee"), "{name}");
    }
    assert!(page("rbee-self-update.1").contains("downgrade"));
    assert!(!made.join("share/man/man1/rbee-generate.1").exists(), "it is hidden");
    for completions in [
        "bash-completion/completions/rbee",
        "zsh/site-functions/_rbee",
        "fish/vendor_completions.d/rbee.fish",
    ] {
        let text = fs::read_to_string(made.join("share").join(completions)).unwrap();
        assert!(text.contains("_RBEE_COMPLETE") && !text.contains("./rbee"), "{completions}");
    }
    let unit = fs::read_to_string(made.join("rbee.service")).unwrap();
    assert!(unit.contains("ExecStart=\"/usr/bin/rbee\" service run\n"), "{unit}");
    assert!(!unit.contains("Environment="), "{unit}");
}

#[tokio::test]
async fn a_source_tree_is_updated_by_git_and_no_archive() {
    let output = Keeper::alone().run(&["self-update", "any.tar.gz"]).await.exits(2);
    let told = "and no installed release\nhint: `git pull` updates it; the next `./rbee` builds";
    assert!(output.stderr.contains(told), "{}", output.stderr);
}
