//! A member's long-lived keys where they are held: in its file, or in a keyring, from which they are read
//! when they are first needed. Most of what a member does needs none of them: a knock and a renewal do.
//!
//! A keyring has them as one text under a name made of the identity key's public half. So a profile that
//! is copied or moved finds them, and those of another membership are never taken for them.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use spa::ExchangePublic;
use zeroize::Zeroizing;

use crate::error::FilesError;
use crate::files::{Blob, StoredKeys, WITH_KEYS, WITH_PUBLIC_HALVES};
use crate::keyring::{Keyring, KeyringError};
use crate::keys::Keys;

/// The keys of one member, or the way to them.
#[derive(Clone)]
pub(crate) struct Held {
    publics: Publics,
    place: Place,
}

#[derive(Clone)]
enum Place {
    /// They stand in the file.
    File(Box<Keys>),
    Keyring {
        keyring: Arc<dyn Keyring>,
        /// Once they have been read.
        read: Arc<OnceLock<Keys>>,
    },
}

/// The public halves, which are no secret and say which keys are meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Publics {
    pub(crate) identity: [u8; 32],
    pub(crate) exchange: Option<ExchangePublic>,
}

/// What a keyring is given: the names are those of the file, into which it may be copied by hand.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Text {
    identity_key: Blob,
    exchange_key: Option<Blob>,
}

// === impl Held ===

impl Held {
    /// Keys that are to stand in a file.
    pub(crate) fn in_file(keys: Keys) -> Self {
        Self {
            publics: Publics::of(&keys),
            place: Place::File(Box::new(keys)),
        }
    }

    /// Puts keys into a keyring, and reads them there again: from then on they may be forgotten elsewhere.
    pub(crate) fn put(
        keys: Keys,
        keyring: &Arc<dyn Keyring>,
        whose: &str,
    ) -> Result<Self, FilesError> {
        let publics = Publics::of(&keys);
        let (name, text) = (publics.name(), text(&keys)?);
        keyring.put(&name, &format!("Postern: keys of {whose}"), &text)?;
        if keyring.get(&name)?.is_none_or(|kept| *kept != *text) {
            return Err(KeyringError::NotKept.into());
        }
        let read = OnceLock::from(keys);
        Ok(Self {
            publics,
            place: Place::Keyring {
                keyring: Arc::clone(keyring),
                read: Arc::new(read),
            },
        })
    }

    /// As the file at `path` says.
    pub(crate) fn stored(
        path: &Path,
        stored: &StoredKeys,
        keyring: Option<&Arc<dyn Keyring>>,
    ) -> Result<Self, FilesError> {
        let key = |blob: &Blob, what: &str| {
            let problem = || FilesError::damaged(path, format!("the {what} key is not 32 bytes"));
            blob.key().ok_or_else(problem)
        };
        let identity = key(&stored.identity, "identity")?;
        let exchange = stored.exchange.as_ref();
        let exchange = exchange.map(|blob| key(blob, "exchange")).transpose()?;
        if stored.version == WITH_KEYS {
            return Ok(Self::in_file(Keys::of(identity, exchange)));
        }
        let keyring = keyring.ok_or(KeyringError::Absent)?;
        let exchange = exchange.map(ExchangePublic);
        Ok(Self {
            publics: Publics { identity, exchange },
            place: Place::Keyring {
                keyring: Arc::clone(keyring),
                read: Arc::default(),
            },
        })
    }

    /// The keys themselves. Where they are in a keyring this waits for it, once.
    pub(crate) fn get(&self) -> Result<&Keys, FilesError> {
        let (keyring, read) = match &self.place {
            Place::File(keys) => return Ok(keys),
            Place::Keyring { keyring, read } => (keyring, read),
        };
        if let Some(keys) = read.get() {
            return Ok(keys);
        }
        let name = self.publics.name();
        let what = || format!("keys of this profile ({name})");
        let text = keyring
            .get(&name)?
            .ok_or_else(|| KeyringError::Missing { what: what() })?;
        let keys = parse(&text).filter(|keys| Publics::of(keys) == self.publics);
        let keys = keys.ok_or_else(|| KeyringError::Other { what: what() })?;
        Ok(read.get_or_init(|| keys))
    }

    pub(crate) fn publics(&self) -> &Publics {
        &self.publics
    }

    /// The keyring that has them.
    pub(crate) fn keyring(&self) -> Option<&Arc<dyn Keyring>> {
        match &self.place {
            Place::File(_) => None,
            Place::Keyring { keyring, .. } => Some(keyring),
        }
    }

    /// What a file is to hold of them.
    pub(crate) fn to_store(&self) -> StoredKeys {
        match &self.place {
            Place::File(keys) => StoredKeys {
                version: WITH_KEYS,
                identity: Blob::new(&keys.identity.to_bytes()),
                exchange: exchange_blob(keys),
            },
            Place::Keyring { .. } => StoredKeys {
                version: WITH_PUBLIC_HALVES,
                identity: Blob::new(&self.publics.identity),
                exchange: self.publics.exchange.map(|public| Blob::new(&public.0)),
            },
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("publics", &self.publics)
            .finish_non_exhaustive()
    }
}

// === impl Publics ===

impl Publics {
    pub(crate) fn of(keys: &Keys) -> Self {
        Self {
            identity: keys.identity.verifying_key().to_bytes(),
            exchange: keys.exchange.as_ref().map(|secret| secret.public()),
        }
    }

    /// The name under which a keyring has the keys.
    pub(crate) fn name(&self) -> String {
        format!("membership/{}", self.hex())
    }

    /// The identity key's public half in hexadecimal.
    pub(crate) fn hex(&self) -> String {
        hex::encode(self.identity)
    }
}

// === the text ===

fn exchange_blob(keys: &Keys) -> Option<Blob> {
    let exchange = keys.exchange.as_ref();
    exchange.map(|secret| Blob::new(&secret.to_bytes()[..]))
}

fn text(keys: &Keys) -> Result<Zeroizing<String>, FilesError> {
    let text = Text {
        identity_key: Blob::new(&keys.identity.to_bytes()),
        exchange_key: exchange_blob(keys),
    };
    serde_json::to_string(&text)
        .map(Zeroizing::new)
        .map_err(|error| KeyringError::Failed(error.into()).into())
}

fn parse(text: &str) -> Option<Keys> {
    let text: Text = serde_json::from_str(text).ok()?;
    let exchange = match &text.exchange_key {
        Some(blob) => Some(blob.key()?),
        None => None,
    };
    Some(Keys::of(text.identity_key.key()?, exchange))
}
