//! The gate thread with a firewall that fails and a disk that is full: whatever breaks, what is open
//! is recorded as open.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleet::{Event, EventKind};
use gate::{CompiledPolicy, Datagram, Gate, Now, Settings, SharedKeys, Transport};
use nix::poll::PollFd;
use spa::{Allow, DigestType, Keys, Message, MessageType, Request, Secret};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::claims::Claims;
use super::command::Commands;
use super::folds::Folds;
use super::gate_thread::{GateThread, Housekeeping, Limits};
use super::grants::Grants;
use crate::capture::{Arrival, Capture, CaptureError};
use crate::firewall::fault::Faulty;
use crate::firewall::memory::MemoryFirewall;
use crate::journal::{FILE_NAME, Journal, JournalOptions, JournalReader, Retention};
use crate::orders::{ClaimAnswer, ClaimAsk, Order, OrderSender, Standing, mailbox};

const NOW_SECS: u64 = 1_800_000_000;
const ACCESS: &str = "SOURCE ANY\nOPEN_PORTS tcp/22\nKEY one\nHMAC_KEY two\nFW_ACCESS_TIMEOUT 30\n";

#[test]
fn whichever_firewall_call_fails_only_what_is_recorded_as_open_is_open() {
    for n in 0..4 {
        let mut room = Room::new(Some(n), SharedKeys::None);

        for address in 1..=3 {
            room.arrive(&[address], at(0));
        }

        let recorded: Vec<String> = room.open_by_the_record();
        let open: Vec<String> = room.open_by_the_firewall();
        assert_eq!(open, recorded, "with failure {n}");
    }
}

