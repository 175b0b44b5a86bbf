//! What is followed is what loading everything gives, whatever was changed by whom.

use std::collections::BTreeMap;

use fleet::EventKind;
use tempfile::TempDir;

use super::*;
use crate::store::fixture::{self, NOW_MS, Random, Server, change, event, invitation, join};
use crate::store::model::{HostEdit, KEY_DEFAULT, Successor};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const KEYS: [&str; 3] = [KEY_DEFAULT, "laptop", "phone"];

/// Does something to a member or to one of its keys, as far as it can be done.
async fn change_something(store: &Store, random: &mut Random, turn: u64) {
    let is_host = random.is_one_in(2);
    let role = if is_host { Role::Host } else { Role::User };
    let name = NAMES[random.index(NAMES.len())];
    let key = (!is_host && random.is_one_in(2)).then(|| KEYS[random.index(KEYS.len())]);
    let what = change(role, name, key);
    let member = store.member_named(role, name.to_owned()).await.unwrap();
    let mut keys = member.iter().flat_map(|member| &member.keys);
    let keys: Vec<u64> = keys.by_ref().map(|key| key.id).collect();
    let key_id = keys.get(random.index(keys.len().max(1))).copied();
    let recorded = event(EventKind::Operator, "something");
    match (random.below(10), member, key_id) {
        (0 | 1, _, _) => joins(store, random, (role, name, key, turn)).await,
        (2, _, _) => drop(store.lock(what, EventKind::Locked).await.unwrap()),
        (3, _, _) => drop(store.unlock(what).await.unwrap()),
        (4, _, _) => drop(store.remove(what).await.unwrap()),
        (5, Some(host), _) if is_host => {
            let labels = [("turn".to_owned(), turn.to_string())];
            let edit = HostEdit {
                host: host.id,
                name: NAMES[random.index(NAMES.len())].to_owned(),
                address: host.address,
                more_addresses: host.more_addresses,
                spa_port: host.spa_port,
                labels: BTreeMap::from(labels),
                change: what,
            };
            drop(store.edit_host(edit).await.unwrap());
        }
        (6, _, Some(key)) => {
            let knows = KnownAuthorities {
                kept: vec![[7; 32]],
                issuer: Some([7; 32]),
            };
            store.renewed(key, knows, NOW_MS + turn).await.unwrap();
        }
        (7, _, Some(follows)) => {
            let new = Successor {
                follows,
                identity_key: identity(turn),
                exchange_key: None,
                at_ms: NOW_MS + turn,
            };
            store.add_successor(new, recorded).await.unwrap();
        }
        (8, _, Some(key)) => store.end_followed(key, recorded).await.unwrap(),
        (9, _, _) => drop(store.ask_rotation(what).await.unwrap()),
        _ => {}
    }
}

async fn joins(
    store: &Store,
    random: &mut Random,
    (role, name, key, turn): (Role, &str, Option<&str>, u64),
) {
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&turn.to_le_bytes());
    let mut invitation = invitation(role);
    invitation.id = format!("{turn:012x}");
    name.clone_into(&mut invitation.name);
    invitation.replaces = random.is_one_in(2);
    key.unwrap_or_default().clone_into(&mut invitation.key_name);
    let token = store.create_token(secret, invitation, event(EventKind::Operator, "token"));
    token.await.unwrap();
    let mut member = fixture::new_member(role, name);
    member.identity_key = identity(turn);
    let joined = event(EventKind::Enrolled, name);
    let joined = store.enroll(secret.to_vec(), member, joined, NOW_MS).await;
    joined.unwrap();
}

fn identity(turn: u64) -> [u8; 32] {
    let mut identity = [1; 32];
    identity[..8].copy_from_slice(&turn.to_le_bytes());
    identity
}

/// Whether a roster knows what one knows that was loaded just now.
fn is_as_loaded(roster: &Roster, loaded: &Roster, highest_key: u64) {
    assert_eq!(roster.all(), loaded.all());
    assert_eq!(roster.barred(), loaded.barred());
    for role in [Role::Host, Role::User] {
        assert_eq!(roster.active(role), loaded.active(role));
        for name in NAMES {
            let named = |roster: &Roster| {
                let mut named = roster.by_any_name(role, name);
                named.sort_by_key(|member| member.id);
                named.dedup();
                named
            };
            assert_eq!(named(roster), named(loaded), "{name}");
            for key in 1..=highest_key + 1 {
                let admitted = |roster: &Roster| {
                    let admitted = roster.admit(role, name, key)?;
                    let is_over = admitted.standing.is_cancelled();
                    Some((admitted.member, admitted.key, admitted.locked, is_over))
                };
                assert_eq!(admitted(roster), admitted(loaded), "{name} {key}");
                assert_eq!(roster.is_void(key), loaded.is_void(key), "{key}");
                assert_eq!(roster.is_unheard_of(key), loaded.is_unheard_of(key));
            }
        }
    }
}

