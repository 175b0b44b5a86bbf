//! What every engine must do, operation by operation: success, conflict, retry. To test another
//! engine, open it in `fixture::open`.

mod claims;
mod joining;
mod networks;
mod openings;
mod reading;
mod set_back;
mod sets;

use fleet::{Contract, EventKind, EventRecord, Role};
use tempfile::TempDir;

use super::Store;
use super::error::StoreError;
use super::fixture::{self, NOW_MS, event, invitation, join, new_member, new_policy};
use super::model::{
    Acknowledgement, AfterRestore, ApplyOutcome, Begun, CONTROLLER, ChangeOutcome, Changed, Claim,
    ClaimOutcome, Cursor, EnrollConflict, EnrollOutcome, Enrolment, EventFilter, HostState,
    HostWord, Member, Opening, Origin, Pushed,
};

use claims::claim;

async fn store() -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let store = fixture::open(dir.path()).await;
    (dir, store)
}

async fn begin_session(store: &Store, host: &Member, opening: Opening) -> Begun {
    let found = Origin::controller("ab".repeat(16));
    let host = (host.id, host.name.clone());
    let begun = store.begin_session(host, opening, found, NOW_MS).await;
    begun.unwrap()
}

/// Reasons of the controller's own events, oldest first.
async fn recorded(store: &Store) -> Vec<String> {
    let records = store
        .search(EventFilter::default(), Cursor::NEWEST, 1_000)
        .await;
    let mut records = records.unwrap();
    records.reverse();
    let own = records
        .into_iter()
        .filter(|record| record.host == CONTROLLER);
    own.map(|record| record.event.event().unwrap().reason)
        .collect()
}

/// Makes a token for a host.
async fn token(store: &Store, secret: [u8; 32]) {
    let created = store
        .create_token(
            secret,
            invitation(Role::Host),
            event(EventKind::Operator, "token"),
        )
        .await;
    created.unwrap();
}

async fn enroll(store: &Store, secret: [u8; 32], name: &str, identity: u8) -> EnrollOutcome {
    let mut member = new_member(Role::Host, name);
    member.identity_key = [identity; 32];
    let joined = event(EventKind::Enrolled, name);
    store
        .enroll(secret.to_vec(), member, joined, NOW_MS)
        .await
        .unwrap()
}

// === tokens and members ===

#[tokio::test]
async fn a_token_is_won_once_and_its_winner_is_a_member_from_then_on() {
    let (_dir, store) = store().await;
    token(&store, [1; 32]).await;

    let won = enroll(&store, [1; 32], "web-1", 1).await;
    let lost = enroll(&store, [1; 32], "web-2", 2).await;

    let EnrollOutcome::Enrolled(Enrolment { member, key }) = won else {
        panic!("{won:?}")
    };
    assert_eq!(lost, EnrollOutcome::Refused(EnrollConflict::TokenUsed));
    assert_eq!(
        store.members().await.unwrap(),
        std::slice::from_ref(&member)
    );
    let again = store.enrolment(member.id, key).await.unwrap().unwrap();
    assert_eq!((again.key, &again.member), (member.keys[0].id, &member));
    let named = store
        .member_named(Role::Host, "web-1".to_owned())
        .await
        .unwrap();
    assert_eq!(named, Some(member.clone()));
    let (hosts, states) = store.hosts().await.unwrap();
    assert_eq!(states.get(&member.id), Some(&HostState::default()));
    assert_eq!(hosts, [member]);
    assert_eq!(recorded(&store).await, ["token", "web-1"]);
}

#[tokio::test]
async fn the_winner_of_a_token_is_answered_again_and_nothing_is_recorded_twice() {
    let (_dir, store) = store().await;
    token(&store, [1; 32]).await;
    let first = enroll(&store, [1; 32], "web-1", 1).await;

    let again = enroll(&store, [1; 32], "another-name", 1).await;

    let (EnrollOutcome::Enrolled(first), EnrollOutcome::EnrolledBefore(again)) = (first, again)
    else {
        panic!("not the same member");
    };
    assert_eq!(first, again);
    assert_eq!(recorded(&store).await, ["token", "web-1"]);
}

