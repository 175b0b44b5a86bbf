//! Somebody's public keys, and which of them may be used for what, and when.
//!
//! What a certificate says of itself it must have signed itself. One thing is laxer than for messages:
//! its own signatures may be made with SHA-1, as those of old keys are. Who named the key in a
//! configuration has vouched for it, and a collision helps nobody against that.

use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PublicKey, PublicSubkey, Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, VerifyingKey};

/// A certificate, judged.
#[derive(Clone, Debug)]
pub struct Certificate {
    fingerprint: Box<[u8]>,
    user_ids: Vec<String>,
    components: Vec<Component>,
    is_revoked: bool,
}

/// One of its keys.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    pub(crate) key: ComponentKey,
    pub(crate) fingerprint: Box<[u8]>,
    signs: bool,
    encrypts: bool,
    is_revoked: bool,
    created_secs: u64,
    expires_secs: Option<u64>,
}

/// A primary key or a subkey.
#[derive(Clone, Debug)]
pub(crate) enum ComponentKey {
    Primary(PublicKey),
    Sub(PublicSubkey),
}

/// What a key is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Sign,
    Encrypt,
}

/// What a self-signature says.
struct SelfSigned {
    signs: bool,
    encrypts: bool,
    /// Seconds from the key's creation on.
    lasts_secs: Option<u64>,
}

// === impl Certificate ===

impl Certificate {
    /// Judges a certificate.
    pub(crate) fn new(signed: &SignedPublicKey) -> Self {
        let primary = &signed.primary_key;
        let own = newest_of_primary(signed).map(said_by);
        let lasts_secs = own.as_ref().and_then(|own| own.lasts_secs);
        let primary_ends = lasts_secs.map(|secs| created_secs(primary).saturating_add(secs));
        let mut components = Vec::new();
        if let Some(own) = own {
            components.push(Component {
                key: ComponentKey::Primary(primary.clone()),
                fingerprint: primary.fingerprint().as_bytes().into(),
                signs: own.signs,
                encrypts: own.encrypts,
                is_revoked: false,
                created_secs: created_secs(primary),
                expires_secs: primary_ends,
            });
            let subkeys = signed.public_subkeys.iter();
            components.extend(subkeys.filter_map(|sub| of_subkey(primary, sub, primary_ends)));
        }
        Self {
            fingerprint: primary.fingerprint().as_bytes().into(),
            user_ids: names_in(signed),
            components,
            // A revocation that somebody else made cannot be verified here, and counts.
            is_revoked: !signed.details.revocation_signatures.is_empty(),
        }
    }

    /// Returns the fingerprint of the primary key.
    #[must_use]
    pub fn fingerprint(&self) -> &[u8] {
        &self.fingerprint
    }

    /// Returns its user ids, as they are.
    #[must_use]
    pub fn user_ids(&self) -> &[String] {
        &self.user_ids
    }

    /// Returns the key that may be used for this now; among several the newest, as GnuPG does.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(crate) fn key_for(&self, what: Use, now_secs: u64) -> Result<&Component, &'static str> {
        let able = self.components.iter().filter(|key| key.is_for(what));
        let best = able
            .filter(|key| self.judge(key, now_secs).is_ok())
            .max_by_key(|key| (matches!(key.key, ComponentKey::Sub(_)), key.created_secs));
        best.ok_or_else(|| self.why_not(what, now_secs))
    }

    /// Returns the key with this fingerprint or key id, if it may be used for this now.
    pub(crate) fn usable(
        &self,
        what: Use,
        now_secs: u64,
        is_it: impl Fn(&Component) -> bool,
    ) -> Option<&Component> {
        let mut keys = self.components.iter();
        keys.find(|key| is_it(key) && key.is_for(what) && self.judge(key, now_secs).is_ok())
    }

    pub(crate) fn components(&self) -> &[Component] {
        &self.components
    }

    fn why_not(&self, what: Use, now_secs: u64) -> &'static str {
        let mut able = self.components.iter().filter(|key| key.is_for(what));
        match (able.next(), what) {
            (Some(key), _) => self
                .judge(key, now_secs)
                .err()
                .unwrap_or("it is not usable"),
            (None, _) if self.components.is_empty() => "it has no valid signature of its own",
            (None, Use::Sign) => "it is no key for signing",
            (None, Use::Encrypt) => "it is no key for encryption",
        }
    }

    fn judge(&self, key: &Component, now_secs: u64) -> Result<(), &'static str> {
        if self.is_revoked || key.is_revoked {
            return Err("it is revoked");
        }
        if key.created_secs > now_secs {
            return Err("it is dated in the future");
        }
        if key.expires_secs.is_some_and(|ends| ends <= now_secs) {
            return Err("it is expired");
        }
        Ok(())
    }
}

