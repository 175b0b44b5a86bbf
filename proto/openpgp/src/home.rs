//! A GnuPG home as a site has it: `pubring.kbx` or `pubring.gpg`, `private-keys-v1.d` or `secring.gpg`.
//!
//! Read once, without asking gpg or its agent. Trust that gpg keeps about keys (`trustdb.gpg`) is not
//! looked at: who may sign is said where keys are named.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use pgp::composed::{Deserializable as _, SignedPublicKey, SignedSecretKey};
use pgp::packet::{Packet, PacketHeader, PacketParser, SecretKey, SecretSubkey};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, KeyVersion, Password, Tag};
use zeroize::Zeroizing;

use crate::certificate::{Certificate, Component, ComponentKey, Use};
use crate::error::{KeyFault, KeyringError};
use crate::key_file::{KeyFile, Secret};
use crate::keybox;
use crate::name::Name;

/// No keyring is larger than this, in bytes.
const FILE_LEN_MAX: u64 = 64 << 20;
/// A home has at most so many keys; further ones are not looked at.
const KEYS_MAX: usize = 20_000;

/// A GnuPG home, read.
pub struct Home {
    path: PathBuf,
    certificates: Vec<Certificate>,
    files: Vec<KeyFile>,
    /// Of GnuPG before 2.1, or our own.
    secret_keys: Vec<SignedSecretKey>,
}

/// A private key that needs no passphrase any more. Erased when dropped.
pub(crate) enum Unlocked {
    Primary(SecretKey),
    Sub(SecretSubkey),
}

// === impl Home ===

