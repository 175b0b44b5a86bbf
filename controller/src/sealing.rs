//! Rotation of the key under which secrets are sealed in the database.

use std::path::{Path, PathBuf};

use fleet::EventKind;
use zeroize::Zeroizing;

use crate::access::caller::RequestId;
use crate::clock;
use crate::data_dir::DataDir;
use crate::random::random;
use crate::start::directory::{place, read_settings};
use crate::start::error::StartError;
use crate::store::error::StoreError;
use crate::store::model::{Origin, Resealed};
use crate::store::seal::SealKey;
use crate::store::{self, Place};

/// Seals everything under a new key, and removes the old one when that is durable. No controller of the fleet may
/// be serving: with the old key it could read nothing any more. Gives what was sealed, and where the key is. Whenever
/// this dies, the next start knows which key is right. Not in a task.
///
/// # Errors
///
/// [`StartError`]; then everything is sealed under the old key, or the next start says otherwise.
pub fn rotate_seal_key(data: &Path) -> Result<(Resealed, PathBuf), StartError> {
    let dir = DataDir::open(data)?;
    let settings = read_settings(&dir)?.under(dir.path());
    let _lock = dir.lock()?;
    dir.end_rotation()?;
    let old = dir.seal_key_bytes()?;
    let new = Zeroizing::new(random()?);
    let origin = Origin::controller(RequestId::new()?.to_string());
    let event = origin.done(EventKind::Operator, clock::now().ms());
    let place = place(&dir, &settings)?;
    let name = dir.name()?;
    dir.begin_rotation(&new)?;
    let resealed = store::reseal(&place, (&old, &new), (event, name.as_deref()));
    dir.end_rotation()?;
    let resealed = resealed.map_err(|source| failed(place, source))?;
    Ok((resealed, dir.seal_path()))
}

/// Puts a key that another controller of the fleet has made by a rotation into the directory of a controller that does
/// not serve. Gives where it is, and what people tell it by.
///
/// # Errors
///
/// [`StartError`]; a key that does not open the database is put nowhere.
pub fn install_seal_key(data: &Path, key: &[u8; 32]) -> Result<(PathBuf, String), StartError> {
    let dir = DataDir::open(data)?;
    let settings = read_settings(&dir)?.under(dir.path());
    let _lock = dir.lock()?;
    let place = place(&dir, &settings)?;
    match store::is_key_of(&place, key) {
        Ok(true) => {}
        Ok(false) => return Err(StartError::WrongSealKey { source: None }),
        Err(source) => return Err(failed(place, source)),
    }
    dir.replace_seal_key(key)?;
    dir.end_rotation()?;
    Ok((dir.seal_path(), SealKey::new(key).id().to_owned()))
}

