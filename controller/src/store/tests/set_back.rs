//! Hosts and databases that come back as they were before, or twice.

use std::path::Path;

use super::*;
use crate::store::model::{FleetState, JournalEnd, Lease, Lock, Seen};
use crate::store::postgres::trial;
use crate::store::seal::SealKey;

/// One host's state directory, as far as the controller meets it.
#[derive(Clone, Debug, Default)]
struct State {
    pass: Vec<u8>,
    journal: Vec<EventRecord>,
    generation: u64,
    claim_epoch: u64,
    newest_won_secs: u64,
}

/// A host with a state directory, whose agent runs.
#[derive(Clone, Debug)]
struct Host {
    member: Member,
    run: &'static str,
    state: State,
}

const EPOCH: &str = "abababababababababababababababab";

impl Host {
    async fn join(store: &Store, name: &str) -> Self {
        Self {
            member: join(store, Role::Host, name).await,
            run: "run-1",
            state: State::default(),
        }
    }

    /// Opens a session and keeps what it is given.
    async fn session(&mut self, store: &Store) -> Begun {
        let state = &self.state;
        let opening = Opening {
            pass: state.pass.clone(),
            run: self.run.to_owned(),
            keeps_passes: true,
            is_locked: self.member.lock.is_some(),
            seen: Seen {
                generation: state.generation,
                claim_epoch: state.claim_epoch,
                newest_claimed_secs: state.newest_won_secs,
            },
            journal: Some(JournalEnd {
                epoch: EPOCH.to_owned(),
                seq: state.journal.last().map_or(0, |record| record.seq),
                chain: state.journal.last().map_or(Vec::new(), |r| r.chain.clone()),
                oldest_seq: state.journal.first().map_or(0, |record| record.seq),
            }),
            ..Opening::default()
        };
        let begun = begin_session(store, &self.member, opening).await;
        self.state.pass.clone_from(&begun.pass);
        let fleet = store.fleet_state().await.unwrap();
        if fleet.set_back.is_none() {
            self.state.generation = store.current_generation().await.unwrap();
        }
        self.state.claim_epoch = fleet.claim_epoch;
        begun
    }

    /// Something happens, and is pushed.
    async fn push(&mut self, store: &Store, reason: &str) -> Pushed {
        self.happens(reason);
        let host = (self.member.id, self.member.name.clone());
        let found = Origin::controller("ab".repeat(16));
        let records = self.state.journal.last().cloned().into_iter().collect();
        let pushed = store.push_events(host, EPOCH.to_owned(), records, found, NOW_MS);
        pushed.await.unwrap()
    }

    fn happens(&mut self, reason: &str) {
        let (seq, chain) = self.state.journal.last().map_or((0, [0; 32]), |last| {
            (last.seq, last.chain.as_slice().try_into().unwrap())
        });
        let event = event(EventKind::Refused, reason);
        let record = EventRecord::after(seq, &chain, event);
        self.state.journal.push(record);
    }
}

/// The store as it is now, opened in another place.
async fn copy(store: &Store, from: &Path) -> (TempDir, Store) {
    let to = TempDir::new().unwrap();
    if !trial::copy(from, to.path()) {
        let backup = rusqlite::Connection::open(from.join("controller.db")).unwrap();
        let target = to.path().join("controller.db").display().to_string();
        backup.execute("VACUUM INTO ?1", [target]).unwrap();
    }
    // Everything that was answered is in it.
    assert!(store.fleet_state().await.is_ok());
    let copy = fixture::open(to.path()).await;
    (to, copy)
}

/// Kinds of the controller's own events, oldest first, but for those that every test causes.
async fn alarms(store: &Store) -> Vec<EventKind> {
    let rows = store.search(EventFilter::default(), Cursor::NEWEST, 1_000);
    let rows = rows.await.unwrap().into_iter().rev();
    rows.filter(|row| row.host == CONTROLLER)
        .map(|row| row.event.event().unwrap().kind())
        .filter(|kind| {
            !matches!(
                kind,
                EventKind::Operator | EventKind::Enrolled | EventKind::PolicyApplied
            )
        })
        .collect()
}

