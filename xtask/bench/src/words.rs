const WORDS: [&str; 16] = [
    "bees", "honey", "hills", "river", "train", "winter", "bread", "stone", "lamp", "garden",
    "wind", "letter", "copper", "bridge", "night", "boat",
];

/// Words drawn by a rule, so that every server gets the same ones.
pub(crate) fn words(count: usize, seed: usize) -> String {
    let mut state = seed as u64 * 2 + 1;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        words.push(WORDS[(state >> 60) as usize]);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn every_server_gets_the_same_words_and_every_stream_others() {
        assert_eq!(words(40, 7), words(40, 7));
        assert_ne!(words(40, 7), words(40, 8));
        assert_eq!(words(40, 7).split(' ').count(), 40);
    }
}
