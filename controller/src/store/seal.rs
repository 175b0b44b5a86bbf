//! Secrets at rest: ChaCha20-Poly1305 under a key that is kept outside the database.
//!
//! What is sealed is bound to its place by the associated data (`policy 7`), so that a sealed text
//! cannot be moved to another row.

use std::fmt;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use zeroize::Zeroizing;

/// Length of the key, bytes.
pub(crate) const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;

/// The key under which secrets are sealed in the database.
pub(crate) struct SealKey(ChaCha20Poly1305);

/// Why a text cannot be sealed or read back.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    #[error("no randomness from the system")]
    Random,
    #[error("sealed under another key, or altered")]
    NotAuthentic,
    #[error("not text")]
    NotText,
}

// === impl SealKey ===

impl SealKey {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(ChaCha20Poly1305::new(&Key::from(*key)))
    }

    /// Nonce and ciphertext. The nonce is random: 96 bits are plenty for as many policies as a
    /// fleet will ever have.
    pub(crate) fn seal(&self, place: &str, text: &str) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let payload = Payload {
            msg: text.as_bytes(),
            aad: place.as_bytes(),
        };
        let sealed = self
            .0
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| SealError::NotAuthentic)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// The text that was sealed for this place.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<String>, SealError> {
        let (nonce, text) = sealed
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(SealError::NotAuthentic)?;
        let payload = Payload {
            msg: text,
            aad: place.as_bytes(),
        };
        let text = self
            .0
            .decrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| SealError::NotAuthentic)?;
        String::from_utf8(text)
            .map(Zeroizing::new)
            .map_err(|_| SealError::NotText)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_opens_only_under_its_key_and_in_its_place() {
        let key = SealKey::new(&[7; KEY_LEN]);

        let sealed = key.seal("policy 1", "KEY secret").unwrap();

        assert_eq!(*key.open("policy 1", &sealed).unwrap(), "KEY secret");
        assert_eq!(key.open("policy 2", &sealed), Err(SealError::NotAuthentic));
        let other = SealKey::new(&[8; KEY_LEN]);
        assert_eq!(
            other.open("policy 1", &sealed),
            Err(SealError::NotAuthentic)
        );
    }

    #[test]
    fn an_altered_or_shortened_text_does_not_open() {
        let key = SealKey::new(&[7; KEY_LEN]);
        let sealed = key.seal("policy 1", "KEY secret").unwrap();

        for position in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[position] ^= 1;
            assert_eq!(key.open("policy 1", &altered), Err(SealError::NotAuthentic));
            assert_eq!(
                key.open("policy 1", &sealed[..position]),
                Err(SealError::NotAuthentic)
            );
        }
    }
}
