use ed25519_dalek::Signer as _;
use spa::ExchangePublic;

use super::*;
use crate::app::directory::directory;
use crate::app::enroll::{self, Renewal};
use crate::app::fixture::{CALL, Fleet, Keys, NOW, after_secs, caller, root};
use crate::app::hosts;
use crate::app::members::Act;
use crate::store::model::Acknowledgement;

const POLICY: &str = "NAME ssh\nSOURCE ANY\nREQUIRE_USERNAME alice\nOPEN_PORTS tcp/22\n";

/// The exchange key that joiners here have, and the one that follows it.
const EXCHANGE: [u8; 32] = [2; 32];
const NEXT: [u8; 32] = [9; 32];

/// A fleet with a host, a policy for alice, and alice with her keys.
async fn with_alice() -> (Fleet, Member, Keys) {
    let fleet = Fleet::new().await;
    let web = fleet.join(Role::Host, "web-1").await;
    let keys = join(&fleet, Role::User, "alice").await;
    fleet.apply(0, POLICY).await.unwrap();
    (fleet, web, keys)
}

async fn join(fleet: &Fleet, role: Role, name: &str) -> Keys {
    let token = fleet.token(role, name).await;
    let keys = Keys::new();
    let joiner = keys.joiner(&token, "");
    enroll::redeem(&fleet.context, CALL, joiner, NOW)
        .await
        .unwrap();
    keys
}

/// Signed by both, as her program does it.
fn wish((role, name): (Role, &str), old: &Keys, new: &Keys, end_old: bool) -> Rotation {
    let public = |keys: &Keys| keys.identity.verifying_key().to_bytes();
    let new_exchange = matches!(role, Role::User | Role::Host).then_some(NEXT);
    let message = fleet::rotation_message(
        role,
        name,
        (&public(old), &public(new)),
        new_exchange.as_ref().map_or(&[][..], |key| &key[..]),
        (NOW.secs(), end_old),
    );
    Rotation {
        role,
        name: name.to_owned(),
        old: public(old),
        new: public(new),
        new_exchange,
        signed_at_secs: NOW.secs(),
        end_old,
        new_signature: new.identity.sign(&message).to_vec(),
        signature: old.identity.sign(&message).to_vec(),
    }
}

fn of_alice(old: &Keys, new: &Keys, end_old: bool) -> Rotation {
    wish((Role::User, "alice"), old, new, end_old)
}

async fn ask_for(fleet: &Fleet, wish: Rotation) -> Result<Stand, Error> {
    rotate(&fleet.context, CALL, wish, NOW).await
}

fn waits_for(hosts: &[&str]) -> Stand {
    Stand {
        waits_for: hosts.iter().map(|host| (*host).to_owned()).collect(),
        old_ended: false,
    }
}

fn ended() -> Stand {
    Stand {
        waits_for: Vec::new(),
        old_ended: true,
    }
}

/// A certificate for a key, as her program gets it when it has switched.
async fn come(fleet: &Fleet, (role, name): (Role, &str), keys: &Keys) -> Result<(), Error> {
    let signed = fleet::renewal_message(role, name, &keys.csr_der, NOW.secs());
    let renewal = Renewal {
        role,
        name: name.to_owned(),
        csr_der: keys.csr_der.clone(),
        signed_at_secs: NOW.secs(),
        signature: keys.identity.sign(&signed).to_vec(),
        identity_key: None,
        knows_locks: false,
        keeps_set: true,
        known: Vec::new(),
    };
    let renewed = enroll::renew(&fleet.context, renewal, NOW).await;
    renewed.map(drop)
}

async fn acknowledge(fleet: &Fleet, host: &Member) {
    let target = fleet.context.rollout.target(&host.name).unwrap();
    let acknowledgement = Acknowledgement {
        generation: target.generation,
        digest: target.compiled.digest.to_vec(),
        ..Acknowledgement::default()
    };
    let caller = caller(host);
    let acknowledged = hosts::acknowledge(&fleet.context, &caller, acknowledgement, NOW);
    acknowledged.await.unwrap();
}

/// Which of both keys a host's text opens for.
fn opens_for(fleet: &Fleet, host: &str) -> (bool, bool) {
    let target = fleet.context.rollout.target(host).unwrap();
    let text = &target.compiled.text.0;
    let has = |key| text.contains(&ExchangePublic(key).to_string());
    (has(EXCHANGE), has(NEXT))
}

