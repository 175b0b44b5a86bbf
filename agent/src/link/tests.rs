//! The link against a controller in memory: what it does when all is well, and when it is not.

mod events;
mod fake;
mod locked;
mod memory;
mod packed;
mod places;
mod rotation;
mod version_1;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use engine::{ClaimAnswer, ClaimAsk, Rejected, Status};
use fleet::wire::directive::Directive as Kind;
use fleet::wire::{ClaimedDigest, ClaimedDigests, Directive, PolicySnapshot};
use fleet::{Event, EventKind};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tonic::transport::Endpoint;

use super::*;
use crate::clock;
use crate::journal::{Journal, JournalOptions, JournalReader, Retention};
use crate::link_state::LinkState;
use crate::orders::{OrderInbox, mailbox};
use crate::policies::{PolicyText, PolicyVersion};
use fake::Fake;

/// Long enough for a busy machine; nothing is expected to take this long.
const SOON: Duration = Duration::from_secs(10);

const POLICY: &str = "SOURCE ANY\nKEY_BASE64 MTIzNDU2Nzg5MDEyMzQ1Ng==\nHMAC_KEY_BASE64 YWJjZGVmZ2hpamtsbW5vcA==\nOPEN_PORTS tcp/22\n";

/// The gate thread's ends of the channels, held by the test.
struct Desk {
    journal: Journal,
    inbox: OrderInbox,
    waiting: VecDeque<Order>,
    claims: mpsc::Sender<ClaimAsk>,
    committed: watch::Sender<u64>,
    status: watch::Sender<Status>,
    _dir: TempDir,
}

// === impl Desk ===

impl Desk {
    fn new() -> (Self, Channels) {
        Self::with(|_| {})
    }

    /// With a journal into which `fill` has staged something.
    fn with(fill: impl FnOnce(&mut Journal)) -> (Self, Channels) {
        let dir = TempDir::new().unwrap();
        let options = JournalOptions {
            state_dir: dir.path().to_owned(),
            retention: Retention::UntilAcknowledged,
            window: Some(Duration::from_secs(120)),
            max_future: Duration::from_secs(120),
            witness_dir: None,
        };
        let mut journal = Journal::open(&options, clock::now().wall_secs)
            .unwrap()
            .journal;
        fill(&mut journal);
        let last_seq = journal.commit().unwrap();
        let reader = JournalReader::open(journal.path()).unwrap();

        let (orders, inbox) = mailbox().unwrap();
        let (claims, asks) = mpsc::channel(16);
        let (committed, committed_seen) = watch::channel(last_seq);
        let (status, status_seen) = watch::channel(Status::default());
        let desk = Self {
            journal,
            inbox,
            waiting: VecDeque::new(),
            claims,
            committed,
            status,
            _dir: dir,
        };
        let channels = Channels {
            backend: "nftables",
            state: LinkState::default(),
            orders,
            claims: asks,
            journal: reader,
            committed: committed_seen,
            status: status_seen,
        };
        (desk, channels)
    }

