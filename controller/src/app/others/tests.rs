//! Several controllers over one database, each with a store of its own.

mod together;

use std::sync::Arc;

use super::*;
use crate::access::caller::Caller;
use crate::app::controllers;
use crate::app::fixture::{Fleet, NOW, after_secs, caller};
use crate::app::follow::Follower;
use crate::app::hosts;
use crate::app::members::{Act, Acted};
use crate::sessions::registry::Subscription;
use crate::sessions::validity::Validity;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::fixture::{NOW_MS, Server};
use crate::store::model::{
    Acknowledgement, Claim, ClaimOutcome, Member, Scope, SharedAuthority, Whom,
};

const POLICY: &str = "NAME alice\nSOURCE ANY\nREQUIRE_USERNAME alice\nOPEN_PORTS tcp/22\n";
const SHARED: &str = "SOURCE ANY\nKEY a-rather-secret-thing\nHMAC_KEY another-secret-thing\n\
                      OPEN_PORTS tcp/22\n";

/// One of several.
struct Controller {
    fleet: Fleet,
    follower: Follower,
    among: Among,
}

impl Controller {
    async fn over(server: &Server, name: &str) -> Self {
        let mut controller = Self {
            fleet: Fleet::with(server.store(name)).await,
            follower: Follower::default(),
            among: Among::default(),
        };
        controller.turn(NOW).await;
        controller
    }

    /// What it does again and again.
    async fn turn(&mut self, now: Timestamp) -> Look {
        self.turn_by(now, now.ms()).await
    }

    /// The same where its clock was set.
    async fn turn_by(&mut self, now: Timestamp, steady_ms: u64) -> Look {
        let context = &self.fleet.context;
        let look = context.store.whats_new().await.unwrap();
        self.follower.look(context, &look).await.unwrap();
        let exchanged = self.among.exchange(context, &look, (now, steady_ms)).await;
        exchanged.unwrap();
        look
    }

    fn member(&self, host: &str) -> Arc<Member> {
        self.fleet.context.roster.find(Role::Host, host).unwrap()
    }

    /// Whether a host is connected to any, as this one knows.
    fn has(&self, host: &str) -> bool {
        let host = self.member(host);
        self.fleet.context.sessions.is_connected_anywhere(&host)
    }

    fn subscribe(&self, host: &str) -> Subscription {
        let target = self.fleet.context.rollout.target(host);
        self.fleet.context.sessions.subscribe(host, || target)
    }

    /// The host enforces what this controller has sent it.
    async fn acknowledge(&self, (host, session): (&str, &Subscription)) {
        let context = &self.fleet.context;
        let target = context.rollout.target(host).unwrap();
        let validity = Validity::new(target.compiled.digest, None, NOW);
        let sent = (validity, None);
        context.sessions.note_sent(host, session.id, sent);
        let acknowledgement = Acknowledgement {
            generation: target.generation,
            digest: target.compiled.digest.to_vec(),
            ..Acknowledgement::default()
        };
        let by = caller(&self.member(host));
        let done = hosts::acknowledge(context, &by, acknowledgement, NOW);
        done.await.unwrap();
    }

    /// Whether those have heard for whom somebody waits here.
    async fn has_heard(&self, acted: &mut Acted) -> bool {
        let next = acted.waiting.next(&self.fleet.context);
        let heard = tokio::time::timeout(std::time::Duration::ZERO, next);
        heard.await.is_ok()
    }
}

/// Two over one database, with a host.
async fn two(server: &Server) -> (Controller, Controller) {
    let store = server.store("first");
    let created = store.create_fleet("e".repeat(32), NOW_MS / 1000).await;
    created.unwrap();
    let mut a = Controller::over(server, "a").await;
    let mut b = Controller::over(server, "b").await;
    a.fleet.join(Role::Host, "web-1").await;
    for controller in [&mut a, &mut b] {
        controller.turn(NOW).await;
    }
    (a, b)
}

