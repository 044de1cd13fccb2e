/// Which texts go into the next batch: at most `most` of them, with `tokens` tokens together, or one
/// alone that is longer. `left` has, for each request in its turn, how long its texts are that wait.
///
/// Each request gives one text before any gives a second, so that a short one does not wait for all
/// of a long one. The answer counts, for each request, its texts that go.
pub(super) fn next(left: &[&[usize]], tokens: usize, most: usize) -> Vec<usize> {
    let mut taken = vec![0; left.len()];
    let (mut room, mut count) = (tokens, 0);
    loop {
        let before = count;
        for (request, lengths) in left.iter().enumerate() {
            let Some(&length) = lengths.get(taken[request]) else { continue };
            if count > 0 && (length > room || count == most) {
                return taken;
            }
            room = room.saturating_sub(length);
            taken[request] += 1;
            count += 1;
        }
        if count == before {
            return taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn a_short_request_does_not_wait_for_all_of_a_long_one() {
        assert_eq!(next(&[&[10; 100], &[10], &[10, 10]], 100, 64), [7, 1, 2]);
    }

    #[test]
    fn a_batch_is_bounded_in_tokens_and_in_texts() {
        assert_eq!(next(&[&[40, 40, 40]], 100, 64), [2]);
        assert_eq!(next(&[&[1; 9]], 100, 4), [4]);
        // The next in turn is not passed over for one that would fit.
        assert_eq!(next(&[&[60], &[60], &[5]], 100, 64), [1, 0, 0]);
    }

    #[test]
    fn a_text_that_fills_more_than_a_batch_goes_alone() {
        assert_eq!(next(&[&[500, 1], &[1]], 100, 64), [1, 0]);
        assert_eq!(next(&[], 100, 64), [0; 0]);
    }
}