#[tokio::test]
async fn a_locked_winner_is_not_answered_again() {
    let (_dir, store) = store().await;
    token(&store, [1; 32]).await;
    enroll(&store, [1; 32], "web-1", 1).await;
    lock(&store, "web-1").await;

    let again = enroll(&store, [1; 32], "web-1", 1).await;

    assert_eq!(again, EnrollOutcome::Refused(EnrollConflict::TokenUsed));
}

#[tokio::test]
async fn an_unknown_or_expired_token_admits_nobody() {
    let (_dir, store) = store().await;
    let mut past = invitation(Role::Host);
    past.expires_at_secs = NOW_MS / 1000;
    let created = event(EventKind::Operator, "token");
    store.create_token([2; 32], past, created).await.unwrap();

    let unknown = enroll(&store, [1; 32], "web-1", 1).await;
    let expired = enroll(&store, [2; 32], "web-1", 1).await;

    assert_eq!(
        unknown,
        EnrollOutcome::Refused(EnrollConflict::TokenUnknown)
    );
    assert_eq!(
        expired,
        EnrollOutcome::Refused(EnrollConflict::TokenExpired)
    );
    assert_eq!(store.token(vec![1; 32]).await.unwrap(), None);
    assert_eq!(store.members().await.unwrap(), []);
}

#[tokio::test]
async fn a_name_in_use_leaves_the_token_good() {
    let (_dir, store) = store().await;
    join(&store, Role::Host, "web-1").await;
    token(&store, [1; 32]).await;

    let taken = enroll(&store, [1; 32], "web-1", 3).await;
    let other = enroll(&store, [1; 32], "web-2", 3).await;

    assert_eq!(taken, EnrollOutcome::Refused(EnrollConflict::NameTaken));
    assert!(matches!(other, EnrollOutcome::Enrolled(_)), "{other:?}");
}

#[tokio::test]
async fn of_many_joiners_with_one_token_at_once_one_wins() {
    let (_dir, store) = store().await;
    token(&store, [1; 32]).await;

    let mut joiners = tokio::task::JoinSet::new();
    for identity in 0..16 {
        let store = store.clone();
        joiners.spawn(async move {
            enroll(&store, [1; 32], &format!("web-{identity}"), identity).await
        });
    }
    let outcomes = joiners.join_all().await;

    let won = |outcome: &&EnrollOutcome| matches!(outcome, EnrollOutcome::Enrolled(_));
    assert_eq!(outcomes.iter().filter(won).count(), 1);
    assert_eq!(store.members().await.unwrap().len(), 1);
}

async fn lock(store: &Store, name: &str) -> ChangeOutcome {
    let change = fixture::change(Role::Host, name, None);
    store.lock(change, EventKind::Locked).await.unwrap()
}

#[tokio::test]
async fn a_lock_is_recorded_once_and_an_unknown_name_is_said_so() {
    let (_dir, store) = store().await;
    join(&store, Role::Host, "web-1").await;

    assert_eq!(lock(&store, "web-2").await, ChangeOutcome::UnknownMember);
    let done = ChangeOutcome::Done(Changed::default());
    assert_eq!(lock(&store, "web-1").await, done);
    assert_eq!(lock(&store, "web-1").await, ChangeOutcome::DoneBefore);

    let members = store.members().await.unwrap();
    let lock = members[0].lock.as_ref().unwrap();
    assert_eq!((lock.at_ms, lock.by.as_str()), (NOW_MS, "operator/root"));
    assert_eq!(
        recorded(&store).await,
        ["token", "web-1", "host web-1 locked"]
    );
    let change = fixture::change(Role::Host, "web-1", None);
    assert_eq!(store.unlock(change.clone()).await.unwrap(), done);
    assert_eq!(
        store.unlock(change).await.unwrap(),
        ChangeOutcome::DoneBefore
    );
    assert_eq!(store.members().await.unwrap()[0].lock, None);
}