#[tokio::test]
async fn whoever_asks_any_controller_hears_of_all_and_where_each_host_is_until_one_is_silent_for_a_minute()
 {
    let server = Server::start();
    let (mut a, mut b) = two(&server).await;
    let _session = b.subscribe("web-1");
    b.turn(NOW).await;
    a.turn(NOW).await;
    let seen = |controller: &Controller| -> Vec<(u64, bool, bool)> {
        let all = controllers::all(&controller.fleet.context).into_iter();
        all.map(|one| (one.hosts, one.is_serving, one.is_this))
            .collect()
    };

    assert_eq!(seen(&a), [(0, true, true), (1, true, false)]);
    assert_eq!(seen(&b), [(1, true, true), (0, true, false)]);
    let context = &a.fleet.context;
    let there = controllers::of_host(context, &a.member("web-1"));
    assert_eq!(there.as_ref(), Some(&b.fleet.context.settings.address));
    let nobody = caller(&a.member("web-1"));
    let stage = [("env".to_owned(), "stage".to_owned())];
    let scoped = Caller {
        scope: Scope(BTreeMap::from(stage)),
        ..nobody
    };
    let counted: u64 = controllers::list(context, &scoped)
        .iter()
        .map(|one| one.hosts)
        .sum();
    assert_eq!(
        counted, 0,
        "hosts that are not one's business are not counted"
    );

    // One that says nothing any more has died, perhaps; its hosts are nowhere.
    a.turn(after_secs(STALE_MS / 1000)).await;
    assert_eq!(seen(&a), [(0, true, true), (0, false, false)]);
    let there = controllers::of_host(&a.fleet.context, &a.member("web-1"));
    assert_eq!(there, None);
    a.turn(after_secs(DEAD_MS / 1000)).await;
    a.turn(after_secs(DEAD_MS / 1000)).await;
    assert_eq!(seen(&a), [(0, true, true)]);
}

#[tokio::test]
async fn a_host_that_acknowledges_at_another_controller_has_heard_of_a_lock_here() {
    let server = Server::start();
    let (mut a, mut b) = two(&server).await;
    let mut session = b.subscribe("web-1");
    b.turn(NOW).await;
    a.turn(NOW).await;

    let lock = a.fleet.act(Act::Lock, Whom::host("web-1".to_owned()));
    let mut acted = lock.await.unwrap();
    let [host] = acted.hosts.as_slice() else {
        panic!("{acted:?}");
    };
    assert!(host.connected && !host.acknowledged, "{host:?}");
    b.turn(NOW).await;
    session.locked.changed().await.unwrap();
    b.turn(NOW).await;
    a.turn(NOW).await;
    assert!(!a.has_heard(&mut acted).await, "it has not said so yet");

    hosts::note_locked(&b.fleet.context, &caller(&b.member("web-1")));
    b.turn(NOW).await;
    a.turn(NOW).await;
    assert!(a.has_heard(&mut acted).await);
}

#[tokio::test]
async fn a_host_has_heard_of_a_change_when_it_enforces_that_and_not_what_was_before() {
    let server = Server::start();
    let (mut a, mut b) = two(&server).await;
    a.fleet.join(Role::User, "alice").await;
    a.fleet.apply(0, POLICY).await.unwrap();
    b.turn(NOW).await;
    let session = ("web-1", &b.subscribe("web-1"));
    b.acknowledge(session).await;
    b.turn(NOW).await;
    a.turn(NOW).await;

    let alice = || Whom {
        role: Role::User,
        name: "alice".to_owned(),
        key: None,
    };
    let mut acted = a.fleet.act(Act::Lock, alice()).await.unwrap();
    assert!(!acted.hosts[0].acknowledged, "{acted:?}");
    // What it says before the other controller knows of the lock is about what was before.
    b.acknowledge(session).await;
    for controller in [&mut b, &mut a] {
        controller.turn(NOW).await;
    }
    assert!(!a.has_heard(&mut acted).await);
    b.acknowledge(session).await;
    b.turn(NOW).await;
    a.turn(NOW).await;
    assert!(a.has_heard(&mut acted).await);

    // The same text again is another change.
    let mut acted = a.fleet.act(Act::Unlock, alice()).await.unwrap();
    let mut again = a.fleet.act(Act::Lock, alice()).await.unwrap();
    a.turn(NOW).await;
    assert!(!a.has_heard(&mut acted).await);
    assert!(!a.has_heard(&mut again).await);
    b.turn(NOW).await;
    b.acknowledge(session).await;
    b.turn(NOW).await;
    a.turn(NOW).await;
    assert!(a.has_heard(&mut acted).await && a.has_heard(&mut again).await);
}

