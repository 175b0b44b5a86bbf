//! The keys of one stanza, line by line.
//!
//! fwknop has one KEY and one HMAC_KEY for a stanza, in any order, and takes the last line of
//! each: so does its dialect here. Further pairs have a form in which a key cannot lose its HMAC
//! key: both in one line of MORE_KEYS_BASE64.
//!
//! In our own texts each KEY begins a pair, and an HMAC_KEY belongs to the KEY above it; the HMAC_KEY
//! of the first pair may also stand in front of it.
//!
//! In a stanza with any HMAC key no key is without one, whatever the text.

use spa::{DigestType, EncryptionKey, EncryptionMode, HmacKey, InvalidKey, Keys, Secret};

use crate::dialect::Dialect;
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
#[derive(Debug)]
pub(crate) struct KeyLines {
    dialect: Dialect,
    /// Of KEY and HMAC_KEY; in fwknop's dialect at most one.
    pairs: Vec<Pair>,
    /// Of MORE_KEYS_BASE64.
    more: Vec<Pair>,
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

/// Keys with which a packet may come, and what is said about those that were left out.
pub(crate) type Complete = (Box<[Keys]>, Vec<(Place, Problem)>);

impl KeyLines {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            pairs: Vec::new(),
            more: Vec::new(),
            early_hmac: None,
            mode: None,
            digest: None,
        }
    }

    /// KEY and KEY_BASE64.
    pub(crate) fn encryption(
        &mut self,
        encoding: Encoding,
        text: &str,
        at: Place,
    ) -> Result<(), Problem> {
        let encryption = EncryptionKey::new(secret(encoding, text)?).map_err(|e| problem(&e))?;
        if self.dialect == Dialect::Alone
            && let Some(pair) = self.pairs.last_mut()
        {
            (pair.at, pair.encryption) = (at, encryption);
            return Ok(());
        }
        self.check_room()?;
        let hmac = self.early_hmac.take();
        self.pairs.push(Pair {
            at,
            encryption,
            hmac,
        });
        Ok(())
    }

    /// MORE_KEYS_BASE64: a pair, both in one line.
    pub(crate) fn more(&mut self, text: &str, at: Place) -> Result<(), Problem> {
        self.check_room()?;
        let mut words = text.split_whitespace();
        let (Some(key), Some(hmac), None) = (words.next(), words.next(), words.next()) else {
            let problem = Problem::new("the value is not a key and an HMAC key");
            return Err(problem.hint("both in base64, with a blank between them"));
        };
        let encryption = secret(Encoding::Base64, key)?;
        let hmac = secret(Encoding::Base64, hmac)?;
        self.more.push(Pair {
            at,
            encryption: EncryptionKey::new(encryption).map_err(|e| problem(&e))?,
            hmac: Some(HmacKey::new(hmac).map_err(|e| problem(&e))?),
        });
        Ok(())
    }

    fn check_room(&self) -> Result<(), Problem> {
        if self.pairs.len() + self.more.len() < KEYS_MAX {
            return Ok(());
        }
        let message = format!("a stanza holds at most {KEYS_MAX} keys");
        Err(Problem::new(message))
    }

    /// HMAC_KEY and HMAC_KEY_BASE64.
    pub(crate) fn hmac(&mut self, encoding: Encoding, text: &str) -> Result<(), Problem> {
        let key = HmacKey::new(secret(encoding, text)?).map_err(|e| problem(&e))?;
        let place = match self.pairs.last_mut() {
            Some(pair) => &mut pair.hmac,
            None => &mut self.early_hmac,
        };
        if place.is_some() && self.dialect != Dialect::Alone {
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

    /// Returns the HMAC key of packets that OpenPGP wraps: the stanza's last one.
    pub(crate) fn open_pgp_hmac(&self) -> Option<(HmacKey, DigestType)> {
        let of_pairs = self.pairs.iter().rev().find_map(|pair| pair.hmac.as_ref());
        let key = of_pairs.or(self.early_hmac.as_ref())?;
        Some((key.clone(), self.digest.unwrap_or_default()))
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
        self.digest.is_some() && !self.has_hmac()
    }

    fn has_hmac(&self) -> bool {
        let mut pairs = self.pairs.iter().chain(&self.more);
        pairs.any(|pair| pair.hmac.is_some())
    }

    /// Puts the pairs together, or says for each line what is wrong with its pair.
    ///
    /// A key without an HMAC key beside keys with one is a mistake; of a compiled text, which a
    /// controller of an earlier version may have made, it is left out, so that the rest stays in force.
    pub(crate) fn finish(self) -> Result<Complete, Vec<(Place, Problem)>> {
        let mode = self.mode.unwrap_or_default();
        let digest = self.digest.unwrap_or_default();
        let has_hmac = self.has_hmac();
        let mut keys = Vec::with_capacity(self.pairs.len() + self.more.len());
        let mut problems = Vec::new();
        let mut dropped = Vec::new();
        for pair in self.pairs.into_iter().chain(self.more) {
            if has_hmac && pair.hmac.is_none() {
                let problem =
                    Problem::new("this key has no HMAC key, and others of the stanza have");
                match self.dialect {
                    Dialect::Compiled => dropped.push((pair.at, problem.hint("it opens nothing"))),
                    Dialect::Operator | Dialect::Alone => {
                        let hint = "HMAC_KEY_BASE64 below it; a key that is no longer used goes";
                        problems.push((pair.at, problem.hint(hint)));
                    }
                }
                continue;
            }
            let hmac = pair.hmac.map(|key| (key, digest));
            match Keys::new(pair.encryption, mode, hmac) {
                Ok(pair) => keys.push(pair),
                Err(error) => problems.push((pair.at, problem(&error))),
            }
        }
        if problems.is_empty() {
            Ok((keys.into_boxed_slice(), dropped))
        } else {
            Err(problems)
        }
    }
}

/// What is doubtful about a passphrase that ends in what looks like a comment: it is a part of the
/// key, here as for fwknop.
pub(crate) fn comment_in(passphrase: &str) -> Option<Problem> {
    let mut blank_before = false;
    let has_comment = passphrase.chars().any(|c| {
        let begins = c == '#' && blank_before;
        blank_before = c.is_whitespace();
        begins
    });
    has_comment.then(|| {
        let problem = Problem::new(
            "what looks like a comment behind the key is a part of the key, as for fwknop",
        );
        problem
            .hint("comments stand in lines of their own; a key with ` #` in it is better in base64")
    })
}

/// Reads a secret that must not be a placeholder.
pub(crate) fn secret(encoding: Encoding, text: &str) -> Result<Secret, Problem> {
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
