//! Measures what one trial costs: `cargo run --release -p spa --example trial_cost`.
//!
//! 10,000 keys, as a large estate has them, in one array; a packet that none of them sealed.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
#![expect(clippy::print_stdout, reason = "a measurement is printed")]
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::array;
use std::hint::black_box;
use std::time::Instant;

use spa::{
    Allow, DigestType, EncryptionKey, EncryptionMode, HmacKey, Keys, LANES, Message, MessageType,
    OpeningKey, Request, Sealed, Secret, Trial, seal,
};

const KEYS: u32 = 10_000;
const ROUNDS: u32 = 20;

fn main() {
    println!(
        "an OpeningKey has {} bytes, a Trial {}",
        size_of::<OpeningKey>(),
        size_of::<Trial<'_>>()
    );
    for hmac in [
        Some(DigestType::Sha256),
        Some(DigestType::Md5),
        Some(DigestType::Sha512),
        Some(DigestType::Sha3_256),
        None,
    ] {
        measure(hmac);
    }
}

fn measure(hmac: Option<DigestType>) {
    let keys: Vec<_> = (1..=KEYS)
        .map(|number| OpeningKey::new(&keys(number, hmac)))
        .collect();
    let packet = seal(&message(), &self::keys(0, hmac), *b"saltsalt").unwrap();
    let sealed = Sealed::parse(packet.as_bytes()).unwrap();

    let start = Instant::now();
    let mut matched = 0;
    for _ in 0..ROUNDS {
        let mut trial = Trial::new(black_box(sealed));
        let mut keys = keys.iter();
        while keys.len() > 0 {
            let batch: [_; LANES] = array::from_fn(|_| keys.next());
            matched += trial.matching(&batch).filter(|&matches| matches).count();
        }
    }
    let spent = start.elapsed() / (ROUNDS * KEYS);

    let name = hmac.map_or("no HMAC", DigestType::name);
    println!(
        "{name:9} {:5} characters  {spent:?} a trial, {matched} matched",
        packet.len()
    );
}

fn keys(number: u32, hmac: Option<DigestType>) -> Keys {
    let encryption = EncryptionKey::new(Secret::from_passphrase(format!("encryption {number}")));
    let key = HmacKey::new(Secret::from_passphrase(format!("hmac {number}")));
    Keys::new(
        encryption.unwrap(),
        EncryptionMode::Cbc,
        hmac.map(|digest| (key.unwrap(), digest)),
    )
    .unwrap()
}

fn message() -> Message {
    Message {
        random: *b"1234567890123456",
        username: "root".to_owned(),
        timestamp_secs: 1_795_422_834,
        version: Message::VERSION.to_owned(),
        message_type: MessageType::Access,
        request: Request::Access {
            allow: Allow::Source,
            ports: vec!["tcp/22".parse().unwrap()],
        },
        nat_access: None,
        client_timeout_secs: 0,
        digest_type: DigestType::Sha256,
    }
}
