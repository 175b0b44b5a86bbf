//! Sessions that are opened in sets and one by one come to the same.

use std::sync::Arc;

use super::sets::{hold, in_a_set, rows};
use super::*;
use crate::store::fixture::Random;
use crate::store::model::{JournalEnd, Seen, SessionWanted};
use crate::store::seal::SealKey;
use crate::store::sql::{self, Dialect};
use crate::store::sqlite::sessions;

/// What a session that begins may leave.
const OF_SESSIONS: [(&str, &str); 4] = [
    ("host_passes", "member, lineage"),
    (
        "host_states",
        "member, agent_version, last_seen_ms, contract",
    ),
    ("host_alarms", "member, kind, count, last_ms, reason"),
    (
        "journals",
        "host, epoch, last_seq, chain, member, retired, forked_from",
    ),
];

/// A host of two stores, which says the same to both.
struct Host {
    member: Member,
    /// What it was given, by store.
    passes: [Vec<Vec<u8>>; 2],
    epoch: String,
    records: Vec<EventRecord>,
    pushed: usize,
}

impl Host {
    async fn join(stores: [&Store; 2], name: &str) -> Self {
        let member = join(stores[0], Role::Host, name).await;
        assert_eq!(join(stores[1], Role::Host, name).await.id, member.id);
        Self {
            member,
            passes: [Vec::new(), Vec::new()],
            epoch: "0".repeat(32),
            records: Vec::new(),
            pushed: 0,
        }
    }

    /// Something happens, and is pushed or not.
    async fn lives(&mut self, stores: [&Store; 2], random: &mut Random) {
        let last = self.records.last();
        let chain = last.map_or([0; 32], |last| last.chain.as_slice().try_into().unwrap());
        let next = event(EventKind::Refused, &format!("no {}", random.below(1_000)));
        self.records
            .push(EventRecord::after(self.records.len() as u64, &chain, next));
        if random.is_one_in(2) {
            for store in stores {
                let host = (self.member.id, self.member.name.clone());
                let new = self.records[self.pushed..].to_vec();
                let pushed = store.push_events(host, self.epoch.clone(), new, origin(), NOW_MS);
                pushed.await.unwrap();
            }
            self.pushed = self.records.len();
        }
    }

    /// How its journal ends, or did once.
    fn end(&self, random: &mut Random) -> JournalEnd {
        let mut records = self.records.as_slice();
        if random.is_one_in(10) {
            records = &records[..random.index(records.len() + 1)];
        }
        let mut end = JournalEnd {
            epoch: self.epoch.clone(),
            seq: records.len() as u64,
            chain: records.last().map_or(Vec::new(), |last| last.chain.clone()),
            oldest_seq: u64::from(!records.is_empty()),
        };
        if random.is_one_in(12) {
            end.chain = vec![9; 32];
        }
        if random.is_one_in(15) {
            end.epoch = format!("{:032x}", random.below(1 << 20));
            end.oldest_seq = random.below(3);
        }
        end
    }

    /// The same session at both stores.
    fn opens(&self, random: &mut Random, now_ms: u64) -> [SessionWanted; 2] {
        let given = self.passes[0].len();
        let which = match random.below(12) {
            0 => None,
            1 | 2 if given > 0 => Some(random.index(given)),
            _ => given.checked_sub(1),
        };
        let is_foreign = random.is_one_in(15);
        let is_renamed = random.is_one_in(15);
        let opening = Opening {
            agent_version: ["0.1.0", "0.2\0"][random.index(2)].to_owned(),
            contract: random.is_one_in(2).then(Contract::of_this_program),
            pass: Vec::new(),
            run: ["", "run-1", "run-2"][random.index(3)].to_owned(),
            keeps_passes: !random.is_one_in(10),
            is_locked: random.is_one_in(6),
            seen: Seen {
                generation: random.below(2),
                claim_epoch: random.below(2),
                newest_claimed_secs: 0,
            },
            journal: (!random.is_one_in(8)).then(|| self.end(random)),
            checkpoint: [None, Some(0), Some(3), Some(1 << 40)][random.index(4)],
        };
        [0, 1].map(|store| SessionWanted {
            host: self.member.id,
            name: if is_renamed {
                "of-before".to_owned()
            } else {
                self.member.name.clone()
            },
            opening: Opening {
                pass: match which {
                    _ if is_foreign => vec![7; 60],
                    Some(number) => self.passes[store][number].clone(),
                    None => Vec::new(),
                },
                ..opening.clone()
            },
            found: origin(),
            now_ms,
            seal: Arc::new(SealKey::new(&[7; 32])),
        })
    }

