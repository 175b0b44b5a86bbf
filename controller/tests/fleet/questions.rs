//! Questions of the log that cost much, beside a fleet that goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fleet::Role;
use fleet::wire::audit_client::AuditClient;
use fleet::wire::{ClaimRequest, ListEventsRequest, ListHostsRequest};

use crate::claims::{STATIC, static_domain};
use crate::support::{Fleet, Member, patiently};

/// Events in the log; their bodies are no events, which the log takes too.
const EVENTS: u32 = 200_000;
const FILL: &str = "
    BEGIN;
    INSERT OR IGNORE INTO event_hosts (id, name) VALUES (1000, 'web-9');
    INSERT OR IGNORE INTO journals (id, host, epoch, last_seq, chain) VALUES (1000, 1000, 'f', 200000, zeroblob(32));
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
    INSERT INTO events (journal, host, seq, body, chain, chain_version, stored_at_ms, log_chain,
                        at_ms, kind, user, stanza, generation)
    SELECT 1000, 1000, i, x'ff', zeroblob(32), 2, i, zeroblob(32), i, 4, 'mbr', 'sre-ssh', 1
    FROM n;
    COMMIT;";
const TEXT: &str = "NAME ssh\nSOURCE ANY\nOPEN_PORTS tcp/22\nREQUIRE_USERNAME mbr\n";

/// Looks at every event of a user for a port that none has.
fn costly() -> ListEventsRequest {
    ListEventsRequest {
        user: "mbr".to_owned(),
        port: "udp/9".to_owned(),
        source: "0.0.0.0/0".to_owned(),
        ..ListEventsRequest::default()
    }
}

async fn ask_on(member: Member, question: ListEventsRequest, stop: Arc<AtomicBool>) -> usize {
    let mut asked = 0;
    while !stop.load(Ordering::SeqCst) {
        let mut client = AuditClient::new(member.channel.clone());
        if let Ok(answer) = client.list_events(question.clone()).await {
            let mut rows = answer.into_inner();
            while let Ok(Some(_)) = rows.message().await {}
        }
        asked += 1;
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_questions_starve_nobody_and_a_word_is_found_in_a_log_that_was_not_indexed() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let data = fleet.dir.path().join("data/controller.db");
    rusqlite::Connection::open(data)
        .unwrap()
        .execute_batch(FILL)
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut asking = Vec::new();
    for number in 0..8 {
        let auditor = fleet
            .join(Role::Auditor, &format!("auditor-{number}"))
            .await;
        let question = if number % 2 == 0 {
            costly()
        } else {
            ListEventsRequest {
                stanza: "sre-ssh".to_owned(),
                port: "udp/9".to_owned(),
                ..ListEventsRequest::default()
            }
        };
        asking.push(tokio::spawn(ask_on(auditor, question, Arc::clone(&stop))));
    }

    let done = AtomicUsize::new(0);
    let go_on = async {
        for number in 0..10_u8 {
            let text = format!("{TEXT}\n{STATIC}# {number}\n");
            operator.apply(number.into(), &text).await.unwrap();
            let hosts = operator.operator().list_hosts(ListHostsRequest {}).await;
            assert_eq!(hosts.unwrap().into_inner().hosts.len(), 1);
            fleet.join(Role::User, &format!("user-{number}")).await;
            let claim = ClaimRequest {
                domain: static_domain().to_vec(),
                digest: vec![number; 32],
                seq: u64::from(number) + 1,
                forget_after_secs: 0,
                dated_secs: 0,
            };
            host.agent().claim(claim).await.unwrap();
            done.fetch_add(1, Ordering::SeqCst);
        }
    };
    patiently(go_on).await;

    stop.store(true, Ordering::SeqCst);
    for asker in asking {
        asker.await.unwrap();
    }
    let of_stanza = ListEventsRequest {
        stanza: "sre-ssh".to_owned(),
        limit: 3,
        ..ListEventsRequest::default()
    };
    let found = operator.events(of_stanza).await;
    let newest: Vec<u64> = found
        .iter()
        .map(|row| row.record.as_ref().unwrap().seq)
        .collect();
    assert_eq!(newest, [EVENTS, EVENTS - 1, EVENTS - 2].map(u64::from));
}
