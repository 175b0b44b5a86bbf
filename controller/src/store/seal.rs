//! Secrets at rest: ChaCha20-Poly1305 under a key that is kept outside the database.
//!
//! What is sealed is bound to its place by the associated data (`policy 7`), so that a sealed text
//! cannot be moved to another row.

use std::fmt;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Length of the key, bytes.
pub(crate) const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
/// What the key of rows is derived from the seal key for.
const ROW_LABEL: &[u8] = b"postern row v1";
/// What people tell one seal key from another by is derived for this.
const ID_LABEL: &[u8] = b"postern seal key id v1";
/// Bytes of that.
const ID_LEN: usize = 4;

/// The key under which secrets are sealed in the database.
#[derive(Clone)]
pub(crate) struct SealKey {
    cipher: ChaCha20Poly1305,
    rows: RowKey,
    id: String,
}

/// The key of what tells rows of ours from those of others (`sqlite/rows.rs`), derived from the seal key.
#[derive(Clone)]
pub(crate) struct RowKey(Hmac<Sha256>);

/// The MAC of one row in the making.
pub(crate) struct RowMac(Hmac<Sha256>);

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
        Self {
            cipher: ChaCha20Poly1305::new(&Key::from(*key)),
            rows: RowKey::of(key),
            id: id_of(key),
        }
    }

    /// What people tell it from others by: it says nothing of the key.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The key of rows.
    pub(crate) fn row_key(&self) -> RowKey {
        self.rows.clone()
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
            .cipher
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
            .cipher
            .decrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| SealError::NotAuthentic)?;
        String::from_utf8(text)
            .map(Zeroizing::new)
            .map_err(|_| SealError::NotText)
    }
}

fn id_of(key: &[u8; KEY_LEN]) -> String {
    let mut id = [0; ID_LEN];
    // A part of one block of SHA-256 is always there.
    let _ = Hkdf::<Sha256>::new(None, key).expand(ID_LABEL, &mut id);
    hex::encode(id)
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

// === impl RowKey ===

impl RowKey {
    fn of(key: &[u8; KEY_LEN]) -> Self {
        let mut rows = Zeroizing::new([0; 64]);
        // Two blocks of SHA-256 are always there.
        let _ = Hkdf::<Sha256>::new(None, key).expand(ROW_LABEL, &mut *rows);
        let mac = hmac::KeyInit::new(&(*rows).into());
        Self(mac)
    }

    /// A MAC over nothing yet.
    pub(crate) fn begin(&self) -> RowMac {
        RowMac(self.0.clone())
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowKey(..)")
    }
}

// === impl RowMac ===

impl RowMac {
    /// One more field: its type, how long it is, and its bytes, so that no two rows read alike.
    pub(crate) fn field(&mut self, kind: u8, bytes: &[u8]) {
        self.0.update(&[kind]);
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into_bytes().into()
    }

    /// Whether it is this one; takes as long whatever that is.
    pub(crate) fn is(self, mac: &[u8]) -> bool {
        self.0.verify_slice(mac).is_ok()
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
