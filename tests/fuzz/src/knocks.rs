//! Knock sequences: whatever ports are knocked at, by whom and in whatever order, only who has sent all
//! of a sequence that somebody with the key has made is let in, and once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::LazyLock;

use gate::{Decision, LinkType, Settings};
use spa::{
    DigestType, EncryptionKey, EncryptionMode, HmacKey, Keys, SEQUENCE_PARTS, SEQUENCE_PORT_MIN,
    Secret, SequenceKey, SequenceMessage,
};

use crate::scene::{NOW_SECS, Scene};

const ACCESS_CONF: &str = "SOURCE ANY\nKEY of-somebody\nHMAC_KEY and-hers\nKNOCK_SEQUENCE Y\n\
    OPEN_PORTS tcp/22\nSOURCE ANY\nKEY of-another\nHMAC_KEY and-his\nKNOCK_SEQUENCE Y\n";
/// Knocks of one input at most: a sequence has seventeen.
const KNOCKS_MAX: usize = 96;
/// Sequences that her client has made.
const MADE: usize = 3;

type Ports = [u16; 1 + SEQUENCE_PARTS];

static SEQUENCES: LazyLock<[Ports; MADE]> = LazyLock::new(|| {
    let secret = |text| Secret::from_passphrase(text);
    let encryption = EncryptionKey::new(secret("of-somebody")).expect("a passphrase is a key");
    let hmac = HmacKey::new(secret("and-hers")).expect("a passphrase is a key");
    let keys = Keys::new(
        encryption,
        EncryptionMode::Cbc,
        Some((hmac, DigestType::Sha256)),
    );
    let key = SequenceKey::derive(&keys.expect("keys")).expect("with an HMAC key");
    let message = |port: u16| SequenceMessage {
        timestamp_secs: NOW_SECS,
        port: None,
        address: (port > 0).then_some(source(0)),
    };
    // The last one says no address, and is for whoever sends it.
    [(1, 1), (1, 2), (0, 3)].map(|(bound, nonce)| key.ports(&message(bound), nonce))
});

fn source(last: u8) -> IpAddr {
    [198, 51, 100, 10 + (last & 3)].into()
}

pub(crate) fn check(bytes: &[u8]) {
    let mut scene = Scene::new(ACCESS_CONF, Settings::default());
    // By port: all sequences of a minute begin alike, and two may have a port in common.
    let mut sent = BTreeSet::new();
    let mut granted = 0;
    let mut bytes = bytes.iter().copied();
    for _ in 0..KNOCKS_MAX {
        let (Some(what), Some(which)) = (bytes.next(), bytes.next()) else {
            return;
        };
        let from = what >> 6;
        let port = match what & 0x3f {
            wait @ 60..=63 => {
                scene.later(u64::from(which) * u64::from(wait - 59));
                continue;
            }
            58..=59 => {
                let low = bytes.next().unwrap_or_default();
                SEQUENCE_PORT_MIN | u16::from_be_bytes([which, low])
            }
            part => {
                let of = usize::from(which) % MADE;
                let part = usize::from(part) % (1 + SEQUENCE_PARTS);
                SEQUENCES[of][part]
            }
        };
        sent.insert((from, port));
        if is_let_in(&mut scene, from, port) {
            granted += 1;
            let is_sent = |ports: &Ports, by| ports.iter().all(|port| sent.contains(&(by, *port)));
            let mut own = SEQUENCES.iter();
            assert!(
                own.any(|ports| is_sent(ports, from)),
                "let in without a sequence"
            );
            // Each once, whoever has sent it.
            let whole = SEQUENCES.iter();
            let whole = whole.filter(|ports| (0..=3).any(|by| is_sent(ports, by)));
            assert!(granted <= whole.count(), "let in twice by one sequence");
        }
        scene.gate.tidy(scene.now);
    }
}

fn is_let_in(scene: &mut Scene, from: u8, port: u16) -> bool {
    let [high, low] = port.to_be_bytes();
    let IpAddr::V4(source) = source(from) else {
        return false;
    };
    let mut frame = vec![0x45, 0, 0, 28, 0, 1, 0x40, 0, 64, 17, 0, 0];
    frame.extend(source.octets());
    frame.extend([198, 51, 100, 1, 0x9c, 0x40, high, low, 0, 8, 0, 0]);
    let Scene { gate, replays, now } = scene;
    let decision = gate.admit_knock(&frame, LinkType::RawIp, *now, replays);
    matches!(decision, Some(Decision::Grant(_) | Decision::Claim(_)))
}
