//! Other keys in the place of those of a membership. What a machine has that was switched off at any moment is
//! restored, beside a controller that has heard whatever had been said by then.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use fleet::Role;
use member::{JoinError, JoinOptions, Keyring, Membership, Rotated, Rotation, RotationStep, join};
use tempfile::TempDir;

use spa::{ExchangePublic, ExchangeSecret};

use crate::fake::{Fake, now_secs};
use crate::keyring::{Memory, Picture, restored};
use crate::seen;

const NAME: &str = "alice";

/// A user, and the keyring that is photographed; her keys are in it or in the file.
async fn user(fake: &Fake, in_keyring: bool) -> (TempDir, Membership, Arc<Memory>) {
    let dir = TempDir::new().unwrap();
    let memory = Arc::new(Memory {
        watched: Some(dir.path().to_owned()),
        ..Memory::default()
    });
    let options = JoinOptions {
        keyring: Some(memory.clone()),
        into_keyring: in_keyring,
        ..JoinOptions::default()
    };
    let token = fake.token(Role::User, NAME);
    let member = join(&token, dir.path(), options).await.unwrap();
    (dir, member, memory)
}

fn load(dir: &Path, keyring: Arc<dyn Keyring>) -> Membership {
    Membership::load_with(dir, Some(keyring)).unwrap()
}

/// The identity keys that the controller takes.
fn known(fake: &Fake) -> BTreeSet<Vec<u8>> {
    let identities = fake.state.identities.lock().unwrap();
    let keys = identities.get(NAME).unwrap().iter();
    keys.map(|key| key.as_bytes().to_vec()).collect()
}

/// Steps until the keys of before have ended.
async fn finish(member: &mut Membership) -> Rotated {
    loop {
        if let RotationStep::Ended(rotated) = member.rotate_step().await.unwrap() {
            return rotated;
        }
    }
}

/// What a machine has that was cut off during one of the steps, or between two.
async fn pictures(
    fake: &Fake,
    member: &mut Membership,
    memory: &Memory,
) -> Vec<(Picture, BTreeSet<Vec<u8>>)> {
    let mut all = Vec::new();
    loop {
        memory.pictures.lock().unwrap().clear();
        memory.picture();
        let before = known(fake);
        let step = member.rotate_step().await.unwrap();
        memory.picture();
        let after = known(fake);
        let pictures = memory.pictures.lock().unwrap();
        let written = |picture: &Picture| {
            let files = ["membership.json", "rotating.json"];
            files.map(|name| picture.0.get(name).cloned())
        };
        let first = pictures.first().map(written);
        for picture in pictures.iter() {
            // Both are written only once the controller has answered, and that may have been lost.
            let is_before = Some(written(picture)) == first;
            let knew = is_before.then_some(&before).into_iter().chain([&after]);
            for case in knew.map(|knew| (picture.clone(), knew.clone())) {
                if !all.contains(&case) {
                    all.push(case);
                }
            }
        }
        drop(pictures);
        if matches!(step, RotationStep::Ended(_)) {
            return all;
        }
    }
}

#[tokio::test]
async fn a_rotation_that_is_cut_off_between_any_two_steps_loses_no_key_and_is_finished_by_another()
{
    for in_keyring in [false, true] {
        let fake = Fake::start();
        let (_dir, mut member, memory) = user(&fake, in_keyring).await;
        let first = member.exchange_public().unwrap();
        let pictures = pictures(&fake, &mut member, &memory).await;
        assert!(pictures.len() >= 5, "{}", pictures.len());
        let keys = fake.state.identities.lock().unwrap().clone();

        for (n, (picture, knew)) in pictures.iter().enumerate() {
            let as_then = knew.iter().map(|key| {
                let key = key.as_slice().try_into().unwrap();
                ed25519_dalek::VerifyingKey::from_bytes(key).unwrap()
            });
            let mut then = keys.clone();
            then.insert(NAME.to_owned(), as_then.collect());
            *fake.state.identities.lock().unwrap() = then;
            let what = format!("picture {n}, in the keyring: {in_keyring}");
            let (dir, keyring) = restored(picture);
            let mut cut_off = load(dir.path(), keyring.clone());
            // What would knock in between has keys, and so has what asks for a certificate.
            assert!(cut_off.exchange().unwrap().is_some(), "{what}");
            cut_off.renew().await.unwrap();
            assert!(cut_off.rotation().is_ok(), "{what}");

            assert_eq!(finish(&mut cut_off).await, Rotated::default(), "{what}");

            let again = load(dir.path(), keyring.clone());
            assert_eq!(again.rotation().unwrap(), None, "{what}");
            assert_ne!(again.exchange_public(), Some(first), "{what}");
            assert_eq!(again.is_in_keyring(), in_keyring, "{what}");
            seen(again.channel().await.unwrap()).await;
            again.renew().await.unwrap();
            assert_eq!(known(&fake).len(), 1, "one key is left, {what}");
            let name = again.keyring_name();
            assert_eq!(keyring.get(&name).unwrap().is_some(), in_keyring, "{what}");
            assert!(!dir.path().join("rotating.json").exists(), "{what}");
        }
    }
}

