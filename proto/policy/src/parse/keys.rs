//! The keys of one stanza, line by line.
//!
//! Each KEY begins a pair, and an HMAC_KEY belongs to the KEY above it; fwknop does not care about
//! their order, so the HMAC_KEY of the first pair may also stand in front of it.

use spa::{DigestType, EncryptionKey, EncryptionMode, HmacKey, InvalidKey, Keys, Secret};

use crate::mistake::Place;
use crate::problem::Problem;

/// How many keys a stanza may hold: the old ones, the new one, and some to spare.
const KEYS_MAX: usize = 16;
/// What fwknop's sample file has in the place of keys.
const PLACEHOLDER: &str = "__CHANGEME__";
/// How the places of keys begin in a text that was printed without them.
pub(crate) const REDACTED: &str = "[redacted";

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Passphrase,
    Base64,
}

/// The key lines of a stanza as far as they have been read.
#[derive(Debug, Default)]
pub(crate) struct KeyLines {
    pairs: Vec<Pair>,
    early_hmac: Option<HmacKey>,
    mode: Option<EncryptionMode>,
    digest: Option<DigestType>,
}

#[derive(Debug)]
struct Pair {
    at: Place,
    encryption: EncryptionKey,
    hmac: Option<HmacKey>,
}

impl KeyLines {
    /// KEY and KEY_BASE64.
    pub(crate) fn encryption(
        &mut self,
        encoding: Encoding,
        text: &str,
        at: Place,
    ) -> Result<(), Problem> {
        if self.pairs.len() == KEYS_MAX {
            return Err(Problem::new(format!(
                "a stanza holds at most {KEYS_MAX} keys"
            )));
        }
        let encryption = EncryptionKey::new(secret(encoding, text)?).map_err(|e| problem(&e))?;
        let hmac = self.early_hmac.take();
        self.pairs.push(Pair {
            at,
            encryption,
            hmac,
        });
        Ok(())
    }

    /// HMAC_KEY and HMAC_KEY_BASE64.
    pub(crate) fn hmac(&mut self, encoding: Encoding, text: &str) -> Result<(), Problem> {
        let key = HmacKey::new(secret(encoding, text)?).map_err(|e| problem(&e))?;
        let place = match self.pairs.last_mut() {
            Some(pair) => &mut pair.hmac,
            None => &mut self.early_hmac,
        };
        if place.is_some() {
            return Err(Problem::new("this key has an HMAC key already")
                .hint("a further pair begins with its KEY or KEY_BASE64"));
        }
        *place = Some(key);
        Ok(())
    }

    /// ENCRYPTION_MODE, for all keys of the stanza.
    pub(crate) fn mode(&mut self, text: &str) -> Result<(), Problem> {
        let mode = text.parse().map_err(|_| {
            let problem = Problem::new("this encryption mode is not supported by this version");
            problem.hint("CBC, CTR, CFB, OFB, ECB and legacy are")
        })?;
        self.mode = Some(mode);
        Ok(())
    }

    /// HMAC_DIGEST_TYPE, for all keys of the stanza.
    pub(crate) fn digest(&mut self, text: &str) -> Result<(), Problem> {
        let digest = text.to_ascii_lowercase().parse().map_err(|_| {
            let problem = Problem::new("this HMAC digest type is not known");
            problem.hint("md5, sha1, sha256, sha384, sha512, sha3_256 and sha3_512 are")
        })?;
        self.digest = Some(digest);
        Ok(())
    }

    /// Whether there is no KEY.
    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// What stands here although pairwise keys leave no choice of it.
    pub(crate) fn pairwise_mistake(&self) -> Option<Problem> {
        if self.early_hmac.is_some() {
            let problem = Problem::new("the stanza has an HMAC key but no KEY");
            return Some(problem.hint("leave both out for pairwise keys"));
        }
        let mode = self.mode.unwrap_or_default();
        let digest = self.digest.unwrap_or_default();
        if mode == EncryptionMode::default() && digest == DigestType::default() {
            return None;
        }
        let problem =
            Problem::new("the stanza has no KEY, and pairwise keys are always CBC with sha256");
        Some(problem.hint("leave ENCRYPTION_MODE and HMAC_DIGEST_TYPE out, or give a KEY"))
    }

    /// Whether an HMAC_DIGEST_TYPE stands beside keys that have no HMAC key at all.
    pub(crate) fn has_useless_digest(&self) -> bool {
        self.digest.is_some() && self.pairs.iter().all(|pair| pair.hmac.is_none())
    }

    /// Puts the pairs together, or says for each line what is wrong with its pair.
    pub(crate) fn finish(self) -> Result<Box<[Keys]>, Vec<(Place, Problem)>> {
        let mode = self.mode.unwrap_or_default();
        let digest = self.digest.unwrap_or_default();
        let mut keys = Vec::with_capacity(self.pairs.len());
        let mut problems = Vec::new();
        for pair in self.pairs {
            let hmac = pair.hmac.map(|key| (key, digest));
            match Keys::new(pair.encryption, mode, hmac) {
                Ok(pair) => keys.push(pair),
                Err(error) => problems.push((pair.at, problem(&error))),
            }
        }
        if problems.is_empty() {
            Ok(keys.into_boxed_slice())
        } else {
            Err(problems)
        }
    }
}

fn secret(encoding: Encoding, text: &str) -> Result<Secret, Problem> {
    if text == PLACEHOLDER {
        let problem = Problem::new("the placeholder of the sample file is not a key");
        return Err(problem.hint("`head -c 32 /dev/urandom | base64` makes one"));
    }
    if text.starts_with(REDACTED) {
        let problem = Problem::new("the key was left out when this text was shown");
        return Err(problem.hint("put the key back in its place"));
    }
    let secret = match encoding {
        Encoding::Passphrase => Secret::from_passphrase(text),
        Encoding::Base64 => Secret::from_base64(text).map_err(|e| problem(&e))?,
    };
    if secret.as_bytes().is_empty() {
        return Err(Problem::new("the key is empty"));
    }
    Ok(secret)
}

fn problem(error: &InvalidKey) -> Problem {
    Problem::new(error.to_string())
}
