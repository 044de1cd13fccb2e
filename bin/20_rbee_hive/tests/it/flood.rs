//! What is left in memory of requests that were refused: nothing.

use crate::world::World;

const MIB: u64 = 1 << 20;

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// By how much `requests` of `name(n)` grow the process, once it has seen a few of them.
async fn growth(requests: usize, name: impl Fn(usize) -> String, may_manage: bool) -> u64 {
    let world = World::new();
    let ask = async |n: usize| {
        let name = name(n);
        let answer = match may_manage {
            true => world.complete(&name, false).await,
            false => world.complete_with(&name, &[]).await,
        };
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{answer:?}");
    };
    for n in 0..5 {
        ask(n).await;
    }
    let before = resident();
    for n in 5..requests {
        ask(n).await;
    }
    let workers = world.ask("GET", "/v1/workers", &[], "").await;
    assert_eq!(workers.body, r#"{"workers":[]}"#);
    resident().saturating_sub(before)
}

#[tokio::test]
async fn names_as_long_as_a_body_may_be_are_not_kept() {
    let long = |n: usize| format!("{n}{}", "x".repeat(7 << 20));
    let grown = growth(20, long, false).await;
    assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
}

#[tokio::test]
async fn names_of_models_that_there_are_not_are_not_kept() {
    for may_manage in [false, true] {
        let name = |n: usize| format!("/none/{n}/{}.gguf", "x".repeat(900));
        let grown = growth(800, name, may_manage).await;
        // Of the jobs, what can still be read for a while.
        assert!(grown < 16 * MIB, "{} MiB", grown / MIB);
    }
}