#[test]
fn nothing_opens_while_the_disk_takes_nothing_and_the_packet_is_spent() {
    let mut room = Room::new(None, SharedKeys::None);
    let packet = packet(1);
    room.thread.journal.fail_commits(true);

    room.arrive_packet(1, &packet, at(0));

    assert_eq!(room.open_by_the_firewall(), Vec::<String>::new());
    room.thread.journal.fail_commits(false);
    room.arrive_packet(1, &packet, at(1));
    room.arrive(&[2], at(1));
    assert_eq!(room.open_by_the_firewall(), ["192.0.2.2 tcp/22"]);
    let kinds = room.kinds();
    let expected = [
        EventKind::Refused,
        EventKind::Replay,
        EventKind::GrantOpened,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn a_grant_is_closed_in_the_record_at_its_end_and_not_before() {
    let mut room = Room::new(None, SharedKeys::None);
    room.arrive(&[1], at(0));

    room.turn(at(29));
    assert_eq!(room.kinds(), [EventKind::GrantOpened]);
    room.turn(at(30));

    assert_eq!(
        room.kinds(),
        [EventKind::GrantOpened, EventKind::GrantClosed]
    );
    assert_eq!(room.events()[1].at_ms, (NOW_SECS + 30) * 1_000);
}

#[test]
fn more_grants_than_the_limit_are_refused_and_recorded() {
    let mut room = Room::new(None, SharedKeys::None);
    room.thread.limits.grants_max = 2;

    room.arrive(&[1, 2, 3], at(0));

    assert_eq!(room.open_by_the_firewall().len(), 2);
    assert_eq!(room.kinds()[2], EventKind::Refused);
}

#[test]
fn a_shared_key_opens_when_the_claim_is_won_and_only_then() {
    for (answer, opens) in [
        (ClaimAnswer::Won, true),
        (
            ClaimAnswer::Lost {
                held_by: "web-2".to_owned(),
            },
            false,
        ),
        (ClaimAnswer::Unreachable, false),
    ] {
        let mut room = Room::new(None, SharedKeys::AllStatic);
        room.arrive(&[1], at(0));
        let ask = room.asks.try_recv().unwrap();
        assert_eq!(room.open_by_the_firewall(), Vec::<String>::new());

        let seq = ask.seq;
        room.orders
            .send(Order::ClaimAnswer { seq, answer })
            .unwrap();
        room.turn(at(0));

        assert_eq!(room.open_by_the_firewall().len(), usize::from(opens));
    }
}

#[test]
fn a_claim_that_nobody_answers_is_refused_after_a_while() {
    let mut room = Room::new(None, SharedKeys::AllStatic);
    room.arrive(&[1], at(0));

    room.turn(at(2));
    assert_eq!(room.kinds(), []);
    room.turn(at(3));

    assert_eq!(room.kinds(), [EventKind::Refused]);
    assert_eq!(room.open_by_the_firewall(), Vec::<String>::new());
}

#[test]
fn an_older_policy_is_never_adopted() {
    let mut room = Room::new(None, SharedKeys::None);
    room.replace(5, "SOURCE ANY\nKEY x\nHMAC_KEY y\n");

    room.replace(4, ACCESS);
    room.arrive(&[1], at(0));

    assert_eq!(room.thread.standing.borrow().generation, 5);
    assert_eq!(room.open_by_the_firewall(), Vec::<String>::new());
}

#[test]
fn a_policy_without_the_stanza_closes_its_grants_and_their_sessions() {
    let mut room = Room::new(None, SharedKeys::None);
    room.arrive(&[1], at(0));

    room.replace(5, "SOURCE ANY\nKEY x\nHMAC_KEY y\n");

    assert_eq!(room.open_by_the_firewall(), Vec::<String>::new());
    assert_eq!(room.firewall.revoked().len(), 1);
    assert!(room.kinds().contains(&EventKind::GrantRevoked));
    assert_eq!(room.open_by_the_record(), Vec::<String>::new());
}

/// A gate thread whose packets, time and kernel are the test's.
struct Room {
    thread: GateThread,
    firewall: MemoryFirewall,
    orders: OrderSender,
    asks: mpsc::Receiver<ClaimAsk>,
    arrivals: Arrivals,
    dir: TempDir,
}

/// Packets that lie ready, each with the last byte of its source.
#[derive(Clone, Debug, Default)]
struct Arrivals(Arc<parking_lot::Mutex<VecDeque<(u8, String)>>>);

impl Capture for Arrivals {
    fn name(&self) -> &str {
        "test"
    }

    fn poll_fds<'fd>(&'fd self, _fds: &mut Vec<PollFd<'fd>>) {}

    fn follow(&mut self, _ports: &BTreeSet<NonZeroU16>) -> Result<(), CaptureError> {
        Ok(())
    }

    fn retry_in(&self, _steady: Duration) -> Option<Duration> {
        None
    }

    fn next_batch(
        &mut self,
        max: usize,
        _steady: Duration,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<usize, CaptureError> {
        let ready: Vec<_> = self.0.lock().drain(..).take(max).collect();
        for (address, packet) in &ready {
            each(Arrival::Datagram(Datagram {
                source: [192, 0, 2, *address].into(),
                destination: [192, 0, 2, 100].into(),
                source_port: 40_000,
                destination_port: 62_201,
                transport: Transport::Udp,
                payload: packet.as_bytes(),
            }));
        }
        Ok(ready.len())
    }

    fn dropped(&mut self) -> u64 {
        0
    }
}

impl Room {
    fn new(fault: Option<u32>, shared: SharedKeys) -> Self {
        let dir = TempDir::new().unwrap();
        let firewall = MemoryFirewall::default();
        let (orders, inbox) = mailbox().unwrap();
        let (ask_sender, asks) = mpsc::channel(8);
        let arrivals = Arrivals::default();
        let thread = GateThread {
            gate: Gate::new(Settings::default(), compiled(ACCESS, 1, shared)),
            journal: open_journal(dir.path()),
            firewall: match fault {
                Some(n) => Box::new(Faulty::new(firewall.clone(), n)),
                None => Box::new(firewall.clone()),
            },
            captures: vec![Box::new(arrivals.clone())],
            inbox,
            grants: Grants::default(),
            claims: Claims::new(Some(ask_sender), 1),
            folds: Folds::new(Duration::ZERO),
            commands: Commands::new(orders.clone(), Duration::from_secs(1)),
            monitor: None,
            standing: watch::Sender::new(Standing::default()),
            committed: watch::Sender::new(0),
            watchdog: None,
            protect: Vec::new(),
            limits: Limits {
                grants_max: 100,
                flush_at_exit: true,
            },
            opening: Vec::new(),
            housekeeping: Housekeeping::default(),
        };
        Self {
            thread,
            firewall,
            orders,
            asks,
            arrivals,
            dir,
        }
    }

    /// One packet from each of these addresses, all in one turn.
    fn arrive(&mut self, addresses: &[u8], now: Now) {
        for address in addresses {
            let ready = (*address, packet(*address));
            self.arrivals.0.lock().push_back(ready);
        }
        self.turn(now);
    }

    fn arrive_packet(&mut self, address: u8, packet: &str, now: Now) {
        let ready = (address, packet.to_owned());
        self.arrivals.0.lock().push_back(ready);
        self.turn(now);
    }

    fn turn(&mut self, now: Now) {
        assert!(self.thread.turn(&mut VecDeque::new(), now));
    }

    fn replace(&mut self, generation: u64, access: &str) {
        let compiled = compiled(access, generation, SharedKeys::None);
        let policy = crate::policies::NewPolicy {
            generation,
            digest: [generation.to_be_bytes()[7]; 32],
            text: None,
            not_after_secs: 0,
            replay_floor_secs: 0,
            policy: Arc::clone(compiled.policy()),
            compiled,
        };
        let order = Order::ReplacePolicy(Box::new(policy));
        self.orders.send(order).unwrap();
        self.turn(at(0));
    }

    fn events(&self) -> Vec<Event> {
        let reader = JournalReader::open(&self.dir.path().join(FILE_NAME)).unwrap();
        let records = reader.events_after(0, 1_000).unwrap();
        records.iter().map(|r| r.event().unwrap()).collect()
    }

    fn kinds(&self) -> Vec<EventKind> {
        self.events().iter().map(Event::kind).collect()
    }

    /// What was opened and not closed, by the journal alone.
    fn open_by_the_record(&self) -> Vec<String> {
        let mut open = Vec::new();
        for event in self.events() {
            let opened = format!("{} {}", event.opened, event.ports.join(","));
            if event.kind() == EventKind::GrantOpened {
                open.push(opened);
            } else if [EventKind::GrantClosed, EventKind::GrantRevoked].contains(&event.kind()) {
                open.retain(|other| *other != opened);
            }
        }
        open.sort();
        open
    }

    fn open_by_the_firewall(&self) -> Vec<String> {
        let holes = self.firewall.holes();
        holes.iter().map(|hole| hole.rule.to_string()).collect()
    }
}

fn open_journal(dir: &Path) -> Journal {
    let options = JournalOptions {
        state_dir: dir.to_owned(),
        retention: Retention::UntilAcknowledged,
        window: Some(Duration::from_secs(120)),
    };
    Journal::open(&options, NOW_SECS).unwrap().journal
}

fn compiled(access: &str, generation: u64, shared: SharedKeys) -> Arc<CompiledPolicy> {
    let policy = policy::parse("test", access, &policy::NoIncludes).unwrap();
    let compiled = CompiledPolicy::new(&Arc::new(policy), None, generation, shared, at(0));
    Arc::new(compiled.unwrap())
}

/// A packet that asks to open tcp/22 for wherever it comes from; another one for each number.
fn packet(number: u8) -> String {
    let message = Message {
        random: *format!("{number:016}").as_bytes().first_chunk().unwrap(),
        username: "alice".to_owned(),
        timestamp_secs: NOW_SECS,
        version: Message::VERSION.to_owned(),
        message_type: MessageType::Access,
        request: Request::Access {
            allow: Allow::Source,
            ports: vec!["tcp/22".parse().unwrap()],
        },
        nat_access: None,
        client_timeout_secs: 0,
        digest_type: DigestType::Sha256,
    };
    spa::seal(&message, &keys(), [number; 8]).unwrap()
}

fn keys() -> Keys {
    let encryption = spa::EncryptionKey::new(Secret::from_passphrase("one")).unwrap();
    let hmac = spa::HmacKey::new(Secret::from_passphrase("two")).unwrap();
    let hmac = Some((hmac, DigestType::Sha256));
    Keys::new(encryption, spa::EncryptionMode::Cbc, hmac).unwrap()
}

fn at(secs: u64) -> Now {
    Now {
        wall_secs: NOW_SECS + secs,
        wall_nanos: 0,
        steady: Duration::from_secs(secs),
    }
}