    /// The same at both, with the newest pass that it has.
    fn comes_back(&self, random: &mut Random, now_ms: u64) -> [SessionWanted; 2] {
        let mut wanted = self.opens(random, now_ms);
        for (SessionWanted { name, opening, .. }, passes) in wanted.iter_mut().zip(&self.passes) {
            name.clone_from(&self.member.name);
            opening.keeps_passes = true;
            opening.pass = passes.last().cloned().unwrap_or_default();
        }
        wanted
    }

    /// It keeps what it is given, and begins another journal when it is told to.
    fn hears(&mut self, given: [&Begun; 2], random: &mut Random) {
        for (passes, begun) in self.passes.iter_mut().zip(given) {
            if !begun.pass.is_empty() {
                passes.push(begun.pass.clone());
            }
        }
        if given[0].new_journal.is_some() && !random.is_one_in(3) {
            self.epoch = format!("{:032x}", random.below(1 << 40));
            self.records.clear();
            self.pushed = 0;
        }
    }
}

/// How often both databases are put back, as far as passes tell.
const RESTORED_EVERY_MS: u64 = 25;

/// As if they had been given since the copy that is here now.
fn forget_passes(connection: &sql::Connection) -> Result<(), StoreError> {
    connection.execute_batch("DELETE FROM host_passes")?;
    Ok(())
}

fn origin() -> Origin {
    Origin::controller("ab".repeat(16))
}

/// The same with what stands in the pass: no two are sealed alike.
fn readable(host: u64, begun: &Begun) -> (String, Begun) {
    let place = format!("session pass of member {host}");
    let pass = match begun.pass.as_slice() {
        [] => String::new(),
        sealed => (*SealKey::new(&[7; 32]).open(&place, sealed).unwrap()).clone(),
    };
    let begun = Begun {
        pass: Vec::new(),
        ..begun.clone()
    };
    (pass, begun)
}

async fn alone(store: &Store, wanted: SessionWanted) -> Begun {
    let begun = store
        .engine
        .write(move |connection| sessions::begin(connection, &wanted));
    begun.await.unwrap()
}

