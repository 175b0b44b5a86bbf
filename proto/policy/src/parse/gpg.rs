//! The GPG_* lines of one stanza, line by line.

use spa::{DigestType, HmacKey, Secret};

use crate::dialect::Dialect;
use crate::keyword::Keyword;
use crate::open_pgp::{KeyId, OpenPgpRule, Signers};
use crate::parse::keys::{Encoding, secret};
use crate::parse::values;
use crate::problem::Problem;

/// The lines as far as they have been read.
#[derive(Debug, Default)]
pub(crate) struct GpgLines {
    home: Option<Box<str>>,
    decrypt_id: Option<Box<str>>,
    passphrase: Option<Secret>,
    needs_no_passphrase: bool,
    disables_signatures: bool,
    ids: Box<[KeyId]>,
    fingerprints: Box<[KeyId]>,
    /// The first of them, and those that change nothing.
    first: Option<Keyword>,
    moot: Vec<(Keyword, &'static str)>,
}

// === impl GpgLines ===

impl GpgLines {
    /// Takes one line, which is one of these.
    pub(crate) fn line(&mut self, keyword: Keyword, value: &str) -> Result<(), Problem> {
        if keyword == Keyword::GpgHomeDir {
            self.home = Some(value.into());
        } else if keyword == Keyword::GpgExe {
            self.moot(keyword, "keys are read without gpg");
        } else if keyword == Keyword::GpgDecryptId {
            self.decrypt_id = Some(value.into());
        } else if keyword == Keyword::GpgDecryptPw {
            self.passphrase = Some(secret(Encoding::Passphrase, value)?);
        } else if keyword == Keyword::GpgAllowNoPw {
            self.needs_no_passphrase = values::switch(value)?;
        } else if keyword == Keyword::GpgRequireSig {
            if !values::switch(value)? {
                self.moot(
                    keyword,
                    "GPG_DISABLE_SIG Y is what lets unsigned packets in",
                );
            }
        } else if keyword == Keyword::GpgDisableSig {
            self.disables_signatures = values::switch(value)?;
        } else if keyword == Keyword::GpgIgnoreSigVerifyError {
            if values::switch(value)? {
                self.moot(
                    keyword,
                    "a signature that does not verify is refused, and keys that the stanza names need \
                     no other trust",
                );
            }
        } else if keyword == Keyword::GpgRemoteId {
            self.ids = KeyId::parse_list(value).map_err(shown)?;
        } else if keyword == Keyword::GpgFingerprintId {
            self.fingerprints = KeyId::parse_fingerprints(value).map_err(shown)?;
        }
        // ENCRYPTION_MODE Asymmetric says nothing that the other lines do not say.
        self.first.get_or_insert(keyword);
        Ok(())
    }

    fn moot(&mut self, keyword: Keyword, why: &'static str) {
        self.moot.push((keyword, why));
    }

    /// Whether packets that OpenPGP wraps belong to the stanza, as with fwknop: a key can be unlocked.
    pub(crate) fn opens(&self) -> bool {
        self.passphrase.is_some() || self.needs_no_passphrase
    }

    /// What is wrong with them as a whole.
    pub(crate) fn mistake(&self, dialect: Dialect, has_key: bool) -> Option<(Keyword, Problem)> {
        let keyword = self.first?;
        if dialect != Dialect::Alone {
            let problem = Problem::new(
                "packets of GPG are opened with a keyring of the host, of which a fleet knows nothing: \
                 such a stanza stands in the access file of a host without a controller",
            );
            let hint = "without KEY every user has a key pair of her own with every host";
            return Some((keyword, problem.hint(hint)));
        }
        if !self.opens() {
            let problem = Problem::new("the stanza has no KEY, and no GPG key can be unlocked");
            let problem = problem.hint(
                "GPG_DECRYPT_PW gives the passphrase, GPG_ALLOW_NO_PW Y says that there is none",
            );
            return (!has_key).then_some((keyword, problem));
        }
        let names_nobody = self.ids.is_empty() && self.fingerprints.is_empty();
        (names_nobody && !self.disables_signatures).then(|| {
            let problem = Problem::new("the stanza does not say who signs");
            let problem = problem.hint("GPG_FINGERPRINT_ID and GPG_REMOTE_ID do");
            (Keyword::GpgFingerprintId, problem)
        })
    }

    /// Which of the lines have no effect, and what is allowed and perhaps not meant.
    pub(crate) fn warnings(&self, has_hmac: bool, warnings: &mut Vec<(Keyword, Problem)>) {
        let moot = self.moot.iter();
        warnings.extend(moot.map(|&(keyword, why)| {
            let problem = Problem::new(format!("the line has no effect: {why}"));
            (keyword, problem)
        }));
        let Some(first) = self.first else {
            return;
        };
        if !self.opens() {
            let problem = Problem::new(
                "the GPG lines have no effect without GPG_DECRYPT_PW or GPG_ALLOW_NO_PW Y",
            );
            warnings.push((first, problem));
            return;
        }
        if self.disables_signatures && !has_hmac {
            let problem = Problem::new("whoever has the public key of this host may open it");
            let problem =
                problem.hint("an HMAC_KEY, or GPG_FINGERPRINT_ID without GPG_DISABLE_SIG");
            warnings.push((Keyword::GpgDisableSig, problem));
        } else if !has_hmac {
            let problem = Problem::new("without an HMAC key strangers can have packets decrypted");
            let problem = problem.hint("add HMAC_KEY_BASE64, here and at the clients");
            warnings.push((first, problem));
        }
        let is_short = self.ids.iter().any(KeyId::is_short) && self.fingerprints.is_empty();
        if is_short && !self.disables_signatures {
            let problem = Problem::new("another key can be made that has the same id");
            let problem = problem.hint("GPG_FINGERPRINT_ID names one key");
            warnings.push((Keyword::GpgRemoteId, problem));
        }
    }

    /// Puts them together; `None` where OpenPGP opens nothing. `home` is that of the host.
    pub(crate) fn finish(
        self,
        home: &str,
        hmac: Option<(HmacKey, DigestType)>,
    ) -> Option<Box<OpenPgpRule>> {
        if !self.opens() {
            return None;
        }
        let signers = if self.disables_signatures {
            Signers::Anybody
        } else {
            Signers::Named {
                ids: self.ids,
                fingerprints: self.fingerprints,
            }
        };
        Some(Box::new(OpenPgpRule {
            home: self.home.unwrap_or_else(|| home.into()),
            decrypt_id: self.decrypt_id,
            passphrase: self.passphrase,
            signers,
            hmac,
        }))
    }
}

fn shown(error: impl std::error::Error) -> Problem {
    Problem::new(error.to_string())
}