#[tokio::test]
async fn nothing_is_left_in_the_keyring_but_the_keys_that_are_used() {
    let fake = Fake::start();
    let (dir, mut member, memory) = user(&fake, true).await;
    let before: BTreeSet<_> = memory.texts.lock().unwrap().keys().cloned().collect();
    assert_eq!(before.len(), 1);

    finish(&mut member).await;

    let after: BTreeSet<_> = memory.texts.lock().unwrap().keys().cloned().collect();
    assert_eq!(after, [member.keyring_name()].into());
    assert!(after.is_disjoint(&before));
    let of_the_disk = load(dir.path(), memory);
    assert_eq!(of_the_disk.exchange_public(), member.exchange_public());
}

#[tokio::test]
async fn while_a_host_has_not_heard_the_keys_of_before_are_used_however_often_it_is_asked() {
    let fake = Fake::start();
    let (dir, mut member, memory) = user(&fake, false).await;
    let first = member.exchange_public();
    *fake.state.not_heard.lock().unwrap() = vec!["web-1".to_owned()];

    assert_eq!(member.rotate_step().await.unwrap(), RotationStep::Made);
    for _ in 0..3 {
        let waits = RotationStep::WaitsFor(vec!["web-1".to_owned()]);
        assert_eq!(member.rotate_step().await.unwrap(), waits);
        let of_the_disk = load(dir.path(), memory.clone());
        assert_eq!(of_the_disk.exchange_public(), first);
        assert_eq!(of_the_disk.rotation().unwrap(), Some(Rotation::Made));
        assert_eq!(known(&fake).len(), 2);
    }
    fake.state.not_heard.lock().unwrap().clear();
    assert_eq!(member.rotate_step().await.unwrap(), RotationStep::Switched);
    assert_ne!(member.exchange_public(), first);
    // Another host has come meanwhile: nothing ends, and both are good.
    *fake.state.not_heard.lock().unwrap() = vec!["db-1".to_owned()];
    let waits = RotationStep::WaitsFor(vec!["db-1".to_owned()]);
    assert_eq!(member.rotate_step().await.unwrap(), waits);
    assert_eq!(known(&fake).len(), 2);
    fake.state.not_heard.lock().unwrap().clear();
    finish(&mut member).await;
    assert_eq!(known(&fake).len(), 1);
}

#[tokio::test]
async fn two_rotations_at_once_are_one_and_keys_are_not_moved_meanwhile() {
    let fake = Fake::start();
    let (dir, mut member, memory) = user(&fake, false).await;
    let mut other = load(dir.path(), memory.clone());
    member.rotate_step().await.unwrap();
    let keyring: Arc<dyn Keyring> = memory;
    let refused = member.move_to_keyring(&keyring);
    assert!(matches!(refused, Err(JoinError::Rotating { .. })));

    // The other program goes on where this one is.
    assert_eq!(other.rotate_step().await.unwrap(), RotationStep::Switched);
    let refused = member.rotate_step().await;
    assert!(matches!(refused, Err(JoinError::Files(_))), "{refused:?}");
    finish(&mut other).await;
    other.move_to_keyring(&keyring).unwrap();
}

