//! New keys: -k and -K.

use std::path::Path;

use spa::{DigestType, Secret};
use zeroize::Zeroizing;

use super::line::Line;
use crate::error::{CommandError, Result};

/// Bytes of an encryption key: what AES-256 takes, and no server takes more.
const KEY_LEN_MAX: usize = 32;
/// Bytes of an HMAC key: the most that the reference takes.
const HMAC_KEY_LEN_MAX: usize = 128;

/// A pair of keys, in base64.
pub(super) struct Made {
    pub(super) key: Zeroizing<String>,
    pub(super) hmac_key: Zeroizing<String>,
}

/// Makes a pair.
///
/// # Errors
///
/// Exit code 2 for a length that no key has.
pub(super) fn make(line: &Line, hmac_type: DigestType) -> Result<Made> {
    let key_len = line.read("key-len", |text| length(text, KEY_LEN_MAX))?;
    let hmac_len = line.read("hmac-key-len", |text| length(text, HMAC_KEY_LEN_MAX))?;
    Ok(Made {
        key: random(key_len.unwrap_or(KEY_LEN_MAX))?,
        hmac_key: random(hmac_len.unwrap_or_else(|| default_len(hmac_type)))?,
    })
}

fn length(text: &str, most: usize) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|length| (1..=most).contains(length))
        .ok_or_else(|| format!("must be 1 to {most} bytes"))
}

/// As many bytes as the reference chooses; it chooses none for SHA-3.
fn default_len(digest: DigestType) -> usize {
    match digest {
        DigestType::Md5 => 16,
        DigestType::Sha1 => 20,
        DigestType::Sha256 | DigestType::Sha3_256 | DigestType::Sha3_512 => 64,
        DigestType::Sha384 | DigestType::Sha512 => 128,
    }
}

fn random(length: usize) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    getrandom::fill(&mut bytes)
        .map_err(|cause| CommandError::failed("the operating system gives no randomness", cause))?;
    Ok(Secret::from_passphrase(&*bytes).to_base64())
}

// === impl Made ===

impl Made {
    /// The two lines that the reference prints.
    pub(super) fn lines(&self) -> Zeroizing<String> {
        let Self { key, hmac_key } = self;
        Zeroizing::new(format!(
            "KEY_BASE64: {}\nHMAC_KEY_BASE64: {}\n",
            key.as_str(),
            hmac_key.as_str()
        ))
    }

    /// Writes them to a file that its owner alone can read.
    ///
    /// # Errors
    ///
    /// Exit code 1 when it cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result {
        program::files::replace(path, 0o600, self.lines().as_bytes()).map_err(|cause| {
            CommandError::failed(format!("cannot write {}", path.display()), cause)
        })
    }
}
