//! The Secret Service of the session bus (specifications.freedesktop.org/secret-service, 0.2).
//!
//! An item is found by two attributes: `application`, which is `postern`, and `item`, the name. What is
//! locked is unlocked by a dialog of the service, where somebody would see it; there are limits to
//! every wait, since services hang and dialogs stay open.

use std::collections::HashMap;
use std::env;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use member::{Keyring, KeyringError};
use secret_service::{Collection, EncryptionType, Error, Item};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// For an answer that no person has to give. Longer than it takes to start the service.
const ANSWER: Duration = Duration::from_secs(5);
/// For the dialog: to find it, and to type a password.
const DIALOG: Duration = Duration::from_secs(60);

const APPLICATION: &str = "postern";
/// Texts, since KWallet keeps nothing else.
const CONTENT_TYPE: &str = "text/plain";

/// See the module.
#[derive(Debug)]
pub(super) struct SecretService;

/// Why nobody is asked any more: a command may need its keys in several places, and waits once.
static GIVEN_UP: OnceLock<GivenUp> = OnceLock::new();

#[derive(Clone, Copy, Debug)]
enum GivenUp {
    Silent,
    StaysLocked,
}

/// A connection whose messages with secrets are encrypted.
struct Session(secret_service::SecretService<'static>);

// === impl SecretService ===

impl Keyring for SecretService {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<String>>, KeyringError> {
        ask(async {
            let session = Session::open().await?;
            let Some(item) = session.find(name).await? else {
                return Ok(None);
            };
            let secret = within(ANSWER, item.get_secret()).await?;
            let text = String::from_utf8(secret).map(Zeroizing::new);
            text.map(Some).map_err(|error| {
                drop(Zeroizing::new(error.into_bytes()));
                let what = name.to_owned();
                KeyringError::Other { what }
            })
        })
    }

    fn put(&self, name: &str, label: &str, text: &str) -> Result<(), KeyringError> {
        ask(async {
            let session = Session::open().await?;
            // Wherever it is: a second one beside it would be found by chance.
            if let Some(item) = session.find(name).await? {
                return within(ANSWER, item.set_secret(text.as_bytes(), CONTENT_TYPE)).await;
            }
            let collection = session.default_collection().await?;
            let made = collection.create_item(
                label,
                attributes(name),
                text.as_bytes(),
                true,
                CONTENT_TYPE,
            );
            within(ANSWER, made).await.map(drop)
        })
    }

    fn remove(&self, name: &str) -> Result<(), KeyringError> {
        ask(async {
            let session = Session::open().await?;
            match session.find(name).await? {
                Some(item) => within(ANSWER, item.delete()).await,
                None => Ok(()),
            }
        })
    }

    fn session_dir(&self) -> Option<PathBuf> {
        let dir = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)?;
        (dir.is_absolute() && dir.is_dir()).then_some(dir)
    }
}

// === impl Session ===

impl Session {
    async fn open() -> Result<Self, KeyringError> {
        let bus = timeout(ANSWER, zbus::Connection::session()).await;
        let bus = bus.map_err(|_| silent(ANSWER))?;
        let bus = bus.map_err(|cause| KeyringError::NoBus(cause.into()))?;
        let service = secret_service::SecretService::connect_with_existing(EncryptionType::Dh, bus);
        within(ANSWER, service).await.map(Self)
    }

    /// The item, unlocked.
    async fn find(&self, name: &str) -> Result<Option<Item<'_>>, KeyringError> {
        if let Some(item) = self.search(name).await? {
            return Ok(Some(item));
        }
        // Some services show nothing of what is locked.
        let Ok(collection) = within(ANSWER, self.0.get_default_collection()).await else {
            return Ok(None);
        };
        if !within(ANSWER, collection.is_locked()).await? {
            return Ok(None);
        }
        self.unlock(&collection).await?;
        self.search(name).await
    }

    async fn search(&self, name: &str) -> Result<Option<Item<'_>>, KeyringError> {
        let found = within(ANSWER, self.0.search_items(attributes(name))).await?;
        if let Some(item) = found.unlocked.into_iter().next() {
            return Ok(Some(item));
        }
        let Some(item) = found.locked.into_iter().next() else {
            return Ok(None);
        };
        let unlocked = async {
            item.unlock().await?;
            item.is_locked().await
        };
        by_dialog(unlocked).await?;
        Ok(Some(item))
    }

    async fn default_collection(&self) -> Result<Collection<'_>, KeyringError> {
        let collection = timeout(ANSWER, self.0.get_default_collection()).await;
        let collection = match collection.map_err(|_| silent(ANSWER))? {
            Ok(collection) => collection,
            Err(Error::NoResult) => return Err(KeyringError::NoCollection),
            Err(error) => return Err(failed(error)),
        };
        if within(ANSWER, collection.is_locked()).await? {
            self.unlock(&collection).await?;
        }
        Ok(collection)
    }

    async fn unlock(&self, collection: &Collection<'_>) -> Result<(), KeyringError> {
        let unlocked = async {
            collection.unlock().await?;
            collection.is_locked().await
        };
        by_dialog(unlocked).await
    }
}