#[tokio::test]
async fn a_host_is_connected_for_all_while_its_controller_lives_and_says_so() {
    let server = Server::start();
    let (mut a, mut b) = two(&server).await;
    let session = b.subscribe("web-1");
    b.turn(NOW).await;
    a.turn(NOW).await;
    assert!(a.has("web-1"));
    drop(session);
    b.turn(NOW).await;
    a.turn(NOW).await;
    assert!(!a.has("web-1"), "it has gone");

    // However long it says so, and whatever its clock is.
    let _session = b.subscribe("web-1");
    for secs in [1, 12, 24, 36] {
        b.turn(after_secs(secs + 9_000_000)).await;
        a.turn(after_secs(secs)).await;
        assert!(a.has("web-1"), "{secs}");
    }
    a.turn(after_secs(36 + 14)).await;
    assert!(a.has("web-1"));
    a.turn(after_secs(36 + 15)).await;
    assert!(!a.has("web-1"), "it has said nothing for too long");
    a.turn(after_secs(36 + 60)).await;
    let left = a.turn(after_secs(100)).await.controllers;
    assert_eq!(left.len(), 1, "the dead one's row is gone: {left:?}");

    // It was only slow.
    b.turn(after_secs(9_000_200)).await;
    a.turn(after_secs(101)).await;
    assert!(a.has("web-1"));
    // One that stops says so.
    b.among.leave(&b.fleet.context).await.unwrap();
    a.turn(after_secs(101)).await;
    assert!(!a.has("web-1"));
}

#[tokio::test]
async fn what_a_server_has_lost_of_where_hosts_are_is_said_again() {
    let server = Server::start();
    let (mut a, mut b) = two(&server).await;
    let _session = b.subscribe("web-1");
    b.turn(NOW).await;
    b.turn(NOW).await;

    server.sql("DELETE FROM host_sessions; DELETE FROM controllers");
    a.among = Among::default();
    a.turn(NOW).await;
    assert!(!a.has("web-1"), "nobody knows");
    b.turn(after_secs(5)).await;
    a.turn(after_secs(5)).await;

    assert!(a.has("web-1"));
}

#[tokio::test]
async fn when_nothing_happens_a_controller_writes_that_it_lives_and_nothing_else() {
    let server = Server::start();
    let (mut a, mut b) = two(&server).await;
    let _session = b.subscribe("web-1");
    b.turn(NOW).await;
    let before = b.turn(NOW).await;

    for _ in 0..5 {
        let look = b.turn(after_secs(4)).await;
        assert_eq!(look, before);
    }
    b.turn(after_secs(5)).await;
    let after = a.turn(after_secs(5)).await;
    assert_eq!((after.hosts, after.record), (before.hosts, before.record));
    assert_ne!(after.controllers, before.controllers);
}

#[tokio::test]
async fn a_change_that_concerns_no_host_is_said_of_none() {
    let server = Server::start();
    let (a, mut b) = two(&server).await;
    a.fleet.apply(0, SHARED).await.unwrap();
    b.turn(NOW).await;
    let session = ("web-1", &b.subscribe("web-1"));
    b.acknowledge(session).await;
    b.turn(NOW).await;
    let before = b.turn(NOW).await;

    a.fleet.token(Role::User, "bob").await;
    b.turn(NOW).await;
    b.acknowledge(session).await;
    b.turn(NOW).await;
    let after = b.turn(NOW).await;

    assert!(after.record > before.record);
    assert_eq!(after.hosts, before.hosts);
}

#[tokio::test]
async fn a_controller_that_comes_hears_within_a_sign_of_life_what_hosts_of_others_enforce() {
    let server = Server::start();
    let (a, mut b) = two(&server).await;
    a.fleet.join(Role::User, "alice").await;
    a.fleet.apply(0, POLICY).await.unwrap();
    b.turn(NOW).await;
    let session = ("web-1", &b.subscribe("web-1"));
    b.acknowledge(session).await;
    b.turn(NOW).await;
    // Something that concerns no host, of which nothing is said.
    a.fleet.token(Role::User, "bob").await;
    b.turn(NOW).await;

    let mut anew = Controller::over(&server, "a").await;
    let heard = |anew: &Controller| {
        let host = anew.member("web-1");
        let others = anew.fleet.context.sessions.others();
        others.has_heard(host.id, &host.name)
    };
    anew.turn(NOW).await;
    assert!(!heard(&anew));
    b.turn(NOW).await;
    b.acknowledge(session).await;
    b.turn(NOW).await;
    anew.turn(NOW).await;
    assert!(heard(&anew));
}

