//! The hosts that a user may open: signed by the controller's key for directories, or by the fleet's CA where
//! none is known, and kept in the profile.

use std::collections::BTreeSet;

use fleet::wire::{DirectoryBody, DirectoryHost, SyncRequest, SyncResponse};
use member::Membership;
use prost::Message as _;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};

use crate::connection::{Connection, ask};
use crate::error::{CommandError, Result};
use crate::profile::Profile;

/// A directory whose signature was verified, and which is this user's.
#[derive(Debug)]
pub(crate) struct Directory {
    body: DirectoryBody,
    /// When the controller was to say that this profile should make new keys; 0 for not.
    rotation_asked_ms: u64,
}

/// Why a directory is not used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum InvalidDirectory {
    #[error("the CA certificate of this profile has no key that we know")]
    Authority,
    #[error("the signature of the directory is not the fleet's")]
    Signature,
    #[error("the directory is damaged")]
    Damaged,
    #[error("the directory is somebody else's")]
    NotOurs,
    #[error(
        "it is {by_secs} s older than the one we have: the controller's clock was set back, or was ahead \
         before"
    )]
    Older { by_secs: u64 },
}

// === impl Directory ===

impl Directory {
    /// The directory of the profile, if there is one that can be used.
    ///
    /// # Errors
    ///
    /// Exit code 1 when the file cannot be read.
    pub(crate) fn load(profile: &Profile, membership: &Membership) -> Result<Option<Self>> {
        let Some(bytes) = profile.read_directory()? else {
            return Ok(None);
        };
        // A file that does not verify is as good as none: the next sync replaces it.
        Ok(SyncResponse::decode(bytes.as_slice())
            .ok()
            .and_then(|signed| Self::verify(&signed, membership).ok()))
    }

    /// Gets the directory from the controller, and keeps it.
    ///
    /// # Errors
    ///
    /// Exit code 3 when the controller is not reached, 1 when what it gives is not to be trusted, or
    /// cannot be kept.
    pub(crate) async fn sync(profile: &Profile, connection: &Connection) -> Result<Self> {
        let (fresh, signed) = Self::fetch(profile, connection).await?;
        profile.write_directory(&signed)?;
        Ok(fresh)
    }

    /// The same, where it is only to be used: a profile that cannot be written does no harm then.
    ///
    /// # Errors
    ///
    /// As [`sync`](Self::sync), without the last.
    pub(crate) async fn refresh(profile: &Profile, connection: &Connection) -> Result<Self> {
        let (fresh, signed) = Self::fetch(profile, connection).await?;
        let _ = profile.write_directory(&signed);
        Ok(fresh)
    }

    /// The directory, and as it was signed.
    async fn fetch(profile: &Profile, connection: &Connection) -> Result<(Self, Vec<u8>)> {
        let membership = connection.membership();
        let signed = connection
            .directory()
            .sync(ask(SyncRequest {}))
            .await
            .map_err(|status| connection.refused(status))?
            .into_inner();
        if membership.is_behind(&signed.trust_digest) {
            // By what is learned so the directory is verified, and who has learned it is known there.
            membership.renew().await?;
        }
        // A profile that cannot be written asks the controllers that it knows.
        let _ = membership.hear_controllers(&signed.controllers);
        let refused = |cause| CommandError::failed("the controller's directory is not used", cause);
        let fresh = Self::verify(&signed, membership).map_err(refused)?;
        if let Some(known) = Self::load(profile, membership)?
            && fresh.body.at_secs < known.body.at_secs
        {
            let by_secs = known.body.at_secs - fresh.body.at_secs;
            return Err(refused(InvalidDirectory::Older { by_secs }).with_hint(
                "ask an operator to look at the controller's clock; from its old time on all goes on by \
                 itself",
            ));
        }
        Ok((fresh, signed.encode_to_vec()))
    }

    fn verify(signed: &SyncResponse, membership: &Membership) -> Result<Self, InvalidDirectory> {
        let SyncResponse {
            body,
            signature,
            directory_signature,
            directory_key,
            rotation_asked_ms,
            trust_digest: _,
            controllers: _,
        } = signed;
        let keys = membership.directory_keys();
        if keys.is_empty() || directory_signature.is_empty() {
            verify_by_any(&membership.authorities(), body, signature)?;
        } else {
            let key = keys.iter().find(|key| key.as_slice() == directory_key);
            let key = key.ok_or(InvalidDirectory::Signature)?;
            UnparsedPublicKey::new(&ED25519, key)
                .verify(body, directory_signature)
                .map_err(|_| InvalidDirectory::Signature)?;
        }
        let body = DirectoryBody::decode(body.as_slice()).map_err(|_| InvalidDirectory::Damaged)?;
        if (&body.fleet, &body.user) != (&membership.fleet, &membership.name) {
            return Err(InvalidDirectory::NotOurs);
        }
        Ok(Self {
            body,
            rotation_asked_ms: *rotation_asked_ms,
        })
    }

