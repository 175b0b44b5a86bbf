//! Keys in the keyring of a desktop: the Secret Service of whoever is logged in (GNOME Keyring, KWallet,
//! KeePassXC), where this program is built with it.

#[cfg(feature = "keyring")]
mod secret_service;

use std::sync::Arc;

use member::{Keyring, KeyringError};
use zeroize::Zeroizing;

use crate::error::{CommandError, Result};

/// The keyring of whoever sits here. Nobody is asked yet.
#[cfg(feature = "keyring")]
pub(crate) fn of_desktop() -> Option<Arc<dyn Keyring>> {
    Some(Arc::new(secret_service::SecretService))
}

/// None is built in.
#[cfg(not(feature = "keyring"))]
pub(crate) fn of_desktop() -> Option<Arc<dyn Keyring>> {
    None
}

/// The same, where one is needed.
///
/// # Errors
///
/// Exit code 1 when this program has none.
pub(crate) fn required() -> Result<Arc<dyn Keyring>> {
    of_desktop().ok_or_else(|| CommandError::from(KeyringError::Absent))
}

/// The name under which the keys of a stanza of an rc file are.
pub(crate) fn stanza_name(name: &str) -> String {
    format!("stanza/{}", name.to_ascii_lowercase())
}

/// The lines with the keys of a stanza, as they would stand in an rc file.
///
/// # Errors
///
/// Exit code 1 when the keyring has none, or does not give them.
pub(crate) fn stanza_keys(name: &str) -> Result<Zeroizing<String>> {
    let kept = stanza_name(name);
    let text = required()?.get(&kept)?;
    text.ok_or_else(|| {
        let what = format!("keys of stanza {name} ({kept})");
        CommandError::from(KeyringError::Missing { what }).with_hint(
            "`postern keygen --keyring` puts them there; KEY_SOURCE keyring:NAME names another \
             stanza's",
        )
    })
}
