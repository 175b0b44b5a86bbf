//! A join that may be broken off at any moment, and goes on when it is begun again with its token.
//!
//! The controller knows a joiner again by its identity key. So the keys are on the disk before the
//! token is sent, and whoever comes with the same token sends the same keys: what was redeemed before
//! is answered as it was then. Tokens are told apart by a digest; a secret stays out of the file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use fleet::{Role, Token};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};
use spa::ExchangeSecret;

use crate::error::{FilesError, JoinError};
use crate::files::{self, Blob, JoiningFile};
use crate::keys::Keys;
use crate::membership::Membership;

/// A join with one token in one directory, which nobody else has meanwhile.
#[derive(Debug)]
pub(crate) struct Joining<'a> {
    dir: &'a Path,
    token: [u8; 32],
    pub(crate) keys: Keys,
    _held: Flock<File>,
}

// === impl Joining ===

impl<'a> Joining<'a> {
    /// Begins with keys that are on the disk: those of the join before, if that was with this token.
    ///
    /// # Errors
    ///
    /// [`JoinError::Running`] while somebody else joins in this directory; else what the disk says.
    pub(crate) fn begin(dir: &'a Path, token: &Token) -> Result<Self, JoinError> {
        let held = hold(dir)?;
        let digest = digest(token);
        let keys = match load(dir)?.filter(|file| *file.token.0 == digest) {
            Some(file) => keys(&file),
            None => None,
        };
        let keys = match keys {
            Some(keys) => keys,
            None => {
                let keys = Keys::generate(matches!(token.role, Role::Host | Role::User))?;
                let identity = Blob::new(&keys.identity.to_bytes());
                let exchange = keys.exchange.as_ref();
                let exchange = exchange.map(|secret| Blob::new(&secret.to_bytes()[..]));
                files::save(dir, &JoiningFile::new(&digest, Some(identity), exchange))?;
                keys
            }
        };
        Ok(Self {
            dir,
            token: digest,
            keys,
            _held: held,
        })
    }

    /// The membership is on the disk and has the keys; what stays is which token it came from.
    pub(crate) fn end(self) -> Result<(), FilesError> {
        files::save(self.dir, &JoiningFile::new(&self.token, None, None))
    }
}

/// The membership that this token came to in `dir`, if the join came to its end.
///
/// # Errors
///
/// What the disk says.
pub(crate) fn came_of(dir: &Path, token: &Token) -> Result<Option<Membership>, FilesError> {
    let digest = digest(token);
    let Some(file) = load(dir)?.filter(|file| *file.token.0 == digest) else {
        return Ok(None);
    };
    let Ok(member) = Membership::load(dir) else {
        return Ok(None);
    };
    match keys(&file) {
        None => Ok(Some(member)),
        // Broken off after the membership was written.
        Some(keys) if keys.identity_public() == member.keys.identity_public() => {
            files::save(dir, &JoiningFile::new(&digest, None, None))?;
            Ok(Some(member))
        }
        // The membership is the one before, which is being replaced.
        Some(_) => Ok(None),
    }
}

/// What was written before; a file that is damaged is as good as none.
fn load(dir: &Path) -> Result<Option<JoiningFile>, FilesError> {
    match files::load(dir) {
        Ok(file) => Ok(file),
        Err(FilesError::Damaged { .. }) => Ok(None),
        Err(
            error @ (FilesError::NotMember { .. }
            | FilesError::Io { .. }
            | FilesError::Exposed { .. }),
        ) => Err(error),
    }
}

fn keys(file: &JoiningFile) -> Option<Keys> {
    let identity = SigningKey::from_bytes(&file.identity_key.as_ref()?.key()?);
    let exchange = match &file.exchange_key {
        Some(blob) => Some(Arc::new(ExchangeSecret::from_bytes(blob.key()?))),
        None => None,
    };
    Some(Keys { identity, exchange })
}

fn digest(token: &Token) -> [u8; 32] {
    Sha256::digest(token.secret).into()
}

/// Two joins at once would each write keys, and the token is good for one of them.
fn hold(dir: &Path) -> Result<Flock<File>, JoinError> {
    let opened = File::open(dir).map_err(FilesError::io("open", dir))?;
    Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        if errno == Errno::EWOULDBLOCK {
            let dir = dir.to_owned();
            return JoinError::Running { dir };
        }
        FilesError::io("lock", dir)(errno.into()).into()
    })
}
