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
fn an_unknown_name_names_the_known_ones_and_the_nearest() {
    let world = World::new(NOWHERE);
    assert_eq!(
        world.refusal("smolm2:135m"),
        "no model is called `smolm2:135m`; did you mean `smollm2:135m`?; \
         known: `smollm2:135m`, `hf:ORG/REPO`, `https://...`, a path"
    );
    assert_eq!(
        world.refusal("gpt"),
        "no model is called `gpt`; known: `smollm2:135m`, `hf:ORG/REPO`, `https://...`, a path"
    );
}

#[test]
fn a_refusal_does_not_repeat_a_long_name() {
    let world = World::new(NOWHERE);
    assert!(world.refusal(&"x".repeat(1000)).len() < 300);
}