async fn set_back(store: &Store) -> Option<String> {
    store.fleet_state().await.unwrap().set_back
}

/// Reasons of a host's events with their flaws and journals, oldest first.
async fn stored(store: &Store) -> Vec<(String, String)> {
    let rows = store.search(EventFilter::default(), Cursor::NEWEST, 1_000);
    let mut rows = rows.await.unwrap();
    rows.sort_by_key(|row| row.id);
    let of_hosts = rows.into_iter().filter(|row| row.host != CONTROLLER);
    of_hosts
        .map(|row| (row.event.event().unwrap().reason, row.epoch))
        .collect()
}

#[tokio::test]
async fn a_controller_that_was_restored_learns_it_from_a_pass_and_counts_on_above_what_was_seen() {
    let (dir, store) = store().await;
    let mut host = Host::join(&store, "web-1").await;
    fixture::apply(&store, 0, "one").await;
    host.session(&store).await;
    let (_dir, backup) = copy(&store, dir.path()).await;
    for base in 1..=6 {
        fixture::apply(&store, base, "more").await;
    }
    host.session(&store).await;
    assert_eq!(host.state.generation, 7);

    let begun = host.session(&backup).await;

    assert!(begun.fleet_changed);
    let FleetState {
        replay_floor_secs,
        claim_epoch,
        set_back,
    } = backup.fleet_state().await.unwrap();
    assert_eq!(
        replay_floor_secs,
        NOW_MS / 1000 + fleet::claims::MAX_FUTURE_SECS
    );
    assert_eq!(claim_epoch, 2);
    let reason = set_back.unwrap();
    assert!(reason.contains("web-1 has seen generation 7"), "{reason}");
    assert_eq!(backup.current_generation().await.unwrap(), 8);
    let text = backup.policy_text(8).await.unwrap().unwrap();
    assert_eq!(*text, "one");
    let history = backup.policy_history(2).await.unwrap();
    assert_eq!((history[0].generation, history[1].generation), (8, 1));
    assert!(history[0].message.contains("restored from an older copy"));
    assert_eq!(
        alarms(&backup).await,
        [EventKind::ControllerSetBack, EventKind::ControllerSetBack]
    );
}

#[tokio::test]
async fn after_a_restore_only_a_policy_that_says_so_is_taken_and_then_all_is_as_before() {
    let (dir, store) = store().await;
    let mut host = Host::join(&store, "web-1").await;
    fixture::apply(&store, 0, "one").await;
    let (_dir, backup) = copy(&store, dir.path()).await;
    host.session(&store).await;
    host.session(&backup).await;
    let apply = async |base, after| backup.apply_policy((base, after), new_policy("new")).await;

    let refused = apply(1, AfterRestore::No).await.unwrap();
    let back = backup
        .rollback_policy(AfterRestore::No, new_policy("one"))
        .await;

    assert!(
        matches!(refused, ApplyOutcome::SetBack { .. }),
        "{refused:?}"
    );
    assert!(matches!(back, Ok(ApplyOutcome::SetBack { .. })), "{back:?}");
    let stale = apply(9, AfterRestore::Yes).await.unwrap();
    assert!(matches!(stale, ApplyOutcome::Stale { current: 1 }));
    let taken = apply(1, AfterRestore::Yes).await.unwrap();
    assert_eq!(taken, ApplyOutcome::Applied { generation: 2 });
    assert_eq!(set_back(&backup).await, None);
    let taken = apply(2, AfterRestore::No).await.unwrap();
    assert_eq!(taken, ApplyOutcome::Applied { generation: 3 });
}

