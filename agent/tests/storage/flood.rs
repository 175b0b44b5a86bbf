//! Floods that grant nothing, through gate, engine and journal: what is recorded of them is counted and
//! does not grow with them. `make bench ARGS=E16` sends ten million of each and looks at memory and disk.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::journal::{FILE_NAME, Journal};
use engine::{Capabilities, Engine, Limits, Settings};
use fleet::{Event, EventKind};
use gate::{CompiledPolicy, Datagram, Now, SharedKeys, Transport};
use policy::{Dialect, NoIncludes};
use spa::{
    Allow, DigestType, EncryptionKey, EncryptionMode, HmacKey, Keys, Message, MessageType, Request,
    Secret,
};

use crate::support::{NOW_SECS, events, on_disk, open};

const ACCESS_CONF: &str = "SOURCE ANY\nKEY of-somebody\nHMAC_KEY and-hers\nOPEN_PORTS tcp/22\n";
/// Packets of each flood; ten seconds of them.
const PACKETS: u64 = 10_000;
/// What one turn takes.
const BATCH: u64 = 250;
/// What a flood may leave in the log.
const EVENTS_MAX: usize = 300;

struct Host {
    engine: Engine,
    journal: Journal,
    secs: u64,
    commits: u64,
}

// === impl Host ===

impl Host {
    fn new(dir: &Path) -> Self {
        let policy = policy::parse_as(Dialect::Alone, "access.conf", ACCESS_CONF, &NoIncludes);
        let policy = Arc::new(policy.unwrap());
        let compiled = CompiledPolicy::new(&policy, None, 1, SharedKeys::None, at(0)).unwrap();
        let settings = Settings {
            gate: gate::Settings::default(),
            limits: Limits::default(),
            capabilities: Capabilities::ALL,
            grant_prefix: *b"run one ",
            first_claim: 1,
            locked: None,
        };
        Self {
            engine: Engine::new(settings, Arc::new(compiled), at(0)),
            journal: open(dir).journal,
            secs: 1,
            commits: 0,
        }
    }

    /// Each of these comes from another port, and a turn is over after some.
    fn flood(&mut self, packets: impl Iterator<Item = String>) {
        for (number, packet) in (0_u64..).zip(packets) {
            let datagram = Datagram {
                source: IpAddr::from([192, 0, 2, 7]),
                destination: IpAddr::from([192, 0, 2, 1]),
                source_port: u16::try_from(1_024 + number % 60_000).unwrap(),
                destination_port: 62_201,
                transport: Transport::Udp,
                payload: packet.as_bytes(),
            };
            let now = at(self.secs);
            self.engine.datagram(&datagram, now, &mut self.journal);
            if number % BATCH == BATCH - 1 {
                self.turn();
            }
        }
    }

    fn turn(&mut self) {
        let now = at(self.secs);
        self.engine.due(now);
        if !self.engine.has_records() && !self.journal.has_staged() {
            return;
        }
        self.commits += 1;
        let journal = &mut self.journal;
        let written = self.engine.take_batch().commit(|batch| {
            for record in batch.records() {
                journal.stage(record.event().clone());
            }
            journal.commit().map(drop)
        });
        let committed = written.map_err(drop).unwrap();
        self.engine.committed(committed, now);
    }
}

fn at(secs: u64) -> Now {
    Now {
        wall_secs: NOW_SECS + secs,
        wall_nanos: 0,
        steady: Duration::from_secs(1_000 + secs),
    }
}

fn message(number: u64, port: &str) -> String {
    let secret = |text| Secret::from_passphrase(text);
    let hmac = HmacKey::new(secret("and-hers")).unwrap();
    let keys = Keys::new(
        EncryptionKey::new(secret("of-somebody")).unwrap(),
        EncryptionMode::Cbc,
        Some((hmac, DigestType::Sha256)),
    );
    let message = Message {
        random: *format!("{number:016}").as_bytes().first_chunk().unwrap(),
        username: "ann".to_owned(),
        timestamp_secs: NOW_SECS + 2,
        version: Message::VERSION.to_owned(),
        message_type: MessageType::try_from(1).unwrap(),
        request: Request::Access {
            allow: Allow::Source,
            ports: vec![port.parse().unwrap()],
        },
        nat_access: None,
        client_timeout_secs: 0,
        digest_type: DigestType::Sha256,
    };
    let sealed = spa::seal_tagged(&message, &keys.unwrap(), number.to_be_bytes());
    String::from_utf8(sealed.unwrap().into_bytes()).unwrap()
}

fn of_kind(events: &[Event], kind: EventKind) -> usize {
    events.iter().filter(|event| event.kind() == kind).count()
}

#[test]
fn junk_commits_nothing_and_leaves_no_event() {
    let dir = on_disk();
    let mut host = Host::new(dir.path());
    let junk = |number: u64| message(number, "tcp/22").chars().rev().collect();

    host.flood((0..PACKETS / 10).map(junk).cycle().take(10_000));

    assert_eq!(host.commits, 0);
    host.journal.close().unwrap();
    assert_eq!(events(dir.path()), []);
}

#[test]
fn one_message_again_and_again_is_granted_once_and_its_copies_are_counted() {
    let dir = on_disk();
    let mut host = Host::new(dir.path());
    let packet = message(1, "tcp/22");

    host.flood(std::iter::repeat_n(packet, 10_000));

    host.journal.close().unwrap();
    let events = events(dir.path());
    assert_eq!(of_kind(&events, EventKind::GrantOpened), 1);
    assert!(events.len() <= EVENTS_MAX, "{} events", events.len());
}

#[test]
fn messages_that_are_denied_are_remembered_in_one_commit_a_turn_and_their_events_are_bounded() {
    let dir = on_disk();
    let mut host = Host::new(dir.path());

    host.flood((0..PACKETS).map(|number| message(number, "tcp/5432")));

    assert!(host.commits <= PACKETS / BATCH, "{} commits", host.commits);
    host.journal.close().unwrap();
    let found = events(dir.path());
    assert_eq!(of_kind(&found, EventKind::GrantOpened), 0);
    assert!(found.len() <= EVENTS_MAX, "{} events", found.len());
    // What is remembered is one row a message, however often it comes.
    let database = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
    let count = "SELECT count(*) FROM seen";
    let rows: i64 = database.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(rows.cast_unsigned(), PACKETS);
}
