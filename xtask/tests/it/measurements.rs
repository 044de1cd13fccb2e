use crate::world::{Ended, World, executable};

/// A checkout whose programs were built before, and only say what they are given.
fn checkout() -> World {
    let world = World::new();
    world.write(".tools/config.toml", "[env]\n");
    world.write("target/test-models/SmolLM2-135M-Instruct.Q4_1.gguf", "a model");
    for (folder, name, profile) in [
        ("xtask/bench", "chain-bench", "release"),
        ("bin/99_shared_crates/cargo-live", "cargo-live", "release"),
        ("bin/30_llm_worker_rbee", "llamacpp-worker", "debug"),
    ] {
        let package = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\n");
        world.write(format!("{folder}/Cargo.toml"), &package);
        world.write(format!("{folder}/src/main.rs"), "fn main() {}\n");
        let program = world.root().join("target").join(profile).join(name);
        executable(&program, "#!/bin/sh\nfor arg; do echo \"$arg\"; done\n[ \"$2\" != --fail ]\n");
    }
    world.write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"xtask/bench\", \
         \"bin/99_shared_crates/cargo-live\", \"bin/30_llm_worker_rbee\"]\n",
    );
    world
}

fn bench(world: &World, args: &[&str]) -> Ended {
    world.xtask(&[&["bench"], args].concat())
}

#[test]
fn the_list_names_every_measurement() {
    let list = bench(&World::new(), &[]).with(0).stdout;
    let names: Vec<_> = list.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(
        names,
        [
            "start",
            "freshness",
            "fresh-run",
            "crowd",
            "film",
            "follow",
            "live",
            "replace",
            "serve",
            "carry",
            "tokens-under-build",
        ]
    );
}