#[tokio::test]
async fn a_host_that_was_away_when_a_restore_was_dealt_with_only_makes_the_numbers_rise() {
    let (dir, store) = store().await;
    let mut first = Host::join(&store, "web-1").await;
    let mut late = Host::join(&store, "web-2").await;
    fixture::apply(&store, 0, "one").await;
    let (_dir, backup) = copy(&store, dir.path()).await;
    first.session(&store).await;
    for base in 1..=6 {
        fixture::apply(&store, base, "more").await;
    }
    late.session(&store).await;
    first.session(&backup).await;
    let new = new_policy("new");
    let taken = backup.apply_policy((1, AfterRestore::Yes), new).await;
    assert_eq!(taken.unwrap(), ApplyOutcome::Applied { generation: 2 });

    let begun = late.session(&backup).await;

    assert!(begun.fleet_changed);
    assert_eq!(set_back(&backup).await, None);
    assert_eq!(backup.current_generation().await.unwrap(), 8);
    assert_eq!(*backup.policy_text(8).await.unwrap().unwrap(), "new");
    // The same loss is no news, a second one is.
    assert!(!late.session(&backup).await.fleet_changed);
    let (_dir, again) = copy(&backup, _dir.path()).await;
    late.session(&backup).await;
    assert!(late.session(&again).await.fleet_changed);
    assert!(set_back(&again).await.is_some());
}

#[tokio::test]
async fn a_hosts_word_alone_drives_no_number_to_its_end() {
    let (_dir, store) = store().await;
    let mut host = Host::join(&store, "web-1").await;
    fixture::apply(&store, 0, "one").await;
    host.session(&store).await;

    for said in [u64::MAX, 1 << 63, i64::MAX.unsigned_abs(), 5_000] {
        (host.state.generation, host.state.claim_epoch) = (said, said);
        host.session(&store).await;
    }

    assert_eq!(store.current_generation().await.unwrap(), 1);
    let fleet = store.fleet_state().await.unwrap();
    assert_eq!((fleet.claim_epoch, fleet.set_back), (1, None));
    // Once an hour.
    assert_eq!(alarms(&store).await, [EventKind::ControllerSetBack]);
}

#[tokio::test]
async fn a_hosts_word_of_a_little_more_than_we_know_is_taken_for_a_restore() {
    let (_dir, store) = store().await;
    let mut host = Host::join(&store, "web-1").await;
    fixture::apply(&store, 0, "one").await;
    host.session(&store).await;

    host.state.generation = 9;
    let begun = host.session(&store).await;

    assert!(begun.fleet_changed);
    assert_eq!(store.current_generation().await.unwrap(), 10);
    let reason = set_back(&store).await.unwrap();
    assert!(reason.contains("nothing proves it"), "{reason}");
}

#[tokio::test]
async fn a_pass_of_another_member_or_controller_proves_nothing() {
    let (_dir, store) = store().await;
    let mut host = Host::join(&store, "web-1").await;
    let mut other = Host::join(&store, "web-2").await;
    for _ in 0..5 {
        other.session(&store).await;
    }

    host.state.pass = other.state.pass;
    let begun = host.session(&store).await;

    assert!(!begun.fleet_changed);
    assert!(begun.found[0].contains("none of ours"), "{begun:?}");
    assert_eq!(set_back(&store).await, None);
}

#[tokio::test]
async fn a_pass_that_was_given_before_the_seal_key_was_rotated_is_ours_for_many_rotations() {
    let (dir, store) = store().await;
    let path = dir.path().join("controller.db");
    let mut host = Host::join(&store, "web-1").await;
    host.session(&store).await;
    store.close().await;
    for next in 8..11 {
        let event = event(EventKind::Operator, "");
        let place = path.clone().into();
        super::super::reseal(&place, (&[next - 1; 32], &[next; 32]), (event, None)).unwrap();
    }

    let store = Store::open(&fixture::place(dir.path()).0, SealKey::new(&[10; 32])).unwrap();
    let begun = host.session(&store).await;

    assert_eq!(begun.found, Vec::<String>::new());
    assert_eq!(set_back(&store).await, None);
}