#[tokio::test]
async fn a_locked_name_is_taken_and_a_removed_one_is_another_members_with_other_ids() {
    let (_dir, store) = store().await;
    let old = join(&store, Role::Host, "web-1").await;
    lock(&store, "web-1").await;
    token(&store, [1; 32]).await;
    let taken = enroll(&store, [1; 32], "web-1", 3).await;
    assert_eq!(taken, EnrollOutcome::Refused(EnrollConflict::NameTaken));

    let change = fixture::change(Role::Host, "web-1", None);
    store.remove(change.clone()).await.unwrap();
    let again = store.remove(change).await.unwrap();
    let new = join(&store, Role::Host, "web-1").await;

    assert_eq!(again, ChangeOutcome::UnknownMember);
    assert_ne!(new.id, old.id);
    assert_ne!(new.keys[0].id, old.keys[0].id);
    assert_eq!(store.members().await.unwrap(), [new]);
    let before = store.enrolment(old.id, old.keys[0].id).await.unwrap();
    assert_eq!(before, None);
}

#[tokio::test]
async fn ids_of_members_and_keys_are_never_used_again() {
    let (_dir, store) = store().await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let member = join(&store, Role::User, "alice").await;
        seen.push((member.id, member.keys[0].id));
        let change = fixture::change(Role::User, "alice", None);
        store.remove(change).await.unwrap();
        assert!(store.departed_users().await.unwrap().contains("alice"));
    }

    assert!(seen.is_sorted_by(|(id, key), (next, next_key)| id < next && key < next_key));
}

// === hosts ===

#[tokio::test]
async fn a_host_is_known_by_its_last_word_and_a_rejected_policy_is_not_an_applied_one() {
    let (_dir, store) = store().await;
    let host = join(&store, Role::Host, "web-1").await;
    let applied = Acknowledgement {
        generation: 3,
        digest: vec![3; 32],
        ..Acknowledgement::default()
    };
    let rejected = Acknowledgement {
        generation: 4,
        digest: vec![4; 32],
        rejected: vec!["line 1".to_owned(), "line 2".to_owned()],
        drift: "chain gone".to_owned(),
        audit_fault: "too long".to_owned(),
        word: HostWord {
            protected_ports: vec!["tcp/22".to_owned(), "tcp/443".to_owned()],
            own_protected_ports: vec!["tcp/443".to_owned()],
            warnings: vec!["ens3 is missing".to_owned()],
            floor_secs: 9,
            clock_offset_ms: Some(-5),
            commands: Some(false),
            backend: "nftables".to_owned(),
            grants_open: Some(2),
        },
    };

    let contract = Contract::of_header(Some("postern-contract/7 (event-records telepathy)"));
    let opening = Opening {
        agent_version: "0.1.0".to_owned(),
        contract: Some(contract.clone()),
        ..Opening::default()
    };
    begin_session(&store, &host, opening).await;
    store
        .acknowledge(host.id, (applied, None), 6)
        .await
        .unwrap();
    store
        .acknowledge(host.id, (rejected.clone(), None), 7)
        .await
        .unwrap();
    store.host_seen(host.id, 8).await.unwrap();

    let (_, states) = store.hosts().await.unwrap();
    let state = HostState {
        applied_generation: 3,
        applied_digest: vec![3; 32],
        rejected: rejected.rejected,
        drift: rejected.drift,
        audit_fault: rejected.audit_fault,
        agent_version: "0.1.0".to_owned(),
        contract: Some(contract),
        last_seen_ms: 8,
        word: rejected.word,
    };
    assert_eq!(states.get(&host.id), Some(&state));
}

// === policies ===

#[tokio::test]
async fn a_policy_is_applied_on_the_generation_its_author_has_seen_only() {
    let (_dir, store) = store().await;
    assert_eq!(store.current_generation().await.unwrap(), 0);

    let first = store
        .apply_policy((0, AfterRestore::No), new_policy("SOURCE ANY\n"))
        .await
        .unwrap();
    let stale = store
        .apply_policy((0, AfterRestore::No), new_policy("SOURCE ANY\n"))
        .await
        .unwrap();

    assert_eq!(first, ApplyOutcome::Applied { generation: 1 });
    assert_eq!(stale, ApplyOutcome::Stale { current: 1 });
    assert_eq!(store.current_generation().await.unwrap(), 1);
    assert_eq!(recorded(&store).await, ["because"]);
    let records = store
        .search(EventFilter::default(), Cursor::NEWEST, 1)
        .await
        .unwrap();
    let event = records[0].event.event().unwrap();
    assert_eq!(event.generation, 1, "the store filled it in");
}

