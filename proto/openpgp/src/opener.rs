//! Opening messages: which key, which cipher, whose signature.

use std::io::Read as _;

use pgp::composed::{DecryptionOptions, Esk, Message, PlainSessionKey, TheRing};
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{PublicKeyEncryptedSessionKey, Signature, SignatureType};
use pgp::ser::Serialize as _;
use pgp::types::{
    DecryptionKey as _, EcdhPublicParams, EskType, Password, PkeskVersion, PublicParams,
};
use spa::{Decrypt, Decrypted, NotDecrypted, SEALED_LEN_MAX, Signer};
use zeroize::Zeroizing;

use crate::certificate::{Certificate, Component, Use, is_strong};
use crate::error::KeyringError;
use crate::home::{Home, Unlocked};

/// A longer plaintext is no message, in bytes.
const PLAINTEXT_LEN_MAX: usize = SEALED_LEN_MAX;
/// Recipients of one message that are looked at.
const RECIPIENTS_MAX: usize = 4;
/// Signatures of one message that are verified.
const SIGNATURES_MAX: usize = 2;
/// Compressed packets in compressed packets.
const COMPRESSIONS_MAX: usize = 2;

/// Opens messages for a host, and says who signed them.
pub struct Opener {
    /// Each with what is known of its public half, and its key id.
    secrets: Vec<(Component, [u8; 8], Unlocked)>,
    signers: Vec<Certificate>,
    takes_unsigned: bool,
}

// === impl Opener ===

impl Opener {
    /// Unlocks the private keys of `home` that decrypt: those of the key named `recipient`, else all.
    /// Takes a tenth of a second and more for each with a passphrase.
    ///
    /// `signers` are those whose signatures are verified; with `takes_unsigned` messages of nobody's
    /// are opened as well, and then say so.
    ///
    /// # Errors
    ///
    /// [`KeyringError`].
    pub fn new(
        home: &Home,
        recipient: Option<&str>,
        passphrase: Option<&[u8]>,
        signers: Vec<Certificate>,
        takes_unsigned: bool,
    ) -> Result<Self, KeyringError> {
        let secrets = home.decryption_keys(recipient, passphrase)?;
        Ok(Self {
            secrets: secrets
                .into_iter()
                .map(|(key, secret)| {
                    let id = key.key_id();
                    (key, id, secret)
                })
                .collect(),
            signers,
            takes_unsigned,
        })
    }

    /// Returns the fingerprints of the keys that decrypt.
    pub fn recipients(&self) -> impl Iterator<Item = &[u8]> {
        self.secrets.iter().map(|(key, ..)| &*key.fingerprint)
    }

    /// Finds the session key. A message for nobody who is named is for nobody here.
    fn session_key(&self, esk: &[Esk]) -> Option<PlainSessionKey> {
        let for_somebody = esk.iter().filter_map(|esk| match esk {
            Esk::PublicKeyEncryptedSessionKey(esk) => Some(esk),
            Esk::SymKeyEncryptedSessionKey(_) => None,
        });
        for_somebody.take(RECIPIENTS_MAX).find_map(|esk| {
            let (_, _, secret) = self.secrets.iter().find(|(key, ..)| is_for(esk, key))?;
            decrypt_session_key(esk, secret)
        })
    }

    /// Finds who signed what has been read to its end.
    fn signer(&self, message: &Message<'_>, now_secs: u64) -> Option<Signer> {
        let Message::Signed { reader, .. } = message else {
            return None;
        };
        (0..reader.num_signatures().min(SIGNATURES_MAX)).find_map(|index| {
            let signature = reader.signature(index)?;
            if !is_acceptable(signature, now_secs) {
                return None;
            }
            let (certificate, key) = self.issuer(signature, now_secs)?;
            message
                .verify_nested_explicit(index, key.verifying())
                .ok()?;
            Some(Signer {
                key: key.fingerprint.clone(),
                primary: certificate.fingerprint().into(),
            })
        })
    }

    /// Returns the key that a signature says it is of, if it may sign now.
    fn issuer(&self, signature: &Signature, now_secs: u64) -> Option<(&Certificate, &Component)> {
        let fingerprints = signature.issuer_fingerprint();
        let ids = signature.issuer_key_id();
        let is_it = |key: &Component| match &*fingerprints {
            [] => ids.iter().any(|id| id.as_ref() == key.key_id()),
            some => some.iter().any(|one| one.as_bytes() == &*key.fingerprint),
        };
        self.signers.iter().find_map(|certificate| {
            let key = certificate.usable(Use::Sign, now_secs, is_it)?;
            Some((certificate, key))
        })
    }
}

impl Decrypt for Opener {
    fn has_key(&self, key_id: [u8; 8]) -> bool {
        self.secrets.iter().any(|(_, id, _)| *id == key_id)
    }

    fn micros(&self) -> u64 {
        let of_keys = self.secrets.iter().map(|(key, ..)| micros(key));
        of_keys.max().unwrap_or_default()
    }

    fn signers(&self) -> Vec<Signer> {
        let signers = self.signers.iter().flat_map(|certificate| {
            let keys = certificate.components().iter();
            keys.filter(|key| key.is_for(Use::Sign)).map(|key| Signer {
                key: key.fingerprint.clone(),
                primary: certificate.fingerprint().into(),
            })
        });
        signers.collect()
    }

