//! Keyrings of GnuPG on this host, for the stanzas with GPG_*.
//!
//! Read when a policy is compiled, unlocked once, kept in memory and erased with the policy. No gpg is
//! started and no gpg-agent is asked, then or for a packet.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gate::Keyrings;
use openpgp::{Certificate, Home, KeyFault, KeyringError, Opener};
use policy::{GPG_HOME_DIR_DEFAULT, OpenPgpRule, Signers};
use spa::Decrypt;

/// The keyrings that stanzas name, as they are on the disk, and that of the stanzas that name none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GnupgHomes {
    /// GPG_HOME_DIR of fwknopd.conf, `gpg_home_dir` of agent.toml.
    pub of_host: PathBuf,
}

// === impl GnupgHomes ===

impl Default for GnupgHomes {
    fn default() -> Self {
        Self {
            of_host: GPG_HOME_DIR_DEFAULT.into(),
        }
    }
}

impl Keyrings for GnupgHomes {
    fn decryptor(&self, rules: &[&OpenPgpRule]) -> Result<Arc<dyn Decrypt>, String> {
        let Some(first) = rules.first() else {
            return Err("no stanza".to_owned());
        };
        let path = Path::new(&*first.home);
        in_trusted_hands(path)?;
        let home = Home::read(path).map_err(|error| said(&error))?;
        let takes_unsigned = rules.iter().any(|rule| rule.signers == Signers::Anybody);
        let signers = signers(&home, rules, takes_unsigned)?;
        let mut refused = None;
        for rule in rules {
            let passphrase = rule.passphrase.as_ref().map(spa::Secret::as_bytes);
            let id = rule.decrypt_id.as_deref();
            match Opener::new(&home, id, passphrase, signers.clone(), takes_unsigned) {
                Ok(opener) => return Ok(Arc::new(opener)),
                Err(error) => refused = Some(said(&error)),
            }
        }
        Err(refused.unwrap_or_default())
    }
}

/// Whoever could write a keyring could sign packets by a key of her own.
fn in_trusted_hands(home: &Path) -> Result<(), String> {
    let rings = ["pubring.kbx", "pubring.gpg", "secring.gpg"];
    let private = home.join("private-keys-v1.d");
    let files = fs::read_dir(&private).into_iter().flatten().flatten();
    let files = files.map(|entry| entry.path());
    let all = [home.to_owned(), private].into_iter();
    let all = all.chain(rings.map(|ring| home.join(ring))).chain(files);
    for path in all {
        match program::trusted::check(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            checked => checked.map_err(|error| format!("{}: {error}", path.display()))?,
        }
    }
    Ok(())
}

/// Returns the public keys of those who may sign. One that is not there lets nobody in and hinders
/// nobody; where none is there, nobody could ever get in.
fn signers(
    home: &Home,
    rules: &[&OpenPgpRule],
    takes_unsigned: bool,
) -> Result<Vec<Certificate>, String> {
    let mut found: Vec<Certificate> = Vec::new();
    let mut missing = None;
    for name in rules.iter().flat_map(|rule| rule.signers.names()) {
        match home.certificate(&name.to_string()) {
            Ok(one) if found.iter().any(|it| it.fingerprint() == one.fingerprint()) => {}
            Ok(one) => found.push(one.clone()),
            Err(error) => {
                let error = said(&error);
                tracing::warn!(error, "who is named as a signer of packets cannot send any");
                missing = Some(error);
            }
        }
    }
    match missing {
        Some(missing) if found.is_empty() && !takes_unsigned => Err(missing),
        Some(_) | None => Ok(found),
    }
}

fn said(error: &KeyringError) -> String {
    let said = program::one_line(error).to_string();
    let hint = match error {
        KeyringError::SecretKey { cause, .. } => match cause {
            KeyFault::PassphraseNeeded => "; GPG_DECRYPT_PW gives it",
            KeyFault::WrongPassphrase => "; GPG_DECRYPT_PW gives another",
            KeyFault::OnCard => "; the host needs a key of its own",
            KeyFault::Protection | KeyFault::Format | KeyFault::Algorithm => "",
        },
        KeyringError::NoKey { .. } => "; `gpg --homedir DIR --import` brings keys there",
        KeyringError::Unreadable { .. }
        | KeyringError::Damaged { .. }
        | KeyringError::Exposed { .. }
        | KeyringError::Ambiguous { .. }
        | KeyringError::NoSecretKey { .. }
        | KeyringError::Unusable { .. } => "",
    };
    said + hint
}
