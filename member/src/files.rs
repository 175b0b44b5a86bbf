//! A membership in a directory: written whole or not at all.
//!
//! `membership.json` says who the member is and holds its long-lived keys; it is written once, last,
//! and with it the membership begins. `certificate.json` holds the short-lived certificate with its
//! TLS key and is replaced at every renewal. `trust.json` says which authorities count by now; where it is
//! not, that is the one of `membership.json`. `controllers.json` says where the controllers
//! are reached. `joining.json` says which token a join is about and holds
//! its keys from before the token is sent until the membership is written; then it keeps the token's
//! digest alone. `rotating.json` has the keys that are to follow those of the membership, and says which those
//! are, from before the controller hears of them until the former ones have ended. `former.json` of a host has exchange
//! keys of before, each with its end. A certificate that is missing or does not fit is not a
//! loss: the identity key gets another one.
//!
//! In version 2 of the files with long-lived keys these are in a keyring, and the fields hold their
//! public halves: a program that knows version 1 only refuses them by that number, and by these the keys
//! are found and recognised.

use std::fmt;
use std::fs::DirBuilder;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use crate::error::FilesError;

pub(crate) const MEMBERSHIP: &str = "membership.json";
pub(crate) const CERTIFICATE: &str = "certificate.json";
pub(crate) const TRUST: &str = "trust.json";
pub(crate) const CONTROLLERS: &str = "controllers.json";
const JOINING: &str = "joining.json";
pub(crate) const ROTATING: &str = "rotating.json";
const FORMER: &str = "former.json";
/// Written to see whether something can be.
const PROBE: &str = ".probe";

/// Keys are in the file.
pub(crate) const WITH_KEYS: u32 = 1;
/// Keys are in a keyring, and their public halves in the file.
pub(crate) const WITH_PUBLIC_HALVES: u32 = 2;
/// Mode of files with keys in them.
const PRIVATE: u32 = 0o600;
/// Neither file comes near this; a larger one is not ours.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// `membership.json`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MembershipFile {
    pub(crate) version: u32,
    pub(crate) role: String,
    pub(crate) name: String,
    pub(crate) fleet: String,
    pub(crate) address: String,
    pub(crate) ca: Blob,
    pub(crate) identity_key: Blob,
    pub(crate) exchange_key: Option<Blob>,
}

/// `certificate.json`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateFile {
    version: u32,
    pub(crate) certificate: Blob,
    pub(crate) key: Blob,
}

/// `joining.json`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoiningFile {
    version: u32,
    /// SHA-256 of the token's secret.
    pub(crate) token: Blob,
    /// What the token is sent with; gone when the membership holds them.
    pub(crate) identity_key: Option<Blob>,
    pub(crate) exchange_key: Option<Blob>,
}

/// `rotating.json`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotatingFile {
    version: u32,
    /// The public half of the identity key that is followed.
    pub(crate) former: Blob,
    /// Those that follow.
    pub(crate) identity_key: Blob,
    pub(crate) exchange_key: Option<Blob>,
}

/// `former.json`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FormerFile {
    version: u32,
    /// SHA-256 of the CA certificate in the `membership.json` that this is about, with the member's name.
    pub(crate) membership: Blob,
    pub(crate) keys: Vec<FormerKey>,
}

/// An exchange key that others have followed.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FormerKey {
    pub(crate) exchange_key: Blob,
    /// Seconds since the Unix epoch.
    pub(crate) until_secs: u64,
}

/// `trust.json`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustFile {
    version: u32,
    /// SHA-256 of the CA certificate in the `membership.json` that this is about.
    pub(crate) membership: Blob,
    /// CA certificates.
    pub(crate) authorities: Vec<Blob>,
    /// Ed25519 public keys.
    pub(crate) directory_keys: Vec<Blob>,
}

/// `controllers.json`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ControllersFile {
    version: u32,
    /// SHA-256 of the CA certificate in the `membership.json` that this is about.
    pub(crate) membership: Blob,
    /// Each as `host:port`.
    pub(crate) controllers: Vec<String>,
}

/// Bytes, base64 in the file, wiped from memory when dropped and hidden from `Debug`.
#[derive(Clone)]
pub(crate) struct Blob(pub(crate) Zeroizing<Vec<u8>>);

/// What a file holds of a member's long-lived keys: they themselves, or their public halves.
#[derive(Debug)]
pub(crate) struct StoredKeys {
    /// Which of both; the version of the file.
    pub(crate) version: u32,
    pub(crate) identity: Blob,
    pub(crate) exchange: Option<Blob>,
}

/// A file that knows its name and format version.
pub(crate) trait Stored: Serialize + for<'de> Deserialize<'de> {
    const FILE: &'static str;
    /// The newest version of its format.
    const NEWEST: u32;
    fn version(&self) -> u32;
}

// === impl MembershipFile ===

