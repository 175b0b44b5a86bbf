//! AES-256 in fwknop's modes, under a key derived as OpenSSL's `enc -md md5` derives it.

use zeroize::Zeroize as _;

use crate::keys::{EncryptionKey, EncryptionMode};

/// The longest encryption key in bytes; fwknop's limit.
pub(crate) const ENCRYPTION_KEY_LEN_MAX: usize = 32;
/// What legacy mode cuts or fills its key to, and with what.
const LEGACY_KEY_LEN: usize = 16;
const LEGACY_FILLER: u8 = b'0';

/// An encryption key as the key derivation takes it, in place: no pointer to follow in a trial.
pub(crate) struct Passphrase {
    bytes: [u8; ENCRYPTION_KEY_LEN_MAX],
    len: u8,
}

// === impl Passphrase ===

impl Passphrase {
    pub(crate) fn new(key: &EncryptionKey, mode: EncryptionMode) -> Self {
        let mut bytes = [0; ENCRYPTION_KEY_LEN_MAX];
        let mut len = 0;
        for (to, &from) in bytes.iter_mut().zip(key.as_bytes()) {
            *to = from;
            len += 1;
        }
        if mode == EncryptionMode::Legacy {
            for (at, byte) in bytes.iter_mut().enumerate() {
                if at >= LEGACY_KEY_LEN {
                    *byte = 0;
                } else if at >= usize::from(len) {
                    *byte = LEGACY_FILLER;
                }
            }
            len = 16;
        }
        Self { bytes, len }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl Drop for Passphrase {
    fn drop(&mut self) {
        self.bytes.zeroize();
        self.len.zeroize();
    }
}
