//! Long-lived keys in a keyring. Where it is cut off matters here, which no real one lets itself be told: the
//! real one is met in the client's tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fleet::{Role, Token};
use member::{FilesError, JoinError, JoinOptions, Keyring, KeyringError, Membership, join};
use serde_json::Value;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::fake::{CLOCK_TOLERANCE, Fake, HOUR};
use crate::{joined, seen};

/// One in memory, which keeps what a machine would have that is switched off before or after each call.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) texts: Mutex<BTreeMap<String, String>>,
    pub(crate) session: Option<PathBuf>,
    /// The directory that is photographed, and the pictures: its files, and the keyring's texts.
    pub(crate) watched: Option<PathBuf>,
    pub(crate) pictures: Mutex<Vec<Picture>>,
    pub(crate) is_locked: Mutex<bool>,
    /// Loses what it is given.
    pub(crate) is_careless: bool,
}

pub(crate) type Picture = (BTreeMap<String, Vec<u8>>, BTreeMap<String, String>);

impl Memory {
    pub(crate) fn picture(&self) {
        if let Some(dir) = &self.watched {
            let texts = self.texts.lock().unwrap().clone();
            self.pictures.lock().unwrap().push((files(dir), texts));
        }
    }

    fn call<T>(
        &self,
        answer: impl FnOnce(&mut BTreeMap<String, String>) -> T,
    ) -> Result<T, KeyringError> {
        let answer = self.unless_locked(answer);
        answer.ok_or(KeyringError::Locked)
    }

    fn unless_locked<T>(
        &self,
        answer: impl FnOnce(&mut BTreeMap<String, String>) -> T,
    ) -> Option<T> {
        if *self.is_locked.lock().unwrap() {
            return None;
        }
        self.picture();
        let answer = answer(&mut self.texts.lock().unwrap());
        self.picture();
        Some(answer)
    }
}

impl Keyring for Memory {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<String>>, KeyringError> {
        self.call(|texts| texts.get(name).cloned().map(Zeroizing::new))
    }

    fn put(&self, name: &str, _: &str, text: &str) -> Result<(), KeyringError> {
        let lost = self.is_careless;
        self.call(|texts| {
            if !lost {
                texts.insert(name.to_owned(), text.to_owned());
            }
        })
    }

    fn remove(&self, name: &str) -> Result<(), KeyringError> {
        self.call(|texts| drop(texts.remove(name)))
    }