    fn decrypt(&self, message: &[u8], now_secs: u64) -> Result<Decrypted, NotDecrypted> {
        let mut message = self.plain(message).ok_or(NotDecrypted::NoKey)?;
        let mut plaintext = Zeroizing::new(Vec::with_capacity(PLAINTEXT_LEN_MAX + 1));
        let mut limited = (&mut message).take(PLAINTEXT_LEN_MAX as u64 + 1);
        limited
            .read_to_end(&mut plaintext)
            .map_err(|_| NotDecrypted::NoKey)?;
        // Longer than a packet can ask for; what is not read to its end is not verified.
        if plaintext.len() > PLAINTEXT_LEN_MAX {
            return Err(NotDecrypted::NoKey);
        }
        let signer = self.signer(&message, now_secs);
        if signer.is_none() && !self.takes_unsigned {
            return Err(NotDecrypted::Signer);
        }
        Ok(Decrypted { plaintext, signer })
    }
}

impl Opener {
    /// Decrypts and unpacks, up to where the plaintext can be read.
    fn plain<'m>(&self, message: &'m [u8]) -> Option<Message<'m>> {
        let message = Message::from_bytes(message).ok()?;
        let Message::Encrypted { esk, .. } = &message else {
            return None;
        };
        let ring = TheRing {
            session_keys: vec![self.session_key(esk)?],
            decrypt_options: DecryptionOptions::new().enable_gnupg_aead(),
            ..TheRing::default()
        };
        let (mut message, _) = message.decrypt_the_ring(ring, true).ok()?;
        for _ in 0..COMPRESSIONS_MAX {
            if !message.is_compressed() {
                break;
            }
            message = message.decompress().ok()?;
        }
        match message {
            Message::Literal { .. } => Some(message),
            // Signed over what is compressed, as some write it.
            Message::Signed { .. } => message.decompress().ok(),
            Message::Compressed { .. } | Message::Encrypted { .. } => None,
        }
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener")
            .field("secrets", &self.secrets.len())
            .field("signers", &self.signers.len())
            .field("takes_unsigned", &self.takes_unsigned)
            .finish()
    }
}

/// What a private operation takes, in microseconds, on the machine this was built on, with a signature
/// to verify; RSA grows with the cube of its length.
fn micros(key: &Component) -> u64 {
    let params = key.verifying().public_params();
    let is_of_curve25519 = matches!(
        params,
        PublicParams::X25519(_) | PublicParams::ECDH(EcdhPublicParams::Curve25519Legacy { .. })
    );
    if is_of_curve25519 {
        300
    } else if matches!(params, PublicParams::RSA(_)) {
        match params.write_len() {
            ..=270 => 3_000,
            271..=400 => 7_000,
            _ => 15_000,
        }
    } else {
        3_000
    }
}

/// Whether a session key is for this key, by name.
fn is_for(esk: &PublicKeyEncryptedSessionKey, key: &Component) -> bool {
    match esk.version() {
        PkeskVersion::V3 => esk.id().is_ok_and(|id| id.as_ref() == key.key_id()),
        PkeskVersion::V6 => esk.fingerprint().is_ok_and(|fingerprint| {
            fingerprint.is_some_and(|one| one.as_bytes() == &*key.fingerprint)
        }),
        PkeskVersion::Other(_) => false,
    }
}

fn decrypt_session_key(
    esk: &PublicKeyEncryptedSessionKey,
    secret: &Unlocked,
) -> Option<PlainSessionKey> {
    let kind = match esk.version() {
        PkeskVersion::V3 => EskType::V3_4,
        PkeskVersion::V6 => EskType::V6,
        PkeskVersion::Other(_) => return None,
    };
    let (values, none) = (esk.values().ok()?, Password::empty());
    let session_key = match secret {
        Unlocked::Primary(key) => key.decrypt(&none, values, kind),
        Unlocked::Sub(key) => key.decrypt(&none, values, kind),
    };
    let session_key = session_key.ok()?.ok()?;
    // Of version 6 the cipher is said by the encrypted packet, and is AES there.
    let is_good = session_key.sym_algorithm().is_none_or(has_large_blocks);
    is_good.then_some(session_key)
}

/// Ciphers of 128-bit blocks; those of 64 are not used any more (RFC 9580, section 9.3).
fn has_large_blocks(cipher: SymmetricKeyAlgorithm) -> bool {
    matches!(
        cipher,
        SymmetricKeyAlgorithm::AES128
            | SymmetricKeyAlgorithm::AES192
            | SymmetricKeyAlgorithm::AES256
            | SymmetricKeyAlgorithm::Twofish
            | SymmetricKeyAlgorithm::Camellia128
            | SymmetricKeyAlgorithm::Camellia192
            | SymmetricKeyAlgorithm::Camellia256
    )
}

/// Whether a signature is of a document, over a hash that still means something, and not expired.
fn is_acceptable(signature: &Signature, now_secs: u64) -> bool {
    let is_of_document = matches!(
        signature.typ(),
        Some(SignatureType::Binary | SignatureType::Text)
    );
    let is_strong = signature.hash_alg().is_some_and(is_strong);
    let Some(created) = signature.created() else {
        return false;
    };
    let lasts = signature.signature_expiration_time();
    let is_over = lasts.is_some_and(|lasts| {
        let lasts = u64::from(lasts.as_secs());
        lasts > 0 && u64::from(created.as_secs()).saturating_add(lasts) <= now_secs
    });
    is_of_document && is_strong && !is_over
}
