//! The gate thread with a real journal: whatever breaks, what is open is recorded as open. The rules
//! themselves are tested where they are, in the engine.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{Capabilities, ClaimAnswer, ClaimAsk, Engine, Limits, Settings, Status};
use fleet::{Event, EventKind};
use gate::{CompiledPolicy, Datagram, Now, SharedKeys, Transport};
use nix::poll::PollFd;
use spa::{Allow, DigestType, Keys, Message, MessageType, Request, Secret};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::{Ends, GateThread, Host, Regular};
use crate::capture::{Arrival, Capture, CaptureError};
use crate::command_runner::CommandRunner;
use crate::firewall::fault::Faulty;
use crate::firewall::memory::MemoryFirewall;
use crate::journal::{
    FILE_NAME, FloorReason, Journal, JournalOptions, JournalReader, Retention, Start,
};
use crate::orders::{Next, Order, OrderSender, mailbox};
use crate::policies::{AdoptedPolicy, Origin, PolicyVersion};
use crate::resolver::Resolver;

const NOW_SECS: u64 = 1_800_000_000;
const ACCESS: &str = "SOURCE ANY\nOPEN_PORTS tcp/22\nKEY one\nHMAC_KEY two\nFW_ACCESS_TIMEOUT 30\n";
const GRANTS_MAX: usize = 3;

#[test]
fn whichever_firewall_call_fails_only_what_is_recorded_as_open_is_open() {
    for n in 0..4 {
        let mut host = TestHost::new(Some(n), SharedKeys::None);

        for address in 1..=3 {
            host.arrive(&[address], at(0));
        }
        host.turn(at(1));

        let recorded: Vec<String> = host.open_by_the_record();
        let open: Vec<String> = host.open_by_the_firewall();
        assert_eq!(open, recorded, "with failure {n}");
    }
}

#[test]
fn nothing_opens_while_the_disk_takes_nothing_and_the_packet_is_spent() {
    let mut host = TestHost::new(None, SharedKeys::None);
    let packet = packet(1);
    host.thread.host.journal.fail_commits(true);

    host.arrive_packet(1, &packet, at(0));

    assert_eq!(host.open_by_the_firewall(), Vec::<String>::new());
    host.thread.host.journal.fail_commits(false);
    // Later than a second capture would show the same packet.
    host.arrive_packet(1, &packet, at(3));
    host.arrive(&[2], at(3));
    assert_eq!(host.open_by_the_firewall(), ["192.0.2.2 tcp/22"]);
    let expected = [
        EventKind::Refused,
        EventKind::Replay,
        EventKind::GrantOpened,
    ];
    assert_eq!(host.kinds(), expected);
}

#[test]
fn the_controller_is_told_that_nothing_opens_and_that_it_does_again() {
    let mut host = TestHost::new(None, SharedKeys::None);
    let told = |host: &TestHost| host.status.borrow().host.warnings.clone();
    host.thread.host.journal.fail_commits(true);
    host.arrive(&[1], at(0));
    host.turn(at(1));
    let words = "nothing opens: the journal takes no records";
    assert!(
        told(&host).iter().any(|it| it.starts_with(words)),
        "{:?}",
        told(&host)
    );

    host.thread.host.journal.fail_commits(false);
    host.arrive(&[2], at(3));
    host.turn(at(4));

    assert_eq!(told(&host), Vec::<String>::new());
}

#[test]
fn a_grant_is_closed_in_the_record_at_its_end_and_not_before() {
    let mut host = TestHost::new(None, SharedKeys::None);
    host.arrive(&[1], at(0));

    host.turn(at(29));
    assert_eq!(host.kinds(), [EventKind::GrantOpened]);
    host.turn(at(30));

    assert_eq!(
        host.kinds(),
        [EventKind::GrantOpened, EventKind::GrantClosed]
    );
    assert_eq!(host.events()[1].at_ms, (NOW_SECS + 30) * 1_000);
}

#[test]
fn more_grants_than_the_limit_are_refused_and_recorded() {
    let mut host = TestHost::new(None, SharedKeys::None);

    host.arrive(&[1, 2, 3, 4], at(0));

    assert_eq!(host.open_by_the_firewall().len(), GRANTS_MAX);
    assert_eq!(host.kinds()[3], EventKind::Refused);
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
        let mut host = TestHost::new(None, SharedKeys::AllStatic);
        host.arrive(&[1], at(0));
        let ask = host.asks.try_recv().unwrap();
        assert_eq!(host.open_by_the_firewall(), Vec::<String>::new());

        let seq = ask.seq;
        host.orders
            .send(Order::ClaimAnswer { seq, answer })
            .unwrap();
        host.turn(at(0));

        assert_eq!(host.open_by_the_firewall().len(), usize::from(opens));
    }
}

