use std::cell::Cell;
use std::sync::LazyLock;

use policy::NoIncludes;

use super::super::flow::LARGE_LASTS;
use super::*;
use crate::store::fixture;
use crate::targets::{Targets, Users};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const BEGIN_MS: u64 = 1_800_000_000_000;

static FLEET: LazyLock<watch::Sender<FleetState>> =
    LazyLock::new(|| watch::Sender::new(fleet_state()));

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(BEGIN_MS) };
}

/// The clock of these tests, one for each.
fn now() -> Timestamp {
    Timestamp::from_ms(NOW_MS.get())
}

fn pass(time: Duration) {
    let ms = u64::try_from(time.as_millis()).unwrap();
    NOW_MS.set(NOW_MS.get() + ms);
}

fn targets(generation: u64, text: &str, before: &Targets) -> Targets {
    let policy = Arc::new(policy::parse("policy", text, &NoIncludes).unwrap());
    let host = fixture::member(fleet::Role::Host, "web-1");
    Targets::compile(
        &policy,
        generation,
        &[Arc::new(host)],
        &Users::default(),
        before,
    )
}

fn first_targets() -> Targets {
    targets(1, "PROTECT tcp/22\nSOURCE ANY\n", &Targets::default())
}

fn fleet_state() -> FleetState {
    FleetState {
        replay_floor_secs: 5,
        claim_epoch: 3,
        set_back: None,
    }
}

fn open(
    registry: &Arc<Registry>,
    policy_valid: Option<Duration>,
    has_digest: Vec<u8>,
) -> (Session, mpsc::Receiver<Box<Directive>>) {
    let (directives, received) = mpsc::channel(QUEUE_MAX);
    let session = Session {
        host: "web-1".to_owned(),
        registry: Arc::clone(registry),
        subscription: registry.subscribe("web-1", || first_targets().get("web-1").cloned()),
        directives,
        policy_valid,
        fleet: FLEET.subscribe(),
        passes: None,
        packs: false,
        has_digest,
        in_step: false,
        waiting: None,
        said: None,
        timers: Timers::default(),
        lease: None,
        now,
    };
    (session, received)
}

/// The session of a host that keeps passes, of this member, whose first one this is.
async fn keeping_passes(
    session: Session,
    (store, member): (Store, u64),
    first: Vec<u8>,
) -> Session {
    let checkpoints = Checkpoints::load(&store, "prod", now()).await.unwrap();
    Session {
        passes: Some(Passes {
            checkpoints: Arc::new(checkpoints),
            audit: Shown::default(),
            only_key: None,
            store,
            member,
            first,
            acknowledged: None,
            new_journal: None,
        }),
        ..session
    }
}