    /// Since when this profile is to make new keys, milliseconds since the Unix epoch; 0 for not.
    pub(crate) fn rotation_asked_ms(&self) -> u64 {
        self.rotation_asked_ms
    }

    /// Every entry of a host: one for each stanza that lets the user in.
    pub(crate) fn entries(&self, host: &str) -> Vec<&DirectoryHost> {
        self.body
            .hosts
            .iter()
            .filter(|entry| entry.name == host)
            .collect()
    }

    /// What she might open on hosts that are locked, or wait for being installed anew.
    pub(crate) fn locked(&self) -> &[DirectoryHost] {
        &self.body.locked
    }

    /// Whether policy lets her in to this host, and it is locked.
    pub(crate) fn is_locked(&self, host: &str) -> bool {
        self.entries(host).is_empty() && self.body.locked.iter().any(|entry| entry.name == host)
    }

    /// All entries.
    pub(crate) fn hosts(&self) -> &[DirectoryHost] {
        &self.body.hosts
    }

    /// The names of the hosts.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.body.hosts.iter().map(|host| &*host.name).collect()
    }

    /// How many hosts there are.
    pub(crate) fn host_count(&self) -> usize {
        self.names().len()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.body.generation
    }

    pub(crate) fn at_secs(&self) -> u64 {
        self.body.at_secs
    }
}

/// Forgets in the directory of a profile that it should make new keys: it has. The next one says the same.
pub(crate) fn forget_asked(profile: &Profile) {
    let stored = profile.read_directory().ok().flatten();
    let stored = stored.and_then(|bytes| SyncResponse::decode(bytes.as_slice()).ok());
    if let Some(mut signed) = stored
        && signed.rotation_asked_ms > 0
    {
        signed.rotation_asked_ms = 0;
        let _ = profile.write_directory(&signed.encode_to_vec());
    }
}

/// Every address by which a host of the directory is reached; controllers of the version before know
/// one only.
pub(crate) fn addresses(host: &DirectoryHost) -> Vec<String> {
    if host.addresses.is_empty() {
        vec![host.address.clone()]
    } else {
        host.addresses.clone()
    }
}

/// Checks a signature by the key of one of these CA certificates.
fn verify_by_any(
    authorities: &[Vec<u8>],
    body: &[u8],
    signature: &[u8],
) -> Result<(), InvalidDirectory> {
    let mut verified = Err(InvalidDirectory::Authority);
    for ca in authorities {
        verified = verify_signature(ca, body, signature);
        if verified.is_ok() {
            break;
        }
    }
    verified
}

/// Checks a signature by the key of the CA certificate: ECDSA P-256 or Ed25519.
fn verify_signature(ca_der: &[u8], body: &[u8], signature: &[u8]) -> Result<(), InvalidDirectory> {
    let (_, ca) =
        x509_parser::parse_x509_certificate(ca_der).map_err(|_| InvalidDirectory::Authority)?;
    let key = ca.public_key();
    let algorithm: &dyn VerificationAlgorithm =
        if key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            &ECDSA_P256_SHA256_ASN1
        } else if key.algorithm.algorithm == OID_SIG_ED25519 {
            &ED25519
        } else {
            return Err(InvalidDirectory::Authority);
        };
    UnparsedPublicKey::new(algorithm, &key.subject_public_key.data)
        .verify(body, signature)
        .map_err(|_| InvalidDirectory::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with openssl: `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes ...`,
    // and `openssl dgst -sha256 -sign key.pem body` (see tests/data/README.md).
    const CA: &[u8] = include_bytes!("../tests/data/ca.der");
    const BODY: &[u8] = include_bytes!("../tests/data/body");
    const SIGNATURE: &[u8] = include_bytes!("../tests/data/body.sig");

    #[test]
    fn the_signature_of_the_pinned_authority_is_accepted() {
        assert_eq!(verify_signature(CA, BODY, SIGNATURE), Ok(()));
    }

    #[test]
    fn a_changed_directory_is_refused() {
        let mut body = BODY.to_vec();
        body[0] ^= 1;

        let refused = verify_signature(CA, &body, SIGNATURE);

        assert_eq!(refused, Err(InvalidDirectory::Signature));
        assert_eq!(
            verify_signature(&CA[1..], BODY, SIGNATURE),
            Err(InvalidDirectory::Authority)
        );
    }
}
