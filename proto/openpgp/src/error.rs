//! What can be wrong with keys. Nothing here repeats a secret.

use std::path::PathBuf;

/// A private key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It stands under a passphrase, and none is given.
    #[error("its passphrase is needed")]
    PassphraseNeeded,
    /// Another passphrase unlocks it.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// On a smartcard or the like, which only GnuPG can ask.
    #[error("the key is on a card")]
    OnCard,
    /// Protected in a way that is not known here.
    #[error(
        "it is protected in a form that is not read; using it once with gpg brings it into another"
    )]
    Protection,
    /// No key, or one that is damaged.
    #[error("it cannot be read as a private key")]
    Format,
    /// A kind of key that is not supported.
    #[error(
        "keys of this kind are not supported; RSA, Curve25519, X25519, X448 and NIST curves are"
    )]
    Algorithm,
}

/// A keyring that cannot be used, or not for what is asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// It cannot be read.
    #[error("the GnuPG home {} cannot be read", path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A file of it is not what it should be.
    #[error("{} is no keyring of GnuPG's", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// Others may write to it, and so say who signs.
    #[error("{}: others than its owner may write it", path.display())]
    Exposed {
        /// What.
        path: PathBuf,
    },
    /// No key has this name.
    #[error("no public key in {} is named {name}", path.display())]
    NoKey {
        /// The home.
        path: PathBuf,
        /// As it was asked for.
        name: String,
    },
    /// Several keys have this name.
    #[error("{count} keys in {} are named {name}; give a whole fingerprint", path.display())]
    Ambiguous {
        /// The home.
        path: PathBuf,
        /// As it was asked for.
        name: String,
        /// How many.
        count: usize,
    },
    /// No private key to decrypt or sign with.
    #[error("no private key in {} can {use_for}", path.display())]
    NoSecretKey {
        /// The home.
        path: PathBuf,
        /// `decrypt` or `sign`.
        use_for: &'static str,
    },
    /// A private key that is there and cannot be used.
    #[error("the private key {key} in {}", path.display())]
    SecretKey {
        /// The home.
        path: PathBuf,
        /// Its fingerprint.
        key: String,
        /// Why.
        #[source]
        cause: KeyFault,
    },
    /// The key is not to be used any more, or not for this.
    #[error("the key {key} cannot be used: {why}")]
    Unusable {
        /// Its fingerprint.
        key: String,
        /// Why.
        why: &'static str,
    },
}