#[tokio::test]
async fn a_rollback_is_the_next_generation_whatever_the_current_one_is() {
    let (_dir, store) = store().await;
    fixture::apply(&store, 0, "one").await;
    fixture::apply(&store, 1, "two").await;
    let mut restored = new_policy("one");
    restored.rollback_of = 1;

    let outcome = store.rollback_policy(AfterRestore::No, restored).await;

    assert_eq!(outcome.unwrap(), ApplyOutcome::Applied { generation: 3 });
    let text = store.policy_text(3).await.unwrap();
    assert_eq!(text.as_deref().map(String::as_str), Some("one"));
    let known = store.generation(3).await.unwrap().unwrap();
    assert_eq!((known.rollback_of, known.author.as_str()), (1, "root"));
    let history = store.policy_history(2).await.unwrap();
    let numbers: Vec<_> = history.iter().map(|known| known.generation).collect();
    assert_eq!(numbers, [3, 2]);
    assert_eq!(store.policy_text(4).await.unwrap(), None);
    assert_eq!(store.generation(4).await.unwrap(), None);
}

#[tokio::test]
async fn a_policys_text_is_not_in_the_files_of_the_store() {
    let (dir, store) = store().await;
    fixture::apply(&store, 0, "KEY a-rather-secret-thing\n").await;
    store.close().await;

    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let secret = b"a-rather-secret-thing";
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
}

// === the fleet's log ===

/// Events `from..=to` of one journal that are chained as they should be.
fn journal(from: u64, to: u64) -> Vec<EventRecord> {
    let mut chain = [0; 32];
    let mut records = Vec::new();
    for seq in 1..=to {
        let event = event(EventKind::Refused, &format!("refused {seq}"));
        let record = EventRecord::after(seq - 1, &chain, event);
        chain = record.chain.as_slice().try_into().unwrap();
        if seq >= from {
            records.push(record);
        }
    }
    records
}

async fn push(store: &Store, records: Vec<EventRecord>) -> Pushed {
    let host = (1, "web-1".to_owned());
    let found = Origin::controller("ab".repeat(16));
    let pushed = store
        .push_events(host, "a".repeat(32), records, found, NOW_MS)
        .await;
    pushed.unwrap()
}

#[tokio::test]
async fn events_are_stored_once_however_often_they_are_pushed() {
    let (_dir, store) = store().await;

    let first = push(&store, journal(1, 3)).await;
    let again = push(&store, journal(2, 4)).await;

    assert_eq!((first.acknowledged_seq, again.acknowledged_seq), (3, 4));
    assert_eq!((again.gap_before, again.broken_at), (None, None));
    let records = store
        .search(EventFilter::default(), Cursor::NEWEST, 10)
        .await
        .unwrap();
    let reasons: Vec<_> = records
        .iter()
        .map(|record| record.event.event().unwrap().reason)
        .collect();
    assert_eq!(
        reasons,
        ["refused 4", "refused 3", "refused 2", "refused 1"]
    );
}

#[tokio::test]
async fn an_event_is_kept_whatever_its_texts_and_numbers_are_and_is_found_by_what_of_them_is_searched()
 {
    let (_dir, store) = store().await;
    let mut random = [0; 1_400];
    getrandom::fill(&mut random).unwrap();
    let mut event = event(EventKind::Refused, "a\0reason");
    event.user = hex::encode(random);
    event.key = "a\0key".to_owned();
    (event.at_ms, event.generation) = (u64::MAX, u64::MAX);
    event.source = format!("no address {}", event.user);
    event.actor = event.user[..1_100].to_owned();
    let whole = event.user.clone();
    let record = EventRecord::after(0, &[0; 32], event);

    push(&store, vec![record.clone()]).await;

    while store.index_some().await.unwrap() {}
    let filter = EventFilter {
        users: vec![whole[..1_000].to_owned()],
        ..EventFilter::default()
    };
    let found = store.search(filter, Cursor::NEWEST, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].event.body, record.body);
    let proof = store.proof_after((0, u64::MAX), (10, 1 << 20)).await;
    let faults: Vec<String> = proof
        .unwrap()
        .rows
        .into_iter()
        .map(|row| row.index_fault)
        .collect();
    assert!(faults.iter().all(String::is_empty), "{faults:?}");
}