    async fn order(&mut self) -> Order {
        let wait = async {
            loop {
                let _ = self.inbox.take(&mut self.waiting);
                match self.waiting.pop_front() {
                    Some(Order::UseChainVersion(version)) => {
                        self.journal.use_chain_version(version);
                    }
                    Some(order) => return order,
                    None => {}
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.unwrap()
    }

    /// What the gate thread does with a policy, as far as the link can see.
    async fn adopt(&mut self) -> u64 {
        let Order::ReplacePolicy(policy) = self.order().await else {
            panic!("no policy")
        };
        self.status.send_replace(Status {
            generation: policy.version.generation,
            digest: policy.version.digest,
            ..Status::default()
        });
        policy.version.generation
    }

    fn record(&mut self, count: u64) {
        for _ in 0..count {
            self.journal.stage(Event::new(EventKind::Refused, 1));
        }
        let last = self.journal.commit().unwrap();
        self.committed.send_replace(last);
    }

    /// Carries out acknowledgements until the one for `seq`.
    async fn acknowledged(&mut self, seq: u64) {
        loop {
            let Order::EventsAcknowledged { epoch, seq: upto } = self.order().await else {
                panic!("no acknowledgement")
            };
            self.journal.acknowledged(&epoch, upto);
            self.journal.commit().unwrap();
            if upto == seq {
                return;
            }
            assert!(upto < seq);
        }
    }

    async fn claim(&mut self, seq: u64) -> ClaimAnswer {
        let ask = ClaimAsk {
            seq,
            domain: [1; 32],
            digest: [2; 32],
            forget_after_secs: None,
            dated_secs: 0,
        };
        self.claims.send(ask).await.unwrap();
        loop {
            if let Order::ClaimAnswer { seq: asked, answer } = self.order().await {
                assert_eq!(asked, seq);
                return answer;
            }
        }
    }
}

fn link(address: SocketAddr, channels: Channels) -> Link {
    let (link, start) = Link::new(&channels);
    start.run(&Handle::current(), &link, controller(address), channels);
    link
}

/// How that one is reached, by a host without keys.
fn controller(address: SocketAddr) -> Controller {
    controllers(&[address], LinkState::default())
}

/// Long enough that no test meets it by chance.
const RETURN: Duration = Duration::from_mins(10);

/// How the first of those that answers is reached.
fn controllers(addresses: &[SocketAddr], state: LinkState) -> Controller {
    controllers_left_after(RETURN, addresses, state)
}

/// The same by a host that goes back to earlier ones after this.
fn controllers_left_after(
    wait: Duration,
    addresses: &[SocketAddr],
    state: LinkState,
) -> Controller {
    let dial: Dial = Arc::new(move |address| {
        Box::pin(async move {
            Endpoint::from_shared(format!("http://{address}"))
                .unwrap()
                .connect()
                .await
                .map_err(|cause| ConnectError::Unreachable {
                    address,
                    cause: cause.into(),
                })
        })
    });
    let known = addresses.iter().map(SocketAddr::to_string).collect();
    Controller {
        dial,
        addresses: Addresses::new((&[], known), Home::new(wait), state),
        keys: OwnKeys::new(None, Vec::new()),
    }
}

/// An address at which nobody listens.
fn nowhere() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn snapshot(generation: u64, text: &str) -> Directive {
    Directive {
        directive: Some(Kind::Policy(PolicySnapshot {
            generation,
            text: text.to_owned(),
            digest: Sha256::digest(text).to_vec(),
            not_after_secs: 0,
            replay_floor_secs: 0,
            ..PolicySnapshot::default()
        })),
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

async fn seen<T>(channel: &mut mpsc::UnboundedReceiver<T>) -> T {
    let next = tokio::time::timeout(SOON, channel.recv()).await;
    next.unwrap().unwrap()
}

// === policies ===

#[tokio::test]
async fn a_policy_is_ordered_and_acknowledged_when_it_is_in_force() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    let session = seen(&mut fake.sessions).await;
    assert_eq!((session.generation, &*session.policy_digest), (0, &[][..]));
    assert_eq!(seen(&mut fake.acknowledged).await.generation, 0);

    fake.direct(&snapshot(7, POLICY));
    assert_eq!(desk.adopt().await, 7);

    let acknowledged = seen(&mut fake.acknowledged).await;
    assert_eq!(acknowledged.generation, 7);
    assert_eq!(acknowledged.policy_digest, digest(POLICY));
    assert!(acknowledged.rejected.is_empty());
}

#[tokio::test]
async fn an_older_generation_is_rejected_with_a_reason_and_the_controller_hears_it() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    seen(&mut fake.sessions).await;
    fake.direct(&snapshot(7, POLICY));
    desk.adopt().await;

    fake.direct(&snapshot(6, ""));

    let Order::PolicyRejected(Rejected {
        generation: 6,
        digest,
        reasons,
    }) = desk.order().await
    else {
        panic!("not rejected")
    };
    assert_eq!(
        reasons,
        ["generation 6 is older than 7, which was adopted before"]
    );
    desk.status.send_modify(|status| {
        status.rejected = Some(Rejected {
            generation: 6,
            digest,
            reasons: reasons.clone(),
        });
    });
    loop {
        let acknowledged = seen(&mut fake.acknowledged).await;
        if acknowledged.generation == 6 {
            assert_eq!(acknowledged.rejected, reasons);
            return;
        }
    }
}

#[tokio::test]
async fn a_policy_whose_digest_does_not_fit_is_rejected() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    seen(&mut fake.sessions).await;
    let mut altered = snapshot(7, POLICY);
    if let Some(Kind::Policy(snapshot)) = &mut altered.directive {
        snapshot.text.push_str("\n# altered");
    }

    fake.direct(&altered);

    assert!(matches!(
        desk.order().await,
        Order::PolicyRejected(Rejected { generation: 7, .. })
    ));
}

#[tokio::test]
async fn a_policy_with_mistakes_is_rejected_with_each_of_them() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    seen(&mut fake.sessions).await;

    fake.direct(&snapshot(7, "SOURCE ANY\nOPEN_PORTS tcp/0\nNONSENSE yes\n"));

    let Order::PolicyRejected(Rejected { reasons, .. }) = desk.order().await else {
        panic!("not rejected")
    };
    assert!(reasons.iter().any(|reason| reason.contains("OPEN_PORTS")));
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("known keyword"))
    );
}

