//! What is done in sets comes to what it would have come to one by one.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use fleet::Event;
use tokio::task::JoinHandle;

use super::*;
use crate::store::fixture::Random;
use crate::store::jobs::Together;
use crate::store::model::PassWanted;
use crate::store::model::{Acknowledged, Entry, HostWord, Lease, Push};
use crate::store::seal::SealKey;
use crate::store::sql::{self, Dialect, Value};

/// Tables of the replay list, of what hosts acknowledge, and of the log with what is said of hosts by the way, and
/// their columns.
const OF_CLAIMS: [(&str, &str); 3] = [
    (
        "claims",
        "domain, digest, host, seq, forget_after_secs, dated_secs, capped",
    ),
    ("claim_dates_spent", "domain, through_secs"),
    ("claim_dates_won", "host, through_secs"),
];
const OF_HOSTS: [(&str, &str); 2] = [
    (
        "host_states",
        "member, applied_generation, applied_digest, rejected, drift, last_seen_ms, audit_fault, \
         protected_ports, own_protected_ports, warnings, floor_secs, clock_offset_ms, commands, backend, \
         grants_open",
    ),
    ("host_leases", "member, digest, until_secs"),
];
const OF_PASSES: [(&str, &str); 1] = [("host_passes", "member, lineage")];
const OF_LOG: [(&str, &str); 7] = [
    (
        "events",
        "id, journal, host, seq, body, chain, chain_version, stored_at_ms, log_chain, flaw, at_ms, kind, \
         user, key, stanza, generation, source, opened, replay_digest, grant_id, log_version, pruned_by",
    ),
    ("event_ports", "host, port, at_ms, event, kind"),
    ("event_blocks", "block, at_ms, event"),
    (
        "journals",
        "id, host, epoch, last_seq, chain, member, retired, forked_from",
    ),
    ("event_hosts", "id, name"),
    ("host_alarms", "member, kind, count, last_ms, reason"),
    ("host_states", "member, last_seen_ms"),
];

