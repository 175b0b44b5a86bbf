//! Keys: what a stanza is opened with, and its forms for trials, names and replay domains.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::digest::DigestType;
use crate::envelope::Envelope;
use crate::envelope::rijndael::{ENCRYPTION_KEY_LEN_MAX, RijndaelKey};
use crate::error::InvalidKey;
use crate::hmac::{HmacState, Sha256State};
use crate::mode::EncryptionMode;
use crate::secret::Secret;
use crate::tag::TagKey;

/// The AES passphrase: 0 to 32 bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EncryptionKey(Secret);

/// The HMAC key: 1 to 128 bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HmacKey(Secret);

/// Everything that seals and opens the packets of one stanza.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keys {
    encryption: EncryptionKey,
    mode: EncryptionMode,
    hmac: Option<(HmacKey, DigestType)>,
}

/// The short public name of a set of keys, for logs and lists.
///
/// It is a hash: a weak passphrase without an HMAC key can be guessed from it, as it can from any
/// packet sealed with it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Fingerprint(pub [u8; 8]);

/// Keys with everything precomputed that a trial needs, small enough to keep one for each stanza.
///
/// The HMAC key is kept as the two states of the hash after the padded key, so that a trial hashes
/// only the packet.
pub struct OpeningKey {
    opener: Opener,
    hmac: HmacState,
}

/// What opens the envelope of a packet once it is authentic.
enum Opener {
    /// A key that we have.
    Rijndael(RijndaelKey),
    /// Whoever implements [`Decrypt`](crate::Decrypt).
    OpenPgp,
}

// === impl EncryptionKey ===

impl EncryptionKey {
    /// Takes a passphrase, or the decoded bytes of a base64 key.
    ///
    /// # Errors
    ///
    /// [`InvalidKey::EncryptionKeyTooLong`] over 32 bytes: fwknop refuses those as well.
    pub fn new(secret: Secret) -> Result<Self, InvalidKey> {
        let len = secret.as_bytes().len();
        if len > ENCRYPTION_KEY_LEN_MAX {
            return Err(InvalidKey::EncryptionKeyTooLong(len));
        }
        Ok(Self(secret))
    }

    /// Returns the secret.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

// === impl HmacKey ===

impl HmacKey {
    /// Takes a passphrase, or the decoded bytes of a base64 key.
    ///
    /// # Errors
    ///
    /// [`InvalidKey::HmacKeyLength`] for an empty key, or one over 128 bytes.
    pub fn new(secret: Secret) -> Result<Self, InvalidKey> {
        let len = secret.as_bytes().len();
        if !(1..=128).contains(&len) {
            return Err(InvalidKey::HmacKeyLength(len));
        }
        Ok(Self(secret))
    }

    /// Returns the secret.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

// === impl Keys ===

impl Keys {
    /// Puts the keys of a stanza together.
    ///
    /// # Errors
    ///
    /// [`InvalidKey::HmacKeyEqualsEncryptionKey`] and [`InvalidKey::LegacyWithHmac`].
    pub fn new(
        encryption: EncryptionKey,
        mode: EncryptionMode,
        hmac: Option<(HmacKey, DigestType)>,
    ) -> Result<Self, InvalidKey> {
        if let Some((key, _)) = &hmac {
            if mode == EncryptionMode::Legacy {
                return Err(InvalidKey::LegacyWithHmac);
            }
            if key.0 == encryption.0 {
                return Err(InvalidKey::HmacKeyEqualsEncryptionKey);
            }
        }
        Ok(Self {
            encryption,
            mode,
            hmac,
        })
    }

    /// Returns the encryption key.
    #[must_use]
    pub fn encryption(&self) -> &EncryptionKey {
        &self.encryption
    }

    /// Returns the encryption mode.
    #[must_use]
    pub fn mode(&self) -> EncryptionMode {
        self.mode
    }

    /// Returns the HMAC key and its type.
    #[must_use]
    pub fn hmac(&self) -> Option<(&HmacKey, DigestType)> {
        self.hmac.as_ref().map(|(key, digest)| (key, *digest))
    }

