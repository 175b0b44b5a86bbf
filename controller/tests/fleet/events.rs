//! The fleet's log.

use fleet::event::BODY_BYTES_MAX;
use fleet::wire::{AuditRecord, ListEventsRequest, PushEventsRequest};
use fleet::{Event, EventKind, EventRecord, Role};
use tonic::Code;

use crate::support::{Fleet, Member};

const EPOCH: &str = "00112233445566778899aabbccddeeff";

/// A host's journal: grants for tcp/22 from rising addresses, chained.
fn journal(events: u64) -> Vec<EventRecord> {
    let mut journal: Vec<EventRecord> = Vec::new();
    for seq in 1..=events {
        let mut event = Event::new(EventKind::GrantOpened, 1_000_000 + seq * 1_000);
        event.user = if seq % 2 == 0 { "mbr" } else { "alice" }.to_owned();
        event.source = format!("192.0.2.{seq}");
        event.opened = if seq == 3 {
            "2001:db8::7".to_owned()
        } else {
            event.source.clone()
        };
        event.ports = vec![if seq % 3 == 0 { "udp/53" } else { "tcp/22" }.to_owned()];
        event.replay_digest = format!("{seq:064x}");
        event.stanza = "sre-ssh".to_owned();
        event.grant_id = format!("{seq:032x}");
        append(&mut journal, event);
    }
    journal
}

fn append(journal: &mut Vec<EventRecord>, event: Event) {
    let (seq, chain) = match journal.last() {
        Some(last) => (last.seq, last.chain.as_slice().try_into().unwrap()),
        None => (0, [0; 32]),
    };
    journal.push(EventRecord::after(seq, &chain, event));
}

fn event_of(record: &AuditRecord) -> Event {
    record.record.as_ref().unwrap().event().unwrap()
}

async fn push(host: &Member, records: &[EventRecord]) -> u64 {
    let request = PushEventsRequest {
        epoch: EPOCH.to_owned(),
        events: Vec::new(),
        records: records.to_vec(),
    };
    let answer = host.agent().push_events(request).await.unwrap();
    answer.into_inner().acknowledged_seq
}