fn alice(fleet: &Fleet) -> Arc<Member> {
    fleet.context.roster.find(Role::User, "alice").unwrap()
}

fn key_names(member: &Member) -> Vec<&str> {
    member.keys.iter().map(|key| key.name.as_str()).collect()
}

fn whom(key: Option<&str>) -> Whom {
    Whom {
        role: Role::User,
        name: "alice".to_owned(),
        key: key.map(str::to_owned),
    }
}

#[tokio::test]
async fn both_keys_open_until_every_host_has_acknowledged_and_her_program_has_come_with_the_new_one()
 {
    let (fleet, web, old) = with_alice().await;
    let new = Keys::new();
    let (told, end) = (of_alice(&old, &new, false), of_alice(&old, &new, true));
    assert_eq!(opens_for(&fleet, "web-1"), (true, false));

    assert_eq!(
        ask_for(&fleet, told.clone()).await.unwrap(),
        waits_for(&["web-1"])
    );
    assert_eq!(opens_for(&fleet, "web-1"), (true, true));
    assert_eq!(key_names(&alice(&fleet)), ["default", "default (next)"]);
    // Not while a host knows the old one alone, whoever asks for it.
    assert_eq!(
        ask_for(&fleet, end.clone()).await.unwrap(),
        waits_for(&["web-1"])
    );
    acknowledge(&fleet, &web).await;
    assert_eq!(ask_for(&fleet, told).await.unwrap(), waits_for(&[]));
    come(&fleet, (Role::User, "alice"), &old).await.unwrap();
    come(&fleet, (Role::User, "alice"), &new).await.unwrap();
    assert_eq!(opens_for(&fleet, "web-1"), (true, true));

    assert_eq!(ask_for(&fleet, end).await.unwrap(), ended());

    assert_eq!(opens_for(&fleet, "web-1"), (false, true));
    let alice = alice(&fleet);
    assert_eq!(key_names(&alice), ["default"]);
    let key = alice.keys.first().unwrap();
    assert_eq!(key.identity_key, new.identity.verifying_key().to_bytes());
    assert_eq!(key.follows, None);
    come(&fleet, (Role::User, "alice"), &new).await.unwrap();
    let refused = come(&fleet, (Role::User, "alice"), &old).await.unwrap_err();
    assert!(matches!(refused, Error::Renewal(RenewalRefused::Signature)));
    let recorded = fleet.recorded().await;
    let fingerprint = key.fingerprint();
    let of_key = recorded.iter().filter(|it| it.starts_with("key "));
    assert_eq!(
        of_key.collect::<Vec<_>>(),
        [
            &format!("key default of user alice has another that follows it, {fingerprint}"),
            &format!("key default of user alice replaced: rotated to {fingerprint}"),
        ]
    );
    assert_eq!(
        fleet.newest_is_by().await,
        ("user/alice".to_owned(), "alice".to_owned())
    );
}

#[tokio::test]
async fn whoever_was_cut_off_asks_again_and_is_answered_the_same() {
    let (fleet, web, old) = with_alice().await;
    let new = Keys::new();
    for _ in 0..2 {
        let told = ask_for(&fleet, of_alice(&old, &new, false)).await;
        assert_eq!(told.unwrap(), waits_for(&["web-1"]));
    }
    acknowledge(&fleet, &web).await;
    for _ in 0..2 {
        // By the new key alone, which is what her program has by then.
        let mut end = of_alice(&old, &new, true);
        end.signature.clear();
        assert_eq!(ask_for(&fleet, end).await.unwrap(), ended());
    }
    let recorded = fleet.recorded().await;
    let of_key = recorded.iter().filter(|it| it.starts_with("key "));
    assert_eq!(of_key.count(), 2, "{recorded:?}");
}