#[tokio::test]
async fn a_host_that_was_set_back_begins_a_new_journal_and_nothing_that_it_sends_is_lost() {
    let (_dir, store) = store().await;
    let mut host = Host::join(&store, "web-1").await;
    host.session(&store).await;
    for reason in ["1", "2"] {
        host.push(&store, reason).await;
    }
    let snapshot = host.state.clone();
    host.session(&store).await;
    for reason in ["3", "4"] {
        host.push(&store, reason).await;
    }

    (host.state, host.run) = (snapshot, "run-2");
    host.happens("3 again");
    let begun = host.session(&store).await;
    let pushed = host.push(&store, "4 again").await;

    assert!(begun.new_journal.is_some() && begun.acknowledged.is_none());
    assert!(pushed.new_journal.is_some());
    let kinds = alarms(&store).await;
    assert_eq!(kinds[0], EventKind::HostSetBack, "{kinds:?}");
    let stored = stored(&store).await;
    let reasons: Vec<_> = stored.iter().map(|(reason, _)| reason.as_str()).collect();
    assert_eq!(reasons, ["1", "2", "3", "4", "4 again"]);
    assert_ne!(stored[4].1, stored[3].1, "kept apart");
}

#[tokio::test]
async fn another_event_under_a_number_that_is_taken_is_kept_beside_it_and_said() {
    let (_dir, store) = store().await;
    push(&store, journal(1, 3)).await;
    let [first, ..] = &journal(1, 3)[..] else {
        unreachable!()
    };
    let chain = first.chain.as_slice().try_into().unwrap();
    let second = EventRecord::after(1, &chain, event(EventKind::Refused, "another 2"));
    let chain = second.chain.as_slice().try_into().unwrap();
    let third = EventRecord::after(2, &chain, event(EventKind::Refused, "another 3"));
    let fork = vec![first.clone(), second, third];

    let pushed = push(&store, fork.clone()).await;
    let retry = push(&store, fork.clone()).await;
    let chain = fork[2].chain.as_slice().try_into().unwrap();
    let fourth = EventRecord::after(3, &chain, event(EventKind::Refused, "another 4"));
    let goes_on = push(&store, vec![fourth]).await;
    let first_goes_on = push(&store, journal(4, 4)).await;

    assert_eq!(pushed.fork.unwrap().seq, 2);
    assert_eq!(
        (retry.fork, goes_on.fork, first_goes_on.fork),
        (None, None, None)
    );
    assert_eq!(retry.acknowledged_chain, fork[2].chain);
    assert!(retry.new_journal.is_some(), "until it is done");
    let (root, beside) = ("a".repeat(32), format!("{}.1", "a".repeat(32)));
    let of = |epoch: &str, reasons: &[&str]| {
        let rows = reasons.iter();
        rows.map(|reason| ((*reason).to_owned(), epoch.to_owned()))
            .collect::<Vec<_>>()
    };
    let expected = [
        of(&root, &["refused 1", "refused 2", "refused 3"]),
        of(&beside, &["another 2", "another 3", "another 4"]),
        of(&root, &["refused 4"]),
    ];
    assert_eq!(stored(&store).await, expected.concat());
    assert_eq!(alarms(&store).await, [EventKind::HostSetBack]);
}

#[tokio::test]
async fn an_event_that_was_missing_is_stored_when_it_comes_after_all() {
    let (_dir, store) = store().await;
    push(&store, journal(1, 1)).await;
    push(&store, journal(3, 3)).await;

    let late = push(&store, journal(1, 3)).await;

    assert_eq!((late.acknowledged_seq, late.fork), (3, None));
    let reasons: Vec<_> = stored(&store).await.into_iter().map(|(r, _)| r).collect();
    assert_eq!(reasons, ["refused 1", "refused 3", "refused 2"]);
    assert_eq!(alarms(&store).await, [EventKind::AuditGap]);
}

