//! Controllers that claim, record and take events, and what they were answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fleet::audit::Verifier;
use fleet::{EventKind, EventRecord, Role};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::store::error::{NotCommitted, StoreError};
use crate::store::fixture::{NOW_MS, event, join};
use crate::store::model::{CONTROLLER, Claim, ClaimOutcome, Opening, Origin};
use crate::store::place::PostgresSettings;
use crate::store::postgres::server::Server;
use crate::store::seal::SealKey;
use crate::store::sql::postgres::Postgres;
use crate::store::sqlite::{checkpoints, proof};
use crate::store::{Place, Store};

/// Tasks of each controller.
const LANES: usize = 3;
/// In so many messages each controller claims in an order of its own.
const SHUFFLED: usize = 8;
/// Messages that one is ahead of the other, where it leads.
const AHEAD: usize = 64;
const PAUSE: Duration = Duration::from_millis(20);
/// Everything goes on within this time, on machines that do other things too.
const GOES_ON: Duration = Duration::from_secs(45);

/// Two controllers of one database, at work.
pub(super) struct Load {
    runtime: Runtime,
    stores: Vec<Store>,
    stop: Arc<AtomicBool>,
    heard: Arc<Mutex<Heard>>,
    /// How often each task went round.
    rounds: Vec<Arc<AtomicUsize>>,
    tasks: Vec<JoinHandle<()>>,
}

/// One task.
struct Lane {
    store: Store,
    /// Its controller and its number.
    of: (usize, usize),
    now_ms: u64,
    heard: Arc<Mutex<Heard>>,
    /// `Member::id` of its host.
    member: u64,
    /// What that was given last and has kept.
    pass: Mutex<Vec<u8>>,
}

/// What was answered.
#[derive(Default)]
pub(super) struct Heard {
    /// Messages that a host has won, as often as it was told so.
    won: Vec<([u8; 32], String)>,
    /// Who holds a message, as whoever claimed it was told.
    held: BTreeMap<[u8; 32], BTreeSet<String>>,
    /// Records of a controller's own that are there, and that are not.
    recorded: BTreeSet<String>,
    pub(super) refused: BTreeSet<String>,
    /// Of whom nobody could say.
    pub(super) unknown: BTreeSet<String>,
    /// The last acknowledged number of each journal.
    acknowledged: BTreeMap<String, u64>,
    /// Errors, by controller.
    pub(super) errors: [usize; 2],
}

// === impl Load ===