#[tokio::test]
async fn a_rotation_that_one_of_both_keys_has_not_signed_or_that_is_old_or_of_somebody_else_is_refused()
 {
    let (fleet, _, old) = with_alice().await;
    let new = Keys::new();
    let stranger = Keys::new();
    join(&fleet, Role::User, "bob").await;
    let good = of_alice(&old, &new, false);
    let by_stranger = of_alice(&stranger, &new, false);
    let cases = [
        (
            "the old key",
            Rotation {
                signature: by_stranger.signature,
                ..good.clone()
            },
        ),
        (
            "no old key",
            Rotation {
                signature: Vec::new(),
                ..good.clone()
            },
        ),
        (
            "the new key",
            Rotation {
                new_signature: good.signature.clone(),
                ..good.clone()
            },
        ),
        (
            "its exchange key",
            Rotation {
                new_exchange: Some([8; 32]),
                ..good.clone()
            },
        ),
        (
            "its time",
            Rotation {
                signed_at_secs: NOW.secs() + 1,
                ..good.clone()
            },
        ),
        (
            "its end",
            Rotation {
                end_old: true,
                ..good.clone()
            },
        ),
        (
            "another's name",
            Rotation {
                name: "bob".to_owned(),
                ..good.clone()
            },
        ),
        ("a stranger's key", of_alice(&stranger, &new, false)),
        ("its own successor", of_alice(&old, &old, false)),
        ("bob's name", wish((Role::User, "bob"), &old, &new, false)),
    ];
    for (what, wish) in cases {
        let refused = ask_for(&fleet, wish).await.unwrap_err();
        assert!(
            matches!(refused, Error::Renewal(RenewalRefused::Signature)),
            "{what}: {refused}"
        );
    }
    let late = rotate(&fleet.context, CALL, good.clone(), after_secs(301)).await;
    assert!(matches!(late, Err(Error::Renewal(RenewalRefused::Clock))));
    let at_once = ask_for(&fleet, of_alice(&old, &new, true)).await;
    assert!(matches!(
        at_once,
        Err(Error::Invalid {
            field: "end_old",
            ..
        })
    ));
    assert_eq!(key_names(&alice(&fleet)), ["default"]);
    ask_for(&fleet, good).await.unwrap();
}

#[tokio::test]
async fn a_key_and_the_one_that_follows_it_are_locked_unlocked_and_removed_as_one_device() {
    let (fleet, _, old) = with_alice().await;
    let new = Keys::new();
    ask_for(&fleet, of_alice(&old, &new, false)).await.unwrap();

    for named in ["default", "default (next)"] {
        fleet.act(Act::Lock, whom(Some(named))).await.unwrap();
        assert_eq!(opens_for(&fleet, "web-1"), (false, false), "{named}");
        for wish in [of_alice(&old, &new, false), of_alice(&old, &new, true)] {
            let refused = ask_for(&fleet, wish).await;
            assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
        }
        fleet.act(Act::Unlock, whom(Some(named))).await.unwrap();
        assert_eq!(opens_for(&fleet, "web-1"), (true, true), "{named}");
    }
    let last = fleet.act(Act::Remove, whom(Some("default"))).await;
    assert!(matches!(last, Err(Error::Conflict(_))), "{last:?}");

    let phone = crate::app::tokens::NewToken {
        role: Role::User,
        name: "alice".to_owned(),
        labels: [].into(),
        scope: [].into(),
        ttl: std::time::Duration::ZERO,
        key_name: "phone".to_owned(),
        replaces: false,
    };
    let phone = crate::app::tokens::create(&fleet.context, &root(), phone, NOW).await;
    let joiner = Keys::new().joiner(&phone.unwrap().token, "");
    enroll::redeem(&fleet.context, CALL, joiner, NOW)
        .await
        .unwrap();
    fleet.act(Act::Remove, whom(Some("default"))).await.unwrap();
    assert_eq!(key_names(&alice(&fleet)), ["phone"]);
    assert_eq!(
        opens_for(&fleet, "web-1"),
        (true, false),
        "the phone's alone"
    );
}

#[tokio::test]
async fn a_successor_that_was_lost_is_replaced_and_one_that_has_come_is_not() {
    let (fleet, _, old) = with_alice().await;
    let (lost, second, thief) = (Keys::new(), Keys::new(), Keys::new());
    ask_for(&fleet, of_alice(&old, &lost, false)).await.unwrap();
    ask_for(&fleet, of_alice(&old, &second, false))
        .await
        .unwrap();
    let is_known = |keys: &Keys| {
        let public = keys.identity.verifying_key().to_bytes();
        let alice = alice(&fleet);
        alice.keys.iter().any(|key| key.identity_key == public)
    };
    assert!(is_known(&second) && !is_known(&lost));

    come(&fleet, (Role::User, "alice"), &second).await.unwrap();
    let refused = ask_for(&fleet, of_alice(&old, &thief, false)).await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    let of_successor = ask_for(&fleet, of_alice(&second, &thief, false)).await;
    assert!(of_successor.is_err(), "one after another");
    assert!(is_known(&second) && !is_known(&thief));
}