#[tokio::test]
async fn a_restart_a_lost_answer_and_a_busy_journal_are_no_alarm() {
    let (_dir, store) = store().await;
    let mut host = Host::join(&store, "web-1").await;
    for run in ["run-1", "run-2", "run-3"] {
        host.run = run;
        host.session(&store).await;
        host.push(&store, "pushed").await;
        let kept = host.state.pass.clone();
        host.session(&store).await;
        host.state.pass = kept;
        // Not pushed yet.
        host.happens("waits");
        let begun = host.session(&store).await;
        assert_eq!((begun.new_journal, begun.cloned), (None, None));
        assert!(begun.found.is_empty(), "{:?}", begun.found);
        let records = host.state.journal.clone();
        let found = Origin::controller("ab".repeat(16));
        let member = (host.member.id, host.member.name.clone());
        let pushed = store.push_events(member, EPOCH.to_owned(), records, found, NOW_MS);
        pushed.await.unwrap();
    }

    assert_eq!(alarms(&store).await, []);
}

#[tokio::test]
async fn two_machines_with_one_state_directory_are_found_and_the_member_is_named() {
    let (_dir, store) = store().await;
    let mut host = Host::join(&store, "web-1").await;
    host.session(&store).await;
    host.push(&store, "1").await;
    host.session(&store).await;
    let mut copy = Host {
        run: "run-2",
        ..host.clone()
    };

    let mut cloned = None;
    let mut told = Vec::new();
    for round in 0..4 {
        for machine in [&mut copy, &mut host] {
            machine.member.lock = cloned.as_ref().map(|reason: &String| Lock {
                at_ms: NOW_MS,
                reason: reason.clone(),
                by: CONTROLLER.to_owned(),
            });
            machine
                .push(&store, &format!("{} {round}", machine.run))
                .await;
            let begun = machine.session(&store).await;
            cloned = cloned.or(begun.cloned);
            if cloned.is_some() && begun.new_journal.is_some() {
                told.push(machine.run);
            }
        }
    }

    // Each once: what one of them granted, the other refuses from now on.
    told.sort_unstable();
    assert_eq!(told, ["run-1", "run-2"]);
    let reason = cloned.unwrap();
    assert!(
        reason.contains("two machines use one state directory"),
        "{reason}"
    );
    assert!(alarms(&store).await.contains(&EventKind::HostCloned));
    let reasons: Vec<_> = stored(&store).await.into_iter().map(|(r, _)| r).collect();
    for round in 0..4 {
        for run in ["run-1", "run-2"] {
            let expected = format!("{run} {round}");
            assert!(reasons.contains(&expected), "{expected} in {reasons:?}");
        }
    }
}

#[tokio::test]
async fn a_host_that_loses_its_journal_leaves_a_gap_that_is_said() {
    let (_dir, store) = store().await;
    let mut host = Host::join(&store, "web-1").await;
    host.session(&store).await;
    host.push(&store, "1").await;

    host.state = State::default();
    host.session(&store).await;

    let kinds = alarms(&store).await;
    assert_eq!(kinds[0], EventKind::AuditGap, "{kinds:?}");
    let shown = store.alarms(0).await.unwrap();
    assert!(!shown[&host.member.id].is_empty());
}