#[tokio::test]
async fn sessions_that_open_in_sets_and_one_by_one_come_to_the_same() {
    let ((_first, one), (_second, set)) = (store().await, store().await);
    let stores = [&one, &set];
    let mut hosts = Vec::new();
    for name in ["web-1", "web-2", "web-3", "web-4", "web-5"] {
        hosts.push(Host::join(stores, name).await);
    }
    for store in stores {
        fixture::apply(store, 0, "# one\n").await;
    }
    let mut random = Random(5_871_781_006_564_002_453);
    let (mut seen, mut restored) = ([0; 5], 0);
    for now_ms in NOW_MS..NOW_MS + 200 {
        for host in &mut hosts {
            host.lives(stores, &mut random).await;
        }
        if now_ms % RESTORED_EVERY_MS == 0 {
            for store in stores {
                store.engine.write(forget_passes).await.unwrap();
            }
            let host = random.index(hosts.len());
            let [first, second] = hosts[host].comes_back(&mut random, now_ms);
            let begun = [alone(&one, first).await, alone(&set, second).await];
            restored += usize::from(begun[0].fleet_changed && begun[1].fleet_changed);
            hosts[host].hears([&begun[0], &begun[1]], &mut random);
        }
        let (mut whose, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..=random.below(7) {
            let host = random.index(hosts.len());
            let [alone, in_a_set] = hosts[host].opens(&mut random, now_ms);
            whose.push(host);
            first.push(alone);
            second.push(Box::new(in_a_set));
        }
        let mut outcomes = Vec::new();
        for wanted in first {
            outcomes.push(alone(&one, wanted).await);
        }
        let in_a_set = in_a_set(&set, second).await;
        for ((host, begun), other) in whose.into_iter().zip(&outcomes).zip(in_a_set) {
            let other = other.unwrap();
            let member = hosts[host].member.id;
            assert_eq!(
                readable(member, &other),
                readable(member, begun),
                "{now_ms}"
            );
            seen[0] += usize::from(begun.found.is_empty() && begun.acknowledged.is_some());
            seen[1] += usize::from(begun.new_journal.is_some());
            seen[2] += usize::from(begun.cloned.is_some());
            seen[3] += usize::from(!begun.found.is_empty());
            seen[4] += usize::from(begun.root.is_some());
            hosts[host].hears([begun, &other], &mut random);
        }
        let found = rows(&set, &OF_SESSIONS).await;
        assert_eq!(rows(&one, &OF_SESSIONS).await, found, "{now_ms}");
    }
    assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
    assert!(restored >= 6, "{restored}");
    // Who is looked at alone comes after the others, so what is found stands in another order.
    let (mut ours, mut theirs) = (recorded(&one).await, recorded(&set).await);
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
}

/// Lets no host of this version into the tables any more.
fn refuse(connection: &sql::Connection) -> Result<(), StoreError> {
    connection.execute_batch(match connection.dialect() {
        Dialect::Sqlite => {
            "CREATE TEMP TRIGGER no_host BEFORE UPDATE ON host_states WHEN new.agent_version = 'bad'
                 BEGIN SELECT RAISE(ABORT, 'bad'); END"
        }
        Dialect::Postgres => "ALTER TABLE host_states ADD CHECK (agent_version <> 'bad')",
    })?;
    Ok(())
}

/// Opens all these at one time: while somebody else writes, they wait.
async fn at_one_time(store: &Store, openings: Vec<(Member, Opening)>) -> Vec<Option<Begun>> {
    let (go_on, waits) = hold(store);
    let mut opened = Vec::new();
    for (host, opening) in openings {
        let store = store.clone();
        opened.push(tokio::spawn(async move {
            let host = (host.id, host.name);
            let begun = store.begin_session(host, opening, origin(), NOW_MS).await;
            begun.ok()
        }));
    }
    // All of them wait now.
    tokio::task::yield_now().await;
    go_on.send(()).unwrap();
    waits.await.unwrap().unwrap();
    let mut outcomes = Vec::new();
    for opened in opened {
        outcomes.push(opened.await.unwrap());
    }
    outcomes
}

#[tokio::test]
async fn sessions_that_open_at_one_time_are_one_set_and_one_that_is_refused_refuses_no_other() {
    let (dir, store) = store().await;
    let mut hosts = Vec::new();
    for number in 1..=6 {
        hosts.push(join(&store, Role::Host, &format!("web-{number}")).await);
    }
    store.engine.write(refuse).await.unwrap();
    let opening = |pass: &[u8], version: &str| Opening {
        agent_version: version.to_owned(),
        pass: pass.to_vec(),
        run: "run-1".to_owned(),
        keeps_passes: true,
        ..Opening::default()
    };
    let all = hosts.iter().map(|host| (host.clone(), opening(&[], "1")));
    let first = at_one_time(&store, all.collect()).await;
    let passes = first.into_iter().map(|begun| begun.unwrap().pass);
    let passes: Vec<_> = passes.collect();
    // Of the second it is not known what it was given; the database takes nothing of the third; the fourth has lost
    // its journal, the fifth presents what is none of ours.
    fixture::edit(
        dir.path(),
        &format!(
            "UPDATE host_passes SET lineage = '{{' WHERE member = {}",
            hosts[1].id
        ),
    );
    let presented = [
        opening(&passes[0], "1"),
        opening(&passes[1], "1"),
        opening(&passes[2], "bad"),
        opening(&[], "1"),
        opening(&[7; 60], "1"),
        opening(&passes[5], "1"),
    ];
    let openings = hosts.iter().cloned().zip(presented);

    let opened = at_one_time(&store, openings.collect()).await;

    let found: Vec<_> = opened
        .iter()
        .map(|begun| begun.as_ref().map(|begun| begun.found.len()))
        .collect();
    assert_eq!(found, [Some(0), None, None, Some(1), Some(2), Some(0)]);
    // Each was given another one.
    let again = [0, 5].map(|host: usize| {
        let given = opened[host].as_ref().unwrap();
        (hosts[host].clone(), opening(&given.pass, "1"))
    });
    let again = at_one_time(&store, again.to_vec()).await;
    assert!(
        again
            .iter()
            .all(|begun| begun.as_ref().unwrap().found.is_empty())
    );
}