impl Home {
    /// Reads a home.
    ///
    /// # Errors
    ///
    /// [`KeyringError`] when it is no directory, cannot be read, is damaged, or everybody may write it.
    pub fn read(path: &Path) -> Result<Self, KeyringError> {
        let folder = fs::read_dir(path).map_err(unreadable(path))?;
        drop(folder);
        refuse_exposed(path)?;
        let mut certificates = Vec::new();
        for (name, is_keybox) in [("pubring.kbx", true), ("pubring.gpg", false)] {
            let file = path.join(name);
            let Some(bytes) = bytes_of(&file)? else {
                continue;
            };
            let damaged = || KeyringError::Damaged { path: file.clone() };
            let blocks = if is_keybox {
                keybox::keys_in(&bytes).ok_or_else(damaged)?
            } else {
                vec![bytes.to_vec()]
            };
            for block in &blocks {
                certificates.extend(public_keys(block).map(|key| Certificate::new(&key)));
            }
        }
        let secret_keys = match bytes_of(&path.join("secring.gpg"))? {
            Some(bytes) => secret_keys(&bytes),
            None => Vec::new(),
        };
        for key in &secret_keys {
            let public = Certificate::new(&key.to_public_key());
            if !certificates
                .iter()
                .any(|known: &Certificate| known.fingerprint() == public.fingerprint())
            {
                certificates.push(public);
            }
        }
        Ok(Self {
            files: key_files(&path.join("private-keys-v1.d"))?,
            path: path.to_owned(),
            certificates,
            secret_keys,
        })
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the one certificate of this name: a fingerprint, a key id, or part of a user id.
    ///
    /// # Errors
    ///
    /// [`KeyringError::NoKey`] and [`KeyringError::Ambiguous`].
    pub fn certificate(&self, name: &str) -> Result<&Certificate, KeyringError> {
        let wanted = Name::parse(name);
        let mut named = self.certificates.iter().filter(|one| wanted.names(one));
        let found = named.next().ok_or_else(|| KeyringError::NoKey {
            path: self.path.clone(),
            name: name.to_owned(),
        })?;
        match named.count() {
            0 => Ok(found),
            more => Err(KeyringError::Ambiguous {
                path: self.path.clone(),
                name: name.to_owned(),
                count: more + 1,
            }),
        }
    }

    /// Returns the keys that decrypt, unlocked: those of the certificate of this name, else all that
    /// there are. Stretching a passphrase takes a tenth of a second for each.
    ///
    /// # Errors
    ///
    /// [`KeyringError`] when there is none, or none that can be unlocked.
    pub(crate) fn decryption_keys(
        &self,
        name: Option<&str>,
        passphrase: Option<&[u8]>,
    ) -> Result<Vec<(Component, Unlocked)>, KeyringError> {
        let certificates = match name {
            Some(name) => std::slice::from_ref(self.certificate(name)?),
            None => &self.certificates,
        };
        let keys = certificates.iter().flat_map(Certificate::components);
        let mut unlocked = Vec::new();
        let mut fault = None;
        for key in keys.filter(|key| key.is_for(Use::Encrypt)) {
            match self.unlock(key, passphrase) {
                Ok(Some(secret)) => unlocked.push((key.clone(), secret)),
                Ok(None) => {}
                Err(error) => fault = Some(error),
            }
        }
        match (unlocked.is_empty(), fault) {
            (false, _) => Ok(unlocked),
            (true, Some(error)) => Err(error),
            (true, None) => Err(KeyringError::NoSecretKey {
                path: self.path.clone(),
                use_for: "decrypt",
            }),
        }
    }

    /// Returns the key that signs now, unlocked: that of the certificate of this name, else of the
    /// first that has one.
    ///
    /// # Errors
    ///
    /// [`KeyringError`] when there is none, or it cannot be unlocked or used.
    pub(crate) fn signing_key(
        &self,
        name: Option<&str>,
        passphrase: Option<&[u8]>,
        now_secs: u64,
    ) -> Result<Unlocked, KeyringError> {
        let certificates = match name {
            Some(name) => std::slice::from_ref(self.certificate(name)?),
            None => &self.certificates,
        };
        for certificate in certificates {
            let key = match certificate.key_for(Use::Sign, now_secs) {
                Ok(key) => key,
                Err(why) if name.is_some() => return Err(unusable(certificate, why)),
                Err(_) => continue,
            };
            if let Some(secret) = self.unlock(key, passphrase)? {
                return Ok(secret);
            }
        }
        Err(KeyringError::NoSecretKey {
            path: self.path.clone(),
            use_for: "sign",
        })
    }

    /// Returns the private half of a key, if it is here.
    fn unlock(
        &self,
        key: &Component,
        passphrase: Option<&[u8]>,
    ) -> Result<Option<Unlocked>, KeyringError> {
        let faulty = |cause| KeyringError::SecretKey {
            path: self.path.clone(),
            key: hex(&key.fingerprint),
            cause,
        };
        let public = public_bytes(key).map_err(|_| faulty(KeyFault::Format))?;
        let file = self.files.iter().find(|file| {
            file.public_number()
                .is_some_and(|number| has_number(&public, number))
        });
        if let Some(file) = file {
            let secret = file.unlock(passphrase).map_err(faulty)?;
            let mut unlocked =
                put_together(key, &public, &secret).ok_or_else(|| faulty(KeyFault::Algorithm))?;
            unlocked.remove_password(passphrase).map_err(faulty)?;
            return Ok(Some(unlocked));
        }
        self.in_secret_ring(key, passphrase).map_err(faulty)
    }

    fn in_secret_ring(
        &self,
        key: &Component,
        passphrase: Option<&[u8]>,
    ) -> Result<Option<Unlocked>, KeyFault> {
        let found = self.secret_keys.iter().find_map(|signed| {
            if signed.primary_key.fingerprint().as_bytes() == &*key.fingerprint {
                return Some(Unlocked::Primary(signed.primary_key.clone()));
            }
            let mut subkeys = signed.secret_subkeys.iter();
            let sub = subkeys.find(|sub| sub.fingerprint().as_bytes() == &*key.fingerprint);
            sub.map(|sub| Unlocked::Sub(sub.key.clone()))
        });
        let Some(mut unlocked) = found else {
            return Ok(None);
        };
        unlocked.remove_password(passphrase)?;
        Ok(Some(unlocked))
    }
}

// === impl Unlocked ===

impl Unlocked {
    /// Takes the passphrase off, if there still is one.
    fn remove_password(&mut self, passphrase: Option<&[u8]>) -> Result<(), KeyFault> {
        let password = Password::from(passphrase.unwrap_or_default());
        let done = match self {
            Self::Primary(key) => key.remove_password(&password),
            Self::Sub(key) => key.remove_password(&password),
        };
        done.map_err(|_| match passphrase {
            Some(_) => KeyFault::WrongPassphrase,
            None => KeyFault::PassphraseNeeded,
        })
    }
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Home")
            .field("path", &self.path)
            .field("certificates", &self.certificates.len())
            .finish_non_exhaustive()
    }
}

/// Fingerprints as people write them.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

