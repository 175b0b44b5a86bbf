//! Two controllers over one database: what one of them does holds at the other after its next look.

mod elsewhere;

use std::time::Duration;

use fleet::{EventKind, Role};

use super::{Follower, Reload};
use crate::app::fixture::{CALL, Fleet, Keys, root};
use crate::app::members::Act;
use crate::app::{enroll, tokens};
use crate::clock;
use crate::store::model::{Change, Whom};

const POLICY: &str = "NAME alice\nSOURCE ANY\nREQUIRE_USERNAME alice\nOPEN_PORTS tcp/22\n";

async fn look(follower: &mut Follower, other: &Fleet) {
    let look = other.context.store.whats_new().await.unwrap();
    follower.look(&other.context, &look).await.unwrap();
}

/// Another controller over the same database, which has looked just now.
async fn beside(fleet: &Fleet) -> (Fleet, Follower) {
    let other = fleet.beside().await;
    let mut follower = Follower::default();
    look(&mut follower, &other).await;
    (other, follower)
}

fn user_alice() -> Whom {
    Whom {
        role: Role::User,
        name: "alice".to_owned(),
        key: None,
    }
}

#[tokio::test]
async fn a_user_that_was_locked_at_another_controller_may_nothing_here_and_what_she_had_begun_ends()
{
    let fleet = Fleet::new().await;
    let alice = fleet.join(Role::User, "alice").await;
    let (other, mut follower) = beside(&fleet).await;
    let key = alice.keys[0].id;
    let admitted = other
        .context
        .roster
        .admit(Role::User, "alice", key)
        .unwrap();
    assert!(!admitted.locked && !admitted.standing.is_cancelled());

    fleet.act(Act::Lock, user_alice()).await.unwrap();
    look(&mut follower, &other).await;

    assert!(admitted.standing.is_cancelled());
    let again = other
        .context
        .roster
        .admit(Role::User, "alice", key)
        .unwrap();
    assert!(again.locked);
}

#[tokio::test]
async fn a_policy_that_was_applied_at_another_controller_is_what_hosts_are_to_have_here() {
    let fleet = Fleet::new().await;
    fleet.join(Role::User, "alice").await;
    fleet.join(Role::Host, "web-1").await;
    let (other, mut follower) = beside(&fleet).await;
    assert!(other.context.rollout.target("web-1").is_none());

    fleet.apply(0, POLICY).await.unwrap();
    look(&mut follower, &other).await;

    let [here, there] = [&fleet, &other].map(|it| it.context.rollout.target("web-1").unwrap());
    assert_eq!(here.generation, there.generation);
    assert_eq!(here.compiled.digest, there.compiled.digest);
}

#[tokio::test]
async fn who_joins_at_another_controller_is_known_here_and_who_is_removed_there_is_nobody() {
    let fleet = Fleet::new().await;
    fleet.apply(0, POLICY).await.unwrap();
    let (other, mut follower) = beside(&fleet).await;

    fleet.join(Role::User, "alice").await;
    fleet.join(Role::Host, "web-1").await;
    look(&mut follower, &other).await;
    let joined = other.context.rollout.target("web-1").unwrap();
    let here = fleet.context.rollout.target("web-1").unwrap();
    assert_eq!(joined.compiled.digest, here.compiled.digest);

    let host = Whom::host("web-1".to_owned());
    fleet.act(Act::Remove, host).await.unwrap();
    look(&mut follower, &other).await;
    assert!(other.context.roster.find(Role::Host, "web-1").is_none());
    assert!(other.context.rollout.target("web-1").is_none());
}

#[tokio::test]
async fn a_controller_that_runs_puts_in_force_what_it_was_cut_short_in_putting_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    crate::init(&data, "controller.example:7443", "prod")
        .await
        .unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let running = crate::Running::start(&data, Some(listen)).await.unwrap();
    let context = running.context();
    let new = tokens::NewToken {
        role: Role::User,
        name: "alice".to_owned(),
        labels: [].into(),
        scope: [].into(),
        ttl: Duration::ZERO,
        key_name: String::new(),
        replaces: false,
    };
    let issued = tokens::create(&context, &root(), new, clock::now()).await;
    let joiner = Keys::new().joiner(&issued.unwrap().token, "");
    let joined = enroll::redeem(&context, CALL, joiner, clock::now()).await;
    let key = joined.unwrap().member.keys[0].id;
    let admit = || context.roster.admit(Role::User, "alice", key).unwrap();
    let begun = admit();
    assert!(!begun.standing.is_cancelled());

    // Committed, and nothing after that.
    let change = Change {
        whom: user_alice(),
        reason: "because".to_owned(),
        origin: root().origin(),
        at_ms: clock::now().ms(),
    };
    context.store.lock(change, EventKind::Locked).await.unwrap();

    let ended = begun.standing.cancelled();
    tokio::time::timeout(Duration::from_secs(20), ended)
        .await
        .unwrap();
    assert!(admit().locked);
    running.stop().await;
}

#[test]
fn what_hosts_do_every_second_is_no_reason_to_read_anything_again_and_what_is_not_known_is() {
    let after = |kinds: &[EventKind]| Reload::after(kinds.iter().map(|kind| i32::from(*kind)));

    let often = [
        EventKind::GrantOpened,
        EventKind::GrantClosed,
        EventKind::Noise,
    ];
    assert_eq!(after(&often), Reload::default());
    let locked = after(&[EventKind::Refused, EventKind::Locked]);
    assert!(locked.members && !locked.policy);
    assert_eq!(Reload::after([9_999]), Reload::ALL);
}
