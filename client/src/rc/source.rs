//! `KEY_SOURCE keyring`: the keys of a stanza are in the keyring of the desktop, as lines of the same form.
//!
//! What the keyring has is what would stand in the stanza: KEY or KEY_BASE64, and HMAC_KEY or
//! HMAC_KEY_BASE64 unless one stands there; passwords of GnuPG, too.

use std::borrow::Cow;

use super::table::KEY_SOURCE;
use super::{Stanza, Value};
use crate::error::{CommandError, Result};
use crate::keyring;

/// Each group is one secret, in one of several forms.
const SECRETS: [&[&str]; 3] = [
    &["KEY_BASE64", "KEY", "KEY_FILE"],
    &["HMAC_KEY_BASE64", "HMAC_KEY", "HMAC_KEY_FILE"],
    &["GPG_SIGNING_PW_BASE64", "GPG_SIGNING_PW"],
];
/// With one of these the key stands in the stanza.
const KEYS: &[&str] = SECRETS[0];

impl Stanza {
    /// With the keys that are in the keyring, if it says so. The keyring is asked here.
    ///
    /// # Errors
    ///
    /// Exit code 64 for another source than a keyring and for what is there and no key, 1 when the keyring
    /// has no keys for the stanza or does not give them.
    pub(crate) fn with_keys(&self) -> Result<Cow<'_, Self>> {
        let source = self.read(KEY_SOURCE, |text| named(text, &self.name))?;
        let Some(name) = source else {
            return Ok(Cow::Borrowed(self));
        };
        let text = keyring::stanza_keys(&name)?;
        let mut whole = self.clone();
        whole.add_keys(&name, &text)?;
        Ok(Cow::Owned(whole))
    }

    /// Before another stanza is laid on top: where that says keys, this one's are not meant.
    pub(super) fn make_way_for(&mut self, named: &Self) {
        let says = |name: &&str| named.variables.contains_key(*name);
        if says(&KEY_SOURCE) {
            for name in SECRETS.concat() {
                self.unset(name);
            }
        }
        if KEYS.iter().any(says) {
            self.unset(KEY_SOURCE);
        }
    }

    /// The mistake that the key is said to be in two places.
    pub(super) fn two_sources(&self) -> Option<String> {
        let source = self.variables.get(KEY_SOURCE)?;
        let beside = KEYS
            .iter()
            .find(|name| self.variables.contains_key(**name))?;
        let problem = format!("{beside} stands in the same stanza; leave one of both out");
        Some(self.mistake(KEY_SOURCE, source, &problem))
    }

    fn add_keys(&mut self, name: &str, text: &str) -> Result {
        let mut kept = Self::new(&keyring::stanza_name(name));
        for (index, line) in text.lines().enumerate() {
            if !line.trim().is_empty() && kept.add(line.trim().as_bytes(), index + 1).is_err() {
                return Err(no_keys(name));
            }
        }
        let mut taken = 0;
        for secret in SECRETS {
            let own = secret.iter().any(|form| self.variables.contains_key(*form));
            for form in secret {
                let Some((form, value)) = kept.variables.remove_entry(*form) else {
                    continue;
                };
                taken += 1;
                if !own {
                    let Value { bytes, at } = value;
                    self.variables.insert(form, Value { bytes, at });
                }
            }
        }
        if taken == 0 || !kept.variables.is_empty() {
            return Err(no_keys(name));
        }
        Ok(())
    }
}

/// What is there is not repeated.
fn no_keys(name: &str) -> CommandError {
    CommandError::invalid(format!(
        "what the keyring has as {} is not the keys of a stanza",
        keyring::stanza_name(name)
    ))
    .with_hint("it is lines as in an rc file: KEY_BASE64 and HMAC_KEY_BASE64, each with its value")
}

/// The name of the stanza whose keys are meant.
fn named(text: &str, own: &str) -> Result<String, String> {
    let (source, name) = text.split_once(':').unwrap_or((text, own));
    if !source.eq_ignore_ascii_case("keyring") {
        return Err("is keyring, or keyring:NAME".to_owned());
    }
    if name.is_empty() {
        return Err("say keyring:NAME, since no stanza is named".to_owned());
    }
    Ok(name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::super::RcFile;
    use super::*;

    fn stanza(text: &str) -> Stanza {
        RcFile::parse("rc", text)
            .unwrap()
            .stanza(Some("office"))
            .unwrap()
    }

    #[test]
    fn the_keys_of_the_keyring_are_lines_of_an_rc_file_and_an_hmac_key_of_the_stanza_stays() {
        let mut own = stanza("[office]\nKEY_SOURCE keyring\nHMAC_KEY own\n");
        own.add_keys("office", "KEY_BASE64 YWJj\n\nHMAC_KEY other\n")
            .unwrap();

        assert_eq!(own.text("KEY_BASE64"), Some("YWJj"));
        assert_eq!(own.text("HMAC_KEY"), Some("own"));
    }

    #[test]
    fn what_is_no_key_in_the_keyring_is_refused_and_not_repeated() {
        for text in [
            "",
            "hunter2",
            "KEY_BASE64",
            "KEY a\nACCESS tcp/22",
            "ACCESS tcp/22",
        ] {
            let mut own = stanza("[office]\nKEY_SOURCE keyring\n");

            let refused = own.add_keys("office", text).unwrap_err().to_string();

            let told = "what the keyring has as stanza/office is not the keys of a stanza";
            assert_eq!(refused, told, "{text}");
        }
    }

    #[test]
    fn a_stanza_says_of_one_place_only_where_its_key_is_and_on_top_of_the_default() {
        let both = stanza("[office]\nKEY_SOURCE keyring\nKEY abc\n");
        let told = both.require_supported().unwrap_err().to_string();
        assert_eq!(
            told,
            "rc is invalid\nrc:2: KEY_SOURCE: KEY stands in the same stanza; leave one of both out"
        );

        let own = stanza("[default]\nKEY_SOURCE keyring\n[office]\nKEY abc\n");
        assert!(own.require_supported().is_ok());
        assert_eq!(own.text(KEY_SOURCE), None);
        let kept = stanza("[default]\nKEY abc\nHMAC_KEY d\n[office]\nKEY_SOURCE keyring\n");
        assert!(kept.require_supported().is_ok());
        assert_eq!((kept.text("KEY"), kept.text("HMAC_KEY")), (None, None));
    }

    #[test]
    fn a_source_is_a_keyring_and_a_name_if_none_is_that_of_the_stanza() {
        assert_eq!(named("keyring", "office").as_deref(), Ok("office"));
        assert_eq!(named("Keyring:Home", "office").as_deref(), Ok("home"));
        assert!(named("keyring", "").is_err());
        assert!(named("file", "office").is_err());
    }
}