pub(crate) fn unusable(certificate: &Certificate, why: &'static str) -> KeyringError {
    KeyringError::Unusable {
        key: hex(certificate.fingerprint()),
        why,
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> KeyringError + use<'_> {
    move |cause| KeyringError::Unreadable {
        path: path.to_owned(),
        cause,
    }
}

/// What everybody may write says nothing about who signs.
fn refuse_exposed(path: &Path) -> Result<(), KeyringError> {
    let mode = fs::metadata(path).map_err(unreadable(path))?.mode();
    if mode & 0o002 != 0 {
        return Err(KeyringError::Exposed {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Reads a file; `None` if there is none.
fn bytes_of(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path)(error)),
    };
    refuse_exposed(path)?;
    let mut bytes = Zeroizing::new(Vec::new());
    let mut limited = file.take(FILE_LEN_MAX);
    limited.read_to_end(&mut bytes).map_err(unreadable(path))?;
    Ok(Some(bytes))
}

/// What cannot be read of a keyring is not used: keys of kinds that nobody here knows.
fn public_keys(bytes: &[u8]) -> impl Iterator<Item = SignedPublicKey> + '_ {
    let keys = SignedPublicKey::from_packets(packets(bytes).peekable());
    keys.take(KEYS_MAX).flatten()
}

fn secret_keys(bytes: &[u8]) -> Vec<SignedSecretKey> {
    let keys = SignedSecretKey::from_packets(packets(bytes).peekable());
    keys.take(KEYS_MAX).flatten().collect()
}

/// The packets of a ring, without the notes about trust that GnuPG keeps among them.
fn packets(bytes: &[u8]) -> impl Iterator<Item = pgp::errors::Result<Packet>> + use<> {
    let bytes = without_trust(bytes).unwrap_or_else(|| bytes.to_vec());
    let parser = PacketParser::new(io::Cursor::new(bytes));
    parser.filter(|packet| !matches!(packet, Ok(Packet::Trust(_))))
}

/// Leaves out packets of type 12, of which the library warns one by one; `None` for what is not framed as
/// GnuPG frames its rings (RFC 9580, section 4.2.2).
fn without_trust(bytes: &[u8]) -> Option<Vec<u8>> {
    /// Type and length of a length in the first octet, in GnuPG's older format.
    const OLD_FORMAT: u8 = 0b1000_0000;
    const TRUST: u8 = 12;

    let mut kept = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        if first & 0b1100_0000 != OLD_FORMAT {
            return None;
        }
        let octets = match first & 0b11 {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => return None,
        };
        let length = rest.get(1..=octets)?;
        let len = length
            .iter()
            .fold(0_usize, |sum, &octet| sum << 8 | usize::from(octet));
        let (packet, behind) = rest.split_at_checked(len.checked_add(1 + octets)?)?;
        if first >> 2 & 0b1111 != TRUST {
            kept.extend_from_slice(packet);
        }
        rest = behind;
    }
    Some(kept)
}

fn key_files(folder: &Path) -> Result<Vec<KeyFile>, KeyringError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder)(error)),
    };
    let mut files = Vec::new();
    for entry in entries.take(KEYS_MAX) {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "key")
            && let Some(bytes) = bytes_of(&path)?
        {
            files.extend(KeyFile::parse(&bytes));
        }
    }
    Ok(files)
}

fn public_bytes(key: &Component) -> pgp::errors::Result<Vec<u8>> {
    match &key.key {
        ComponentKey::Primary(key) => key.to_bytes(),
        ComponentKey::Sub(key) => key.to_bytes(),
    }
}

/// Whether a number stands among the public numbers of a key; it is long enough to be no other's.
fn has_number(public: &[u8], number: &[u8]) -> bool {
    let number = without_zeros(number);
    number.len() >= 32 && public.windows(number.len()).any(|window| window == number)
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Writes a secret key packet (RFC 9580, section 5.5.3), and reads it.
fn put_together(key: &Component, public: &[u8], secret: &Secret) -> Option<Unlocked> {
    let body = match secret {
        Secret::Numbers(numbers) => {
            let has_sum = key.verifying().version() != KeyVersion::V6;
            plain_body(public, numbers, has_sum)?
        }
        Secret::Protected(rest) => Zeroizing::new([public, rest].concat()),
    };
    let len = u32::try_from(body.len()).ok()?;
    match &key.key {
        ComponentKey::Primary(_) => {
            let header = PacketHeader::new_fixed(Tag::SecretKey, len);
            let secret = SecretKey::try_from_reader(header, &body[..]).ok()?;
            Some(Unlocked::Primary(secret))
        }
        ComponentKey::Sub(_) => {
            let header = PacketHeader::new_fixed(Tag::SecretSubkey, len);
            let secret = SecretSubkey::try_from_reader(header, &body[..]).ok()?;
            Some(Unlocked::Sub(secret))
        }
    }
}

/// A secret key packet without protection.
fn plain_body(
    public: &[u8],
    numbers: &[Zeroizing<Vec<u8>>],
    has_sum: bool,
) -> Option<Zeroizing<Vec<u8>>> {
    let mut secret = Zeroizing::new(Vec::new());
    for number in numbers {
        let number = without_zeros(number);
        let unused = number.first()?.leading_zeros();
        let bits = u16::try_from(number.len() * 8).ok()? - u16::try_from(unused).ok()?;
        secret.extend_from_slice(&bits.to_be_bytes());
        secret.extend_from_slice(number);
    }
    let sum = secret
        .iter()
        .fold(0_u16, |sum, &byte| sum.wrapping_add(u16::from(byte)));
    let mut body = Zeroizing::new([public, &[0], &secret].concat());
    if has_sum {
        body.extend_from_slice(&sum.to_be_bytes());
    }
    Some(body)
}