#[tokio::test]
async fn a_join_in_the_same_directory_takes_what_a_rotation_has_left_with_it() {
    let fake = Fake::start();
    let (dir, mut member, memory) = user(&fake, true).await;
    member.rotate_step().await.unwrap();
    assert_eq!(memory.texts.lock().unwrap().len(), 2);
    let options = JoinOptions {
        force: true,
        keyring: Some(memory.clone()),
        into_keyring: true,
        ..JoinOptions::default()
    };

    let token = fake.token(Role::User, "bob");
    let bob = join(&token, dir.path(), options).await.unwrap();

    assert_eq!(bob.rotation().unwrap(), None);
    let left: Vec<_> = memory.texts.lock().unwrap().keys().cloned().collect();
    assert_eq!(left, [bob.keyring_name()]);
}

/// The public halves of the exchange keys for which packets are good then.
fn opens_for(host: &Membership, at_secs: u64) -> Vec<ExchangePublic> {
    let secrets = host.exchanges(at_secs).unwrap();
    secrets.iter().map(ExchangeSecret::public).collect()
}

#[tokio::test]
async fn a_hosts_former_exchange_key_opens_for_a_month_wherever_its_rotation_was_cut_off() {
    const MONTH_SECS: u64 = 31 * 24 * 3600;
    let fake = Fake::start();
    let (dir, host) = crate::joined(&fake).await;
    let first = host.exchange_public().unwrap();
    let now = now_secs();
    let load = || Membership::load(dir.path()).unwrap();
    let file = |name: &str| dir.path().join(name);
    // Former keys are kept before they are followed: as cut off between both.
    let before = std::fs::read(file("membership.json")).unwrap();
    let mut cut_offs = 0;
    loop {
        let mut host = load();
        assert_eq!(
            opens_for(&host, now)
                .iter()
                .filter(|key| **key == first)
                .count(),
            1
        );
        let step = host.rotate_step().await.unwrap();
        if step == RotationStep::Switched && cut_offs == 0 {
            std::fs::write(file("membership.json"), &before).unwrap();
            cut_offs += 1;
        }
        if matches!(step, RotationStep::Ended(_)) {
            break;
        }
    }

    let next = load().exchange_public().unwrap();
    assert_ne!(next, first);
    assert_eq!(opens_for(&load(), now), [next, first]);
    assert_eq!(opens_for(&load(), now + MONTH_SECS), [next]);
    assert_eq!(known_of(&fake, "web-1"), 1);
    assert!(!load().forget_ended(now).unwrap() && file("former.json").exists());
    assert!(load().former_until_secs(now).unwrap().unwrap() > now);
    let mode = std::os::unix::fs::MetadataExt::mode(&file("former.json").metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);

    // Of another host, or damaged, it opens for nobody.
    let former = std::fs::read_to_string(file("former.json")).unwrap();
    let anothers = former.replacen("\"membership\": \"", "\"membership\": \"AAAA", 1);
    for text in [anothers.as_str(), "{"] {
        std::fs::write(file("former.json"), text).unwrap();
        assert_eq!(opens_for(&load(), now), [next], "{text}");
    }
    std::fs::write(file("former.json"), former).unwrap();
    assert!(load().forget_ended(now + MONTH_SECS).unwrap() && !file("former.json").exists());
}

#[tokio::test]
async fn a_host_has_at_most_four_exchange_keys_at_once() {
    let fake = Fake::start();
    let (dir, mut host) = crate::joined(&fake).await;
    for _ in 0..3 {
        finish(&mut host).await;
    }
    assert_eq!(opens_for(&host, now_secs()).len(), 4);

    let refused = host.rotate_step().await;

    assert!(
        matches!(refused, Err(JoinError::RotatedOften { days: 30 })),
        "{refused:?}"
    );
    assert!(!dir.path().join("rotating.json").exists());
}

fn known_of(fake: &Fake, name: &str) -> usize {
    fake.state
        .identities
        .lock()
        .unwrap()
        .get(name)
        .unwrap()
        .len()
}

#[tokio::test]
async fn a_host_that_joins_anew_has_no_former_keys() {
    let fake = Fake::start();
    let (dir, mut host) = crate::joined(&fake).await;
    finish(&mut host).await;
    assert_eq!(opens_for(&host, now_secs()).len(), 2);
    let options = JoinOptions {
        force: true,
        ..JoinOptions::default()
    };

    let mut token = fake.token(Role::Host, "web-1");
    token.secret = [7; 32];
    let again = join(&token, dir.path(), options).await.unwrap();

    let own = again.exchange_public().unwrap();
    assert_eq!(opens_for(&again, now_secs()), [own]);
    assert!(!dir.path().join("former.json").exists());
}
