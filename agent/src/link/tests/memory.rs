//! What the link remembers of its fleet, and says of its journal.

use fleet::wire::{JournalEnd, NewJournal, SessionOpened};

use super::*;

fn opened(pass: &[u8], replay_floor_secs: u64) -> Directive {
    opened_with(pass, replay_floor_secs, None)
}

fn opened_with(pass: &[u8], replay_floor_secs: u64, acknowledged: Option<JournalEnd>) -> Directive {
    Directive {
        directive: Some(Kind::Opened(SessionOpened {
            session_pass: pass.to_vec(),
            controller_time_ms: 1,
            acknowledged,
            replay_floor_secs,
            claim_epoch: 3,
            called: String::new(),
            ..SessionOpened::default()
        })),
    }
}

#[tokio::test]
async fn a_pass_is_stored_before_what_follows_and_presented_at_the_next_session() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);
    let first = seen(&mut fake.sessions).await;
    fake.direct(&opened(&[1, 2, 3], 0));
    fake.direct(&snapshot(7, POLICY));
    desk.adopt().await;

    // The policy came after it: by now it is on the disk.
    let file = desk._dir.path().join("fleet-memory.json");
    let stored = std::fs::read_to_string(file).unwrap();
    let (address, state) = (fake.address, fake.state.clone());
    drop(fake);
    let mut fake = Fake::start_at(address, state);
    let second = seen(&mut fake.sessions).await;

    assert!(first.session_pass.is_empty());
    assert_eq!((first.run_id.len(), &first.run_id), (16, &second.run_id));
    assert!(stored.contains("[1,2,3]"), "{stored}");
    assert_eq!(second.session_pass, [1, 2, 3]);
    assert_eq!(
        (second.highest_generation, second.highest_claim_epoch),
        (7, 3)
    );
    assert!(second.host_time_ms > 0);
}

#[tokio::test]
async fn a_session_says_where_the_journal_ends() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    desk.record(3);
    let _link = link(fake.address, channels);

    let said = seen(&mut fake.sessions).await.journal.unwrap();

    let own = JournalReader::open(desk.journal.path()).unwrap();
    let last = own.events_after(2, 1).unwrap().remove(0);
    let expected = JournalEnd {
        epoch: desk.journal.epoch().to_owned(),
        seq: 3,
        chain: last.chain,
        oldest_seq: 1,
    };
    assert_eq!(said, expected);
}

#[tokio::test]
async fn what_the_controller_has_of_the_journal_proves_it_and_nothing_or_nonsense_does_not() {
    let mut fake = Fake::start();
    fake.state.lock().refuses_events = "later".to_owned();
    let (mut desk, channels) = Desk::new();
    desk.record(2);
    let _link = link(fake.address, channels);
    let said = seen(&mut fake.sessions).await.journal.unwrap();
    let nothing = JournalEnd {
        epoch: said.epoch.clone(),
        ..JournalEnd::default()
    };
    let nonsense = JournalEnd {
        chain: vec![1, 2, 3],
        ..said.clone()
    };

    for acknowledged in [nothing, nonsense, said.clone()] {
        fake.direct(&opened_with(&[1], 0, Some(acknowledged)));
    }

    let Order::JournalKnown { epoch, seq, chain } = desk.order().await else {
        panic!("no proof")
    };
    assert_eq!(
        (&epoch, seq, chain.as_slice()),
        (&said.epoch, 2, &*said.chain)
    );
}

#[tokio::test]
async fn what_is_acknowledged_for_another_chain_is_not_deleted_here() {
    let mut fake = Fake::start();
    fake.state.lock().acknowledges_chain = vec![9; 32];
    let (mut desk, channels) = Desk::new();
    let _link = link(fake.address, channels);

    desk.record(2);

    loop {
        let fault = seen(&mut fake.acknowledged).await.audit_fault;
        if fault.contains("another event 2") {
            break;
        }
    }
    desk.journal.commit().unwrap();
    let own = JournalReader::open(desk.journal.path()).unwrap();
    assert_eq!(own.events_after(0, 10).unwrap().len(), 2);
    fake.state.lock().acknowledges_chain.clear();
    desk.acknowledged(2).await;
}

#[tokio::test]
async fn a_claim_list_that_was_lost_raises_the_floor_of_the_policy_that_is_kept() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::with(|journal| {
        journal.stage_policy(PolicyText {
            version: PolicyVersion {
                generation: 7,
                digest: digest(POLICY),
                ..PolicyVersion::default()
            },
            text: POLICY.to_owned().into(),
        });
    });
    let _link = link(fake.address, channels);
    desk.adopt().await;
    seen(&mut fake.sessions).await;

    fake.direct(&opened(&[1], 1_795_000_000));

    let Order::ReplacePolicy(policy) = desk.order().await else {
        panic!("no policy")
    };
    assert_eq!(
        (policy.version.generation, policy.version.digest),
        (7, digest(POLICY))
    );
    assert_eq!(policy.version.replay_floor_secs, 1_795_000_000);
}