#[tokio::test]
async fn a_gap_and_a_broken_chain_are_stored_and_recorded() {
    let (_dir, store) = store().await;
    push(&store, journal(1, 1)).await;
    let mut altered = journal(4, 5);
    altered[1].chain = vec![9; 32];

    let pushed = push(&store, altered).await;

    assert_eq!(pushed.acknowledged_seq, 5);
    assert_eq!((pushed.gap_before, pushed.broken_at), (Some(4), Some(5)));
    let faults = recorded(&store).await;
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].ends_with("events are missing before event 4"));
    assert!(faults[1].ends_with("the chain is broken at event 5"));
}

#[tokio::test]
async fn a_chain_of_a_version_to_come_is_stored_as_not_checked_and_not_called_broken() {
    let (_dir, store) = store().await;
    let mut records = journal(1, 2);
    records[1].chain_version = 3;

    let pushed = push(&store, records).await;

    assert_eq!((pushed.acknowledged_seq, pushed.broken_at), (2, None));
    assert!(recorded(&store).await.is_empty());
    let rows = store.search(EventFilter::default(), Cursor::NEWEST, 10);
    let flaws: Vec<_> = rows
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.flaw)
        .collect();
    assert_eq!(flaws, ["chained by version 3, not checked", ""]);
}

#[tokio::test]
async fn an_answer_is_read_page_by_page_without_loss_or_repetition() {
    let (_dir, store) = store().await;
    push(&store, journal(1, 7)).await;

    let (mut after, mut seqs) = (Cursor::NEWEST, Vec::new());
    loop {
        let page = store
            .search(EventFilter::default(), after, 3)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        after = Cursor::after(last);
        seqs.extend(page.iter().map(|record| record.event.seq));
    }

    assert_eq!(seqs, [7, 6, 5, 4, 3, 2, 1]);
}

// === the fleet and the store itself ===

#[tokio::test]
async fn a_database_of_another_run_raises_the_replay_floor_and_it_never_falls() {
    let (_dir, store) = store().await;
    let floor = NOW_MS / 1000;
    let run = |previous: Option<&str>, run: &str, now_secs| {
        store.begin_run(previous.map(str::to_owned), run.to_owned(), now_secs)
    };

    let first = run(None, "a", floor + 10).await.unwrap();
    let second = run(Some("a"), "b", floor + 20).await.unwrap();
    let restored = run(Some("c"), "d", floor + 30).await.unwrap();
    let slow_clock = run(None, "e", floor - 30).await.unwrap();

    let found = [first, second, restored, slow_clock]
        .map(|begun| (begun.restored, begun.fleet.replay_floor_secs));
    // A message from the furthest future that any host takes may have been granted and lost.
    let raised = floor + 30 + fleet::claims::MAX_FUTURE_SECS;
    let expected = [
        (false, floor),
        (false, floor),
        (true, raised),
        (true, raised),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_was_answered_is_there_after_the_store_was_opened_again() {
    let (dir, store) = store().await;
    fixture::apply(&store, 0, "SOURCE ANY\n").await;
    store.claim(claim("web-1", 1, 5)).await.unwrap();
    store.close().await;

    let store = fixture::open(dir.path()).await;

    assert_eq!(store.current_generation().await.unwrap(), 1);
    let lost = store.claim(claim("web-2", 1, 5)).await.unwrap();
    assert!(matches!(lost, ClaimOutcome::Lost { .. }), "{lost:?}");
}

#[tokio::test]
async fn a_closed_store_says_that_it_is_closed() {
    let (_dir, store) = store().await;

    store.close().await;
    store.closed().await;

    let write = store.host_seen(1, NOW_MS).await;
    let read = store.members().await;
    assert!(matches!(write, Err(StoreError::Closed)), "{write:?}");
    assert!(matches!(read, Err(StoreError::Closed)), "{read:?}");
}
