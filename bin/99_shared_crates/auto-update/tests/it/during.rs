//! What happens while it is built, and what others build in the same place.

use std::{fs, path::Path, process::Command};

use crate::world::{Ensured, World, printed};

/// A binary that includes `data.txt` and has a module `m`, whose compilation takes until `go` is
/// there: a procedural macro, compiled before, says with `begun` that its turn has come.
fn slow() -> World {
    let world = World::single(
        "const A: &str = include_str!(\"../data.txt\");\nmod m;\nfn main() { slow::wait!(); print!(\"{} {}\", A, m::N); }\n",
    );
    world.write("app/data.txt", "data");
    world.write("app/src/m/mod.rs", "pub const N: u32 = 1;\n");
    world.package("app", "[dependencies]\nslow = { path = \"../slow\" }\n");
    world.package("slow", "[lib]\nproc-macro = true\n");
    world.write("slow/src/lib.rs", &format!(
        "use std::path::Path;\n#[proc_macro] pub fn wait(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{\n\
         std::fs::write({:?}, \"\").unwrap();\nwhile !Path::new({:?}).exists() {{ std::thread::yield_now() }}\n\"()\".parse().unwrap() }}\n",
        world.path("begun"), world.path("go")
    ));
    world.write("Cargo.toml", "[workspace]\nmembers = [\"app\", \"slow\"]\nresolver = \"3\"\n");
    world.cargo(&["build", "-q", "-p", "slow"]);
    world
}

/// Builds, and does `change` once the compiler has read its files.
fn ensure_while(world: &World, change: impl FnOnce() + Send) -> Result<Ensured, String> {
    fs::remove_file(world.path("begun")).unwrap_or(());
    fs::remove_file(world.path("go")).unwrap_or(());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !world.path("begun").exists() {
                std::thread::yield_now();
            }
            change();
            world.write("go", "");
        });
        let mut events = Vec::new();
        let built = world.updater().ensure_built_with(|event| events.push(event));
        built.map(|artifact| Ensured { artifact, events }).map_err(|error| error.to_string())
    })
}

#[test]
fn a_source_that_is_removed_while_it_is_compiled_is_missed() {
    let world = slow();
    world.write("go", "");
    world.ensure();
    world.write("app/src/m/mod.rs", "pub const N: u32 = 2;\n");
    let built = ensure_while(&world, || world.remove("app/data.txt"));
    assert!(built.is_err(), "cargo cannot build it");
    assert!(!world.updater().check().unwrap().is_fresh());
}

#[test]
fn a_folder_that_takes_the_place_of_another_during_the_first_build_is_built_from() {
    let world = slow();
    world.write("app/src/n/mod.rs", "pub const N: u32 = 2;\n");
    let built = ensure_while(&world, || {
        fs::rename(world.path("app/src/m"), world.path("aside")).unwrap();
        fs::rename(world.path("app/src/n"), world.path("app/src/m")).unwrap();
    });
    assert_eq!(printed(&built.unwrap().artifact.path), "data 2");
    world.assert_fresh();
}

#[test]
fn configuration_that_is_removed_while_it_is_built_is_missed() {
    let world = slow();
    world.write("app/src/m/mod.rs", "pub const N: u32 = if cfg!(loud) { 3 } else { 4 };\n");
    world.write(".cargo/config.toml", "[build]\nrustflags = [\"--cfg\", \"loud\"]\n");
    let built = ensure_while(&world, || world.remove(".cargo/config.toml"));
    assert_eq!(printed(&built.unwrap().artifact.path), "data 4");
    world.assert_fresh();
}

#[test]
fn a_compiler_that_is_replaced_while_it_compiles_is_not_taken_for_the_new_one() {
    let mut world = slow();
    world.write("app/src/m/mod.rs", "pub const N: u32 = if cfg!(second) { 3 } else { 4 };\n");
    world.another_compiler("second/rustc");
    world.program("bin/rustc", "#!/bin/sh\nexec \"$REAL_RUSTC\" \"$@\"\n");
    let real = Command::new("rustup").args(["which", "rustc"]).output().unwrap();
    let real = String::from_utf8(real.stdout).unwrap();
    let script = world
        .read("second/rustc")
        .replace("rustc \"$@\"", "\"$REAL_RUSTC\" \"$@\"")
        .replace("rustc --cfg", "\"$REAL_RUSTC\" --cfg");
    world.program("second/rustc", &script);
    let environment = world.environment.clone().set("REAL_RUSTC", real.trim());
    world.environment = environment.set("RUSTC", world.path("bin/rustc"));
    let built = ensure_while(&world, || {
        fs::rename(world.path("second/rustc"), world.path("bin/rustc")).unwrap();
    });
    assert_eq!(printed(&built.unwrap().artifact.path), "data 3");
    world.assert_fresh();
}

