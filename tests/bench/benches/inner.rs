//! The inner pieces of the packet path, each alone: `cargo bench -p bench`.
//!
//! | bench | what is measured |
//! |---|---|
//! | `open_a_packet` | HMAC, decryption, digest and fields of one packet with its key |
//! | `try_keys` | one packet against N keys of which none is right |
//! | `try_hashes` | the same with 1,000 keys of one HMAC type, or of none |
//! | `admit_tagged` | the whole gate with N stanzas, a fresh tagged packet of the last one |
//! | `junk` | the whole gate with N stanzas, text that is none of ours |
//! | `engine_junk` | the engine around that gate, the same text |
//! | `engine_grants` | a turn of the engine with N tagged packets; journal and firewall take no time |
//! | `journal` | N messages with their events committed and synced as one batch |
//! | `sync` | one block of a file written over and synced, after so many milliseconds without one |
//! | `set` | N holes opened by one netlink send (root: in a network namespace of its own) |
#![expect(clippy::unwrap_used, reason = "a benchmark may fail by panicking")]

use std::array;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use agent::config::FirewallConfig;
use agent::firewall;
use agent::journal::{Journal, JournalOptions, Retention};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use divan::{Bencher, black_box};
use engine::{Capabilities, Effect, Engine, Hole, HoleTimeout, Limits, Rule};
use fleet::{Event, EventKind};
use gate::{
    CompiledPolicy, Datagram, Decision, Gate, MemoryReplayLog, Now, ReplayLog as _, Settings,
    SharedKeys, Transport,
};
use policy::{Dialect, NoIncludes};
use sha2::{Digest as _, Sha256, Sha512};
use spa::{
    Allow, DigestType, EncryptionKey, EncryptionMode, HmacKey, Keys, LANES, Message, MessageType,
    OpeningKey, ReplayDigest, Request, Sealed, Secret, Service, Trial,
};
use tempfile::TempDir;

/// The time at which everything happens.
const NOW: Now = Now {
    wall_secs: 1_800_000_000,
    wall_nanos: 0,
    steady: Duration::from_secs(1_000),
};

fn main() {
    divan::main();
}

#[divan::bench]
fn open_a_packet(bencher: Bencher<'_, '_>) {
    let keys = keys(0);
    let key = OpeningKey::new(&keys);
    let packet = spa::seal(&message(0), &keys, [7; 8]).unwrap();

    bencher.bench(|| {
        let sealed = Sealed::parse(black_box(packet.as_bytes())).unwrap();
        sealed.authenticate(&key).unwrap().open().unwrap()
    });
}

#[divan::bench(args = [1, 100, 1_000, 10_000])]
fn try_keys(bencher: Bencher<'_, '_>, count: u32) {
    try_strangers(bencher, count, Some(DigestType::Sha256));
}

/// All but SHA-256 go the ordinary way, one key at a time.
#[divan::bench(args = ["sha256", "md5", "sha1", "sha512", "sha3_256", "none"])]
fn try_hashes(bencher: Bencher<'_, '_>, hmac: &str) {
    try_strangers(bencher, 1_000, hmac.parse().ok());
}

fn try_strangers(bencher: Bencher<'_, '_>, count: u32, hmac: Option<DigestType>) {
    let strangers: Vec<OpeningKey> = (1..=count)
        .map(|number| OpeningKey::new(&keys_with(number, hmac)))
        .collect();
    let packet = spa::seal(&message(0), &keys_with(0, hmac), [7; 8]).unwrap();

    bencher.bench(|| {
        let mut trial = Trial::new(Sealed::parse(black_box(packet.as_bytes())).unwrap());
        let mut strangers = strangers.iter();
        let mut matched = 0;
        while strangers.len() > 0 {
            let batch: [_; LANES] = array::from_fn(|_| strangers.next());
            matched += trial.matching(&batch).filter(|&matches| matches).count();
        }
        matched
    });
}

#[divan::bench(args = [1, 1_000, 10_000])]
fn admit_tagged(bencher: Bencher<'_, '_>, stanzas: u32) {
    let mut gate = warm_gate(stanzas);
    let mut replays = MemoryReplayLog::default();
    let keys = keys(stanzas - 1);
    let mut number = 0;

    bencher
        .with_inputs(|| {
            number += 1;
            spa::seal_tagged(&message(number), &keys, [7; 8]).unwrap()
        })
        .bench_local_values(|packet| {
            let decision = gate.admit(&datagram(packet.as_bytes()), NOW, &mut replays);
            assert!(matches!(decision, Decision::Grant(_)), "{decision:?}");
        });
}