#[tokio::test]
async fn the_saved_policy_is_enforced_without_the_controller() {
    let (mut desk, channels) = Desk::with(|journal| {
        journal.stage_policy(PolicyText {
            version: PolicyVersion {
                generation: 5,
                digest: digest(POLICY),
                ..PolicyVersion::default()
            },
            text: POLICY.to_owned().into(),
        });
    });

    let _link = link(nowhere(), channels);

    assert_eq!(desk.adopt().await, 5);
}

#[tokio::test]
async fn after_a_restart_of_the_controller_the_link_comes_back_and_says_what_is_in_force() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    seen(&mut fake.sessions).await;
    fake.direct(&snapshot(7, POLICY));
    desk.adopt().await;
    let (address, state) = (fake.address, fake.state.clone());

    drop(fake);
    let mut fake = Fake::start_at(address, state);

    let session = seen(&mut fake.sessions).await;
    assert_eq!(session.generation, 7);
    assert_eq!(session.policy_digest, digest(POLICY));
}

// === claims ===

#[tokio::test]
async fn a_claim_is_won_once_and_lost_by_others() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    seen(&mut fake.sessions).await;

    assert_eq!(desk.claim(1).await, ClaimAnswer::Won);
    let held_by = "web-2".to_owned();
    assert_eq!(desk.claim(2).await, ClaimAnswer::Lost { held_by });
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_asked_again_and_still_won() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    seen(&mut fake.sessions).await;
    fake.state.lock().lost_answers = 2;

    assert_eq!(desk.claim(1).await, ClaimAnswer::Won);
    assert_eq!(fake.state.lock().claim_calls, 3);
}

/// Waits until the link knows that nobody answers.
async fn until_down(link: &mut Link) {
    let down = link
        .connection
        .wait_for(|connection| matches!(connection, Connection::Down));
    tokio::time::timeout(SOON, down).await.unwrap().unwrap();
}

#[tokio::test]
async fn claims_are_answered_unreachable_at_once_when_the_controller_is_down() {
    let (mut desk, channels) = Desk::new();
    let mut link = link(nowhere(), channels);
    until_down(&mut link).await;

    let answer = tokio::time::timeout(Duration::from_secs(1), desk.claim(1)).await;

    assert_eq!(answer.unwrap(), ClaimAnswer::Unreachable);
}

#[tokio::test]
async fn a_claim_under_way_when_the_controller_dies_is_answered() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let mut link = link(fake.address, channels);
    seen(&mut fake.sessions).await;
    link.connection
        .wait_for(|connection| matches!(connection, Connection::Up(_)))
        .await
        .unwrap();
    fake.state.lock().hang = true;

    let (answer, ()) = tokio::join!(desk.claim(1), async {
        while fake.state.lock().claim_calls == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(fake);
    });

    assert_eq!(answer, ClaimAnswer::Unreachable);
}

#[tokio::test]
async fn a_claim_that_the_controller_sits_on_is_unreachable_in_time() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    seen(&mut fake.sessions).await;
    fake.state.lock().hang = true;

    assert_eq!(desk.claim(1).await, ClaimAnswer::Unreachable);
}

#[tokio::test]
async fn what_siblings_claimed_is_ordered_and_what_is_for_ever_stays_so() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    seen(&mut fake.sessions).await;
    let claimed = |digest: Vec<u8>, forget_after_secs| ClaimedDigest {
        domain: vec![1; 32],
        digest,
        forget_after_secs,
    };

    fake.direct(&Directive {
        directive: Some(Kind::Claimed(ClaimedDigests {
            digests: vec![
                claimed(vec![2; 32], 99),
                claimed(vec![3; 31], 99),
                claimed(vec![4; 32], 0),
            ],
        })),
    });

    let Order::Claimed(digests) = desk.order().await else {
        panic!("no digests")
    };
    let digests: Vec<_> = digests
        .iter()
        .map(|claimed| (claimed.digest, claimed.forget_after_secs))
        .collect();
    assert_eq!(digests, [([2; 32], 99), ([4; 32], i64::MAX as u64)]);
}