fn seqs(records: &[AuditRecord]) -> Vec<u64> {
    let events = records.iter().filter(|record| record.host == "web-1");
    events
        .map(|record| record.record.as_ref().unwrap().seq)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_repeated_is_stored_once() {
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let journal = journal(6);

    assert_eq!(push(&host, &journal[..4]).await, 4);
    assert_eq!(push(&host, &journal[..4]).await, 4);
    assert_eq!(push(&host, &journal[2..]).await, 6);
    assert_eq!(push(&host, &[]).await, 6);

    let records = auditor.events(ListEventsRequest::default()).await;
    assert_eq!(seqs(&records).len(), 6);
    let kinds = records.iter().map(|record| event_of(record).kind());
    assert!(
        kinds
            .into_iter()
            .all(|kind| !matches!(kind, EventKind::AuditGap | EventKind::HostSetBack))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_comes_back_as_it_was_sent() {
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let journal = journal(3);
    push(&host, &journal).await;

    let request = ListEventsRequest {
        host: "web-1".to_owned(),
        ..ListEventsRequest::default()
    };
    let records = auditor.events(request).await;

    let records = records.into_iter().rev();
    let came_back: Vec<_> = records.map(|record| record.record.unwrap()).collect();
    assert_eq!(came_back, journal);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_narrows_and_the_newest_comes_first() {
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let _without_events = fleet.join(Role::Host, "web-2").await;
    push(&host, &journal(6)).await;
    let all = ListEventsRequest {
        host: "web-1".to_owned(),
        ..ListEventsRequest::default()
    };
    let text = |text: &str| text.to_owned();

    let questions: [(&[u64], ListEventsRequest); 9] = [
        (&[6, 5, 4, 3, 2, 1], all.clone()),
        (
            &[6, 5],
            ListEventsRequest {
                limit: 2,
                ..all.clone()
            },
        ),
        (
            &[5, 3, 1],
            ListEventsRequest {
                user: text("alice"),
                ..all.clone()
            },
        ),
        (
            &[6, 3],
            ListEventsRequest {
                port: text("udp/53"),
                ..all.clone()
            },
        ),
        (
            &[4],
            ListEventsRequest {
                source: text("192.0.2.4"),
                ..all.clone()
            },
        ),
        (
            &[3, 2],
            ListEventsRequest {
                source: text("192.0.2.2/31"),
                ..all.clone()
            },
        ),
        (
            &[3],
            ListEventsRequest {
                source: text("2001:db8::/64"),
                ..all.clone()
            },
        ),
        (
            &[3, 2],
            ListEventsRequest {
                since_ms: 1_002_000,
                until_ms: 1_004_000,
                ..all.clone()
            },
        ),
        (
            &[],
            ListEventsRequest {
                host: text("web-2"),
                ..all.clone()
            },
        ),
    ];
    for (expected, question) in questions {
        let records = auditor.events(question.clone()).await;
        assert_eq!(seqs(&records), expected, "{question:?}");
    }
    for (expected, question) in [
        (
            vec![4, 2],
            ListEventsRequest {
                user: text("mbr"),
                port: text("tcp/22"),
                ..all.clone()
            },
        ),
        (
            vec![5, 1],
            ListEventsRequest {
                host: text(""),
                user: text("alice"),
                port: text("tcp/22"),
                ..all.clone()
            },
        ),
        (
            vec![5, 4, 2, 1],
            ListEventsRequest {
                host: text(""),
                port: text("tcp/22"),
                ..all.clone()
            },
        ),
        (
            vec![4],
            ListEventsRequest {
                host: text(""),
                source: text("192.0.2.4"),
                port: text("tcp/22"),
                user: text("mbr"),
                ..all
            },
        ),
    ] {
        let records = auditor.events(question.clone()).await;
        assert_eq!(seqs(&records), expected, "{question:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_two_addresses_lie_in_one_prefix_is_listed_once() {
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let mut journal = Vec::new();
    for (source, opened) in [
        ("192.0.2.1", "192.0.2.2"),
        ("192.0.2.3", "198.51.100.3"),
        ("198.51.100.4", "192.0.2.4"),
        ("198.51.100.5", "198.51.100.5"),
    ] {
        let mut event = Event::new(EventKind::GrantOpened, 1_000_000);
        event.source = source.to_owned();
        event.opened = opened.to_owned();
        append(&mut journal, event);
    }
    push(&host, &journal).await;

    for (source, expected) in [
        ("192.0.2.0/24", vec![3, 2, 1]),
        ("192.0.2.2", vec![1]),
        ("0.0.0.0/0", vec![4, 3, 2, 1]),
    ] {
        let question = ListEventsRequest {
            host: "web-1".to_owned(),
            source: source.to_owned(),
            ..ListEventsRequest::default()
        };
        assert_eq!(seqs(&auditor.events(question).await), expected, "{source}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_comes_in_pages_without_a_gap_or_a_double() {
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let mut journal = Vec::new();
    for seq in 1..=2_500 {
        // Many at the same moment, so that a page ends between two of them.
        let event = Event::new(EventKind::Refused, 1_000 + seq / 700);
        append(&mut journal, event);
    }
    push(&host, &journal).await;

    let request = ListEventsRequest {
        host: "web-1".to_owned(),
        limit: u32::MAX,
        ..ListEventsRequest::default()
    };
    let records = auditor.events(request).await;

    assert_eq!(seqs(&records), (1..=2_500).rev().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_events_and_a_broken_chain_are_stored_and_told() {
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let mut journal = journal(6);
    // The last byte of the body: another grant.
    *journal[4].body.last_mut().unwrap() ^= 1;

    push(&host, &journal[..2]).await;
    assert_eq!(push(&host, &journal[3..]).await, 6);

    let request = ListEventsRequest {
        kind: EventKind::AuditGap.into(),
        ..ListEventsRequest::default()
    };
    let told = auditor.events(request).await;
    let reasons: Vec<_> = told.iter().map(|record| event_of(record).reason).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(
        reasons
            .iter()
            .any(|reason| reason.ends_with("missing before event 4"))
    );
    assert!(
        reasons
            .iter()
            .any(|reason| reason.ends_with("broken at event 5"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_event_is_it_is_kept_and_told_and_holds_up_nothing() {
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let mut journal = journal(2);
    // Of an agent that is newer: a kind and a field that nobody here knows.
    let mut newer = Event::new(EventKind::Refused, 1_007_000);
    newer.kind = 77;
    append(&mut journal, newer);
    journal[2].body.extend([0xc0, 0x3e, 1]);
    // 18 KB, as agents of version 1 wrote them.
    let mut long = Event::new(EventKind::PolicyRejected, 1_008_000);
    append(&mut journal, long.clone());
    long.seq = 4;
    long.reason = "x".repeat(18_000);
    journal[3].body = prost::Message::encode_to_vec(&long);
    append(&mut journal, Event::new(EventKind::Refused, 1_009_000));
    journal[4].body = b"no event at all".to_vec();
    append(&mut journal, Event::new(EventKind::Refused, 1_010_000));

    assert_eq!(push(&host, &journal).await, 6);

    let request = ListEventsRequest {
        host: "web-1".to_owned(),
        ..ListEventsRequest::default()
    };
    let mut stored = auditor.events(request).await;
    stored.sort_by_key(|record| record.id);
    let (records, flaws): (Vec<_>, Vec<_>) = stored
        .into_iter()
        .map(|record| (record.record.unwrap(), record.flaw))
        .unzip();
    assert_eq!(records, journal);
    assert_eq!(&flaws[..2], ["", ""]);
    assert_eq!(flaws[2], "the chain is broken here");
    assert!(flaws[3].starts_with(&format!("longer than {BODY_BYTES_MAX} bytes")));
    assert!(flaws[4].starts_with("the body is not a serialized event"));
    assert_eq!(records[2].event().unwrap().kind_name(), "kind-77");
    let question = ListEventsRequest {
        kind: 77,
        ..ListEventsRequest::default()
    };
    assert_eq!(seqs(&auditor.events(question).await), [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_no_journal_is_refused_by_field() {
    let fleet = Fleet::start().await;
    let host = fleet.join(Role::Host, "web-1").await;
    let journal = journal(2);

    for (epoch, records) in [
        ("xyz", vec![journal[0].clone()]),
        (EPOCH, vec![journal[1].clone(), journal[0].clone()]),
    ] {
        let request = PushEventsRequest {
            epoch: epoch.to_owned(),
            events: Vec::new(),
            records,
        };
        let refused = host.agent().push_events(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
}
