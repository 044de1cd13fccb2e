use std::sync::Mutex;

use auto_update::{Artifact, AutoUpdater, BuildEvent, Error};

use crate::world::{World, printed};

/// `app` and `other`, which use `leaf`.
struct Two {
    world: World,
    app: AutoUpdater,
    other: AutoUpdater,
}

impl Two {
    /// With the same features. Both are built, each by itself.
    fn new() -> Self {
        Self::with_features("")
    }

    /// `other` uses `leaf` with another feature.
    fn that_differ() -> Self {
        Self::with_features(", features = [\"loud\"]")
    }

    fn with_features(features: &str) -> Self {
        let world = World::chain();
        world.package("leaf", "[features]\nloud = []\n");
        let dependency = format!("[dependencies]\nleaf = {{ path = \"../leaf\"{features} }}\n");
        world.package("other", &dependency);
        world.write("other/src/main.rs", "fn main() { print!(\"{}\", leaf::text()); }\n");
        world.replace("Cargo.toml", "\"leaf\"", "\"leaf\", \"other\"");
        let other = AutoUpdater::new("other", world.path("other")).unwrap();
        let other = other.environment(world.environment.clone());
        let app = world.updater().together_with([other.clone()]);
        let two = Self { world, app, other };
        two.leaf_says("one");
        two.ensure();
        two
    }

    fn leaf_says(&self, text: &str) {
        self.world.write(
            "leaf/src/lib.rs",
            &format!(
                "pub fn text() -> String {{ format!(\"{text} {{}}\", cfg!(feature = \"loud\")) }}\n"
            ),
        );
    }

    fn ensure(&self) -> [Artifact; 2] {
        [&self.app, &self.other].map(|updater| updater.ensure_built_with(|_| {}).unwrap())
    }
}

/// What cargo compiled for `updater`.
fn compiled(updater: &AutoUpdater) -> Vec<String> {
    let lines = Mutex::new(Vec::new());
    let result = updater.ensure_built_with(|event| {
        if let BuildEvent::Line(line) = event
            && let Some(what) = line.trim_start().strip_prefix("Compiling ")
        {
            lines.lock().unwrap().push(what.split(' ').next().unwrap().to_owned());
        }
    });
    result.unwrap();
    let mut lines = lines.into_inner().unwrap();
    lines.sort_unstable();
    lines
}

#[test]
fn what_else_is_stale_is_built_and_recorded_in_the_same_call() {
    let two = Two::new();
    two.leaf_says("two");
    assert_eq!(compiled(&two.app), ["app", "leaf", "mid", "other"]);
    assert!(two.other.check().unwrap().is_fresh());
    // What it is made from is recorded of it alone.
    let of_app = two.world.path("app/src/main.rs");
    assert!(two.other.inputs().unwrap().iter().all(|input| input.path != of_app));
    let [app, other] = two.ensure();
    assert_eq!([app, other].map(|artifact| printed(&artifact.path)), ["two false", "two false"]);
    // The call for the second has nothing left to do.
    two.leaf_says("six");
    compiled(&two.app);
    assert_eq!(compiled(&two.other), Vec::<String>::new());
}

#[test]
fn binaries_compiled_together_are_the_ones_that_are_built_alone() {
    let two = Two::that_differ();
    two.leaf_says("two");
    let other = two.other.clone().together_with([two.world.updater()]);
    other.ensure_built_with(|_| {}).unwrap();
    assert!(!two.app.check().unwrap().is_fresh(), "it was compiled as another variant");
    let together = two.ensure();
    let printed = together.each_ref().map(|artifact| printed(&artifact.path));
    assert_eq!(printed, ["two false", "two true"]);
    two.world.cargo(&["clean", "-q"]);
    let alone = [two.world.updater(), two.other.clone()]
        .map(|updater| updater.ensure_built_with(|_| {}).unwrap());
    assert_eq!(alone.map(|artifact| artifact.hash), together.map(|artifact| artifact.hash));
}

#[test]
fn what_is_fresh_or_was_never_built_is_not_compiled_along() {
    let two = Two::new();
    two.world.replace("app/src/main.rs", "{}", "<{}>");
    assert_eq!(compiled(&two.app), ["app"]);
    two.world.package("third", "[dependencies]\nleaf = { path = \"../leaf\" }\n");
    two.world.write("third/src/main.rs", "fn main() { print!(\"{}\", leaf::text()); }\n");
    two.world.replace("Cargo.toml", "\"leaf\"", "\"leaf\", \"third\"");
    let third = AutoUpdater::new("third", two.world.path("third")).unwrap();
    let third = third.environment(two.world.environment.clone());
    two.world.replace("app/src/main.rs", "<{}>", "{}");
    two.ensure();
    two.leaf_says("two");
    let app = two.world.updater().together_with([third]);
    assert_eq!(compiled(&app), ["app", "leaf", "mid"]);
}

#[test]
fn what_cannot_be_compiled_keeps_nobody_else_from_being_built() {
    let two = Two::new();
    two.leaf_says("two");
    two.world.write("other/src/main.rs", "fn main() { missing() }\n");
    let app = two.app.ensure_built_with(|_| {}).unwrap();
    assert_eq!(printed(&app.path), "two false");
    let error = two.other.ensure_built_with(|_| {}).unwrap_err();
    let Error::BuildFailed { binary, diagnostics, remembered } = &error else { panic!("{error}") };
    assert_eq!((binary.as_str(), remembered), ("other", &false));
    assert!(diagnostics.contains("missing"), "{diagnostics}");
    // And the other way round.
    two.world.write("app/src/main.rs", "fn main() { missing() }\n");
    two.world.write("other/src/main.rs", "fn main() { print!(\"{}\", leaf::text()); }\n");
    let other = two.other.clone().together_with([two.app.clone()]);
    assert_eq!(printed(&other.ensure_built_with(|_| {}).unwrap().path), "two false");
    assert!(matches!(two.app.ensure_built_with(|_| {}), Err(Error::BuildFailed { .. })));
}

#[test]
fn an_edit_under_an_old_time_is_not_lost_in_company() {
    let two = Two::new();
    let text = two.world.read("leaf/src/lib.rs").replace("one", "two");
    two.world.write_with_old_mtime("leaf/src/lib.rs", &text);
    two.world.replace("app/src/main.rs", "{}", "<{}>");
    let built = two.ensure().map(|artifact| printed(&artifact.path));
    assert_eq!(built, ["<two false>", "two false"]);
}