impl MembershipFile {
    pub(crate) fn new(
        (role, name, fleet): (&str, &str, &str),
        address: &str,
        ca: &[u8],
        keys: StoredKeys,
    ) -> Self {
        Self {
            version: keys.version,
            role: role.to_owned(),
            name: name.to_owned(),
            fleet: fleet.to_owned(),
            address: address.to_owned(),
            ca: Blob::new(ca),
            identity_key: keys.identity,
            exchange_key: keys.exchange,
        }
    }

    pub(crate) fn keys(&self) -> StoredKeys {
        StoredKeys {
            version: self.version,
            identity: self.identity_key.clone(),
            exchange: self.exchange_key.clone(),
        }
    }
}

impl Stored for MembershipFile {
    const FILE: &'static str = MEMBERSHIP;
    const NEWEST: u32 = WITH_PUBLIC_HALVES;
    fn version(&self) -> u32 {
        self.version
    }
}

// === impl CertificateFile ===

impl CertificateFile {
    pub(crate) fn new(certificate: &[u8], key: &[u8]) -> Self {
        Self {
            version: Self::NEWEST,
            certificate: Blob::new(certificate),
            key: Blob::new(key),
        }
    }
}

impl Stored for CertificateFile {
    const FILE: &'static str = CERTIFICATE;
    const NEWEST: u32 = 1;
    fn version(&self) -> u32 {
        self.version
    }
}

// === impl JoiningFile ===

impl JoiningFile {
    /// A join with these keys has begun.
    pub(crate) fn begun(token: &[u8], keys: StoredKeys) -> Self {
        Self {
            version: keys.version,
            token: Blob::new(token),
            identity_key: Some(keys.identity),
            exchange_key: keys.exchange,
        }
    }

    /// The join has come to its end, and the membership has the keys.
    pub(crate) fn ended(token: &[u8]) -> Self {
        Self {
            version: WITH_KEYS,
            token: Blob::new(token),
            identity_key: None,
            exchange_key: None,
        }
    }

    /// `None` when the join has ended.
    pub(crate) fn keys(&self) -> Option<StoredKeys> {
        Some(StoredKeys {
            version: self.version,
            identity: self.identity_key.clone()?,
            exchange: self.exchange_key.clone(),
        })
    }
}

impl Stored for JoiningFile {
    const FILE: &'static str = JOINING;
    const NEWEST: u32 = WITH_PUBLIC_HALVES;
    fn version(&self) -> u32 {
        self.version
    }
}

// === impl RotatingFile ===

impl RotatingFile {
    pub(crate) fn new(former: &[u8; 32], next: StoredKeys) -> Self {
        Self {
            version: next.version,
            former: Blob::new(former),
            identity_key: next.identity,
            exchange_key: next.exchange,
        }
    }

    /// The keys that follow.
    pub(crate) fn next(&self) -> StoredKeys {
        StoredKeys {
            version: self.version,
            identity: self.identity_key.clone(),
            exchange: self.exchange_key.clone(),
        }
    }
}

impl Stored for RotatingFile {
    const FILE: &'static str = ROTATING;
    const NEWEST: u32 = WITH_PUBLIC_HALVES;
    fn version(&self) -> u32 {
        self.version
    }
}

// === impl FormerFile ===

impl FormerFile {
    pub(crate) fn new(membership: &[u8], keys: Vec<FormerKey>) -> Self {
        Self {
            version: Self::NEWEST,
            membership: Blob::new(membership),
            keys,
        }
    }
}

impl Stored for FormerFile {
    const FILE: &'static str = FORMER;
    const NEWEST: u32 = 1;
    fn version(&self) -> u32 {
        self.version
    }
}

// === impl FormerKey ===

impl FormerKey {
    pub(crate) fn new(secret: &[u8], until_secs: u64) -> Self {
        Self {
            exchange_key: Blob::new(secret),
            until_secs,
        }
    }
}

// === impl TrustFile ===

impl TrustFile {
    pub(crate) fn new(
        membership: &[u8],
        authorities: Vec<Blob>,
        directory_keys: Vec<Blob>,
    ) -> Self {
        Self {
            version: Self::NEWEST,
            membership: Blob::new(membership),
            authorities,
            directory_keys,
        }
    }
}

impl Stored for TrustFile {
    const FILE: &'static str = TRUST;
    const NEWEST: u32 = 1;
    fn version(&self) -> u32 {
        self.version
    }
}

// === impl ControllersFile ===

impl ControllersFile {
    pub(crate) fn new(membership: &[u8], controllers: &[String]) -> Self {
        Self {
            version: Self::NEWEST,
            membership: Blob::new(membership),
            controllers: controllers.to_vec(),
        }
    }
}

impl Stored for ControllersFile {
    const FILE: &'static str = CONTROLLERS;
    const NEWEST: u32 = 1;
    fn version(&self) -> u32 {
        self.version
    }
}

// === impl Blob ===

impl Blob {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The bytes as a key of 32, if they are that many.
    pub(crate) fn key(&self) -> Option<[u8; 32]> {
        self.0.as_slice().try_into().ok()
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(STANDARD.encode(self.0.as_slice()));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        STANDARD
            .decode(text.as_bytes())
            .map(|bytes| Self(Zeroizing::new(bytes)))
            .map_err(|_| de::Error::custom("not base64"))
    }
}