#[test]
fn the_floor_of_a_boot_falls_when_the_controller_has_the_journal_that_is_here() {
    let mut host = TestHost::new(None, SharedKeys::None);
    host.arrive(&[1], at(0));
    let reader = JournalReader::open(&host.dir.path().join(FILE_NAME)).unwrap();
    let last = reader.events_after(0, 1_000).unwrap().pop().unwrap();
    let chain: [u8; 32] = last.chain.as_slice().try_into().unwrap();
    let floor_secs = NOW_SECS + 120;
    let journal = &mut host.thread.host.journal;
    let epoch = journal.epoch().to_owned();
    journal.raise_floor(floor_secs, FloorReason::Unproven, NOW_SECS);
    host.turn(at(0));
    let know = |host: &mut TestHost, seq, chain| {
        let epoch = epoch.clone();
        let order = Order::JournalKnown { epoch, seq, chain };
        host.orders.send(order).unwrap();
        host.turn(at(0));
        host.thread.report(at(0)).floor.through_secs
    };

    assert_eq!(know(&mut host, last.seq, [7; 32]), floor_secs);
    assert_eq!(know(&mut host, last.seq + 1, chain), floor_secs);
    assert!(!host.kinds().contains(&EventKind::FloorChanged));
    assert!(know(&mut host, last.seq, chain) < floor_secs);

    let said = host.events();
    let said = said
        .iter()
        .find(|said| said.kind() == EventKind::FloorChanged);
    assert!(
        said.unwrap()
            .reason
            .contains("the controller has the journal")
    );
}

#[test]
fn a_claim_that_nobody_answers_is_refused_after_a_while() {
    let mut host = TestHost::new(None, SharedKeys::AllStatic);
    host.arrive(&[1], at(0));

    host.turn(at(2));
    assert_eq!(host.kinds(), []);
    host.turn(at(3));

    assert_eq!(host.kinds(), [EventKind::Refused]);
    assert_eq!(host.open_by_the_firewall(), Vec::<String>::new());
}

#[test]
fn a_claim_that_nobody_can_be_asked_about_is_refused_at_once() {
    let mut host = TestHost::new(None, SharedKeys::AllStatic);
    host.thread.ends.claims = None;

    host.arrive(&[1], at(0));

    assert_eq!(host.kinds(), [EventKind::Refused]);
}

#[test]
fn an_older_policy_is_never_adopted() {
    let mut host = TestHost::new(None, SharedKeys::None);
    host.replace(5, "SOURCE ANY\nKEY x\nHMAC_KEY y\n");

    host.replace(4, ACCESS);
    host.arrive(&[1], at(0));

    assert_eq!(host.status.borrow().generation, 5);
    assert_eq!(host.open_by_the_firewall(), Vec::<String>::new());
}

#[test]
fn a_policy_without_the_stanza_closes_its_grants_and_their_sessions() {
    let mut host = TestHost::new(None, SharedKeys::None);
    host.arrive(&[1], at(0));

    host.replace(5, "SOURCE ANY\nKEY x\nHMAC_KEY y\n");

    assert_eq!(host.open_by_the_firewall(), Vec::<String>::new());
    assert_eq!(host.firewall.revoked().len(), 1);
    assert!(host.kinds().contains(&EventKind::GrantRevoked));
    assert_eq!(host.open_by_the_record(), Vec::<String>::new());
}

#[test]
fn what_is_open_is_in_the_journals_table_of_live_grants_until_it_is_closed() {
    let mut host = TestHost::new(None, SharedKeys::None);
    host.arrive(&[1, 2], at(0));
    host.turn(at(10));

    let (dir, firewall) = host.crash();
    let start = start_journal(dir.path());
    let found = &start.open_grants;

    assert_eq!(found.len(), 2);
    for found in found {
        assert_eq!(found.opened.grant_id, found.grant.id.to_string());
        assert_eq!(found.grant.until_ms, (NOW_SECS + 30) * 1_000);
    }
    assert_eq!(firewall.holes().len(), 2);
}

#[test]
fn stopping_closes_what_is_open_and_the_journal_is_given_back_with_everything_in_it() {
    let mut host = TestHost::new(None, SharedKeys::None);
    host.arrive(&[1], at(0));
    host.orders.stop();

    assert_eq!(host.thread.turn(at(1)), Next::Stop);

    assert_eq!(host.open_by_the_firewall(), Vec::<String>::new());
    let expected = [
        EventKind::GrantOpened,
        EventKind::GrantClosed,
        EventKind::AgentStopped,
    ];
    assert_eq!(host.kinds(), expected);
}

