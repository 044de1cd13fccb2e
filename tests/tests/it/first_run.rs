use std::{fs, process::Command, thread};

use chain_tests::Chain;

const PROMPT: &str = "one two three";

#[test]
fn ten_first_users_at_once_share_one_build_one_queen_one_hive_and_one_worker() {
    let chain = Chain::new();
    chain.checkout().edit_to_something_new();
    let runs: Vec<_> = thread::scope(|scope| {
        let runs: Vec<_> =
            (0..10).map(|_| scope.spawn(|| chain.rbee(&["infer", PROMPT]))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for run in &runs {
        assert_eq!((run.code, run.stdout.trim_end()), (Some(0), PROMPT), "{}", run.stderr);
    }
    let count = |line: &str| runs.iter().map(|run| run.stderr.matches(line).count()).sum::<usize>();
    let builds = |level: &str| count(&format!("Rebuilding '{level}'..."));
    for level in ["xtask", "rbee-keeper", "queen-rbee"] {
        assert_eq!(builds(level), 1, "{level}");
    }
    // Compiled along with the queen, they may need no build of their own.
    for level in ["rbee-hive", "llamacpp-worker"] {
        assert!(builds(level) <= 1, "{level}");
    }
    for package in ["xtask", "rbee-keeper", "queen-rbee", "rbee-hive", "llm-worker-rbee"] {
        assert_eq!(count(&format!("Compiling {package} v")), 1, "{package}");
    }
    let names: Vec<_> = chain.daemons().into_iter().map(|process| process.name).collect();
    let mut daemons = names.clone();
    daemons.sort();
    assert_eq!(daemons, ["llamacpp-worker", "queen-rbee", "rbee-hive"]);
}

#[test]
fn a_second_run_starts_no_process_but_its_own() {
    let chain = Chain::new();
    chain.succeed(&["infer", PROMPT]);
    let before = chain.processes();

    let trace = chain.home().join("trace");
    let ours = chain.command(&["infer", PROMPT]);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-e", "trace=execve", "-o"]).arg(&trace);
    traced.arg(ours.get_program()).args(ours.get_args());
    chain.environment(&mut traced);
    let output = traced.output().expect("strace is installed");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), PROMPT);

    let trace = fs::read_to_string(trace).unwrap();
    let started = executables(&trace);
    assert!(
        started.iter().all(|name| ["rbee", "bash", "env", "xtask", "rbee-keeper"].contains(name)),
        "{started:?}"
    );
    assert!(started.contains(&"rbee-keeper"), "{started:?}");
    assert_eq!(chain.processes(), before);
}

/// File names of the programs that a trace of `execve` shows to have been started.
fn executables(trace: &str) -> Vec<&str> {
    let succeeded = trace.lines().filter(|line| line.ends_with(" = 0"));
    succeeded
        .filter_map(|line| line.split_once("execve(\"")?.1.split('"').next()?.rsplit('/').next())
        .collect()
}
