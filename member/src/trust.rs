//! Whose word counts: the fleet's authorities and the keys that sign directories, as the controller said
//! last. It is kept beside the membership, whole, before anything else is done with it.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use fleet::wire::TrustSet;
use rustls_pki_types::CertificateDer;

use crate::error::{ConnectError, FilesError};
use crate::files::{self, Blob, TrustFile};
use crate::keys;
use crate::tls;

/// Authorities that are kept, at most.
const AUTHORITIES_MAX: usize = 32;
/// Keys for directories that are kept, at most.
const DIRECTORY_KEYS_MAX: usize = 16;

/// What is believed. Never without an authority.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Believed {
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    /// Ed25519 public keys; empty where the controller has never said.
    pub(crate) directory_keys: Vec<[u8; 32]>,
}

/// The same, shared by all who are one member: what one of them learns all know.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<ArcSwap<Believed>>);

// === impl Believed ===

impl Believed {
    /// One authority, which is what a member knew before it was told more.
    pub(crate) fn only(ca: CertificateDer<'static>) -> Self {
        Self {
            authorities: vec![ca],
            directory_keys: Vec::new(),
        }
    }

    /// As the controller says.
    pub(crate) fn told(said: &TrustSet) -> Result<Self, ConnectError> {
        let many = said.authorities.len() > AUTHORITIES_MAX
            || said.directory_keys.len() > DIRECTORY_KEYS_MAX;
        if many || said.authorities.is_empty() {
            return Err(ConnectError::Answer(
                "nobody can believe what it says of its authorities",
            ));
        }
        let authorities = said.authorities.iter().map(|der| keys::certificate(der));
        let directory_keys = said
            .directory_keys
            .iter()
            .map(|key| key.as_slice().try_into());
        let told = Self {
            authorities: authorities.collect(),
            directory_keys: directory_keys
                .collect::<Result<_, _>>()
                .map_err(|_| ConnectError::Answer("a key for directories is not one"))?,
        };
        tls::roots(&told.authorities)
            .map_err(|_| ConnectError::Answer("one of its CA certificates is not one"))?;
        Ok(told)
    }

    /// What is kept in `dir`, where it is about the membership with this CA; else that CA alone.
    pub(crate) fn load(dir: &Path, ca: &CertificateDer<'static>) -> Result<Self, FilesError> {
        let only = || Self::only(ca.clone());
        let Some(file) = files::load::<TrustFile>(dir)? else {
            return Ok(only());
        };
        if *file.membership.0 != tls::fingerprint(ca) {
            // Of a membership before.
            return Ok(only());
        }
        let path = dir.join(files::TRUST);
        let damaged = |problem: &str| FilesError::damaged(&path, problem.to_owned());
        let authorities = file
            .authorities
            .iter()
            .map(|blob| keys::certificate(&blob.0));
        let believed = Self {
            authorities: authorities.collect(),
            directory_keys: file
                .directory_keys
                .iter()
                .map(Blob::key)
                .collect::<Option<_>>()
                .ok_or_else(|| damaged("a key for directories is not one"))?,
        };
        if believed.authorities.is_empty() {
            return Err(damaged("it names no authority"));
        }
        tls::roots(&believed.authorities)
            .map_err(|_| damaged("one of the CA certificates is not one"))?;
        Ok(believed)
    }

    /// Keeps it for the membership with this CA.
    pub(crate) fn save(&self, dir: &Path, ca: &CertificateDer<'static>) -> Result<(), FilesError> {
        let authorities = self.authorities.iter().map(|it| Blob::new(it));
        let directory_keys = self.directory_keys.iter().map(|it| Blob::new(it));
        let (authorities, directory_keys) = (authorities.collect(), directory_keys.collect());
        let file = TrustFile::new(&tls::fingerprint(ca), authorities, directory_keys);
        files::save(dir, &file)
    }

    /// Names it, as the controller names what it says.
    pub(crate) fn digest(&self) -> [u8; 32] {
        fleet::trust_digest(&self.authorities, &self.directory_keys)
    }

    /// SHA-256 of each authority.
    pub(crate) fn fingerprints(&self) -> Vec<Vec<u8>> {
        let named = self.authorities.iter();
        named.map(|it| tls::fingerprint(it).to_vec()).collect()
    }
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(believed: Believed) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(believed)))
    }

    pub(crate) fn get(&self) -> Arc<Believed> {
        self.0.load_full()
    }

    pub(crate) fn set(&self, believed: Believed) {
        self.0.store(Arc::new(believed));
    }
}
