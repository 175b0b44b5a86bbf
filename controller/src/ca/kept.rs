//! What the controller keeps of its authorities, in one file that is replaced whole: a change of
//! authority is made or not made, whatever dies in between.

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{Authority, Credentials};
use crate::timestamp::Timestamp;

/// The version of the file that this program writes, and the newest that it reads.
const VERSION: u32 = 1;

/// `authority.json`
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    version: u32,
    /// The one that issues.
    pub(crate) current: KeptAuthority,
    /// The one that is to follow, and that members are told of.
    pub(crate) next: Option<KeptAuthority>,
    /// The one before, whose certificates are still taken.
    pub(crate) former: Option<KeptAuthority>,
    /// Those before, whose keys are gone. Members go on believing them for a while: a controller that is
    /// restored from a backup of then has one of their keys again.
    pub(crate) gone: Vec<Gone>,
    /// By which whoever knows an authority of before believes the one that followed it, PEM, newest first.
    pub(crate) vouchers: Vec<String>,
    /// What signs directories.
    pub(crate) directory: DirectoryKey,
}

/// One authority with its key.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptAuthority {
    /// PEM.
    pub(crate) certificate: String,
    /// PEM.
    pub(crate) key: Secret,
    /// Since when it is what it is (issues, is told, is the former one), seconds since the Unix epoch.
    pub(crate) since_secs: u64,
    /// Where it is the next one: the current one's word for it, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) voucher: Option<String>,
}

/// An authority whose key is gone.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gone {
    /// PEM.
    pub(crate) certificate: String,
    /// Seconds since the Unix epoch.
    pub(crate) since_secs: u64,
}

/// An Ed25519 key.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DirectoryKey {
    /// 32 bytes, hexadecimal.
    seed: Secret,
    /// Seconds since the Unix epoch.
    pub(crate) since_secs: u64,
}

/// Text that is wiped from memory and hidden from `Debug`.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

/// Why the file is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Only the place: the rest may quote a key.
    #[error("not as written, at line {line} column {column}")]
    Text { line: usize, column: usize },
    #[error("its format is version {0}, and this program knows {VERSION}")]
    Version(u32),
}

// === impl Kept ===

impl Kept {
    /// With one authority for everything.
    pub(crate) fn of(current: &Credentials, directory: DirectoryKey, since_secs: u64) -> Self {
        Self {
            version: VERSION,
            current: KeptAuthority::new(current, since_secs),
            next: None,
            former: None,
            gone: Vec::new(),
            vouchers: Vec::new(),
            directory,
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Unreadable> {
        let kept: Self = serde_json::from_str(text).map_err(|error| Unreadable::Text {
            line: error.line(),
            column: error.column(),
        })?;
        if kept.version == 0 || kept.version > VERSION {
            return Err(Unreadable::Version(kept.version));
        }
        Ok(kept)
    }

    /// Names what counts, without a secret: another for every change. Hexadecimal.
    pub(crate) fn state(&self) -> String {
        let mut state = Sha256::new();
        let with_key = [
            ("current", Some(&self.current)),
            ("next", self.next.as_ref()),
            ("former", self.former.as_ref()),
        ];
        for (place, authority) in with_key {
            let certificate = authority.map(|it| it.certificate.as_str());
            state.update(place);
            state.update(Sha256::digest(certificate.unwrap_or_default()));
        }
        for gone in &self.gone {
            state.update("gone");
            state.update(Sha256::digest(&gone.certificate));
        }
        let directory = self.directory.open();
        let directory = directory.map(|key| key.verifying_key().to_bytes());
        state.update("directory");
        state.update(directory.unwrap_or_default());
        hex::encode(state.finalize())
    }

    /// When it was changed last, seconds since the Unix epoch.
    pub(crate) fn changed_secs(&self) -> u64 {
        let with_key = [
            Some(&self.current),
            self.next.as_ref(),
            self.former.as_ref(),
        ];
        let since = with_key.into_iter().flatten().map(|it| it.since_secs);
        let gone = self.gone.iter().map(|gone| gone.since_secs);
        let newest = since.chain(gone).max().unwrap_or(0);
        newest.max(self.directory.since_secs)
    }

    /// As it stands in the file.
    pub(crate) fn text(&self) -> Result<Zeroizing<String>, serde_json::Error> {
        Ok(Zeroizing::new(serde_json::to_string_pretty(self)? + "\n"))
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

// === impl KeptAuthority ===

impl KeptAuthority {
    /// When its certificate begins, where that is after `now_secs`: a clock was ahead, or is behind.
    pub(crate) fn begins_after(&self, now_secs: u64) -> Option<Timestamp> {
        let begins = self.credentials().begins_secs()?;
        (begins > now_secs).then(|| Timestamp::from_ms(begins.saturating_mul(1000)))
    }

    pub(crate) fn new(of: &Credentials, since_secs: u64) -> Self {
        Self {
            certificate: of.certificate_pem.clone(),
            key: Secret(of.key_pem.clone()),
            since_secs,
            voucher: None,
        }
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            certificate_pem: self.certificate.clone(),
            key_pem: self.key.0.clone(),
        }
    }

    pub(crate) fn open(&self) -> Result<Authority, rcgen::Error> {
        Authority::open(&self.credentials())
    }

    /// Without its key.
    pub(crate) fn gone(self, since_secs: u64) -> Gone {
        Gone {
            certificate: self.certificate,
            since_secs,
        }
    }

    /// The same, in another place since then.
    pub(crate) fn since(self, since_secs: u64) -> Self {
        Self {
            since_secs,
            voucher: None,
            ..self
        }
    }
}

// === impl DirectoryKey ===

impl DirectoryKey {
    pub(crate) fn new(seed: &[u8; 32], since_secs: u64) -> Self {
        Self {
            seed: Secret(hex::encode(seed)),
            since_secs,
        }
    }

    /// `None` when it is no key.
    pub(crate) fn open(&self) -> Option<SigningKey> {
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(&self.seed.0, &mut *seed).ok()?;
        Some(SigningKey::from_bytes(&seed))
    }
}

// === impl Secret ===

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}
