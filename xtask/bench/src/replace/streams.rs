use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use super::seen::Seen;
use crate::{endpoint::Endpoint, stream};

/// Of the worker that repeats the words of its prompt.
const WORDS_PER_S: u32 = 50;
/// Before a stream that was refused is asked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// Reads `count` streams at once until the load is over, and those under way to their end.
pub(super) async fn read(queen: String, count: u32, seen: Arc<Seen>) {
    let (queen, mut readers) = (Endpoint::Tcp(queen), JoinSet::new());
    for reader in 0..count {
        let (queen, seen) = (queen.clone(), Arc::clone(&seen));
        readers.spawn(async move {
            let mut number = 0;
            while !seen.is_over() {
                let name = format!("{reader}.{number}");
                let streams = stream::one(&queen, &name, length(reader, number)).await.seen;
                seen.stream(streams);
                if streams.whole == 0 {
                    sleep(AGAIN).await;
                }
                number += 1;
            }
        });
    }
    readers.join_all().await;
}

/// In words: from 10 to 60 s, spread evenly, and no two readers alike.
fn length(reader: u32, number: u32) -> u32 {
    (10 + (reader * 7 + number * 23) % 51) * WORDS_PER_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_last_from_ten_seconds_to_a_minute() {
        let lengths = (0..50).flat_map(|reader| (0..5).map(move |number| length(reader, number)));
        let (shortest, longest) =
            lengths.fold((u32::MAX, 0), |(low, high), words| (low.min(words), high.max(words)));
        assert_eq!((shortest, longest), (500, 3_000));
    }
}
