//! Keyrings for OpenPGP packets, from outside of the gate.

use std::sync::Arc;

use policy::OpenPgpRule;
use spa::Decrypt;

/// Unlocks the keys that stanzas with GPG_* name. Reading a keyring is not pure, so that whoever
/// compiles a policy brings one.
pub trait Keyrings {
    /// Returns what opens the packets of these stanzas, which have keyring, key and HMAC key in
    /// common: whoever one of them lets sign is verified.
    ///
    /// # Errors
    ///
    /// Why it cannot be had, in words.
    fn decryptor(&self, rules: &[&OpenPgpRule]) -> Result<Arc<dyn Decrypt>, String>;
}

/// Where there is no keyring: a stanza with GPG_* cannot be enforced.
#[derive(Clone, Copy, Debug)]
pub struct NoKeyrings;

impl Keyrings for NoKeyrings {
    fn decryptor(&self, _: &[&OpenPgpRule]) -> Result<Arc<dyn Decrypt>, String> {
        Err("there is no keyring here".to_owned())
    }
}