#[tokio::test]
async fn of_a_host_with_sessions_at_two_controllers_the_newest_goes_on() {
    let server = Server::start();
    let (mut a, mut b) = two(&server).await;
    let older = a.subscribe("web-1");
    a.turn(NOW).await;

    let newer = b.subscribe("web-1");
    b.turn(NOW).await;
    a.turn(NOW).await;
    b.turn(NOW).await;

    assert!(older.ended.is_cancelled());
    assert!(!newer.ended.is_cancelled());
    drop(older);
    for controller in [&mut a, &mut b] {
        controller.turn(NOW).await;
    }
    assert!(a.has("web-1") && b.has("web-1"));
    assert!(!a.fleet.context.sessions.is_connected("web-1"));
}

async fn claim(store: Store, domain: [u8; 32], number: u64) -> Result<ClaimOutcome, StoreError> {
    let mut digest = [1; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    let claim = Claim {
        domain,
        digest,
        host: "web-1".to_owned(),
        seq: number,
        forget_after_secs: NOW.secs() + 100,
        dated_secs: NOW.secs() + 1,
        capped: false,
    };
    store.claim(claim).await
}

#[tokio::test]
async fn what_is_claimed_at_one_controller_is_told_once_to_the_hosts_of_the_other_and_of_a_flood_the_newest()
 {
    let server = Server::start();
    let (a, mut b) = two(&server).await;
    a.fleet.join(Role::Host, "web-2").await;
    a.fleet.apply(0, SHARED).await.unwrap();
    let domain = a.fleet.context.rollout.target("web-1").unwrap();
    let domain = domain.compiled.domains[0];
    let store = a.fleet.context.store.clone();
    let claim = |number: u64| claim(store.clone(), domain, number);
    claim(0).await.unwrap();
    b.turn(NOW).await;
    let mut session = b.subscribe("web-2");
    let mut own = b.subscribe("web-1");
    // What was claimed before is told when a host comes, and not again.
    b.turn(NOW).await;
    assert!(session.claimed.try_recv().is_err());

    drop(own);
    claim(1).await.unwrap();
    b.turn(NOW).await;
    b.turn(NOW).await;
    let told = session.claimed.try_recv().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].digest[..8], 1_u64.to_be_bytes());
    assert!(session.claimed.try_recv().is_err(), "told once");

    // Who claims here is told of at once, by other means.
    own = b.subscribe("web-1");
    claim(2).await.unwrap();
    b.turn(NOW).await;
    assert!(session.claimed.try_recv().is_err());
    drop(own);

    let mut flood = tokio::task::JoinSet::new();
    for number in 3..5_999 {
        flood.spawn(claim(number));
    }
    for done in flood.join_all().await {
        done.unwrap();
    }
    claim(5_999).await.unwrap();
    b.turn(NOW).await;
    let told = session.claimed.try_recv().unwrap();
    assert_eq!(told.len(), CLAIMS_MAX as usize);
    assert_eq!(told[0].digest[..8], 5_999_u64.to_be_bytes());
    assert!(session.claimed.try_recv().is_err());
    // A restart tells nothing of what is known.
    let mut anew = Controller::over(&server, "b").await;
    let mut session = anew.subscribe("web-2");
    anew.turn(NOW).await;
    assert!(session.claimed.try_recv().is_err());
}

#[tokio::test]
async fn a_look_finds_when_the_authorities_are_others_and_else_the_same_number() {
    let server = Server::start();
    let (one, two) = (server.store("one"), server.store("two"));
    let found = async |store: &Store| store.whats_new().await.unwrap().authority;
    let share = async |store: &Store, state: &str, base: Option<&str>| {
        let next = SharedAuthority {
            fleet: "prod".to_owned(),
            states: vec![state.to_owned()],
            text: "{}".to_owned(),
        };
        let base = base.map(str::to_owned);
        assert!(store.share_authority(next, base).await.unwrap());
    };
    share(&one, "a", None).await;
    let first = found(&two).await;
    one.try_to_write().await.unwrap();
    share(&one, "a", Some("a")).await;
    assert_eq!(found(&two).await, first, "nothing was changed");

    share(&one, "b", Some("a")).await;

    assert_ne!(found(&two).await, first);
    assert_eq!(found(&two).await, found(&one).await);
}
