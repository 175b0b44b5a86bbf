//! Packets that another program let through on this host before, by the hash of their texts.
//!
//! Fixed for the life of a gate: what fwknopd had in its digest cache when this agent took over.
//! Asked for authentic packets only, so that strangers cause no hash.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// The hashes, each cut to half, in order.
#[derive(Clone, Debug, Default)]
pub struct SeenTexts(Arc<[[u8; 16]]>);

// === impl SeenTexts ===

impl SeenTexts {
    /// Of these texts, by their SHA-256.
    #[must_use]
    pub fn of(digests: impl IntoIterator<Item = [u8; 32]>) -> Self {
        let mut halves: Vec<[u8; 16]> = digests.into_iter().map(half).collect();
        halves.sort_unstable();
        halves.dedup();
        Self(halves.into())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a packet with this text is one of them.
    pub(crate) fn contains(&self, text: &[u8]) -> bool {
        !self.0.is_empty()
            && self
                .0
                .binary_search(&half(Sha256::digest(text).into()))
                .is_ok()
    }
}

fn half(digest: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(digest.split_at(16).0);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_known_by_its_hash_and_no_other_is() {
        let seen = SeenTexts::of([Sha256::digest(b"abc").into(), Sha256::digest(b"abc").into()]);

        assert_eq!(seen.len(), 1);
        assert!(seen.contains(b"abc"));
        assert!(!seen.contains(b"abd"));
        assert!(!SeenTexts::default().contains(b""));
    }
}