#[test]
fn who_asks_is_told_how_the_agent_is() {
    let mut host = TestHost::new(None, SharedKeys::None);
    host.arrive(&[1], at(0));
    host.replace(5, ACCESS);
    let (sender, answer) = std::sync::mpsc::sync_channel(1);
    host.orders.send(Order::Report(sender)).unwrap();

    host.turn(at(9));

    let report = answer.recv().unwrap();
    assert_eq!((report.generation, report.policy_age_secs), (5, 9));
    assert_eq!(report.grants_open, 1);
    assert!(report.journal_seq > 0 && report.journal_writable);
    assert_eq!(report.captures[0].name, "test");
    assert!(report.counters.contains(&("received".to_owned(), 1)));
}

/// A gate thread whose packets, time and kernel are the test's.
struct TestHost {
    thread: GateThread,
    firewall: MemoryFirewall,
    orders: OrderSender,
    asks: mpsc::Receiver<ClaimAsk>,
    status: watch::Receiver<Status>,
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

    fn frames(&self) -> u64 {
        0
    }

    fn dropped(&mut self) -> u64 {
        0
    }
}

impl TestHost {
    fn new(fault: Option<u32>, shared: SharedKeys) -> Self {
        let dir = TempDir::new().unwrap();
        let firewall = MemoryFirewall::default();
        let (orders, inbox) = mailbox().unwrap();
        let (claims, asks) = mpsc::channel(8);
        let (status_sender, status) = watch::channel(Status::default());
        let arrivals = Arrivals::default();
        let settings = Settings {
            gate: gate::Settings::default(),
            limits: Limits {
                grants_max: GRANTS_MAX,
                ..Limits::default()
            },
            capabilities: Capabilities::ALL,
            grant_prefix: [7; 8],
            first_claim: 1,
            locked: None,
        };
        let host = Host {
            journal: start_journal(dir.path()).journal,
            holes: match fault {
                Some(n) => Box::new(Faulty::new(firewall.clone(), n)),
                None => Box::new(firewall.clone()),
            },
            captures: vec![Box::new(arrivals.clone())],
            syns: Box::new(crate::capture::SynCaptures::default()),
            os_signatures: Arc::default(),
            network: None,
            names: Resolver::new(orders.clone()),
            domains: Vec::new(),
            leads_on: false,
            cannot_lead: None,
            commands: Box::new(CommandRunner::new(orders.clone(), runner_settings())),
            backend: ("memory", String::new()),
            control: None,
            protect: Vec::new(),
            hidden_before: Vec::new(),
            flush_at_exit: true,
            watchdog: None,
        };
        let ends = Ends {
            inbox,
            claims: Some(claims),
            status: status_sender,
            committed: watch::Sender::new(0),
        };
        let thread = GateThread {
            engine: Engine::new(settings, compiled(ACCESS, 1, shared), at(0)),
            host,
            ends,
            orders: VecDeque::new(),
            firewall: crate::report::FirewallReport::default(),
            latency: crate::report::Latency::default(),
            silent: Vec::new(),
            warnings: Vec::new(),
            regular: Regular {
                is_laid: true,
                ..Regular::default()
            },
        };
        Self {
            thread,
            firewall,
            orders,
            asks,
            status,
            arrivals,
            dir,
        }
    }

    /// The agent is killed; what is left is its state and the kernel's.
    fn crash(self) -> (TempDir, MemoryFirewall) {
        (self.dir, self.firewall)
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
        assert_eq!(self.thread.turn(now), Next::GoOn);
    }

    fn replace(&mut self, generation: u64, access: &str) {
        let compiled = compiled(access, generation, SharedKeys::None);
        let policy = AdoptedPolicy {
            version: PolicyVersion {
                generation,
                digest: [generation.to_be_bytes()[7]; 32],
                ..PolicyVersion::default()
            },
            origin: Origin::AccessFile,
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

fn start_journal(dir: &Path) -> Start {
    let options = JournalOptions {
        state_dir: dir.to_owned(),
        retention: Retention::UntilAcknowledged,
        window: Some(Duration::from_secs(120)),
        max_future: Duration::from_secs(120),
        witness_dir: None,
    };
    Journal::open(&options, NOW_SECS).unwrap()
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

fn runner_settings() -> crate::command_runner::RunnerSettings {
    crate::command_runner::RunnerSettings {
        time_limit: Duration::from_secs(1),
        sudo: "/usr/bin/sudo".into(),
        dry_run: false,
    }
}