    fn session_dir(&self) -> Option<PathBuf> {
        self.session.clone()
    }
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A machine as the picture has it.
pub(crate) fn restored((files, texts): &Picture) -> (TempDir, Arc<dyn Keyring>) {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let memory = Memory {
        texts: Mutex::new(texts.clone()),
        ..Memory::default()
    };
    (dir, Arc::new(memory))
}

fn file(dir: &Path) -> Value {
    let text = fs::read_to_string(dir.join("membership.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_move_that_is_cut_off_between_any_two_steps_loses_no_key_and_is_finished_by_another() {
    let fake = Fake::start();
    let (dir, member) = joined(&fake).await;
    let keys = *member.exchange().unwrap().unwrap().to_bytes();
    let memory = Arc::new(Memory {
        watched: Some(dir.path().to_owned()),
        ..Memory::default()
    });
    let keyring: Arc<dyn Keyring> = memory.clone();
    let mut member = Membership::load_with(dir.path(), Some(keyring.clone())).unwrap();

    member.move_to_keyring(&keyring).unwrap();
    member.move_to_file(&keyring).unwrap();

    let pictures = memory.pictures.lock().unwrap().clone();
    assert_eq!(pictures.len(), 6, "three calls, before and after each");
    for (n, picture) in pictures.iter().enumerate() {
        for to_keyring in [true, false] {
            let (dir, keyring) = restored(picture);
            let mut member = Membership::load_with(dir.path(), Some(keyring.clone())).unwrap();
            let now = *member.exchange().unwrap().unwrap().to_bytes();
            assert_eq!(now, keys, "picture {n}");

            if to_keyring {
                member.move_to_keyring(&keyring).unwrap();
            } else {
                assert!(member.move_to_file(&keyring).unwrap().is_none());
            }
            let again = Membership::load_with(dir.path(), Some(keyring.clone())).unwrap();
            assert_eq!(again.is_in_keyring(), to_keyring);
            assert_eq!(*again.exchange().unwrap().unwrap().to_bytes(), keys);
            let kept = keyring.get(&again.keyring_name()).unwrap();
            assert_eq!(kept.is_some(), to_keyring, "in one place only, picture {n}");
        }
    }
}

#[tokio::test]
async fn a_keyring_that_does_not_keep_or_not_give_leaves_the_keys_where_they_are() {
    let fake = Fake::start();
    let (dir, mut member) = joined(&fake).await;
    let before = file(dir.path());

    let careless: Arc<dyn Keyring> = Arc::new(Memory {
        is_careless: true,
        ..Memory::default()
    });
    let refused = member.move_to_keyring(&careless);
    assert!(matches!(
        refused,
        Err(JoinError::Files(FilesError::Keyring(KeyringError::NotKept)))
    ));
    assert_eq!(file(dir.path()), before);

    let memory = Arc::new(Memory::default());
    let keyring: Arc<dyn Keyring> = memory.clone();
    member.move_to_keyring(&keyring).unwrap();
    let moved = file(dir.path());
    *memory.is_locked.lock().unwrap() = true;
    let mut locked = Membership::load_with(dir.path(), Some(keyring.clone())).unwrap();
    let refused = locked.move_to_file(&keyring);
    assert!(matches!(
        refused,
        Err(JoinError::Files(FilesError::Keyring(KeyringError::Locked)))
    ));
    assert_eq!(file(dir.path()), moved);
}

#[tokio::test]
async fn a_program_without_a_keyring_and_one_of_the_version_before_say_so_and_misread_nothing() {
    let fake = Fake::start();
    let (dir, mut member) = joined(&fake).await;
    let keyring: Arc<dyn Keyring> = Arc::new(Memory::default());
    let before = file(dir.path());
    member.move_to_keyring(&keyring).unwrap();

    let refused = Membership::load(dir.path()).unwrap_err();
    assert!(matches!(refused, FilesError::Keyring(KeyringError::Absent)));
    // The version before reads the same fields and then this number, which it says that it does not know.
    let after = file(dir.path());
    assert_eq!(
        (&before["version"], &after["version"]),
        (&1.into(), &2.into())
    );
    let fields = |file: &Value| {
        file.as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(fields(&before), fields(&after));
    let public = member.exchange_public().unwrap();
    let stored = after["exchange_key"].as_str().unwrap();
    assert_eq!(stored.trim_end_matches('='), public.to_string());
}

#[tokio::test]
async fn a_certificate_renews_with_the_keys_in_the_keyring_and_is_not_on_the_disk() {
    let fake = Fake::start();
    let (dir, mut member) = joined(&fake).await;
    let session = TempDir::new().unwrap();
    let memory = Arc::new(Memory {
        session: Some(session.path().to_owned()),
        ..Memory::default()
    });
    let keyring: Arc<dyn Keyring> = memory.clone();
    member.move_to_keyring(&keyring).unwrap();
    let names: Vec<String> = files(dir.path()).into_keys().collect();
    assert_eq!(names, ["joining.json", "membership.json"]);
    let load = || Membership::load_with(dir.path(), Some(keyring.clone())).unwrap();

    *memory.is_locked.lock().unwrap() = true;
    let carried = load();
    seen(carried.channel().await.unwrap()).await;
    assert_eq!(
        *fake.state.renewals.lock().unwrap(),
        0,
        "it was carried over"
    );

    // The machine was off.
    fs::remove_dir_all(session.path().join("postern")).unwrap();
    let locked = load().channel().await.unwrap_err();
    assert!(locked.to_string().contains("locked"), "{locked}");
    *memory.is_locked.lock().unwrap() = false;
    let certificate = seen(load().channel().await.unwrap()).await;
    assert_eq!(*fake.state.renewals.lock().unwrap(), 1);
    assert_eq!(seen(load().channel().await.unwrap()).await, certificate);
    assert_eq!(
        *fake.state.renewals.lock().unwrap(),
        1,
        "kept for the session"
    );
    assert_eq!(files(dir.path()).len(), 2);
}

#[tokio::test]
async fn a_join_that_was_broken_off_at_its_end_leaves_no_key_beside_the_keyring() {
    let fake = Fake::start();
    let (dir, mut member) = joined(&fake).await;
    let joining = dir.path().join("joining.json");
    let ended = fs::read_to_string(&joining).unwrap();
    let keys = file(dir.path());
    let mut begun: Value = serde_json::from_str(&ended).unwrap();
    for key in ["identity_key", "exchange_key"] {
        begun[key] = keys[key].clone();
    }
    fs::write(&joining, begun.to_string()).unwrap();
    // Of a program that was killed while it wrote them back.
    fs::write(
        dir.path().join(".membership.json.7.0.new"),
        keys.to_string(),
    )
    .unwrap();
    let keyring: Arc<dyn Keyring> = Arc::new(Memory::default());

    member.move_to_keyring(&keyring).unwrap();

    assert_eq!(fs::read_to_string(&joining).unwrap(), ended);
    let names: Vec<String> = files(dir.path()).into_keys().collect();
    assert_eq!(names, ["joining.json", "membership.json"]);
}

fn options(keyring: &Arc<dyn Keyring>, into_keyring: bool) -> JoinOptions {
    JoinOptions {
        keyring: Some(keyring.clone()),
        into_keyring,
        ..JoinOptions::default()
    }
}

async fn lost(fake: &Fake, token: &Token, dir: &Path, options: JoinOptions) {
    *fake.state.deaf.lock().unwrap() = true;
    join(token, dir, options).await.unwrap_err();
    *fake.state.deaf.lock().unwrap() = false;
}

#[tokio::test]
async fn a_join_into_the_keyring_has_no_key_on_the_disk_at_any_moment_and_goes_on_when_broken_off()
{
    let fake = Fake::start();
    let dir = TempDir::new().unwrap();
    let memory = Arc::new(Memory::default());
    let keyring: Arc<dyn Keyring> = memory.clone();
    let token = fake.token(Role::Host, "web-1");

    lost(&fake, &token, dir.path(), options(&keyring, true)).await;
    let kept = memory
        .texts
        .lock()
        .unwrap()
        .values()
        .next()
        .cloned()
        .unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let secrets = ["identity_key", "exchange_key"].map(|key| kept[key].as_str().unwrap());
    let is_on_disk = || {
        let mut files = files(dir.path()).into_values();
        files.any(|bytes| {
            let text = String::from_utf8(bytes).unwrap();
            secrets.iter().any(|secret| text.contains(secret))
        })
    };
    assert!(!is_on_disk());

    // Without the word the second time: what was begun is gone on with.
    let joined = join(&token, dir.path(), options(&keyring, false))
        .await
        .unwrap();
    assert!(joined.is_in_keyring() && !is_on_disk());
    assert_eq!(memory.texts.lock().unwrap().len(), 1);
    let again = join(&token, dir.path(), options(&keyring, false))
        .await
        .unwrap();
    assert_eq!(again.exchange_public(), joined.exchange_public());
    assert_eq!(fake.tokens_spent(), 1);
}

#[tokio::test]
async fn a_locked_keyring_costs_no_token_and_who_replaces_a_membership_leaves_no_keys_of_it() {
    let fake = Fake::start();
    *fake.state.life_secs.lock().unwrap() = (CLOCK_TOLERANCE, HOUR);
    let dir = TempDir::new().unwrap();
    let memory = Arc::new(Memory::default());
    let keyring: Arc<dyn Keyring> = memory.clone();
    let mut token = fake.token(Role::Host, "web-1");

    *memory.is_locked.lock().unwrap() = true;
    let refused = join(&token, dir.path(), options(&keyring, true)).await;
    assert!(matches!(
        refused,
        Err(JoinError::Files(FilesError::Keyring(KeyringError::Locked)))
    ));
    assert_eq!(fake.tokens_spent(), 0);
    *memory.is_locked.lock().unwrap() = false;
    let first = join(&token, dir.path(), options(&keyring, true))
        .await
        .unwrap();

    token.secret = [8; 32];
    let replace = JoinOptions {
        force: true,
        ..options(&keyring, true)
    };
    let second = join(&token, dir.path(), replace).await.unwrap();

    let kept: Vec<String> = memory.texts.lock().unwrap().keys().cloned().collect();
    assert_eq!(kept, [second.keyring_name()]);
    assert_ne!(first.keyring_name(), second.keyring_name());
}