#[tokio::test]
async fn an_operator_has_no_host_to_wait_for() {
    let fleet = Fleet::new().await;
    let (old, new) = (join(&fleet, Role::Operator, "mbr").await, Keys::new());
    let of_mbr = |end| wish((Role::Operator, "mbr"), &old, &new, end);
    assert_eq!(
        ask_for(&fleet, of_mbr(false)).await.unwrap(),
        waits_for(&[])
    );
    assert_eq!(ask_for(&fleet, of_mbr(true)).await.unwrap(), ended());
    come(&fleet, (Role::Operator, "mbr"), &new).await.unwrap();
}

#[tokio::test]
async fn directories_have_a_hosts_next_key_when_it_says_that_it_opens_for_both_and_not_before() {
    let fleet = Fleet::new().await;
    let old = join(&fleet, Role::Host, "web-1").await;
    join(&fleet, Role::User, "alice").await;
    fleet.apply(0, POLICY).await.unwrap();
    let alice = caller(&alice(&fleet));
    let given = || {
        let directory = directory(&fleet.context, &alice, NOW);
        let keys = directory.entries.iter().map(|entry| entry.exchange_key);
        keys.collect::<Vec<_>>()
    };
    let named = (Role::Host, "web-1");
    let new = Keys::new();
    let session = fleet.context.sessions.subscribe("web-1", || None);
    assert_eq!(given(), [EXCHANGE]);

    for _ in 0..2 {
        let told = ask_for(&fleet, wish(named, &old, &new, false)).await;
        assert_eq!(told.unwrap(), waits_for(&[]));
        assert_eq!(given(), [EXCHANGE]);
    }
    come(&fleet, named, &new).await.unwrap();
    come(&fleet, named, &old).await.unwrap();
    assert_eq!(given(), [EXCHANGE]);

    for _ in 0..2 {
        assert_eq!(
            ask_for(&fleet, wish(named, &old, &new, true))
                .await
                .unwrap(),
            ended()
        );
        assert_eq!(given(), [NEXT]);
    }
    assert!(
        !fleet.context.sessions.is_connected("web-1"),
        "one of the former key ends"
    );
    drop(session);
    assert!(come(&fleet, named, &old).await.is_err());
    come(&fleet, named, &new).await.unwrap();
}

#[tokio::test]
async fn a_host_that_is_asked_for_other_keys_is_told_in_its_next_session_until_it_has_begun() {
    let fleet = Fleet::new().await;
    let old = join(&fleet, Role::Host, "web-1").await;
    let session = fleet.context.sessions.subscribe("web-1", || None);
    let (operator, host) = (root(), (Role::Host, "web-1"));
    let whom = Whom {
        role: Role::Host,
        name: "web-1".to_owned(),
        key: None,
    };
    let asked = ask(&fleet.context, &operator, (whom, String::new()), NOW).await;
    assert_eq!(
        asked.unwrap().keys.first().unwrap().rotation_asked_ms,
        Some(NOW.ms())
    );
    assert!(!fleet.context.sessions.is_connected("web-1"));
    drop(session);

    ask_for(&fleet, wish(host, &old, &Keys::new(), false))
        .await
        .unwrap();
    let web = fleet.context.roster.find(Role::Host, "web-1").unwrap();
    assert!(web.keys.iter().all(|key| key.rotation_asked_ms.is_none()));
}

#[tokio::test]
async fn a_member_that_is_asked_for_new_keys_is_recorded_once_and_asked_until_she_has_begun() {
    let (fleet, _, old) = with_alice().await;
    for _ in 0..2 {
        let operator = root();
        let asked = ask(
            &fleet.context,
            &operator,
            (whom(None), "a year old".to_owned()),
            NOW,
        );
        let member = asked.await.unwrap();
        let key = member.keys.first().unwrap();
        assert_eq!(key.rotation_asked_ms, Some(NOW.ms()));
    }
    let recorded = fleet.recorded().await;
    let said = "user alice asked for new keys: a year old";
    assert_eq!(recorded.iter().filter(|it| *it == said).count(), 1);

    ask_for(&fleet, of_alice(&old, &Keys::new(), false))
        .await
        .unwrap();
    let alice = alice(&fleet);
    assert!(alice.keys.iter().all(|key| key.rotation_asked_ms.is_none()));
    let unknown = whom(Some("tablet"));
    let unknown = ask(&fleet.context, &root(), (unknown, String::new()), NOW).await;
    assert!(unknown.unwrap_err().to_string().contains("tablet"));
}
