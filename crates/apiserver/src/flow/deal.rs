//! Shuffle sharding: a flow's hash deals it a few of a level's queues. Two flows rarely get the
//! same hand, so that one which fills all its queues leaves the other some. Pure.

/// Deals `size` different cards out of a deck of `deck`, all hands being equally likely.
pub(super) fn hand(hash: u64, deck: usize, size: usize) -> Vec<usize> {
    let mut rest = hash;
    let mut cards = Vec::with_capacity(size);
    for dealt in 0..size.min(deck) {
        let left = (deck - dealt) as u64;
        let mut card = (rest % left) as usize;
        rest /= left;
        // The card is counted among those that are left.
        let mut before = cards.clone();
        before.sort_unstable();
        for taken in before {
            if card >= taken {
                card += 1;
            }
        }
        cards.push(card);
    }
    cards
}

/// A hash of a flow's names, the same in all servers (FNV-1a, then mixed).
pub(super) fn hash(schema: &str, distinguisher: &str) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in schema.bytes().chain([0]).chain(distinguisher.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn cards_differ_and_hands_are_spread() {
        let mut hands = HashSet::new();
        let mut used = vec![0_u32; 64];
        for flow in 0..1000 {
            let mut cards = hand(hash("schema", &format!("user-{flow}")), 64, 6);
            for card in &cards {
                used[*card] += 1;
            }
            cards.sort_unstable();
            cards.dedup();
            assert_eq!(cards.len(), 6);
            hands.insert(cards);
        }
        assert!(hands.len() > 990, "{}", hands.len());
        assert!(used.iter().all(|times| (50..150).contains(times)), "{used:?}");
        assert_eq!(hand(7, 2, 5).len(), 2);
        assert_eq!(hand(u64::MAX, 1, 1), [0]);
    }
}