impl Load {
    /// Starts them; the clock of the second is an hour ahead.
    pub(super) fn start(settings: [PostgresSettings; 2]) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut load = Self {
            runtime,
            stores: Vec::new(),
            stop: Arc::default(),
            heard: Arc::default(),
            rounds: Vec::new(),
            tasks: Vec::new(),
        };
        for (number, settings) in settings.into_iter().enumerate() {
            let store = Store::open(&Place::Postgres(settings), SealKey::new(&[7; 32])).unwrap();
            if number == 0 {
                let created = store.create_fleet("e".repeat(32), NOW_MS / 1000);
                load.runtime.block_on(created).unwrap();
            }
            load.stores.push(store);
        }
        for (number, store) in load.stores.clone().into_iter().enumerate() {
            for lane in 0..LANES {
                let name = host_of((number, lane));
                let member = load.runtime.block_on(join(&store, Role::Host, &name));
                load.spawn(Lane {
                    member: member.id,
                    pass: Mutex::default(),
                    store: store.clone(),
                    of: (number, lane),
                    now_ms: NOW_MS + number as u64 * 3_600_000,
                    heard: Arc::clone(&load.heard),
                });
            }
        }
        load
    }

    fn spawn(&mut self, lane: Lane) {
        let rounds = Arc::<AtomicUsize>::default();
        self.rounds.push(Arc::clone(&rounds));
        let stop = Arc::clone(&self.stop);
        self.tasks.push(self.runtime.spawn(async move {
            for round in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                lane.claim(round).await;
                lane.record(round).await;
                lane.push(round).await;
                lane.open(round).await;
                rounds.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }

    /// Waits until every task of these controllers went round some more times.
    pub(super) fn goes_on(&self, controllers: &[usize]) {
        let of = |controller: &usize| &self.rounds[controller * LANES..(controller + 1) * LANES];
        let rounds: Vec<_> = controllers.iter().flat_map(of).collect();
        let read = |it: &&Arc<AtomicUsize>| it.load(Ordering::SeqCst);
        let before: Vec<_> = rounds.iter().map(read).collect();
        let began = crate::clock::instant();
        while rounds
            .iter()
            .zip(&before)
            .any(|(it, was)| read(it) < was + 5)
        {
            assert!(began.elapsed() < GOES_ON, "a controller does not go on");
            std::thread::sleep(PAUSE);
        }
    }

    /// Ends it when all has been answered.
    pub(super) fn end(self) -> Heard {
        self.stop.store(true, Ordering::SeqCst);
        self.runtime.block_on(async {
            for task in self.tasks {
                task.await.unwrap();
            }
            for store in self.stores {
                store.close().await;
            }
        });
        std::mem::take(&mut *self.heard.lock())
    }
}

// === impl Lane ===

impl Lane {
    fn host(&self) -> String {
        host_of(self.of)
    }

    fn failed(&self) {
        self.heard.lock().errors[self.of.0] += 1;
    }

    /// Claims a message that the other controller claims, too, and asks until it is told.
    async fn claim(&self, round: usize) {
        let (controller, lane) = self.of;
        let place = round % SHUFFLED;
        let place = if controller == 0 {
            place
        } else {
            SHUFFLED - 1 - place
        };
        // Each leads in one, so that both win, and in the first they are abreast.
        let ahead = if lane == controller + 1 { AHEAD } else { 0 };
        let message = round - round % SHUFFLED + place + ahead;
        let mut digest = [0; 32];
        digest[0] = u8::try_from(lane).unwrap();
        digest[1..9].copy_from_slice(&message.to_be_bytes());
        let claim = Claim {
            domain: [7; 32],
            digest,
            host: self.host(),
            seq: round as u64,
            forget_after_secs: 0,
            dated_secs: 0,
            capped: false,
        };
        let outcome = loop {
            match self.store.claim(claim.clone()).await {
                Ok(outcome) => break outcome,
                Err(_) => self.failed(),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let mut heard = self.heard.lock();
        let holder = match outcome {
            ClaimOutcome::Won => {
                heard.won.push((digest, self.host()));
                self.host()
            }
            ClaimOutcome::WonBefore => self.host(),
            ClaimOutcome::Lost { held_by } => held_by,
            ClaimOutcome::Spent => panic!("nothing was forgotten"),
        };
        heard.held.entry(digest).or_default().insert(holder);
    }

    /// Records something once, whatever is answered.
    async fn record(&self, round: usize) {
        let reason = format!("{} {round}", self.host());
        let recorded = self.store.record(event(EventKind::Operator, &reason)).await;
        if recorded.is_err() {
            self.failed();
        }
        let mut heard = self.heard.lock();
        match recorded {
            Ok(()) => heard.recorded.insert(reason),
            Err(StoreError::NotCommitted(NotCommitted::Unknown)) => heard.unknown.insert(reason),
            Err(_) => heard.refused.insert(reason),
        };
    }

    /// Opens the session of its host with the last pass that it was given. Whatever was answered or not, that is neither
    /// one that others have followed nor one that nobody has given.
    async fn open(&self, round: usize) {
        let begun = loop {
            let opening = Opening {
                pass: self.pass.lock().clone(),
                run: "run-1".to_owned(),
                keeps_passes: true,
                ..Opening::default()
            };
            let found = Origin::controller("ab".repeat(16));
            let host = (self.member, self.host());
            let begun = self.store.begin_session(host, opening, found, self.now_ms);
            match begun.await {
                Ok(begun) => break begun,
                Err(_) => self.failed(),
            }
            tokio::time::sleep(PAUSE).await;
        };
        assert_eq!(begun.found, [] as [String; 0], "{round}");
        *self.pass.lock() = begun.pass;
    }

    /// Pushes the next event of a journal until it is acknowledged.
    async fn push(&self, round: usize) {
        let (controller, lane) = self.of;
        let epoch = format!("{controller}{lane}").repeat(16);
        let (mut chain, mut record) = ([0; 32], None);
        for seq in 0..=round as u64 {
            let event = event(EventKind::Refused, &format!("refused {seq}"));
            let next = EventRecord::after(seq, &chain, event);
            chain = next.chain.as_slice().try_into().unwrap();
            record = Some(next);
        }
        let pushed = loop {
            let pushed = self.store.push_events(
                (self.member, self.host()),
                epoch.clone(),
                record.clone().into_iter().collect(),
                Origin::controller("ab".repeat(16)),
                self.now_ms,
            );
            match pushed.await {
                Ok(pushed) => break pushed,
                Err(_) => self.failed(),
            }
            tokio::time::sleep(PAUSE).await;
        };
        assert_eq!(pushed.acknowledged_seq, round as u64 + 1);
        assert_eq!((pushed.gap_before, pushed.broken_at), (None, None));
        let mut heard = self.heard.lock();
        heard.acknowledged.insert(epoch, pushed.acknowledged_seq);
    }
}

/// What the host of a task is called.
fn host_of((controller, lane): (usize, usize)) -> String {
    format!("host-{controller}-{lane}")
}

// === impl Heard ===

impl Heard {
    /// What was answered is what is in the database, once, and the log is whole.
    pub(super) fn is_what_is_there(&self, settings: &PostgresSettings) {
        let connection = Server::of(settings).unwrap().to_write().unwrap();
        self.claims_are_there(&connection);
        self.log_is_there(&connection);
    }

    fn claims_are_there(&self, connection: &Postgres) {
        let connection: &crate::store::sql::Connection = connection;
        let mut there = BTreeMap::new();
        let mut statement = connection
            .prepare("SELECT digest, host FROM claims")
            .unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        there.extend(rows.unwrap().map(Result::<([u8; 32], String), _>::unwrap));
        let held = |(digest, hosts): (&[u8; 32], &BTreeSet<String>)| {
            assert_eq!(hosts.len(), 1, "{digest:?} is held by {hosts:?}");
            (*digest, hosts.first().unwrap().clone())
        };
        let held: BTreeMap<_, _> = self.held.iter().map(held).collect();
        assert_eq!(held, there);
        let once: BTreeSet<_> = self.won.iter().collect();
        assert_eq!(once.len(), self.won.len(), "a message was won twice");
        for controller in ["host-0", "host-1"] {
            let won = self
                .won
                .iter()
                .filter(|(_, host)| host.starts_with(controller));
            assert!(won.count() > 0, "{controller} has won nothing");
        }
    }

    fn log_is_there(&self, connection: &Postgres) {
        let (mut verifier, mut last) = (Verifier::with_keys(None), 0);
        let mut recorded = BTreeMap::<String, usize>::new();
        let mut pushed = BTreeMap::<String, Vec<u64>>::new();
        loop {
            let rows = proof::after(connection, (last, u64::MAX), (1_000, 1 << 20)).unwrap();
            let Some(end) = rows.last() else {
                break;
            };
            last = end.id;
            for row in &rows {
                verifier.row(row);
                let record = row.record.as_ref().unwrap();
                if row.host == CONTROLLER {
                    let reason = record.event().unwrap().reason;
                    *recorded.entry(reason).or_default() += 1;
                } else {
                    pushed
                        .entry(row.epoch.clone())
                        .or_default()
                        .push(record.seq);
                }
            }
        }
        let verdict = verifier.finish();
        assert_eq!(verdict.faults, [], "the log is not whole");
        assert_eq!(verdict.records, checkpoints::end(connection).unwrap().size);
        for (epoch, through) in &self.acknowledged {
            assert_eq!(
                pushed.remove(epoch),
                Some((1..=*through).collect()),
                "{epoch}"
            );
        }
        assert!(pushed.is_empty(), "{pushed:?}");
        for reason in &self.recorded {
            assert_eq!(recorded.remove(reason), Some(1), "{reason} was recorded");
        }
        for reason in &self.refused {
            assert_eq!(recorded.remove(reason), None, "{reason} was refused");
        }
    }
}