#[test]
fn a_measurement_gets_the_programs_that_it_is_about() {
    let world = checkout();
    let target = |path: &str| world.root().join("target").join(path).display().to_string();
    let said = bench(&world, &["fresh-run", "--rounds", "3"]).with(0).stdout;
    let live = target("release/cargo-live");
    assert_eq!(said, format!("fresh-run\n--cargo-live\n{live}\n--rounds\n3\n"));

    let said = bench(&world, &["live", "--rounds", "2"]).with(0).stdout;
    assert_eq!(said, format!("live\n--cargo-live\n{live}\n--rounds\n2\n"));

    let said = bench(&world, &["tokens-under-build"]).with(0).stdout;
    let worker = target("debug/llamacpp-worker");
    let model = target("test-models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert_eq!(said, format!("tokens-under-build\n--worker\n{worker}\n--model\n{model}\n"));

    // Where llama.cpp's own server was built before.
    let server = world.home().join(".cache/rbee-bench/llama-server-11434.0.0/llama-server");
    executable(&server, "#!/bin/sh\n");
    let server = server.display();
    let said = bench(&world, &["serve", "--rounds", "4"]).with(0).stdout;
    let all = format!("--server\n{server}\n--worker\n{worker}\n--model\n{model}\n--rounds\n4\n");
    assert_eq!(said, format!("serve\n{all}"));

    let said = bench(&world, &["replace", "--restarts", "2"]).with(0).stdout;
    assert_eq!(said, format!("replace\n--model\n{model}\n--restarts\n2\n"));
}

#[test]
fn only_a_whole_run_draws_the_picture_of_the_documentation() {
    let world = checkout();
    let whole = bench(&world, &["freshness"]).with(0).stdout;
    assert_eq!(whole, "freshness\n--svg\ndocs/freshness.svg\n");
    let part = bench(&world, &["freshness", "--inputs", "100"]).with(0).stdout;
    assert_eq!(part, "freshness\n--inputs\n100\n");
}

#[test]
fn a_measurement_that_fails_or_was_never_built_fails_the_task() {
    let world = checkout();
    bench(&world, &["freshness", "--fail"]).with(1).says("the measurement ended with");
    std::fs::remove_file(world.root().join("target/release/chain-bench")).unwrap();
    bench(&world, &["freshness"]).with(1).says("`chain-bench` was never built");
}

#[test]
fn random_steps_and_requests_are_made_by_the_tests_of_the_chain_or_of_daemon_lifecycle() {
    let world = checkout();
    for (task, count, package, variables) in [
        (&["fuzz-chain"][..], "--steps", "chain-tests", "CHAIN_TESTS_STEPS $CHAIN_TESTS_SEED"),
        (
            &["fuzz-chain", "--daemon"],
            "--steps",
            "daemon-lifecycle",
            "DAEMON_LIFECYCLE_STEPS $DAEMON_LIFECYCLE_SEED",
        ),
        (&["fuzz-api"], "--examples", "chain-tests", "CHAIN_TESTS_EXAMPLES $CHAIN_TESTS_SEED"),
    ] {
        let said = format!(
            "[ \"$2\" = --version ] && exit\necho \"${variables} ${{RBEE_TEST_MODEL##*/}}\""
        );
        world.program("cargo-nextest", &said);
        let fuzz = |args: &[&str]| world.xtask(&[task, args].concat());
        let again = format!("./rbee {} {count} 300 --seed 7", task.join(" "));
        let ended = fuzz(&[count, "300", "--seed", "7"]).with(0).says(&again);
        let is_chain = package == "chain-tests";
        let model = if is_chain { "SmolLM2-135M-Instruct.Q4_1.gguf" } else { "" };
        assert_eq!(ended.stdout, format!("300 7 {model}\n"));
        let call = world.calls().pop().unwrap();
        assert!(call.contains(&format!("--package {package} --filterset test(")), "{call}");
        fuzz(&[count, "0"]).with(2);
        world.program("cargo-nextest", "[ \"$2\" = --version ] || exit 100");
        fuzz(&[count, "4", "--seed", "9"]).with(1).says("seed 9");
    }
}

#[test]
fn random_edits_are_made_by_the_tests_of_auto_update() {
    let world = World::new();
    let counts = "stale=3 fresh=2 unknown=1 restored=1 broken=0 cargo_wrong=4 cargo_needless=5 our_compiles=6 cargo_compiles=7";
    let program = |runs: usize| {
        let runs = "run ".repeat(runs);
        format!(
            "[ \"$2\" = --version ] && exit\necho \"$AUTO_UPDATE_STEPS $AUTO_UPDATE_SEED\"\n\
             for run in {runs}; do echo \"steps=$AUTO_UPDATE_STEPS {counts}\" >> \"$AUTO_UPDATE_COUNTS\"; done"
        )
    };
    world.program("cargo-nextest", &program(4));
    let fuzz = |args: &[&str]| world.xtask(&[&["fuzz-freshness"], args].concat());
    // Over four runs, and none too few.
    let ended = fuzz(&["--steps", "402", "--seed", "7"]).with(0).says("--steps 402 --seed 7");
    let sum = "404 steps: 12 stale, 8 fresh (4 of them restored), 4 in doubt; 0 stale called fresh. \
               Cargo by itself was wrong at 16, and compiled for nothing at 20. Steps that compiled: \
               ours 24, cargo 28; 0 could not be compiled by anybody.";
    assert_eq!(ended.stdout, format!("101 7\n{sum}\n"));
    let call = world.calls().pop().unwrap();
    assert!(call.contains("--package auto-update --filterset test("), "{call}");
    let ended = fuzz(&["--steps", "4"]).with(0);
    let seed = ended.stdout.lines().next().unwrap().strip_prefix("1 ").unwrap().to_owned();
    assert!(ended.stderr.contains(&format!("--seed {seed}` repeats")), "{}", ended.stderr);
    fuzz(&["--steps", "0"]).with(2);
    fuzz(&[]).with(2).says("--steps");

    // A run that does not say what it counted is no run.
    world.program("cargo-nextest", &program(3));
    fuzz(&["--steps", "4"]).with(1).says("4 runs were made and 3 counted");
    world.program("cargo-nextest", "[ \"$2\" = --version ] || exit 100");
    fuzz(&["--steps", "4", "--seed", "9"]).with(1).says("seed 9");
}
