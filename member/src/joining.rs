//! A join that may be broken off at any moment, and goes on when it is begun again with its token.
//!
//! The controller knows a joiner again by its identity key. So the keys are on the disk before the
//! token is sent, and whoever comes with the same token sends the same keys: what was redeemed before
//! is answered as it was then. Tokens are told apart by a digest; a secret stays out of the file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use fleet::{Role, Token};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use crate::error::{FilesError, JoinError};
use crate::files::{self, JoiningFile, Stored as _, WITH_KEYS};
use crate::held::{Held, Publics};
use crate::keyring::{Keyring, KeyringError};
use crate::keys::Keys;
use crate::membership::Membership;

/// A join with one token in one directory, which nobody else has meanwhile.
#[derive(Debug)]
pub(crate) struct Joining<'a> {
    dir: &'a Path,
    token: [u8; 32],
    pub(crate) keys: Held,
    /// The keys are those of a join before, so the controller may know them.
    pub(crate) was_begun: bool,
    _held: Flock<File>,
}

// === impl Joining ===

impl<'a> Joining<'a> {
    /// Begins with keys that are kept: those of the join before, if that was with this token. New ones go
    /// into the keyring, or into the file.
    ///
    /// # Errors
    ///
    /// [`JoinError::Running`] while somebody else joins in this directory; else what the disk or the
    /// keyring says.
    pub(crate) fn begin(
        dir: &'a Path,
        token: &Token,
        (keyring, into_keyring): (Option<&Arc<dyn Keyring>>, bool),
    ) -> Result<Self, JoinError> {
        let held = hold(dir)?;
        let digest = digest(token);
        let before = load(dir)?.filter(|file| *file.token.0 == digest);
        let keys = match before {
            Some(file) => begun(dir, &file, keyring)?,
            None => None,
        };
        let was_begun = keys.is_some();
        let keys = match keys {
            Some(keys) => keys,
            None => {
                let keys = Keys::generate(matches!(token.role, Role::Host | Role::User))?;
                let keys = if into_keyring {
                    let keyring = keyring.ok_or(KeyringError::Absent);
                    let keyring = keyring.map_err(FilesError::from)?;
                    let whose = format!("{} {}", token.role, token.name);
                    Held::put(keys, keyring, whose.trim())?
                } else {
                    Held::in_file(keys)
                };
                files::save(dir, &JoiningFile::begun(&digest, keys.to_store()))?;
                keys
            }
        };
        Ok(Self {
            dir,
            token: digest,
            keys,
            was_begun,
            _held: held,
        })
    }

    /// The membership is on the disk and has the keys; what stays is which token it came from.
    pub(crate) fn end(self) -> Result<(), FilesError> {
        files::save(self.dir, &JoiningFile::ended(&self.token))
    }
}

/// The membership that this token came to in `dir`, if the join came to its end.
///
/// # Errors
///
/// What the disk says.
pub(crate) fn came_of(
    dir: &Path,
    token: &Token,
    keyring: Option<&Arc<dyn Keyring>>,
) -> Result<Option<Membership>, FilesError> {
    let digest = digest(token);
    let Some(file) = load(dir)?.filter(|file| *file.token.0 == digest) else {
        return Ok(None);
    };
    let Ok(member) = Membership::load_with(dir, keyring.cloned()) else {
        return Ok(None);
    };
    let Some(stored) = file.keys() else {
        return Ok(Some(member));
    };
    match Held::stored(&dir.join(JoiningFile::FILE), &stored, keyring) {
        // Broken off after the membership was written.
        Ok(keys) if keys.publics() == member.keys.publics() => {
            files::save(dir, &JoiningFile::ended(&digest))?;
            Ok(Some(member))
        }
        // The membership is the one before, which is being replaced.
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Whether a join with this token has begun in `dir` and has not come to its end.
///
/// # Errors
///
/// What the disk says.
pub(crate) fn has_begun(dir: &Path, token: &Token) -> Result<bool, FilesError> {
    let file = load(dir)?.filter(|file| *file.token.0 == digest(token));
    Ok(file.is_some_and(|file| file.keys().is_some()))
}

/// Takes these keys out of what a join left that was broken off after the membership was written.
///
/// # Errors
///
/// What the disk says.
pub(crate) fn forget_keys(dir: &Path, keys: &Publics) -> Result<(), FilesError> {
    let Some(file) = load(dir)? else {
        return Ok(());
    };
    let Some(stored) = file.keys().filter(|stored| stored.version == WITH_KEYS) else {
        return Ok(());
    };
    match Held::stored(&dir.join(JoiningFile::FILE), &stored, None) {
        Ok(held) if held.publics() == keys => files::save(dir, &JoiningFile::ended(&file.token.0)),
        // Of another join, which may still go on.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What was written before; a file that is damaged is as good as none.
fn load(dir: &Path) -> Result<Option<JoiningFile>, FilesError> {
    match files::load(dir) {
        Ok(file) => Ok(file),
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The keys of a join that has begun; `None` when they are gone, and others are to be made.
fn begun(
    dir: &Path,
    file: &JoiningFile,
    keyring: Option<&Arc<dyn Keyring>>,
) -> Result<Option<Held>, FilesError> {
    let Some(stored) = file.keys() else {
        return Ok(None);
    };
    let held = match Held::stored(&dir.join(JoiningFile::FILE), &stored, keyring) {
        Ok(held) => held,
        Err(error) if error.is_damage() => return Ok(None),
        Err(error) => return Err(error),
    };
    // A membership whose keys nobody has must not come of it.
    match held.get() {
        Ok(_) => Ok(Some(held)),
        Err(FilesError::Keyring(KeyringError::Missing { .. } | KeyringError::Other { .. })) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn digest(token: &Token) -> [u8; 32] {
    Sha256::digest(token.secret).into()
}

/// Two joins at once would each write keys, and the token is good for one of them.
pub(crate) fn hold(dir: &Path) -> Result<Flock<File>, JoinError> {
    let opened = File::open(dir).map_err(FilesError::io("open", dir))?;
    Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        if errno == Errno::EWOULDBLOCK {
            let dir = dir.to_owned();
            return JoinError::Running { dir };
        }
        FilesError::io("lock", dir)(errno.into()).into()
    })
}