// === waiting ===

/// On a thread and a runtime of its own: commands ask from within theirs, and have nothing else to do.
fn ask<T: Send>(
    question: impl Future<Output = Result<T, KeyringError>> + Send,
) -> Result<T, KeyringError> {
    match GIVEN_UP.get() {
        Some(GivenUp::Silent) => return Err(silent(ANSWER)),
        Some(GivenUp::StaysLocked) => return Err(KeyringError::StaysLocked),
        None => {}
    }
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build();
        let runtime = runtime.map_err(|cause| KeyringError::Failed(cause.into()))?;
        runtime.block_on(question)
    };
    let answer = thread::scope(|scope| scope.spawn(runtime).join())
        .unwrap_or_else(|_| Err(KeyringError::Failed("the conversation broke off".into())));
    let given_up = match &answer {
        Err(KeyringError::Silent { .. }) => Some(GivenUp::Silent),
        Err(KeyringError::StaysLocked) => Some(GivenUp::StaysLocked),
        Ok(_) | Err(_) => None,
    };
    if let Some(given_up) = given_up {
        let _ = GIVEN_UP.set(given_up);
    }
    answer
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, KeyringError> {
    let answer = timeout(limit, answer).await.map_err(|_| silent(limit))?;
    answer.map_err(failed)
}

/// Lets the service ask the person, where there is one; `unlocked` says whether it is still locked.
async fn by_dialog(
    unlocked: impl Future<Output = Result<bool, Error>>,
) -> Result<(), KeyringError> {
    if !is_dialog_seen(
        io::stderr().is_terminal(),
        ["WAYLAND_DISPLAY", "DISPLAY"]
            .map(|name| env::var_os(name).is_some_and(|it| !it.is_empty())),
    ) {
        return Err(KeyringError::Locked);
    }
    program::note(format_args!(
        "The keyring is locked: its dialog asks for the password, and is waited for {} s.",
        DIALOG.as_secs()
    ));
    match timeout(DIALOG, unlocked).await {
        Ok(Ok(false)) => Ok(()),
        Ok(Ok(true) | Err(Error::Prompt | Error::PromptDisconnected)) | Err(_) => {
            Err(KeyringError::StaysLocked)
        }
        Ok(Err(error)) => Err(failed(error)),
    }
}

/// Whether somebody sees a dialog: who waits at a terminal, in a session with a screen.
fn is_dialog_seen(at_terminal: bool, screens: [bool; 2]) -> bool {
    at_terminal && screens.contains(&true)
}

fn silent(limit: Duration) -> KeyringError {
    let secs = limit.as_secs();
    KeyringError::Silent { secs }
}

fn attributes(name: &str) -> HashMap<&str, &str> {
    HashMap::from([("application", APPLICATION), ("item", name)])
}

/// What an error of the library means to whoever sits here.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "zbus and the service may name more ways to fail; all of them are said as they are"
)]
fn failed(error: Error) -> KeyringError {
    match error {
        Error::Locked => KeyringError::Locked,
        Error::Prompt | Error::PromptDisconnected => KeyringError::StaysLocked,
        Error::Zbus(zbus::Error::MethodError(name, detail, message)) => {
            let of_bus = ["ServiceUnknown", "NameHasNoOwner", "Spawn."];
            let is_of_bus = name
                .strip_prefix("org.freedesktop.DBus.Error.")
                .is_some_and(|error| of_bus.iter().any(|of_bus| error.starts_with(of_bus)));
            // The service's own names for the same.
            let is_locked = name.ends_with(".IsLocked");
            let cause = zbus::Error::MethodError(name, detail, message);
            if is_locked {
                KeyringError::Locked
            } else if is_of_bus {
                KeyringError::NoService(cause.into())
            } else {
                KeyringError::Failed(cause.into())
            }
        }
        Error::Zbus(cause) => KeyringError::Failed(cause.into()),
        other => KeyringError::Failed(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialog_is_opened_only_where_somebody_waits_at_a_terminal_of_a_screen() {
        assert!(is_dialog_seen(true, [true, false]));
        assert!(is_dialog_seen(true, [false, true]));
        assert!(!is_dialog_seen(true, [false, false]), "over ssh");
        assert!(!is_dialog_seen(false, [true, true]), "in a pipeline");
    }
}
