//! Pairwise keys: what one user and one host, and nobody else, can compute
//! (docs/decisions.md, decision 24).

use std::fmt;
use std::str::FromStr;

use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::digest::DigestType;
use crate::error::InvalidKey;
use crate::keys::{EncryptionKey, HmacKey, Keys};
use crate::mode::EncryptionMode;
use crate::secret::Secret;
use crate::text;

/// The secret half of a user's or a host's X25519 pair, with its public half at hand.
#[derive(Clone)]
pub struct ExchangeSecret {
    secret: StaticSecret,
    public: ExchangePublic,
}

/// The public half (RFC 7748). Its text is 43 characters of base64 without padding.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ExchangePublic(pub [u8; 32]);

/// Computes the keys of one user and one host; both sides come to the same.
///
/// `secret` is one's own, `their` the other side's; `user` and `host` say who is who.
///
/// # Errors
///
/// [`InvalidKey::NotAParty`] when own and their key are not those of user and host, and
/// [`InvalidKey::LowOrderPoint`] for a public key that forces the result.
pub fn pairwise(
    secret: &ExchangeSecret,
    their: &ExchangePublic,
    user: &ExchangePublic,
    host: &ExchangePublic,
) -> Result<Keys, InvalidKey> {
    let own = &secret.public;
    if (own, their) != (user, host) && (own, their) != (host, user) {
        return Err(InvalidKey::NotAParty);
    }
    let shared = secret.secret.diffie_hellman(&PublicKey::from(their.0));
    if !shared.was_contributory() {
        return Err(InvalidKey::LowOrderPoint);
    }
    let hkdf = Hkdf::<Sha256>::new(Some(b"postern pairwise v1"), shared.as_bytes());
    let encryption = expand::<32>(&hkdf, b"encryption", user, host);
    let hmac = expand::<64>(&hkdf, b"hmac", user, host);
    Keys::new(
        EncryptionKey::new(encryption)?,
        EncryptionMode::Cbc,
        Some((HmacKey::new(hmac)?, DigestType::Sha256)),
    )
}

fn expand<const LEN: usize>(
    hkdf: &Hkdf<Sha256>,
    role: &[u8],
    user: &ExchangePublic,
    host: &ExchangePublic,
) -> Secret {
    let mut bytes = Zeroizing::new([0; LEN]);
    hkdf.expand_multi_info(&[role, &user.0, &host.0], &mut *bytes)
        .expect("64 bytes are two blocks of the hash; HKDF gives 255");
    Secret::from_passphrase(*bytes)
}

// === impl ExchangeSecret ===

impl ExchangeSecret {
    /// Takes 32 random bytes, or those that [`Self::to_bytes`] gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let secret = StaticSecret::from(bytes);
        let public = ExchangePublic(PublicKey::from(&secret).to_bytes());
        Self { secret, public }
    }

    /// Returns the bytes, for storing.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.to_bytes())
    }

    /// Returns the public half.
    #[must_use]
    pub fn public(&self) -> ExchangePublic {
        self.public
    }
}

impl fmt::Debug for ExchangeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeSecret")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// The text form of the secret half, as for the public half.
impl FromStr for ExchangeSecret {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let bytes = Secret::from_base64(text)?;
        let bytes = Zeroizing::new(array_of(bytes.as_bytes())?);
        Ok(Self::from_bytes(*bytes))
    }
}

// === impl ExchangePublic ===

impl fmt::Display for ExchangePublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::encode(&self.0))
    }
}

impl FromStr for ExchangePublic {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let bytes = text::decode_key(text).ok_or(InvalidKey::Base64)?;
        array_of(&bytes).map(Self)
    }
}

fn array_of(bytes: &[u8]) -> Result<[u8; 32], InvalidKey> {
    bytes
        .try_into()
        .map_err(|_| InvalidKey::ExchangeKeyLength(bytes.len()))
}