#[divan::bench(args = [1, 1_000, 10_000])]
fn junk(bencher: Bencher<'_, '_>, stanzas: u32) {
    let mut gate = warm_gate(stanzas);
    let mut replays = MemoryReplayLog::default();
    let packets = junk_packets();
    let mut next = packets.iter().cycle();

    bencher
        .with_inputs(|| next.next().unwrap().as_bytes())
        .bench_local_values(|packet| gate.admit(&datagram(packet), NOW, &mut replays));
}

#[divan::bench(args = [1, 1_000, 10_000])]
fn engine_junk(bencher: Bencher<'_, '_>, stanzas: u32) {
    let mut engine = warm_engine(stanzas);
    let mut replays = MemoryReplayLog::default();
    let packets = junk_packets();
    let mut next = packets.iter().cycle();

    bencher
        .with_inputs(|| next.next().unwrap().as_bytes())
        .bench_local_values(|packet| engine.datagram(&datagram(packet), NOW, &mut replays));
}

#[divan::bench(args = [1, 16, 256], sample_count = 50, sample_size = 1)]
fn engine_grants(bencher: Bencher<'_, '_>, batch: u32) {
    let mut engine = warm_engine(1_000);
    let mut replays = MemoryReplayLog::default();
    let keys = keys(999);
    let mut number = 0;

    bencher
        .with_inputs(|| {
            let packets = (0..batch).map(|_| {
                number += 1;
                spa::seal_tagged(&message(number), &keys, [7; 8]).unwrap()
            });
            packets.collect::<Vec<String>>()
        })
        .bench_local_values(|packets| {
            for packet in &packets {
                engine.datagram(&datagram(packet.as_bytes()), NOW, &mut replays);
            }
            engine.due(NOW);
            let written = engine.take_batch().commit(|batch| {
                assert_eq!(batch.records().len(), packets.len());
                Ok::<(), ()>(())
            });
            engine.committed(written.unwrap(), NOW);
            while let Some(effect) = engine.next_effect(NOW) {
                if let Effect::Open(opening) = effect {
                    engine.opened(opening, Ok::<(), &str>(()));
                }
            }
        });
}

#[divan::bench(args = [1, 16, 256], sample_count = 50, sample_size = 1)]
fn journal(bencher: Bencher<'_, '_>, batch: u32) {
    // On the disk of the build directory: a temporary directory may be memory.
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options = JournalOptions {
        state_dir: dir.path().to_owned(),
        retention: Retention::UntilAcknowledged,
        window: Some(Duration::from_secs(120)),
        max_future: Duration::from_secs(120),
        witness_dir: None,
    };
    let mut journal = Journal::open(&options, NOW.wall_secs).unwrap().journal;
    let mut number: u32 = 0;

    bencher.bench_local(|| {
        for _ in 0..batch {
            number += 1;
            let digest = ReplayDigest(Sha256::digest(number.to_be_bytes()).into());
            journal
                .check_and_insert(digest, NOW.wall_secs, NOW.wall_secs)
                .unwrap();
            journal.stage(Event::new(EventKind::GrantOpened, NOW.wall_ms()));
        }
        journal.commit().unwrap();
    });
}

/// The disk alone, with nothing of ours.
#[divan::bench(args = [0, 7, 20, 100], sample_count = 50, sample_size = 1)]
fn sync(bencher: Bencher<'_, '_>, idle_ms: u64) {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("log");
    let mut blocks = [[0_u8; 4096]; 64];
    fs::write(&path, blocks.as_flattened()).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.sync_all().unwrap();
    let mut at = (0_u64..64).cycle();

    bencher
        .with_inputs(|| {
            thread::sleep(Duration::from_millis(idle_ms));
            at.next().unwrap()
        })
        .bench_local_values(|number| {
            blocks[0][0] ^= 1;
            file.write_all_at(&blocks[0], number * 4096).unwrap();
            file.sync_data().unwrap();
        });
}

