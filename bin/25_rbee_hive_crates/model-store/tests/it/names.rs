use model_store::NameKind;

use crate::world::{NOWHERE, World, chain};

#[test]
fn what_names_no_model_is_refused_with_the_reason() {
    let world = World::new(NOWHERE);
    for (name, why) in [
        ("", "it is empty"),
        ("a\nb", "it is too long or holds control characters"),
        (&"a".repeat(1025), "it is too long or holds control characters"),
        ("hf:a", "`hf:ORG/REPO[/FILE.gguf][:QUANT]`"),
        ("hf:a/b/c.txt", "`hf:ORG/REPO[/FILE.gguf][:QUANT]`"),
        ("hf:a/b/../../c.gguf", "`hf:ORG/REPO[/FILE.gguf][:QUANT]`"),
        ("hf:../b/c.gguf", "`hf:ORG/REPO[/FILE.gguf][:QUANT]`"),
        ("hf:a/..", "`hf:ORG/REPO[/FILE.gguf][:QUANT]`"),
        ("hf:a/b:", "`hf:ORG/REPO[/FILE.gguf][:QUANT]`"),
        ("hf:a/b:Q4/..", "`hf:ORG/REPO[/FILE.gguf][:QUANT]`"),
        ("hf:a/b?c/d.gguf", "`hf:ORG/REPO[/FILE.gguf][:QUANT]`"),
        ("https://", "empty host"),
        ("https://user:secret@host/m.gguf", "neither user name nor password"),
    ] {
        let refusal = chain(&world.store.find(name).unwrap_err());
        assert!(refusal.contains(" names no model: ") && refusal.contains(why), "{refusal}");
    }
}

#[test]
fn an_unknown_name_is_told_the_nearest_and_where_the_known_ones_are() {
    let world = World::new(NOWHERE);
    let ways =
        "a model is named as in `./rbee model list`, or by `hf:ORG/REPO`, `https://...` or a path";
    assert_eq!(
        world.refusal("smolm2:135m"),
        format!("no model is called `smolm2:135m`; the nearest is `smollm2:135m`; {ways}")
    );
    assert_eq!(world.refusal("gpt"), format!("no model is called `gpt`; {ways}"));
}

#[test]
fn every_spelling_of_a_name_of_the_catalogue_is_one_model() {
    for spelling in ["smollm2", "SmolLM2-135M-Instruct", "SMOLLM2:135m", "smollm2:latest"] {
        let spelled = model_store::spelled(spelling).unwrap();
        assert_eq!(spelled, ("smollm2:135m".to_owned(), NameKind::Catalogue));
    }
}

#[test]
fn a_refusal_does_not_repeat_a_long_name() {
    let world = World::new(NOWHERE);
    assert!(world.refusal(&"x".repeat(1000)).len() < 300);
}