    /// Returns the short public name of these keys.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(b"postern key fingerprint v1\0");
        hash.update(self.mode.name());
        hash.update([0]);
        update_with_length(&mut hash, self.encryption.as_bytes());
        if let Some((key, digest)) = &self.hmac {
            hash.update(digest.name());
            hash.update([0]);
            update_with_length(&mut hash, key.as_bytes());
        }
        let [a, b, c, d, e, f, g, h, ..] = hash.finalize().0;
        Fingerprint([a, b, c, d, e, f, g, h])
    }

    /// Returns the name of the replay domain: the hosts on which a packet of these keys may verify.
    ///
    /// Only the encryption key decides, in the form that the cipher sees. The HMAC key does not: who
    /// cuts the HMAC off a packet has a packet for a stanza with the same encryption key and no
    /// HMAC key. Nor does the mode: legacy and CBC are the same for a key of sixteen bytes. A domain
    /// that is too large costs a claim; one that is too small lets a message grant twice.
    #[must_use]
    pub fn domain(&self) -> [u8; 32] {
        let key = RijndaelKey::new(self.encryption.as_bytes(), self.mode);
        let mut hash = Sha256::new();
        hash.update(b"postern replay domain v1\0");
        update_with_length(&mut hash, key.passphrase());
        hash.finalize().into()
    }

    /// Returns the key of the tags in front of our own packets, which only keys with an HMAC key
    /// have: a tag must not make a weak passphrase easier to guess.
    #[must_use]
    pub fn tag_key(&self) -> Option<TagKey> {
        let (key, _) = self.hmac.as_ref()?;
        Some(TagKey::derive(self.encryption.as_bytes(), key.as_bytes()))
    }
}

// === impl Fingerprint ===

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

// === impl OpeningKey ===

impl OpeningKey {
    /// Precomputes `keys`.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        let key = RijndaelKey::new(keys.encryption.as_bytes(), keys.mode);
        Self {
            opener: Opener::Rijndael(key),
            hmac: hmac_state(keys.hmac()),
        }
    }

    /// Precomputes the HMAC key of packets whose message an OpenPGP keyring opens: such packets are
    /// opened with [`Authentic::open_with`](crate::Authentic::open_with).
    #[must_use]
    pub fn open_pgp(hmac: Option<(&HmacKey, DigestType)>) -> Self {
        Self {
            opener: Opener::OpenPgp,
            hmac: hmac_state(hmac),
        }
    }

    /// Returns the envelope of the packets that this key is for.
    #[must_use]
    pub fn envelope(&self) -> Envelope {
        match self.opener {
            Opener::Rijndael(_) => Envelope::Rijndael,
            Opener::OpenPgp => Envelope::OpenPgp,
        }
    }

    /// Returns the HMAC type, which decides the shape of the packets: see [`Sealed::could_be`].
    ///
    /// [`Sealed::could_be`]: crate::Sealed::could_be
    #[must_use]
    pub fn hmac_type(&self) -> Option<DigestType> {
        self.hmac.digest_type()
    }

    /// Returns the key of the cipher, unless somebody else decrypts.
    pub(crate) fn rijndael(&self) -> Option<&RijndaelKey> {
        match &self.opener {
            Opener::Rijndael(key) => Some(key),
            Opener::OpenPgp => None,
        }
    }

    pub(crate) fn hmac(&self) -> &HmacState {
        &self.hmac
    }

    /// Returns the key if it is one of HMAC-SHA256 over packets of fwknop's own envelope: those are
    /// tried many at once.
    pub(crate) fn sha256(&self) -> Option<&Sha256State> {
        match self.opener {
            Opener::Rijndael(_) => self.hmac.sha256(),
            Opener::OpenPgp => None,
        }
    }
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpeningKey")
            .field("envelope", &self.envelope())
            .field("hmac", &self.hmac_type())
            .finish_non_exhaustive()
    }
}

fn hmac_state(hmac: Option<(&HmacKey, DigestType)>) -> HmacState {
    hmac.map_or(HmacState::None, |(key, digest)| {
        HmacState::new(digest, key.as_bytes())
    })
}

fn update_with_length(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}