#[test]
fn a_file_below_target_that_no_script_made_is_an_input_like_any_other() {
    let world = slow();
    world.write("target/made.txt", "data");
    world.replace("app/src/main.rs", "../data.txt", "../../target/made.txt");
    let built = ensure_while(&world, || world.write("target/made.txt", "other"));
    assert_eq!(printed(&built.unwrap().artifact.path), "other 1");
    world.assert_fresh();
}

#[test]
fn a_script_that_watches_where_cargo_builds_runs_once_in_each_call_and_says_so() {
    let world = World::single("fn main() { print!(\"{}\", env!(\"MADE\")); }\n");
    world.write(
        "app/build.rs",
        "fn main() { println!(\"cargo:rerun-if-changed=..\\ncargo:rustc-env=MADE=1\"); }\n",
    );
    for _ in 0..2 {
        let built = world.ensure();
        let compilations =
            built.events.iter().filter(|event| format!("{event:?}").contains("Compiling"));
        assert_eq!(compilations.count(), 1, "{:?}", built.events);
        let doubt = world.stale();
        assert!(doubt[0].contains("in which cargo builds, so it runs every time"), "{doubt:?}");
    }
}

#[test]
fn a_script_that_writes_what_it_watches_is_settled_by_contents() {
    let world = World::single("include!(\"made.rs\");\nfn main() { print!(\"{MADE}\"); }\n");
    world.write("app/build.rs", "fn main() { println!(\"cargo:rerun-if-changed=src\"); std::fs::write(\"src/made.rs\", \"pub const MADE: u32 = 1;\").unwrap(); }\n");
    assert_eq!(world.prints(), "1");
    world.assert_fresh();
    world.write("app/src/main.rs", "include!(\"made.rs\");\nfn main() { print!(\"{MADE}!\"); }\n");
    assert_eq!(world.prints(), "1!");
    world.assert_fresh();
}

/// Two checkouts of the same workspace that build in one target directory.
fn two_checkouts() -> (World, World) {
    let (mut a, mut b) = (World::chain(), World::chain());
    let target = a.path("../shared-target-").into_os_string();
    let name = a.root().file_name().unwrap().to_owned();
    let target = Path::new(&target).with_file_name(format!("shared-{}", name.to_string_lossy()));
    for world in [&mut a, &mut b] {
        world.environment = world.environment.clone().set("CARGO_TARGET_DIR", &target);
    }
    b.leaf_says("two");
    (a, b)
}

#[test]
fn what_another_checkout_built_is_not_taken_for_this_ones() {
    let (a, b) = two_checkouts();
    // Cargo takes one for the other.
    a.cargo(&["build", "-q", "-p", "app"]);
    b.cargo(&["build", "-q", "-p", "app"]);
    assert_eq!(b.prints(), "two");
    b.assert_fresh();
    assert_eq!(a.prints(), "one");
    a.assert_fresh();
    a.cargo(&["build", "-q", "-p", "app"]);
    assert_eq!(b.prints(), "two");
    assert_eq!(a.prints(), "one");
    fs::remove_dir_all(a.updater().target_dir().unwrap()).unwrap();
}

#[test]
fn states_below_target_that_changed_alone_compile_nothing() {
    let world = World::chain();
    world.write("leaf/build.rs", "fn main() { println!(\"cargo:rerun-if-changed=build.rs\"); std::fs::write(format!(\"{}/made.rs\", std::env::var(\"OUT_DIR\").unwrap()), \"pub const N: u32 = 1;\").unwrap(); }\n");
    world.write("leaf/src/lib.rs", "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));\npub fn text() -> String { N.to_string() }\n");
    assert_eq!(world.prints(), "1");
    let chmod = |mode: &str| {
        let mut command = Command::new("chmod");
        assert!(command.args(["-R", mode]).arg(world.path("target")).status().unwrap().success());
    };
    chmod("o-rx");
    world.assert_fresh();
    assert!(!world.ensure().compiled());
    chmod("o+rX");
    world.write("app/src/main.rs", "fn main() { print!(\"{}!\", mid::text()); }\n");
    let built = world.ensure();
    assert_eq!(printed(&built.artifact.path), "1!");
    let compiled = format!("{:?}", built.events);
    assert!(
        compiled.contains("Compiling app") && !compiled.contains("Compiling leaf"),
        "{compiled}"
    );
}