// === reading and writing ===

/// Makes the directory, private, and proves that files can be written in it.
pub(crate) fn prepare(dir: &Path) -> Result<(), FilesError> {
    make_private_dir(dir)?;
    let probe = dir.join(PROBE);
    program::files::replace(&probe, PRIVATE, b"").map_err(FilesError::io("write", &probe))?;
    match std::fs::remove_file(&probe) {
        // Of two programs at once the first takes it away from the other, which has written, too.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(FilesError::io("remove", &probe)),
    }
}

/// Replaces a file of the membership: afterwards there is the new one whole, or the old one.
pub(crate) fn save<T: Stored>(dir: &Path, value: &T) -> Result<(), FilesError> {
    let path = dir.join(T::FILE);
    let text = serde_json::to_string_pretty(value)
        .map(Zeroizing::new)
        .map_err(|error| FilesError::damaged(&path, error.to_string()))?;
    program::files::replace(&path, PRIVATE, text.as_bytes()).map_err(FilesError::io("write", &path))
}

/// Removes a file of the membership, if it is there.
pub(crate) fn remove<T: Stored>(dir: &Path) -> Result<(), FilesError> {
    let path = dir.join(T::FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(FilesError::io("remove", &path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes what was left of these files by programs that were killed while they wrote them: it may have
/// keys in it. Whoever asks holds the directory.
pub(crate) fn discard_drafts(dir: &Path) -> Result<(), FilesError> {
    for name in [
        MEMBERSHIP,
        CERTIFICATE,
        TRUST,
        CONTROLLERS,
        JOINING,
        ROTATING,
        FORMER,
        PROBE,
    ] {
        let path = dir.join(name);
        program::files::discard_drafts(&path).map_err(FilesError::io("tidy up beside", &path))?;
    }
    Ok(())
}

/// Makes a directory that nobody else may look into.
pub(crate) fn make_private_dir(dir: &Path) -> Result<(), FilesError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(FilesError::io("create", dir))
}

/// Whether others could read or change a file of this mode and owner, which `me` reads.
///
/// So secrets are mounted for a program that is not root: root gives them to its group to read, or
/// nobody may write them at all. A file of one's own that one may write has a mode by accident.
fn is_exposed(mode: u32, owner: u32, me: u32) -> bool {
    let is_mounted = (owner == 0 && me != 0) || (owner == me && mode & 0o222 == 0);
    let allowed = if is_mounted { 0o740 } else { 0o700 };
    mode & 0o777 & !allowed != 0
}

/// Reads a file of the membership; `None` when there is none.
pub(crate) fn load<T: Stored>(dir: &Path) -> Result<Option<T>, FilesError> {
    let path = dir.join(T::FILE);
    let file = match program::files::open_regular(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FilesError::io("open", &path)(error)),
    };
    let metadata = file.metadata().map_err(FilesError::io("look at", &path))?;
    let mode = metadata.mode() & 0o777;
    if is_exposed(mode, metadata.uid(), nix::unistd::geteuid().as_raw()) {
        return Err(FilesError::Exposed { path, mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(FilesError::io("read", &path))?;

    let value: T = serde_json::from_str(&text).map_err(|error| {
        // Of serde's words only the place: the rest may quote the file.
        FilesError::damaged(
            &path,
            format!(
                "not as written, at line {} column {}",
                error.line(),
                error.column()
            ),
        )
    })?;
    if value.version() == 0 || value.version() > T::NEWEST {
        let (version, newest) = (value.version(), T::NEWEST);
        let problem = format!("its format is version {version}, and this program knows {newest}");
        return Err(FilesError::damaged(&path, problem));
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_several_prepare_at_once_is_good_for_each_of_them() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("profile");
        std::thread::scope(|scope| {
            let prepared =
                [(); 8].map(|()| scope.spawn(|| (0..50).try_for_each(|_| prepare(&dir))));
            for prepared in prepared {
                prepared.join().unwrap().unwrap();
            }
        });
        assert!(!dir.join(PROBE).exists());
    }

    #[test]
    fn a_group_may_read_what_is_mounted_for_it_and_nobody_else_may_anything() {
        for (mode, owner, me, expected) in [
            (0o600, 1000, 1000, false),
            (0o400, 0, 1000, false),
            (0o440, 0, 1000, false),
            (0o440, 1000, 1000, false),
            (0o440, 0, 0, false),
            (0o640, 0, 1000, false),
            (0o640, 1000, 1000, true),
            (0o640, 0, 0, true),
            (0o440, 2000, 1000, true),
            (0o460, 0, 1000, true),
            (0o660, 1000, 1000, true),
            (0o444, 0, 1000, true),
            (0o604, 1000, 1000, true),
            (0o602, 1000, 1000, true),
            (0o601, 1000, 1000, true),
        ] {
            assert_eq!(
                is_exposed(mode, owner, me),
                expected,
                "{mode:o} {owner} {me}"
            );
        }
    }
}
