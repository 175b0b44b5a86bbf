//! The tag in front of our own packets: which key a packet was sealed with, for those who have it.
//!
//! A tag is a truncated MAC of the minute, so it names the key to a host that keeps a table of the
//! current tags, and tells anybody else nothing: two packets of different minutes cannot be linked.
//! It proves nothing. It only saves the trials.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::hmac::Sha256State;
use crate::text;

/// The length of a time bucket in seconds.
pub const BUCKET_SECS: u64 = 60;

/// Six bytes of MAC as eight base64 characters, which every transport carries unchanged.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tag(pub [u8; 8]);

/// The key of the tags, derived from a stanza's keys and kept hashed in.
#[derive(Clone)]
pub struct TagKey(Sha256State);

/// Returns the time bucket of a moment, in [`BUCKET_SECS`] since the epoch.
#[must_use]
pub const fn bucket(timestamp_secs: u64) -> u64 {
    timestamp_secs / BUCKET_SECS
}

/// Returns the tag of a bucket.
#[must_use]
pub fn tag(key: &TagKey, bucket: u64) -> Tag {
    let mac = key.0.mac(&bucket.to_be_bytes());
    let mut text = [0; Tag::LEN];
    text::encode_head(&mac, &mut text);
    Tag(text)
}

// === impl Tag ===

impl Tag {
    /// The length of a tag in characters.
    pub const LEN: usize = 8;

    /// Returns the tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl TagKey ===

impl TagKey {
    pub(crate) fn derive(encryption: &[u8], hmac: &[u8]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(b"postern tag v1"), hmac);
        let mut key = Zeroizing::new([0; 32]);
        hkdf.expand(encryption, &mut *key)
            .expect("32 bytes are one block of the hash; HKDF gives 255");
        Self(Sha256State::new(&*key))
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagKey(..)")
    }
}
