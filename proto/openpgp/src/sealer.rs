//! Sealing messages: signed by the sender, encrypted to a host, short enough for a packet.

use pgp::composed::{MessageBuilder, RawSessionKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{PacketTrait as _, PublicKeyEncryptedSessionKey, SymEncryptedProtectedData};
use pgp::ser::Serialize as _;
use pgp::types::Password;
use rand_of_pgp::RngCore as _;
use rand_of_pgp::rngs::OsRng;
use zeroize::Zeroizing;

use crate::certificate::{Component, ComponentKey, Use};
use crate::error::KeyringError;
use crate::home::{Home, Unlocked, unusable};

/// The key of AES-256, in bytes.
const SESSION_KEY_LEN: usize = 32;
/// A public-key encrypted session key packet with two length octets (RFC 9580, section 4.2.2).
const TWO_LENGTH_OCTETS: u8 = 0x85;
/// The same with one.
const ONE_LENGTH_OCTET: u8 = 0x84;

/// Encrypts to a host, and signs.
pub struct Sealer {
    recipient: Component,
    signer: Option<Unlocked>,
}

/// A message that was not made.
#[derive(Debug, thiserror::Error)]
pub enum CannotSeal {
    /// Whatever the library says; no secret.
    #[error("the message was not {what}")]
    Library {
        /// `signed` or `encrypted`.
        what: &'static str,
        /// Why.
        #[source]
        cause: Box<pgp::errors::Error>,
    },
}

// === impl Sealer ===

impl Sealer {
    /// Takes the key named `recipient`, and unlocks the one that signs: that named `signer`, else the
    /// first of the home. Without `signs` the message is not signed.
    ///
    /// # Errors
    ///
    /// [`KeyringError`].
    pub fn new(
        home: &Home,
        recipient: &str,
        signs: Option<(Option<&str>, Option<&[u8]>)>,
        now_secs: u64,
    ) -> Result<Self, KeyringError> {
        let certificate = home.certificate(recipient)?;
        let key = certificate
            .key_for(Use::Encrypt, now_secs)
            .map_err(|why| unusable(certificate, why))?;
        let signer = signs
            .map(|(name, passphrase)| home.signing_key(name, passphrase, now_secs))
            .transpose()?;
        Ok(Self {
            recipient: key.clone(),
            signer,
        })
    }

    /// Signs and encrypts.
    ///
    /// # Errors
    ///
    /// [`CannotSeal`].
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, CannotSeal> {
        let inner = self.signed(plaintext).map_err(failed("signed"))?;
        self.encrypted(&inner).map_err(failed("encrypted"))
    }

    fn signed(&self, plaintext: &[u8]) -> pgp::errors::Result<Zeroizing<Vec<u8>>> {
        let mut builder = MessageBuilder::from_bytes("", plaintext.to_vec());
        builder.sign_binary();
        match &self.signer {
            None => {}
            Some(Unlocked::Primary(key)) => {
                builder.sign(key, Password::empty(), HashAlgorithm::Sha256);
            }
            Some(Unlocked::Sub(key)) => {
                builder.sign(key, Password::empty(), HashAlgorithm::Sha256);
            }
        }
        builder.to_vec(OsRng).map(Zeroizing::new)
    }

    fn encrypted(&self, inner: &[u8]) -> pgp::errors::Result<Vec<u8>> {
        let mut bytes = Zeroizing::new([0; SESSION_KEY_LEN]);
        OsRng.fill_bytes(&mut *bytes);
        let session_key = RawSessionKey::from(&bytes[..]);
        let cipher = SymmetricKeyAlgorithm::AES256;
        let esk = match &self.recipient.key {
            ComponentKey::Primary(key) => {
                PublicKeyEncryptedSessionKey::from_session_key_v3(OsRng, &session_key, cipher, key)?
            }
            ComponentKey::Sub(key) => {
                PublicKeyEncryptedSessionKey::from_session_key_v3(OsRng, &session_key, cipher, key)?
            }
        };
        let data = SymEncryptedProtectedData::encrypt_seipdv1(OsRng, cipher, &bytes[..], inner)?;
        // With two length octets the text begins with `hQ` whatever the key is, and those two
        // characters are what every server puts back.
        let body = esk.to_bytes()?;
        let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
        let mut message = vec![TWO_LENGTH_OCTETS];
        message.extend_from_slice(&len.to_be_bytes());
        message.extend_from_slice(&body);
        data.to_writer_with_header(&mut message)?;
        Ok(message)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("is_signed", &self.signer.is_some())
            .finish_non_exhaustive()
    }
}

/// Writes the length of a message's first packet in two octets, if GnuPG wrote it in one: so the text
/// begins with `hQ`, which is what every server puts back.
#[must_use]
pub fn with_two_length_octets(message: &[u8]) -> Vec<u8> {
    match message.split_first_chunk() {
        Some(([ONE_LENGTH_OCTET, len], rest)) => [&[TWO_LENGTH_OCTETS, 0, *len], rest].concat(),
        Some(_) | None => message.to_vec(),
    }
}

fn failed(what: &'static str) -> impl FnOnce(pgp::errors::Error) -> CannotSeal {
    move |cause| CannotSeal::Library {
        what,
        cause: Box::new(cause),
    }
}