/// Changes something again and again, by whichever of the stores; one of two rosters follows, the other reads those again
/// that it has changed itself as well.
async fn follows(stores: &[Store], seed: u64) {
    let mut random = Random(seed);
    let mut rosters = Vec::new();
    for store in stores {
        rosters.push(Roster::load(store).await.unwrap());
    }
    for turn in 0..120 {
        let number = random.index(stores.len());
        let (store, roster) = (&stores[number], &rosters[number]);
        change_something(store, &mut random, seed % 1_000_000 * 1_000 + turn).await;
        if random.is_one_in(3) {
            let role = [Role::Host, Role::User][random.index(2)];
            let name = NAMES[random.index(NAMES.len())];
            roster.refresh(store, role, name).await.unwrap();
        }
        if !random.is_one_in(4) {
            continue;
        }
        let number = random.index(stores.len());
        let (store, roster) = (&stores[number], &rosters[number]);
        roster.follow(store).await.unwrap();
        let loaded = Roster::load(store).await.unwrap();
        is_as_loaded(roster, &loaded, store.highest_key().await.unwrap());
        assert!(roster.follow(store).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn whatever_changes_a_roster_that_follows_it_is_one_that_was_loaded() {
    for seed in [88_172_645_463_325_252, 11, 12, 13] {
        let dir = TempDir::new().unwrap();
        let store = fixture::open(dir.path()).await;
        follows(&[store], seed).await;
    }
}

#[tokio::test]
async fn whatever_two_controllers_change_the_rosters_of_both_are_as_one_that_was_loaded() {
    let server = Server::start();
    let stores = ["a", "b"].map(|name| server.store(name));
    let created = stores[0].create_fleet("e".repeat(32), NOW_MS / 1000).await;
    created.unwrap();
    for seed in [88_172_645_463_325_252, 21, 22] {
        follows(&stores, seed).await;
    }
}

#[tokio::test]
async fn of_those_who_have_not_changed_nothing_is_read_again() {
    let dir = TempDir::new().unwrap();
    let store = fixture::open(dir.path()).await;
    join(&store, Role::Host, "a").await;
    join(&store, Role::Host, "b").await;
    let roster = Roster::load(&store).await.unwrap();

    // Not as the controller changes it: whoever reads it finds it locked.
    fixture::edit(
        dir.path(),
        "UPDATE members SET spa_port = 7 WHERE name = 'a'",
    );
    let lock = change(Role::Host, "b", None);
    store.lock(lock, EventKind::Locked).await.unwrap();
    let changed = roster.follow(&store).await.unwrap();

    let names = changed.iter().flat_map(|it| &it.after);
    assert_eq!(names.map(|it| &*it.name).collect::<Vec<_>>(), ["b"]);
    assert!(roster.find(Role::Host, "a").unwrap().lock.is_none());
    assert!(roster.find(Role::Host, "b").unwrap().lock.is_some());
}

#[tokio::test]
async fn what_a_program_of_before_changes_is_followed_although_it_takes_no_numbers() {
    let server = Server::start();
    let store = server.store("a");
    let created = store.create_fleet("e".repeat(32), NOW_MS / 1000).await;
    created.unwrap();
    join(&store, Role::Host, "a").await;
    let roster = Roster::load(&store).await.unwrap();

    // As that one ends a transaction.
    server.sql(
        "BEGIN; DELETE FROM members WHERE name = 'a';
         INSERT INTO writers (name, batch) VALUES ('of before', 1); COMMIT",
    );
    roster.follow(&store).await.unwrap();
    assert!(roster.find(Role::Host, "a").is_none());

    let host = join(&store, Role::Host, "b").await;
    roster.follow(&store).await.unwrap();
    server.sql(
        "BEGIN; DELETE FROM members WHERE name = 'b';
         UPDATE writers SET batch = 2 WHERE name = 'of before'; COMMIT",
    );
    let changed = roster.follow(&store).await.unwrap();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(roster.is_void(host.keys[0].id));
}

#[tokio::test]
async fn a_key_is_not_void_because_one_that_was_given_later_is_known() {
    let server = Server::start();
    let [one, other] = ["a", "b"].map(|name| server.store(name));
    let created = one.create_fleet("e".repeat(32), NOW_MS / 1000).await;
    created.unwrap();
    let roster = Roster::load(&other).await.unwrap();

    let elsewhere = join(&one, Role::Host, "a").await.keys[0].id;
    join(&other, Role::Host, "b").await;
    roster.refresh(&other, Role::Host, "b").await.unwrap();

    assert!(!roster.is_void(elsewhere) && roster.is_unheard_of(elsewhere));
    roster.follow(&other).await.unwrap();
    assert!(roster.admit(Role::Host, "a", elsewhere).is_some());
}

#[tokio::test]
async fn those_who_wait_to_be_read_again_are_all_as_they_are_stored() {
    let dir = TempDir::new().unwrap();
    let store = fixture::open(dir.path()).await;
    let roster = Arc::new(Roster::load(&store).await.unwrap());
    let mut waiting = Vec::new();
    for number in 0..50 {
        let name = format!("web-{number}");
        join(&store, Role::Host, &name).await;
        let (roster, store) = (Arc::clone(&roster), store.clone());
        waiting.push(tokio::spawn(async move {
            roster.refresh(&store, Role::Host, &name).await.unwrap();
            roster.find(Role::Host, &name).is_some()
        }));
    }
    for one in waiting {
        assert!(one.await.unwrap());
    }
}