/// The next directive, which must be a policy: its target and until when it is good.
async fn policy(received: &mut mpsc::Receiver<Box<Directive>>) -> (Target, u64) {
    match *received.recv().await.unwrap() {
        Directive::Policy {
            target,
            form: Form::Whole,
            not_after_secs,
            replay_floor_secs: 5,
            claim_epoch: 3,
        } => (target, not_after_secs),
        other @ (Directive::Policy { .. }
        | Directive::Claimed(_)
        | Directive::Ended
        | Directive::Locked { .. }
        | Directive::NewJournal { .. }
        | Directive::Opened { .. }) => {
            panic!("{other:?}")
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_sent_again_when_half_of_its_life_has_passed() {
    let registry = Arc::default();
    let (session, mut received) = open(&registry, Some(WEEK), Vec::new());
    tokio::spawn(session.run(Vec::new()));

    let (first, first_until) = policy(&mut received).await;
    let began = tokio::time::Instant::now();
    pass(WEEK / 2);
    let (again, again_until) = policy(&mut received).await;

    let part = began.elapsed() - WEEK / 2;
    assert!(part < WEEK / 8, "the host's own part is an eighth at most");
    assert_eq!(again.compiled.digest, first.compiled.digest);
    assert_eq!(again_until, first_until + WEEK.as_secs() / 2);
}

#[tokio::test]
async fn a_policy_lives_for_a_week_and_is_due_again_after_half_of_it() {
    let registry = Arc::default();
    let (mut session, mut received) = open(&registry, Some(WEEK), Vec::new());

    session.first_policy().await.unwrap();

    let (_, until) = policy(&mut received).await;
    assert_eq!(until, now().secs() + WEEK.as_secs());
    let part = session.timers.refresh.unwrap() - WEEK / 2;
    assert!(part < WEEK / 8, "the host's own part is an eighth at most");
}

#[tokio::test]
async fn a_policy_that_is_valid_for_ever_is_not_due_again() {
    let registry = Arc::default();
    let (mut session, mut received) = open(&registry, None, Vec::new());

    session.first_policy().await.unwrap();

    assert_eq!(session.timers.refresh, Some(Duration::MAX));
    assert_eq!(policy(&mut received).await.1, 0);
}

#[tokio::test]
async fn only_an_acknowledged_policy_is_left_out_at_the_next_session() {
    let registry = Arc::default();
    let (mut session, mut received) = open(&registry, Some(WEEK), Vec::new());
    session.first_policy().await.unwrap();
    let (first, _) = policy(&mut received).await;
    let digest = first.compiled.digest;

    // It has the text, but whether the new date reached it is not known.
    let (mut session, mut received) = open(&registry, Some(WEEK), digest.to_vec());
    session.first_policy().await.unwrap();
    policy(&mut received).await;
    registry.note_applied("web-1", &digest);
    let (mut session, mut received) = open(&registry, Some(WEEK), digest.to_vec());
    session.first_policy().await.unwrap();

    assert!(received.try_recv().is_err(), "nothing is sent");
}

#[tokio::test]
async fn an_acknowledged_policy_is_sent_again_when_it_has_become_old() {
    let registry = Arc::default();
    let (mut session, mut received) = open(&registry, Some(WEEK), Vec::new());
    session.first_policy().await.unwrap();
    let (first, _) = policy(&mut received).await;
    let digest = first.compiled.digest;
    registry.note_applied("web-1", &digest);

    pass(WEEK / 2 + WEEK / 8);
    let (mut session, mut received) = open(&registry, Some(WEEK), digest.to_vec());
    session.first_policy().await.unwrap();

    assert!(received.try_recv().is_ok());
}

#[tokio::test]
async fn what_was_acknowledged_before_a_restart_is_not_sent_again_until_it_is_old() {
    let digest = first_targets().get("web-1").unwrap().compiled.digest;
    let acknowledged = Some(Validity::new(digest, Some(WEEK), now()));
    let sent = async |has: [u8; 32]| {
        let registry: Arc<Registry> = Arc::default();
        let (session, mut received) = open(&registry, Some(WEEK), has.to_vec());
        let mut session = Session {
            lease: acknowledged,
            ..session
        };
        session.first_policy().await.unwrap();
        (received.try_recv().is_ok(), registry, session)
    };

    let (is_sent, registry, _session) = sent(digest).await;
    assert!(!is_sent, "it has what it should have");
    registry.note_applied("web-1", &digest);
    assert_eq!(registry.applied("web-1"), acknowledged);
    assert!(sent([9; 32]).await.0, "it has another");
    pass(WEEK / 2 + WEEK / 8);
    assert!(sent(digest).await.0, "it is old");
}

#[tokio::test]
async fn a_session_hears_of_a_new_text_once_and_of_the_same_text_not_at_all() {
    let registry = Arc::default();
    let (mut session, _received) = open(&registry, None, Vec::new());
    let targets_slot = &mut session.subscription.targets;
    let first = first_targets();

    registry.retarget(&first);
    assert!(!targets_slot.has_changed().unwrap());

    registry.retarget(&targets(2, "PROTECT tcp/23\nSOURCE ANY\n", &first));
    registry.retarget(&targets(3, "PROTECT tcp/24\nSOURCE ANY\n", &first));
    let newest = targets_slot.borrow_and_update().clone().unwrap();
    assert_eq!(newest.generation, 3, "it misses what was overtaken");
    assert!(!targets_slot.has_changed().unwrap());
}

#[tokio::test]
async fn a_second_session_of_a_host_ends_the_first_and_outlives_it() {
    let registry: Arc<Registry> = Arc::default();
    let (first, mut first_received) = open(&registry, None, Vec::new());
    let (second, _second_received) = open(&registry, None, Vec::new());

    first.run(Vec::new()).await;

    let mut last = None;
    while let Some(directive) = first_received.recv().await {
        last = Some(directive);
    }
    assert!(
        matches!(last.as_deref(), Some(Directive::Ended)),
        "{last:?}"
    );
    assert!(registry.is_connected("web-1"));
    registry.end("web-1");
    assert!(second.subscription.ended.is_cancelled());
    assert!(!registry.is_connected("web-1"));
}

#[tokio::test(start_paused = true)]
async fn a_host_hears_first_what_it_is_called_now_whatever_its_certificate_says() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = fixture::open(dir.path()).await;
    let registry = Arc::default();
    let (session, mut received) = open(&registry, None, Vec::new());
    let session = keeping_passes(session, (store, 1), vec![7]).await;
    tokio::spawn(session.run(Vec::new()));

    let first = received.recv().await.unwrap();

    assert!(
        matches!(&*first, Directive::Opened { called, .. } if called == "web-1"),
        "{first:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_of_which_something_was_stored_is_given_another_pass_a_minute_later_and_no_other_is()
{
    let dir = tempfile::TempDir::new().unwrap();
    let store = fixture::open(dir.path()).await;
    let host = fixture::join(&store, fleet::Role::Host, "web-1").await;
    let registry = Arc::default();
    let (session, mut received) = open(&registry, None, Vec::new());
    let session = keeping_passes(session, (store, host.id), vec![7]).await;
    tokio::spawn(session.run(Vec::new()));
    let mut first = Vec::new();
    while first.len() < 2 {
        first.push(received.recv().await.unwrap());
    }

    let idle = tokio::time::timeout(10 * RENEWAL, received.recv()).await;
    assert!(idle.is_err(), "{idle:?}");

    let began = tokio::time::Instant::now();
    registry.note_active("web-1");
    registry.note_active("web-1");
    let next = received.recv().await.unwrap();
    assert!(matches!(&*next, Directive::Opened { .. }), "{next:?}");
    assert!(began.elapsed() >= RENEWAL);
}

/// The next directive, which must be a policy: in which form.
async fn form(received: &mut mpsc::Receiver<Box<Directive>>) -> Form {
    match *received.recv().await.unwrap() {
        Directive::Policy { form, .. } => form,
        other @ (Directive::Claimed(_)
        | Directive::Ended
        | Directive::Locked { .. }
        | Directive::NewJournal { .. }
        | Directive::Opened { .. }) => panic!("{other:?}"),
    }
}

/// A policy whose text is long enough to be sent as a difference.
fn long(stanzas: usize) -> String {
    let mut text = String::new();
    for number in 0..stanzas {
        let stanza =
            format!("NAME s-{number}\nSOURCE ANY\nKEY a-key-{number}\nHMAC_KEY h-{number}\n");
        text.push_str(&stanza);
    }
    text
}

#[tokio::test]
async fn a_host_that_has_the_text_hears_only_until_when_and_one_that_has_the_last_what_differs() {
    let registry: Arc<Registry> = Arc::default();
    let (session, mut received) = open(&registry, Some(WEEK), Vec::new());
    let mut session = Session {
        packs: true,
        ..session
    };
    let first = targets(2, &long(1_000), &first_targets());
    registry.retarget(&first);

    session.due(Due::Policy).await.unwrap();
    let Form::Packed(alone) = form(&mut received).await else {
        panic!("not packed")
    };
    assert_eq!(alone.base, None);
    let digest = first.get("web-1").unwrap().compiled.digest;

    // It is not known whether it has arrived.
    session.due(Due::Policy).await.unwrap();
    assert!(matches!(form(&mut received).await, Form::Packed(packed) if packed.base.is_none()));
    registry.note_applied("web-1", &digest);
    session.due(Due::Policy).await.unwrap();
    assert!(matches!(form(&mut received).await, Form::Kept));

    registry.note_applied("web-1", &digest);
    registry.retarget(&targets(3, &long(1_001), &first));
    session.due(Due::Policy).await.unwrap();
    let Form::Packed(differs) = form(&mut received).await else {
        panic!("not packed")
    };
    assert_eq!(differs.base, Some(digest));
    assert!(differs.bytes.0.len() * 10 < alone.bytes.0.len());
}

#[tokio::test]
async fn a_host_of_a_version_before_is_sent_the_text_whatever_it_has() {
    let registry: Arc<Registry> = Arc::default();
    let digest = first_targets().get("web-1").unwrap().compiled.digest;
    let (mut session, mut received) = open(&registry, Some(WEEK), digest.to_vec());

    for _ in 0..2 {
        session.due(Due::Policy).await.unwrap();
        assert!(matches!(form(&mut received).await, Form::Whole));
        registry.note_applied("web-1", &digest);
    }
}

#[tokio::test]
async fn the_word_of_a_host_on_its_own_text_counts_before_what_was_acknowledged() {
    let digest = first_targets().get("web-1").unwrap().compiled.digest;
    let until = |secs| Validity {
        digest,
        not_after_secs: now().secs() + secs,
    };
    let sent = async |said| {
        let registry: Arc<Registry> = Arc::default();
        let (session, mut received) = open(&registry, Some(WEEK), digest.to_vec());
        let mut session = Session {
            packs: true,
            said,
            lease: Some(until(WEEK.as_secs())),
            ..session
        };
        session.first_policy().await.unwrap();
        received.try_recv().is_ok()
    };

    assert!(!sent(None).await);
    assert!(!sent(Some(until(WEEK.as_secs()))).await);
    assert!(
        sent(Some(until(60))).await,
        "it never heard of the longer life"
    );
    assert!(
        sent(Some(until(2 * WEEK.as_secs()))).await,
        "nobody gave it so much"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lock_does_not_wait_for_the_room_of_a_large_policy_and_a_silent_host_gives_its_room_back()
{
    let registry: Arc<Registry> = Arc::default();
    let taken = registry.flow().ask(usize::MAX).await.unwrap();
    let large = targets(2, &long(1_000), &first_targets());
    registry.retarget(&large);
    let (session, mut received) = open(&registry, None, Vec::new());
    registry.retarget(&large);
    tokio::spawn(session.run(Vec::new()));
    tokio::task::yield_now().await;
    assert!(received.try_recv().is_err(), "there is no room");

    drop(taken);
    assert!(matches!(form(&mut received).await, Form::Whole));
    // It never acknowledges: another large one goes nevertheless.
    let began = tokio::time::Instant::now();
    let other = registry.flow().ask(usize::MAX).await.unwrap();
    assert!(began.elapsed() >= LARGE_LASTS && began.elapsed() < LARGE_LASTS * 2);

    registry.retarget(&targets(3, &long(1_001), &large));
    tokio::task::yield_now().await;
    registry.lock("web-1", "stolen");
    // Hosts that keep no passes are sent away.
    assert!(received.recv().await.is_none());
    drop(other);
}

#[tokio::test]
async fn after_a_restore_a_host_whose_text_is_ours_hears_of_a_lock_and_one_with_another_text_hears_nothing()
 {
    let ours = first_targets().get("web-1").unwrap().compiled.digest;
    for (has, is_told) in [
        (ours.to_vec(), true),
        (vec![1; 32], false),
        (Vec::new(), false),
    ] {
        let registry = Arc::default();
        let (mut session, mut received) = open(&registry, None, has);
        let restored = FleetState {
            set_back: Some("it was restored".to_owned()),
            ..fleet_state()
        };
        let fleet = watch::Sender::new(restored);
        session.fleet = fleet.subscribe();
        session.first_policy().await;
        while received.try_recv().is_ok() {}

        let narrower = targets(2, "PROTECT tcp/22\n", &first_targets());
        registry.retarget(&narrower);
        session.due(Due::Policy).await;

        assert_eq!(received.try_recv().is_ok(), is_told);
        // Whoever has another hears when an operator has said what is to be in force.
        fleet.send_replace(fleet_state());
        session.due(Due::Policy).await;
        policy(&mut received).await;
    }
}

mod turns;

#[test]
fn a_session_in_which_nothing_happens_takes_some_two_kilobytes() {
    let registry = Arc::new(Registry::default());
    let (session, _received) = open(&registry, Some(WEEK), Vec::new());

    let run = session.run(Vec::new());

    let bytes = size_of_val(&run) + size_of::<Session>();
    assert!(bytes <= 2_200, "{bytes}");
}
