//! `--key-gen`: keys for a stanza, in its own words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Failed;
use super::switches::Switches;

/// What a key may have, in bytes.
const LEN: std::ops::RangeInclusive<usize> = 1..=128;
/// More than this no packet can be encrypted with.
const ENCRYPTION_LEN: usize = 32;

/// Makes both keys and prints them, or writes them into a new file.
pub(super) fn generate(switches: &Switches) -> Result<(), Failed> {
    let key_len = switches.key_len.unwrap_or(ENCRYPTION_LEN);
    let hmac_len = match (switches.hmac_key_len, switches.hmac_digest_type.as_deref()) {
        (Some(len), hash) => {
            len_of(hash.unwrap_or("sha256"))?;
            len
        }
        (None, hash) => len_of(hash.unwrap_or("sha256"))?,
    };
    for len in [key_len, hmac_len] {
        if !LEN.contains(&len) {
            return Err(Failed::Usage(format!(
                "a key of {len} bytes is not one of 1 to 128"
            )));
        }
    }
    if key_len > ENCRYPTION_LEN {
        let text = format!("an encryption key has {ENCRYPTION_LEN} bytes at most, not {key_len}");
        return Err(Failed::Usage(text));
    }
    let text = Zeroizing::new(format!(
        "KEY_BASE64: {}\nHMAC_KEY_BASE64: {}\n",
        *key(key_len)?,
        *key(hmac_len)?
    ));
    match &switches.key_gen_file {
        None => program::print(text.as_str())
            .map_err(|error| Failed::Other(program::one_line(&error).to_string())),
        Some(path) => {
            program::files::replace(path, 0o600, text.as_bytes())
                .map_err(|cause| Failed::Host(format!("cannot write {}", path.display()), cause))?;
            program::note(format!("both keys are in {}", path.display()));
            Ok(())
        }
    }
}

/// The block of the hash, or what it puts out, as fwknopd has it. SHA3, for which that has no
/// length of its own, has what it puts out.
fn len_of(hash: &str) -> Result<usize, Failed> {
    match hash.to_ascii_lowercase().as_str() {
        "md5" => Ok(16),
        "sha1" => Ok(20),
        "sha256" | "sha3_512" => Ok(64),
        "sha384" | "sha512" => Ok(128),
        "sha3_256" => Ok(32),
        _ => Err(Failed::Usage(format!(
            "`{hash}` is none of md5, sha1, sha256, sha384, sha512, sha3_256, sha3_512"
        ))),
    }
}

fn key(len: usize) -> Result<Zeroizing<String>, Failed> {
    let mut bytes = Zeroizing::new(vec![0; len]);
    getrandom::fill(&mut bytes).map_err(|cause| {
        let cause = std::io::Error::other(cause);
        Failed::Host("the operating system gives no randomness".to_owned(), cause)
    })?;
    Ok(Zeroizing::new(STANDARD.encode(&*bytes)))
}
