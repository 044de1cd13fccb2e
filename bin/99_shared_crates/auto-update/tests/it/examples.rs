use std::{env, path::PathBuf, process::Command};

use crate::world::World;

/// Beside the tests, where cargo puts what it builds for them.
fn example(name: &str) -> PathBuf {
    let tests = env::current_exe().unwrap();
    tests.parent().unwrap().with_file_name("examples").join(name)
}

#[test]
fn the_example_says_why_builds_and_then_has_nothing_to_do() {
    let world = World::chain();
    let verdict = || {
        let mut command = Command::new(example("verdict"));
        command.arg("app").current_dir(world.path(""));
        let output = command.env_clear().envs(world.environment.vars()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let first = verdict();
    assert!(first.starts_with("`"), "{first}");
    assert!(first.contains("has not been built\n"), "{first}");
    let built = first.lines().last().unwrap().strip_prefix("built: ").unwrap().to_owned();
    assert_eq!(verdict(), format!("fresh: {built}\n"));
}