#[divan::bench(args = [1, 16, 256])]
fn set(bencher: Bencher<'_, '_>, batch: u32) {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
        .expect("this machine gives no network namespaces: run as root");
    let mut firewall = firewall::open(&FirewallConfig::of_chain("PT_BENCH")).unwrap();
    firewall.base_rules.lay(&[]).unwrap();
    let mut next = 0_u32;

    bencher
        .with_inputs(|| {
            next = (next + batch) % 60_000;
            (next..next + batch).map(hole).collect::<Vec<Hole>>()
        })
        .bench_local_values(|holes| firewall.holes.open(&holes).unwrap());
}

fn hole(number: u32) -> Hole {
    Hole {
        rule: Rule::accept(
            IpAddr::from((0x0a00_0000 + number).to_be_bytes()),
            "tcp/22".parse::<Service>().unwrap(),
        ),
        timeout: HoleTimeout::clamped(60),
    }
}

/// Random base64 as strangers throw it: in most cases not even of the right shape.
fn junk_packets() -> Vec<String> {
    (0..1_024_u32)
        .map(|number| {
            let noise = (0..5_u8)
                .flat_map(|part| Sha256::digest([&number.to_be_bytes()[..], &[part]].concat()));
            STANDARD.encode(noise.take(153).collect::<Vec<u8>>())
        })
        .collect()
}

/// A gate that has made its tags and knows its way.
fn warm_gate(stanzas: u32) -> Gate {
    let mut gate = Gate::new(Settings::default(), compiled(stanzas));
    while !gate.precompute(NOW) {}
    gate
}

/// The same with the engine around it.
fn warm_engine(stanzas: u32) -> Engine {
    let settings = engine::Settings {
        gate: Settings::default(),
        limits: Limits {
            grants_max: usize::MAX,
            ..Limits::default()
        },
        capabilities: Capabilities::ALL,
        grant_prefix: [0; 8],
        first_claim: 1,
        locked: None,
    };
    let mut engine = Engine::new(settings, compiled(stanzas), NOW);
    while !engine.precompute(NOW) {}
    engine
}

fn compiled(stanzas: u32) -> Arc<CompiledPolicy> {
    let mut text = String::new();
    for number in 0..stanzas {
        let (encryption, hmac) = secrets(number);
        writeln!(
            text,
            "SOURCE ANY\nKEY_BASE64 {}\nHMAC_KEY_BASE64 {}",
            STANDARD.encode(encryption),
            STANDARD.encode(hmac)
        )
        .unwrap();
    }
    let policy = policy::parse_as(Dialect::Alone, "access.conf", &text, &NoIncludes).unwrap();
    let compiled = CompiledPolicy::new(&Arc::new(policy), None, 1, SharedKeys::None, NOW).unwrap();
    Arc::new(compiled)
}

fn secrets(number: u32) -> ([u8; 32], [u8; 64]) {
    let name = number.to_be_bytes();
    (Sha256::digest(name).into(), Sha512::digest(name).into())
}

fn keys(number: u32) -> Keys {
    keys_with(number, Some(DigestType::Sha256))
}

fn keys_with(number: u32, hmac_type: Option<DigestType>) -> Keys {
    let (encryption, hmac) = secrets(number);
    let secret = |bytes: &[u8]| Secret::from_base64(&STANDARD.encode(bytes)).unwrap();
    Keys::new(
        EncryptionKey::new(secret(&encryption)).unwrap(),
        EncryptionMode::Cbc,
        hmac_type.map(|digest| (HmacKey::new(secret(&hmac)).unwrap(), digest)),
    )
    .unwrap()
}

fn message(number: u64) -> Message {
    let mut random = [b'0'; 16];
    random.copy_from_slice(format!("{number:016}").as_bytes());
    Message {
        random,
        username: "bench".to_owned(),
        timestamp_secs: NOW.wall_secs,
        version: Message::VERSION.to_owned(),
        message_type: MessageType::try_from(1).unwrap(),
        request: Request::Access {
            allow: Allow::Source,
            ports: vec!["tcp/22".parse().unwrap()],
        },
        nat_access: None,
        client_timeout_secs: 0,
        digest_type: DigestType::Sha256,
    }
}

fn datagram(payload: &[u8]) -> Datagram<'_> {
    Datagram {
        source: IpAddr::from([198, 51, 100, 10]),
        destination: IpAddr::from([198, 51, 100, 1]),
        source_port: 40_000,
        destination_port: 62_201,
        transport: Transport::Udp,
        payload,
    }
}