#[tokio::test]
async fn a_host_that_is_told_so_begins_a_new_journal_and_carries_over_what_nobody_has() {
    let mut fake = Fake::start();
    fake.state.lock().refuses_events = "another history".to_owned();
    let (mut desk, channels) = Desk::new();
    desk.record(3);
    let _link = link(fake.address, channels);
    let before = seen(&mut fake.sessions).await.journal.unwrap();

    fake.direct(&Directive {
        directive: Some(Kind::NewJournal(NewJournal {
            reason: "set back".to_owned(),
            floor_secs: 1_795_000_000,
        })),
    });
    assert!(matches!(
        desk.order().await,
        Order::RaiseFloor(1_795_000_000)
    ));
    let Order::BeginJournal(done) = desk.order().await else {
        panic!("no new journal")
    };
    desk.journal.begin_epoch().unwrap();
    done.send(true).unwrap();

    let after = seen(&mut fake.sessions).await.journal.unwrap();
    assert_ne!(after.epoch, before.epoch);
    assert_eq!((after.seq, after.oldest_seq), (3, 1));
    fake.state.lock().refuses_events.clear();
    desk.acknowledged(3).await;
    assert_eq!(fake.state.lock().epochs, [after.epoch]);
}

#[tokio::test]
async fn what_the_controller_calls_this_host_is_kept_and_said_and_an_older_one_changes_nothing() {
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let state = channels.state.clone();
    let _link = link(fake.address, channels);
    seen(&mut fake.sessions).await;
    let name = state.report(clock::now()).joined_as;
    assert_eq!(state.report(clock::now()).called, name);
    let named = |called: &str| Directive {
        directive: Some(Kind::Opened(SessionOpened {
            session_pass: vec![1],
            called: called.to_owned(),
            ..SessionOpened::default()
        })),
    };

    fake.direct(&named("www-1"));
    fake.direct(&named(""));
    fake.direct(&snapshot(7, POLICY));
    desk.adopt().await;

    assert_eq!(state.report(clock::now()).called, "www-1");
    let dir = desk._dir.path();
    assert_eq!(called_now(dir, &name).as_deref(), Some("www-1"));
    assert_eq!(called_now(dir, "www-1"), None);
}

#[tokio::test]
async fn a_host_presents_what_it_was_shown_of_the_log_and_records_that_it_was_cut() {
    use fleet::audit::{AuditSigner, Checkpoint};

    let signer = AuditSigner::new("prod", &[7; 32]);
    let note = |size| {
        let root = [1; 32];
        Checkpoint {
            size,
            root,
            at_ms: 1,
        }
        .sign(&signer)
    };
    let shown = |size| Directive {
        directive: Some(Kind::Opened(SessionOpened {
            session_pass: vec![1],
            audit_checkpoint: note(size),
            audit_key: signer.public().to_string(),
            ..SessionOpened::default()
        })),
    };
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let state = channels.state.clone();
    let _link = link(fake.address, channels);
    assert_eq!(seen(&mut fake.sessions).await.audit_checkpoint, "");
    fake.direct(&shown(20));
    fake.direct(&snapshot(7, POLICY));
    desk.adopt().await;
    let (address, fakes) = (fake.address, fake.state.clone());
    drop(fake);

    let mut fake = Fake::start_at(address, fakes);
    assert_eq!(seen(&mut fake.sessions).await.audit_checkpoint, note(20));
    fake.direct(&shown(15));
    let found = loop {
        if let Order::LogConflict(found) = desk.order().await {
            break found;
        }
    };

    assert!(found.contains("was cut: this host was shown 20"), "{found}");
    assert_eq!(state.report(clock::now()).log_conflict, found);
    let kept = kept_log(desk._dir.path());
    assert_eq!(
        (kept.size(), kept.conflict.unwrap().kept),
        (Some(15), note(20))
    );
}

#[tokio::test]
async fn a_host_that_was_away_over_rotations_of_the_logs_key_follows_without_an_alarm() {
    use fleet::audit::{AuditSigner, Checkpoint, Succession};

    let signer = |seed: u8| AuditSigner::new("prod", &[seed; 32]);
    let checkpoint = |size| {
        let root = [1; 32];
        Checkpoint {
            size,
            root,
            at_ms: 1,
        }
    };
    let shown = |seed: u8, size, successions: &[String]| {
        let restated = checkpoint(20).sign(&signer(seed));
        Directive {
            directive: Some(Kind::Opened(SessionOpened {
                session_pass: vec![1],
                audit_checkpoint: checkpoint(size).sign(&signer(seed)),
                audit_key: signer(seed).public().to_string(),
                audit_restated: restated,
                audit_successions: successions.to_vec(),
                ..SessionOpened::default()
            })),
        }
    };
    let whole = [(7, 25), (8, 30)].map(|(seed, size)| {
        let (from, to) = (signer(seed), signer(seed + 1));
        Succession::sign(&checkpoint(size), &from, &to)
    });
    let mut fake = Fake::start();
    let (mut desk, channels) = Desk::new();
    let state = channels.state.clone();
    let _link = link(fake.address, channels);
    seen(&mut fake.sessions).await;
    fake.direct(&shown(7, 20, &[]));
    fake.direct(&snapshot(7, POLICY));
    desk.adopt().await;
    let (address, fakes) = (fake.address, fake.state.clone());
    drop(fake);

    let mut fake = Fake::start_at(address, fakes.clone());
    seen(&mut fake.sessions).await;
    fake.direct(&shown(9, 40, &whole));
    fake.direct(&snapshot(8, POLICY));
    // The next order is the policy: no alarm came before it.
    assert_eq!(desk.adopt().await, 8);
    let kept = kept_log(desk._dir.path());
    assert_eq!(kept.key, signer(9).public().to_string());
    assert_eq!((kept.size(), kept.conflict), (Some(40), None));
    assert_eq!(state.report(clock::now()).log_conflict, "");

    // A key that nothing leads to is one still.
    fake.direct(&shown(10, 50, &whole));
    let found = loop {
        if let Order::LogConflict(found) = desk.order().await {
            break found;
        }
    };
    assert!(found.contains("another key"), "{found}");
}