/// All rows of these tables.
pub(super) async fn rows(
    store: &Store,
    tables: &'static [(&'static str, &'static str)],
) -> BTreeMap<&'static str, Vec<Vec<Value>>> {
    let read = store.engine.read(move |connection| {
        let mut all = BTreeMap::new();
        for (table, columns) in tables {
            let sql = format!("SELECT {columns} FROM {table} ORDER BY {columns}");
            let mut statement = connection.prepare(&sql)?;
            let width = columns.split(',').count();
            let found = statement.query_map([], |row| {
                (0..width)
                    .map(|column| row.get(column))
                    .collect::<Result<Vec<Value>, _>>()
            })?;
            all.insert(*table, found.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(all)
    });
    read.await.unwrap()
}

/// What several come to in one set, in a transaction.
pub(super) async fn in_a_set<T>(store: &Store, several: Vec<T>) -> Vec<T::Outcome>
where
    T: Together + Send + 'static,
    T::Outcome: Send,
{
    let done = store
        .engine
        .write(move |connection| T::all(connection, &several));
    done.await.unwrap()
}

pub(super) async fn one_by_one<T>(store: &Store, several: Vec<T>) -> Vec<T::Outcome>
where
    T: Together + Send + 'static,
    T::Outcome: Send,
{
    let mut outcomes = Vec::new();
    for one in several {
        outcomes.extend(in_a_set(store, vec![one]).await);
    }
    outcomes
}

#[tokio::test]
async fn claims_in_sets_and_one_by_one_come_to_the_same() {
    let ((_first, one), (_second, set)) = (store().await, store().await);
    let base_secs = NOW_MS / 1_000;
    let mut random = Random(88_172_645_463_325_252);
    let (mut seen, mut asked) = ([0; 4], Vec::new());
    for seq in 0..300 {
        if random.is_one_in(12) {
            let before_secs = base_secs + random.below(500);
            for store in [&one, &set] {
                let forgotten = store.forget_claims(before_secs, 1_000, 0).await;
                forgotten.unwrap();
            }
        }
        if seq == 150 {
            for store in [&one, &set] {
                let (before, now_secs) = (Some("other".to_owned()), base_secs - 60);
                let begun = store.begin_run(before, "run".to_owned(), now_secs).await;
                begun.unwrap();
            }
        }
        let mut lot = Vec::new();
        for _ in 0..=random.below(12) {
            if random.is_one_in(6) && !asked.is_empty() {
                let before: &Claim = &asked[random.index(asked.len())];
                lot.push(before.clone());
                continue;
            }
            let digest = u8::try_from(random.below(48)).unwrap();
            let dated_secs = base_secs + u64::from(digest) * 10 * random.below(2);
            let until_secs = dated_secs + random.below(240);
            asked.push(Claim {
                domain: [u8::try_from(random.below(2)).unwrap(); 32],
                seq: seq / 4 + random.below(2) * u64::MAX / 2,
                dated_secs: if random.is_one_in(8) { 0 } else { dated_secs },
                forget_after_secs: if random.is_one_in(20) { 0 } else { until_secs },
                capped: random.is_one_in(9),
                ..claim(["web-1", "web-2", "web-3"][random.index(3)], digest, 1)
            });
            lot.extend(asked.last().cloned());
        }

        let outcomes = one_by_one(&one, lot.clone()).await;

        for outcome in &outcomes {
            seen[match outcome {
                ClaimOutcome::Won => 0,
                ClaimOutcome::WonBefore => 1,
                ClaimOutcome::Lost { .. } => 2,
                ClaimOutcome::Spent => 3,
            }] += 1;
        }
        assert_eq!(in_a_set(&set, lot).await, outcomes, "{seq}");
    }
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
    let found = rows(&set, &OF_CLAIMS).await;
    assert!(found.values().all(|rows| !rows.is_empty()));
    assert_eq!(rows(&one, &OF_CLAIMS).await, found);
}

#[tokio::test]
async fn what_hosts_acknowledge_in_sets_and_one_by_one_leaves_the_same_rows() {
    let ((_first, one), (_second, set)) = (store().await, store().await);
    let mut hosts = Vec::new();
    for name in ["web-1", "web-2", "web-3"] {
        hosts.push(join(&one, Role::Host, name).await.id);
        assert_eq!(
            join(&set, Role::Host, name).await.id,
            *hosts.last().unwrap()
        );
    }
    let mut random = Random(2_685_821_657_736_338_717);
    for now_ms in NOW_MS..NOW_MS + 120 {
        let mut lot = Vec::new();
        for _ in 0..=random.below(5) {
            let host = hosts[random.index(3)];
            lot.push(acknowledged(&mut random, host, now_ms));
        }
        one_by_one(&one, lot.clone()).await;
        in_a_set(&set, lot).await;
        let found = rows(&set, &OF_HOSTS).await;
        assert_eq!(rows(&one, &OF_HOSTS).await, found, "{now_ms}");
    }
    let found = rows(&set, &OF_HOSTS).await;
    assert!(found.values().all(|rows| rows.len() == hosts.len()));
}

fn acknowledged(random: &mut Random, host: u64, now_ms: u64) -> Acknowledged {
    let digest = [u8::try_from(random.below(9)).unwrap(); 32];
    let is_rejected = random.is_one_in(3);
    Acknowledged {
        host,
        acknowledgement: Box::new(Acknowledgement {
            generation: random.below(7),
            digest: if random.is_one_in(5) {
                Vec::new()
            } else {
                digest.to_vec()
            },
            rejected: if is_rejected {
                vec!["line 1: no".to_owned(), "line 2: no\0".to_owned()]
            } else {
                Vec::new()
            },
            drift: ["", "a rule is missing"][random.index(2)].to_owned(),
            audit_fault: ["", "the disk is full"][random.index(2)].to_owned(),
            word: HostWord {
                protected_ports: vec!["tcp/22".to_owned(); random.index(3)],
                clock_offset_ms: [None, Some(-5), Some(7)][random.index(3)],
                commands: [None, Some(true), Some(false)][random.index(3)],
                grants_open: [None, Some(2)][random.index(2)],
                ..HostWord::default()
            },
        }),
        lease: (!is_rejected && random.is_one_in(2)).then_some(Lease {
            digest,
            until_secs: random.below(2) * now_ms,
        }),
        now_ms,
    }
}

#[tokio::test]
async fn passes_in_sets_and_one_by_one_are_as_many_and_leave_the_same_rows() {
    let ((_first, one), (_second, set)) = (store().await, store().await);
    let mut random = Random(1_442_695_040_888_963_407);
    let wanted = |lot: &[u64]| {
        let wanted = lot.iter().map(|member| PassWanted {
            member: *member,
            seal: Arc::new(SealKey::new(&[7; 32])),
        });
        wanted.collect::<Vec<_>>()
    };
    for name in ["web-1", "web-2", "web-3"] {
        for store in [&one, &set] {
            join(store, Role::Host, name).await;
        }
    }
    for _ in 0..20 {
        let lot: Vec<u64> = (0..=random.below(6)).map(|_| 1 + random.below(3)).collect();

        let outcomes = one_by_one(&one, wanted(&lot)).await;

        assert_eq!(in_a_set(&set, wanted(&lot)).await.len(), outcomes.len());
        assert_eq!(rows(&one, &OF_PASSES).await, rows(&set, &OF_PASSES).await);
    }
    assert_eq!(rows(&set, &OF_PASSES).await["host_passes"].len(), 3);
}

/// A host that writes a journal, loses it, is set back, and sends what it has in odd pieces.
struct Writer {
    member: Member,
    epoch: String,
    records: Vec<EventRecord>,
    sent: usize,
}

impl Writer {
    fn push(&mut self, random: &mut Random, now_ms: u64) -> Push {
        if random.is_one_in(15) {
            self.epoch = format!("{:032x}", random.below(1 << 20));
            self.records.clear();
            self.sent = 0;
        }
        if random.is_one_in(10) && !self.records.is_empty() {
            // Set back: other events will have the same numbers.
            self.records.truncate(random.index(self.records.len()));
            self.sent = self.sent.min(self.records.len());
        }
        for _ in 0..random.below(5) {
            let last = self.records.last();
            let chain = last.map_or([0; 32], |last| last.chain.as_slice().try_into().unwrap());
            let event = something(random, now_ms);
            self.records
                .push(EventRecord::after(self.records.len() as u64, &chain, event));
        }
        let mut first = self.sent;
        if random.is_one_in(5) {
            // Again, or with something left out.
            first = random.index(self.records.len() + 1);
        }
        let mut records = self.records[first..].to_vec();
        self.sent = self.records.len();
        if random.is_one_in(12)
            && let Some(record) = records.first_mut()
        {
            match random.below(3) {
                0 => record.chain = vec![9; 32],
                1 => record.body = vec![0xff; 20],
                _ => record.chain_version = 77,
            }
        }
        Push {
            host: self.member.id,
            name: self.member.name.clone(),
            epoch: self.epoch.clone(),
            records,
            found: Origin::controller("ab".repeat(16)),
            now_ms,
        }
    }
}

fn something(random: &mut Random, now_ms: u64) -> Event {
    let kinds = [
        EventKind::GrantOpened,
        EventKind::Refused,
        EventKind::GrantClosed,
    ];
    let mut event = Event::new(kinds[random.index(3)], now_ms - random.below(9));
    event.user = ["", "ann", "bob\0"][random.index(3)].to_owned();
    event.source = ["", "192.0.2.7", "2001:db8::1", "somewhere"][random.index(4)].to_owned();
    event.opened = ["", "192.0.2.7", "192.0.2.0/24"][random.index(3)].to_owned();
    event.replay_digest = ["", &"0f".repeat(32), "odd"][random.index(3)].to_owned();
    for port in ["tcp/22", "udp/53", "tcp/1000-2000"] {
        if random.is_one_in(2) {
            event.ports.push(port.to_owned());
        }
    }
    event.reason = format!("because {}", random.below(1_000));
    event
}

#[tokio::test]
async fn records_in_sets_and_one_by_one_leave_the_same_rows_and_the_same_chain() {
    let ((_first, one), (_second, set)) = (store().await, store().await);
    let mut writers = Vec::new();
    for name in ["web-1", "web-2", "web-3"] {
        let member = join(&one, Role::Host, name).await;
        assert_eq!(join(&set, Role::Host, name).await.id, member.id);
        writers.push(Writer {
            member,
            epoch: "0".repeat(32),
            records: Vec::new(),
            sent: 0,
        });
    }
    let mut random = Random(6_364_136_223_846_793_005);
    let mut seen = [0; 4];
    for round in 0..250 {
        let now_ms = NOW_MS + round * 10;
        let mut lot = Vec::new();
        for _ in 0..=random.below(8) {
            let writer = random.index(4);
            lot.push(match writers.get_mut(writer) {
                Some(writer) => Entry::Push(writer.push(&mut random, now_ms)),
                None => Entry::Own(Box::new(something(&mut random, now_ms))),
            });
        }

        let outcomes = one_by_one(&one, lot.clone()).await;

        for pushed in &outcomes {
            seen[0] += usize::from(pushed.fork.is_some());
            seen[1] += usize::from(pushed.gap_before.is_some());
            seen[2] += usize::from(pushed.broken_at.is_some());
            seen[3] += usize::from(pushed.new_journal.is_some());
        }
        assert_eq!(in_a_set(&set, lot).await, outcomes, "{round}");
    }
    assert!(seen.iter().all(|count| *count > 5), "{seen:?}");
    let (ours, theirs) = (rows(&one, &OF_LOG).await, rows(&set, &OF_LOG).await);
    for (table, rows) in &ours {
        assert!(!rows.is_empty(), "{table}");
        assert_eq!(rows.len(), theirs[table].len(), "{table}");
        for (row, other) in rows.iter().zip(&theirs[table]) {
            assert_eq!(row, other, "{table}");
        }
    }
}

/// Lets nothing of this kind into the tables any more.
fn refuse(connection: &sql::Connection) -> Result<(), StoreError> {
    connection.execute_batch(match connection.dialect() {
        Dialect::Sqlite => {
            "CREATE TEMP TRIGGER no_claim BEFORE INSERT ON claims WHEN new.host = 'bad'
                 BEGIN SELECT RAISE(ABORT, 'bad'); END;
             CREATE TEMP TRIGGER no_event BEFORE INSERT ON events WHEN new.at_ms = 13
                 BEGIN SELECT RAISE(ABORT, 'bad'); END"
        }
        Dialect::Postgres => {
            "ALTER TABLE claims ADD CHECK (host <> 'bad'); ALTER TABLE events ADD CHECK (at_ms <> 13)"
        }
    })?;
    Ok(())
}

/// Somebody else writes until told to go on, and meanwhile what comes waits together.
pub(super) fn hold(store: &Store) -> (mpsc::Sender<()>, JoinHandle<Result<(), StoreError>>) {
    let (go_on, held) = mpsc::channel::<()>();
    let store = store.clone();
    let writing = async move {
        let wait = move |_: &sql::Connection| {
            held.recv().unwrap();
            Ok(())
        };
        store.engine.write(wait).await
    };
    (go_on, tokio::spawn(writing))
}

#[tokio::test]
async fn what_fails_in_a_set_fails_alone() {
    let (_dir, store) = store().await;
    store.engine.write(refuse).await.unwrap();
    let (go_on, waits) = hold(&store);
    let mut claimed = Vec::new();
    for (host, digest) in [("web-1", 1), ("bad", 2), ("web-2", 1), ("web-2", 2)] {
        let store = store.clone();
        let claim = claim(host, digest, 1);
        claimed.push(tokio::spawn(async move { store.claim(claim).await }));
    }
    let mut recorded = Vec::new();
    for at_ms in [NOW_MS, 13, NOW_MS] {
        let store = store.clone();
        let event = Event::new(EventKind::Operator, at_ms);
        recorded.push(tokio::spawn(async move { store.record(event).await }));
    }
    // All of them wait now.
    tokio::task::yield_now().await;
    go_on.send(()).unwrap();
    waits.await.unwrap().unwrap();

    let mut outcomes = Vec::new();
    for claimed in claimed {
        outcomes.push(claimed.await.unwrap().ok());
    }
    let lost = ClaimOutcome::Lost {
        held_by: "web-1".to_owned(),
    };
    let won = ClaimOutcome::Won;
    assert_eq!(
        outcomes,
        [Some(won.clone()), None, Some(lost), Some(won.clone())]
    );
    let mut outcomes = Vec::new();
    for recorded in recorded {
        outcomes.push(recorded.await.unwrap().is_ok());
    }
    assert_eq!(outcomes, [true, false, true]);
    let retried = store.claim(claim("web-2", 3, 1)).await.unwrap();
    assert_eq!(retried, won);
}