// === impl Component ===

impl Component {
    /// Whether the key says that it is for this.
    pub(crate) fn is_for(&self, what: Use) -> bool {
        match what {
            Use::Sign => self.signs,
            Use::Encrypt => self.encrypts,
        }
    }

    /// Returns its 64-bit key id.
    pub(crate) fn key_id(&self) -> [u8; 8] {
        let id = match &self.key {
            ComponentKey::Primary(key) => key.legacy_key_id(),
            ComponentKey::Sub(key) => key.legacy_key_id(),
        };
        id.as_ref().try_into().unwrap_or_default()
    }

    pub(crate) fn verifying(&self) -> &dyn VerifyingKey {
        match &self.key {
            ComponentKey::Primary(key) => key,
            ComponentKey::Sub(key) => key,
        }
    }
}

fn of_subkey(
    primary: &PublicKey,
    sub: &SignedPublicSubKey,
    primary_ends: Option<u64>,
) -> Option<Component> {
    let bindings = sub.signatures.iter().filter(|signature| {
        signature.typ() == Some(SignatureType::SubkeyBinding)
            && is_good_enough(signature)
            && signature.verify_subkey_binding(primary, &sub.key).is_ok()
    });
    let binding = bindings.max_by_key(|signature| created(signature))?;
    let own = said_by(binding);
    // A key that signs must have said itself that it belongs here.
    let consents = binding.embedded_signature().is_some_and(|back| {
        is_good_enough(back) && back.verify_primary_key_binding(&sub.key, primary).is_ok()
    });
    let created_secs = created_secs(&sub.key);
    let own_end = own.lasts_secs.map(|secs| created_secs.saturating_add(secs));
    let ends = own_end.into_iter().chain(primary_ends).min();
    let mut signatures = sub.signatures.iter();
    Some(Component {
        key: ComponentKey::Sub(sub.key.clone()),
        fingerprint: sub.key.fingerprint().as_bytes().into(),
        signs: own.signs && consents,
        encrypts: own.encrypts,
        is_revoked: signatures.any(|one| one.typ() == Some(SignatureType::SubkeyRevocation)),
        created_secs,
        expires_secs: ends,
    })
}

/// The newest thing that the primary key has said of itself: with a user id that is not taken back, or
/// directly.
fn newest_of_primary(signed: &SignedPublicKey) -> Option<&Signature> {
    let primary = &signed.primary_key;
    let direct = signed.details.direct_signatures.iter();
    let direct = direct.filter(|one| is_good_enough(one) && one.verify_key(primary).is_ok());
    let with_users = signed.details.users.iter().filter_map(|user| {
        let own = user.signatures.iter().filter(|one| {
            is_good_enough(one)
                && one
                    .verify_certification(primary, Tag::UserId, &user.id)
                    .is_ok()
        });
        let newest = own.max_by_key(|one| created(one))?;
        (newest.typ() != Some(SignatureType::CertRevocation)).then_some(newest)
    });
    direct.chain(with_users).max_by_key(|one| created(one))
}

fn said_by(signature: &Signature) -> SelfSigned {
    let flags = signature.key_flags();
    let has_flags = flags.certify()
        || flags.sign()
        || flags.encrypt_comms()
        || flags.encrypt_storage()
        || flags.authentication();
    SelfSigned {
        // Keys from before there were flags may do what their kind can.
        signs: flags.sign() || !has_flags,
        encrypts: flags.encrypt_comms() || flags.encrypt_storage() || !has_flags,
        lasts_secs: signature
            .key_expiration_time()
            .map(|lasts| u64::from(lasts.as_secs()))
            .filter(|&secs| secs > 0),
    }
}

fn names_in(signed: &SignedPublicKey) -> Vec<String> {
    let users = signed.details.users.iter();
    users
        .map(|user| String::from_utf8_lossy(user.id.id()).into_owned())
        .collect()
}

/// Whether a certificate's own signature may be made with this hash.
fn is_good_enough(signature: &Signature) -> bool {
    signature
        .hash_alg()
        .is_some_and(|hash| hash == HashAlgorithm::Sha1 || is_strong(hash))
}

/// Whether the signature of a message may be made with this hash.
pub(crate) fn is_strong(hash: HashAlgorithm) -> bool {
    matches!(
        hash,
        HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512
    )
}

fn created(signature: &Signature) -> u32 {
    signature.created().map_or(0, |created| created.as_secs())
}

fn created_secs(key: &impl KeyDetails) -> u64 {
    u64::from(key.created_at().as_secs())
}
