//! A keyring of the operating system, as a membership knows it. Whoever loads the membership brings one;
//! this crate speaks to none itself, so that what has no desktop links none.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;

use program::{Exit, Failure};
use zeroize::Zeroizing;

/// What the keyring, or the way to it, said.
type Cause = Box<dyn StdError + Send + Sync>;

/// Texts under names, kept by somebody who asks the person for a password, or has asked her before.
pub trait Keyring: fmt::Debug + Send + Sync {
    /// The text under this name; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`KeyringError`], by who can act; never later than a person would wait.
    fn get(&self, name: &str) -> Result<Option<Zeroizing<String>>, KeyringError>;

    /// Keeps a text under this name, in the place of what was there. People find it by `label`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); then what was there before may be there or not.
    fn put(&self, name: &str, label: &str, text: &str) -> Result<(), KeyringError>;

    /// Forgets what is under this name, if there is something.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    fn remove(&self, name: &str) -> Result<(), KeyringError>;

    /// A directory of this person that is gone when the machine is off: what is as good as the keys for
    /// some hours may lie there, and nowhere else.
    fn session_dir(&self) -> Option<PathBuf>;
}

/// Why a keyring did not give, or did not take.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// This program was built without one, or never has one.
    #[error("the keys are in a keyring, and this program asks none")]
    Absent,
    /// Nobody is logged in to a desktop here, as far as this process can see.
    #[error("there is no session bus, so there is no keyring to ask")]
    NoBus(#[source] Cause),
    /// There is a bus, and nobody on it who keeps secrets.
    #[error("no program on the session bus keeps secrets")]
    NoService(#[source] Cause),
    /// Somebody keeps secrets, and has nowhere to put a new one.
    #[error("the keyring has no collection for new secrets")]
    NoCollection,
    /// It wants its password, and nobody would see the dialog that asks for it.
    #[error("the keyring is locked")]
    Locked,
    /// It has asked for its password and was not given it.
    #[error("the keyring stays locked: its password was not given")]
    StaysLocked,
    /// It says nothing.
    #[error("the keyring did not answer within {secs} s")]
    Silent {
        /// How long it was waited for.
        secs: u64,
    },
    /// What was put there is there no more, or this is another keyring.
    #[error("the keyring has no {what}")]
    Missing {
        /// What was looked for, in words.
        what: String,
    },
    /// Somebody has put something else there.
    #[error("what the keyring has as {what} is something else")]
    Other {
        /// What was looked for, in words.
        what: String,
    },
    /// What was read again is not what was written.
    #[error("the keyring did not keep what was given to it")]
    NotKept,
    /// Whatever else may be.
    #[error("the keyring failed")]
    Failed(#[source] Cause),
}

impl Failure for KeyringError {
    fn exit(&self) -> Exit {
        Exit::Refused
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(match self {
            Self::Absent => "a `postern` with the feature `keyring` does",
            Self::NoBus(_) => {
                "over ssh, in cron and in containers there is none: what runs there needs its keys in a \
                 file; `postern profile keyring --to-file`, typed in the desktop's session, brings those \
                 of a profile back"
            }
            Self::NoService(_) => {
                "GNOME Keyring, KWallet and KeePassXC do; start one in this session, or have the keys \
                 in a file"
            }
            Self::NoCollection => {
                "make one that is the default, in the program that shows passwords"
            }
            Self::Locked => {
                "unlock it in the desktop, or type this in a terminal there: where nobody would see \
                 the dialog, none is opened and none is waited for"
            }
            Self::StaysLocked | Self::NotKept => "nothing was changed; run this again",
            Self::Silent { .. } => "the program that keeps secrets hangs; end it, and log in again",
            Self::Missing { .. } | Self::Other { .. } => {
                "it was deleted or replaced, or this is the keyring of another account; if it cannot be \
                 brought back, new keys are needed"
            }
            Self::Failed(_) => return None,
        }))
    }
}