#[tokio::test]
async fn a_claim_list_that_was_put_back_learns_it_from_what_a_host_has_won() {
    let (dir, store) = store().await;
    let mut host = Host::join(&store, "web-1").await;
    host.session(&store).await;
    let (_dir, backup) = copy(&store, dir.path()).await;
    let won = Claim {
        dated_secs: 2_000_000_000,
        forget_after_secs: 2_000_000_240,
        ..claim("web-1", 1, 1)
    };
    let before = store.fleet_state().await.unwrap();
    assert_eq!(store.claim(won.clone()).await.unwrap(), ClaimOutcome::Won);
    host.state.newest_won_secs = won.dated_secs;
    host.session(&store).await;
    assert_eq!(store.fleet_state().await.unwrap(), before, "it knows that");
    let mut again = host.clone();
    again.state.pass.clear();

    // Back to a copy that has given this host every pass that it has.
    again.run = "run-2";
    let begun = again.session(&backup).await;

    assert!(begun.fleet_changed);
    let fleet = backup.fleet_state().await.unwrap();
    assert!(fleet.replay_floor_secs >= NOW_MS / 1_000 + fleet::claims::MAX_FUTURE_SECS);
    assert_eq!(fleet.set_back, None, "no policy was lost");
    assert!(
        alarms(&backup)
            .await
            .contains(&EventKind::ControllerSetBack)
    );
    let floor_secs = fleet.replay_floor_secs;
    again.session(&backup).await;
    let fleet = backup.fleet_state().await.unwrap();
    assert_eq!(fleet.replay_floor_secs, floor_secs, "once an hour");
}

#[tokio::test]
async fn what_hosts_acknowledged_is_void_when_the_database_was_put_back() {
    let (dir, store) = store().await;
    let mut host = Host::join(&store, "web-1").await;
    let mut other = Host::join(&store, "web-2").await;
    fixture::apply(&store, 0, "one").await;
    let lease = Lease {
        digest: [7; 32],
        until_secs: 1_000,
    };
    for member in [&host.member, &other.member] {
        let word = Acknowledgement {
            generation: 1,
            digest: lease.digest.to_vec(),
            ..Acknowledgement::default()
        };
        let acknowledged = store.acknowledge(member.id, (word, Some(lease)), 1).await;
        acknowledged.unwrap();
    }
    assert_eq!(host.session(&store).await.lease, Some(lease));
    let (_dir, backup) = copy(&store, dir.path()).await;
    host.session(&store).await;

    // Its pass proves that the database is an older copy.
    assert!(host.session(&backup).await.fleet_changed);
    assert_eq!(other.session(&backup).await.lease, None);
    // A database of another run says so itself.
    let run =
        |previous: &str, run: &str| store.begin_run(Some(previous.to_owned()), run.to_owned(), 1);
    run("", "first").await.unwrap();
    run("another", "second").await.unwrap();
    assert_eq!(host.session(&store).await.lease, None);
}

#[tokio::test]
async fn a_start_beside_another_controllers_is_none_of_a_database_that_was_put_back_and_one_that_it_does_not_know_is()
 {
    let (_dir, store) = store().await;
    let begun = async |store: &Store, previous: Option<&str>, run: &str| {
        let previous = previous.map(str::to_owned);
        let begun = store.begin_run(previous, run.to_owned(), 1).await;
        begun.unwrap().restored
    };
    // The one of before had no name.
    assert!(!begun(&store, None, "old").await);
    let [a, b, lost] = ["a", "b", "lost"].map(|name| store.clone().of_controller(name));
    b.name_run("made".to_owned()).await.unwrap();

    assert!(!begun(&b, Some("made"), "b-1").await);
    assert!(!begun(&a, Some("old"), "a-1").await);
    assert!(!begun(&b, Some("b-1"), "b-2").await);
    assert!(!begun(&a, Some("a-1"), "a-2").await);
    // Of before the last start, of a time without it, and of a directory that has lost its own.
    assert!(begun(&b, Some("b-3"), "b-4").await);
    assert!(begun(&lost, Some("lost-1"), "lost-2").await);
    assert!(begun(&store.clone().of_controller("none"), None, "none-1").await);
    // Copied into the file of one of them, who has it alone from then on.
    assert!(!begun(&store, Some("a-2"), "file-1").await);
    assert!(!begun(&store, Some("file-1"), "file-2").await);
}
