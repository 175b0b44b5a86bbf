//! The authorities at work: who issues, who is believed, what members are told. A change replaces all of
//! it at once; whoever has begun with the one before ends with it.

use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use parking_lot::RwLock;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use super::kept::Kept;
use super::rotation::Stage;
use super::{Authority, Credentials};

/// See the module.
#[derive(Debug)]
pub(crate) struct Authorities(RwLock<Arc<InForce>>);

/// What holds between two changes.
#[derive(Debug)]
pub(crate) struct InForce {
    current: Authority,
    former: Option<Authority>,
    next: Option<Authority>,
    stage: Stage,
    /// Since when the stage is what it is, seconds since the Unix epoch.
    stage_since_secs: u64,
    directory: SigningKey,
    told: Told,
    digest: [u8; 32],
    /// What is shown behind the controller's certificate, PEM.
    behind_pem: String,
}

/// What members are told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// DER, the one that issues first.
    pub(crate) authorities: Vec<Vec<u8>>,
    /// Ed25519 public keys that sign directories.
    pub(crate) directory_keys: Vec<[u8; 32]>,
}

/// What the file holds and that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("a certificate or a key of an authority")]
    Authority(#[from] rcgen::Error),
    #[error("the key of directories")]
    Directory,
    #[error("a key that is not that of its certificate")]
    Key,
}

// === impl Authorities ===

impl Authorities {
    pub(crate) fn new(in_force: InForce) -> Self {
        Self(RwLock::new(Arc::new(in_force)))
    }

    pub(crate) fn get(&self) -> Arc<InForce> {
        Arc::clone(&self.0.read())
    }

    /// Whether members are told something else from now on.
    pub(crate) fn set(&self, in_force: InForce) -> bool {
        let mut now = self.0.write();
        let is_news = now.digest != in_force.digest;
        *now = Arc::new(in_force);
        is_news
    }
}

// === impl InForce ===

impl InForce {
    pub(crate) fn of(kept: &Kept, now_secs: u64) -> Result<Self, Unusable> {
        let open = |it: &Option<super::kept::KeptAuthority>| {
            it.as_ref()
                .map(super::kept::KeptAuthority::open)
                .transpose()
        };
        let directory = kept.directory.open().ok_or(Unusable::Directory)?;
        let believed = kept.believed(now_secs);
        let authorities: Result<Vec<Vec<u8>>, _> = believed.iter().copied().map(der).collect();
        let told = Told {
            authorities: authorities?,
            directory_keys: vec![directory.verifying_key().to_bytes()],
        };
        let digest = fleet::trust_digest(&told.authorities, &told.directory_keys);
        // By which word older ones lead to the one that issues; that one; and what older tokens name.
        // In this order: openssl takes the first that could have issued, and goes no further from one that has
        // issued itself.
        let mut behind: Vec<_> = kept.vouchers.iter().map(String::as_str).collect();
        let next = kept.next.as_ref().map(|next| next.certificate.as_str());
        behind.extend(believed.into_iter().filter(|it| Some(*it) != next));
        let since = kept.next.as_ref().or(kept.former.as_ref());
        let (current, former, next) =
            (kept.current.open()?, open(&kept.former)?, open(&kept.next)?);
        let all = [Some(&current), former.as_ref(), next.as_ref()];
        if !all.into_iter().flatten().all(Authority::holds_its_key) {
            return Err(Unusable::Key);
        }
        Ok(Self {
            current,
            former,
            next,
            stage: kept.stage(),
            stage_since_secs: since.map_or(kept.current.since_secs, |it| it.since_secs),
            directory,
            digest,
            told,
            behind_pem: behind.concat(),
        })
    }

    /// The one that issues.
    pub(crate) fn current(&self) -> &Authority {
        &self.current
    }

    /// The one that members are to know before something else happens: the next, or the current one.
    pub(crate) fn newest(&self) -> &Authority {
        self.next.as_ref().unwrap_or(&self.current)
    }

    pub(crate) fn stage(&self) -> (Stage, u64) {
        (self.stage, self.stage_since_secs)
    }

    /// The one whose certificates this member can use. One that keeps a set can use all; one of before
    /// knows the one that it joined with, which is the oldest where nothing is known.
    pub(crate) fn for_member(&self, keeps_set: bool, issuer: Option<&[u8; 32]>) -> &Authority {
        let Some(former) = &self.former else {
            return &self.current;
        };
        let knows_current = issuer.is_some_and(|issuer| *issuer != former.fingerprint());
        if keeps_set || knows_current {
            &self.current
        } else {
            former
        }
    }

    /// Whose certificates of members are taken, DER.
    pub(crate) fn taken(&self) -> Vec<CertificateDer<'static>> {
        let all = [Some(&self.current), self.former.as_ref()]
            .into_iter()
            .flatten();
        all.map(|it| CertificateDer::from(it.ca_der().to_vec()))
            .collect()
    }

    /// What members are told.
    pub(crate) fn told(&self) -> &Told {
        &self.told
    }

    /// Names that.
    pub(crate) fn trust_digest(&self) -> [u8; 32] {
        self.digest
    }

    /// SHA-256 of each authority that members are told of.
    pub(crate) fn fingerprints(&self) -> Vec<[u8; 32]> {
        let told = self.told.authorities.iter();
        told.map(|der| Sha256::digest(der).into()).collect()
    }

    /// Signs a directory by its own key: the signature, and the public key.
    pub(crate) fn sign_directory(&self, body: &[u8]) -> ([u8; 64], [u8; 32]) {
        let signature = self.directory.sign(body).to_bytes();
        (signature, self.directory.verifying_key().to_bytes())
    }

    /// A certificate for the controller with everything behind it by which members of whatever time
    /// believe it.
    pub(crate) fn server(&self, now_secs: u64) -> Result<Credentials, rcgen::Error> {
        let server = self.current.server(now_secs)?;
        Ok(self.show(server))
    }

    /// The same of a controller that has no members yet.
    pub(crate) fn first_server(&self, now_secs: u64) -> Result<Credentials, rcgen::Error> {
        let server = self.current.first_server(now_secs)?;
        Ok(self.show(server))
    }

    /// The same certificate with what is to stand behind it now.
    pub(crate) fn show(&self, server: Credentials) -> Credentials {
        let leaf = server.leaf_pem();
        Credentials {
            certificate_pem: leaf + &self.behind_pem,
            ..server
        }
    }
}

/// The bytes of a PEM certificate.
pub(crate) fn der(pem: &str) -> Result<Vec<u8>, rcgen::Error> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map(|der| der.to_vec())
        .map_err(|error| rcgen::Error::PemError(error.to_string()))
}
