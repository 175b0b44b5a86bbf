//! Bytes that must not be seen.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::error::InvalidKey;
use crate::text;

/// Secret bytes: erased when dropped, not printable, compared in constant time.
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<[u8]>>);

// === impl Secret ===

impl Secret {
    /// Takes the bytes of a passphrase as they are (`KEY`, `HMAC_KEY`).
    #[must_use]
    pub fn from_passphrase(passphrase: impl AsRef<[u8]>) -> Self {
        Self(Zeroizing::new(passphrase.as_ref().into()))
    }

    /// Decodes a base64 key (`KEY_BASE64`, `HMAC_KEY_BASE64`), with or without padding.
    ///
    /// # Errors
    ///
    /// [`InvalidKey::Base64`].
    pub fn from_base64(text: &str) -> Result<Self, InvalidKey> {
        text::decode_key(text)
            .map(|bytes| Self(Zeroizing::new(bytes.into_boxed_slice())))
            .ok_or(InvalidKey::Base64)
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes as padded base64, for the places where a key must be written down.
    #[must_use]
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(text::encode_padded(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}