fn failed(place: Place, source: StoreError) -> StartError {
    match place {
        Place::File(path) => StartError::Database { path, source },
        Place::Postgres(_) => source.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::authority::change::{RotateStep, rotate_ca};
    use crate::start;
    use crate::store::Store;
    use crate::store::fixture::NOW_MS;
    use crate::store::model::{AfterRestore, NewPolicy};

    const TEXT: &str = "SOURCE ANY\nKEY a-static-key\nOPEN_PORTS tcp/22\n";

    /// A controller with a policy, which does not serve.
    async fn made() -> (TempDir, DataDir) {
        let temp = TempDir::new().unwrap();
        start::init(temp.path(), "127.0.0.1:7443", "prod")
            .await
            .unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let store = Store::open(&dir.database().into(), dir.seal_key().unwrap()).unwrap();
        for base in 0..2 {
            let policy = NewPolicy {
                text: Zeroizing::new(TEXT.to_owned()),
                file: String::new(),
                author: "stan".to_owned(),
                message: String::new(),
                at_ms: NOW_MS,
                rollback_of: 0,
                stanzas: 1,
                event: Origin::controller(String::new()).done(EventKind::PolicyApplied, NOW_MS),
            };
            let applied = store.apply_policy((base, AfterRestore::No), policy).await;
            applied.unwrap();
        }
        let seed = Zeroizing::new([9; 32]);
        store
            .audit_keys("prod".to_owned(), seed, NOW_MS)
            .await
            .unwrap();
        store.close().await;
        (temp, dir)
    }

    /// Whether everything can be read, under whatever key the directory says.
    async fn is_readable(dir: &DataDir) -> bool {
        let store = Store::open(&dir.database().into(), dir.seal_key().unwrap()).unwrap();
        let texts = [store.policy_text(1).await, store.policy_text(2).await];
        let other = Zeroizing::new([1; 32]);
        let signer = store.audit_keys("prod".to_owned(), other, NOW_MS).await;
        store.close().await;
        signer.is_ok()
            && texts
                .iter()
                .all(|text| matches!(text, Ok(Some(text)) if **text == TEXT))
    }

    fn file(dir: &DataDir, name: &str) -> Option<Vec<u8>> {
        fs::read(dir.path().join(name)).ok()
    }

    #[tokio::test]
    async fn after_a_rotation_all_is_sealed_under_the_new_key_and_nothing_of_before_is_on_the_disk()
    {
        let (_temp, dir) = made().await;
        let old = dir.seal_key_bytes().unwrap();
        let connection = rusqlite::Connection::open(dir.database()).unwrap();
        let sealed = "SELECT sealed_text FROM policies UNION SELECT sealed_seed FROM audit_keys";
        let sealed: Vec<Vec<u8>> = connection
            .prepare(sealed)
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        drop(connection);

        let (resealed, path) = rotate_seal_key(dir.path()).unwrap();

        assert_eq!((resealed.rows, path), (3, dir.path().join("seal.key")));
        assert!(is_readable(&dir).await);
        assert_ne!(*dir.seal_key_bytes().unwrap(), *old);
        let old_text = hex::encode(*old);
        for entry in fs::read_dir(dir.path()).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            let has = |part: &[u8]| bytes.windows(part.len()).any(|found| found == part);
            assert!(!has(&*old) && !has(old_text.as_bytes()));
            assert!(sealed.iter().all(|sealed| !has(sealed)));
        }
        // And again, from a key that is not the first.
        assert_eq!(rotate_seal_key(dir.path()).unwrap().0.rows, 3);
        assert!(is_readable(&dir).await);
    }

    #[tokio::test]
    async fn what_killed_writers_left_is_removed_by_every_start_and_rotation_and_named_until_then()
    {
        const LEFT: [&str; 4] = [
            ".authority.json.4711.0.new",
            ".ca-key.pem.4711.1.new",
            ".seal.key.99.3.new",
            ".server-key.pem.1.17.new",
        ];
        let (_temp, dir) = made().await;
        let leave = || {
            for name in LEFT {
                fs::write(dir.path().join(name), "a private key").unwrap();
            }
        };
        let names = || {
            let left = dir.drafts().unwrap().into_iter();
            let names = left.map(|it| it.file_name().unwrap().to_string_lossy().into_owned());
            names.collect::<Vec<_>>()
        };
        leave();
        assert_eq!(names(), LEFT);

        let step = RotateStep::DirectoryKey;
        rotate_ca(dir.path(), step).await.unwrap();
        assert!(names().is_empty());
        leave();
        rotate_seal_key(dir.path()).unwrap();
        assert!(names().is_empty());
        leave();
        drop(dir.lock().unwrap());
        assert!(names().is_empty());
    }

    #[tokio::test]
    async fn a_rotation_that_dies_between_any_two_steps_loses_nothing() {
        let (_temp, dir) = made().await;
        let next = dir.path().join("seal.key.new");
        let old = dir.seal_key_bytes().unwrap();

        // While the new key is written: half of it is there.
        fs::write(&next, "abcdef").unwrap();
        std::os::unix::fs::chown(&next, None, None).unwrap();
        fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert!(is_readable(&dir).await);
        dir.end_rotation().unwrap();
        assert_eq!(file(&dir, "seal.key.new"), None);
        // Before the database is sealed under it.
        dir.begin_rotation(&[3; 32]).unwrap();
        assert!(is_readable(&dir).await);
        dir.end_rotation().unwrap();
        assert_eq!(*dir.seal_key_bytes().unwrap(), *old);
        assert_eq!(file(&dir, "seal.key.new"), None);
        // After that, before the key takes its place.
        let event = || Origin::controller(String::new()).done(EventKind::Operator, NOW_MS);
        dir.begin_rotation(&[4; 32]).unwrap();
        let place = dir.database().into();
        store::reseal(&place, (&old, &[4; 32]), (event(), None)).unwrap();
        assert!(is_readable(&dir).await);
        assert_eq!(*dir.seal_key_bytes().unwrap(), [4; 32]);
        // After it took its place, before the other name goes.
        let kept = fs::read(&next).unwrap();
        dir.end_rotation().unwrap();
        assert!(is_readable(&dir).await);
        dir.begin_rotation(&[4; 32]).unwrap();
        assert_eq!(fs::read(&next).unwrap(), kept);
        assert!(is_readable(&dir).await);
        dir.end_rotation().unwrap();
        assert_eq!(*dir.seal_key_bytes().unwrap(), [4; 32]);
        assert!(is_readable(&dir).await);
    }

    #[tokio::test]
    async fn a_row_that_the_old_key_does_not_open_stops_a_rotation_and_nothing_is_changed() {
        let (_temp, dir) = made().await;
        let connection = rusqlite::Connection::open(dir.database()).unwrap();
        let damage = "UPDATE policies SET sealed_text = x'00' WHERE generation = 1";
        connection.execute(damage, []).unwrap();
        drop(connection);
        let before = dir.seal_key_bytes().unwrap();

        assert!(rotate_seal_key(dir.path()).is_err());

        assert_eq!(*dir.seal_key_bytes().unwrap(), *before);
        assert_eq!(file(&dir, "seal.key.new"), None);
        let store = Store::open(&dir.database().into(), SealKey::new(&before)).unwrap();
        assert_eq!(store.policy_text(2).await.unwrap().unwrap().as_str(), TEXT);
    }

    #[tokio::test]
    async fn a_key_that_is_kept_elsewhere_is_used_rotated_and_packed_from_there() {
        let (_temp, dir) = made().await;
        let elsewhere = TempDir::new().unwrap();
        let place = elsewhere.path().join("postern.key");
        fs::rename(dir.path().join("seal.key"), &place).unwrap();
        let settings = dir.read_settings().unwrap();
        let settings = format!("seal_key_file = {place:?}\n{settings}");
        fs::write(dir.settings(), settings).unwrap();

        assert!(is_readable(&dir).await);
        let (_, path) = rotate_seal_key(dir.path()).unwrap();
        assert_eq!(path, place);
        assert!(is_readable(&dir).await);
        let to = elsewhere.path().join("backup.tar");
        let archive = crate::NewArchive::create(&to).unwrap();
        crate::backup(dir.path(), archive).unwrap();
        let findings = crate::check_archive(&to, &mut |_, _| {}).unwrap();
        assert!(findings.iter().all(|found| found.is_sound), "{findings:?}");
        fs::remove_file(&place).unwrap();
        assert!(dir.seal_key().is_err());
    }
}
