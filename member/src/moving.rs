//! The long-lived keys of a membership, from its file into a keyring and back. At every moment they are
//! in one of both, and the file says in which; run again, a move that was cut off comes to its end.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::error::{FilesError, JoinError};
use crate::files::{self, CertificateFile, MembershipFile};
use crate::held::Held;
use crate::joining;
use crate::keyring::{Keyring, KeyringError};
use crate::membership::Membership;

impl Membership {
    /// Whether the long-lived keys are in a keyring, and not in the file.
    #[must_use]
    pub fn is_in_keyring(&self) -> bool {
        self.keys.keyring().is_some()
    }

    /// The name under which a keyring has the keys, or would have them.
    #[must_use]
    pub fn keyring_name(&self) -> String {
        self.keys.publics().name()
    }

    /// Reads the keys once, wherever they are.
    ///
    /// # Errors
    ///
    /// What the keyring says.
    pub fn check_keys(&self) -> Result<(), FilesError> {
        self.keys.get().map(drop)
    }

    /// Moves the keys into a keyring: written there, read again there, and only then taken out of the
    /// file. The certificate with its key goes from the disk, too.
    ///
    /// # Errors
    ///
    /// What the keyring or the disk says; then the file has the keys as before.
    pub fn move_to_keyring(&mut self, keyring: &Arc<dyn Keyring>) -> Result<(), JoinError> {
        files::prepare(&self.dir)?;
        let _held = joining::hold(&self.dir)?;
        self.require_current()?;
        self.require_no_rotation()?;
        if !self.is_in_keyring() {
            let whose = format!("{} {} of fleet {}", self.role, self.name, self.fleet);
            self.keys = Held::put(self.keys.get()?.clone(), keyring, &whose)?;
            self.save()?;
        }
        self.keys.get()?;
        joining::forget_keys(&self.dir, self.keys.publics())?;
        let certificate = files::load::<CertificateFile>(&self.dir).ok().flatten();
        if let Some(CertificateFile {
            certificate, key, ..
        }) = certificate
        {
            self.save_certificate(&certificate.0, &key.0)?;
        }
        files::remove::<CertificateFile>(&self.dir)?;
        Ok(files::discard_drafts(&self.dir)?)
    }

    /// Moves the keys into the file: written and read again there, and only then taken out of the
    /// keyring. What could not be taken out there is the second answer.
    ///
    /// # Errors
    ///
    /// What the keyring or the disk says; then the keyring has the keys as before.
    pub fn move_to_file(
        &mut self,
        keyring: &Arc<dyn Keyring>,
    ) -> Result<Option<KeyringError>, JoinError> {
        files::prepare(&self.dir)?;
        let _held = joining::hold(&self.dir)?;
        self.require_current()?;
        self.require_no_rotation()?;
        if self.is_in_keyring() {
            let session = self.certificate_dir();
            self.keys = Held::in_file(self.keys.get()?.clone());
            self.save()?;
            self.require_current()?;
            if let Some(dir) = session {
                files::remove::<CertificateFile>(&dir)?;
            }
        }
        Ok(keyring.remove(&self.keyring_name()).err())
    }

    /// Takes the keys of a membership that this one replaces out of their keyring.
    pub(crate) fn forget_keys_of(&self, before: &Self) {
        let Some(keyring) = before.keys.keyring() else {
            return;
        };
        if before.keys.publics() == self.keys.publics() {
            return;
        }
        if let Some(dir) = before.certificate_dir() {
            let _ = files::remove::<CertificateFile>(&dir);
        }
        if let Err(error) = keyring.remove(&before.keyring_name()) {
            let error = program::one_line(&error);
            tracing::warn!(%error, "the keys of the membership before stay in the keyring");
        }
    }

    /// Whether the file is the one that this was loaded from: somebody may have joined meanwhile.
    pub(crate) fn require_current(&self) -> Result<(), FilesError> {
        let path = self.dir.join(files::MEMBERSHIP);
        let changed = || FilesError::damaged(&path, "it has changed meanwhile");
        let file: MembershipFile = files::load(&self.dir)?.ok_or_else(changed)?;
        let (here, there) = (self.keys.to_store(), file.keys());
        let same = |one: &Zeroizing<Vec<u8>>, other: &Zeroizing<Vec<u8>>| one == other;
        let exchange = match (&here.exchange, &there.exchange) {
            (None, None) => true,
            (Some(here), Some(there)) => same(&here.0, &there.0),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if here.version == there.version && same(&here.identity.0, &there.identity.0) && exchange {
            return Ok(());
        }
        Err(changed())
    }
}
