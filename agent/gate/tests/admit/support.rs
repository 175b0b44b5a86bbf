//! A gate, its replay memory and a clock in one hand; packets as our own client seals them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use gate::{
    Check, CompiledPolicy, Datagram, Decision, Gate, Grant, MemoryReplayLog, NotForUs, Now, Reason,
    Refusal, Route, Settings, SharedKeys, Transport,
};
use policy::{Dialect, NoIncludes, Policy};
use spa::{
    Allow, DigestType, EncryptionKey, EncryptionMode, HmacKey, Keys, Message, MessageType, Request,
    Secret,
};

/// The time at which tests play.
pub(crate) const NOW_SECS: u64 = 1_795_423_534;
/// Where packets come from if nothing else is said.
pub(crate) const ALICE: &str = "198.51.100.10";
/// Where packets go to.
pub(crate) const HOST: &str = "198.51.100.1";

/// A gate at work.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) gate: Gate,
    pub(crate) replays: MemoryReplayLog,
    pub(crate) now: Now,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
}

// === impl Scene ===

impl Scene {
    pub(crate) fn new(access_conf: &str) -> Self {
        Self::with(access_conf, Settings::default())
    }

    /// Here whatever is sent again is another packet.
    pub(crate) fn with(access_conf: &str, settings: Settings) -> Self {
        let settings = Settings {
            duplicate_within: Duration::ZERO,
            ..settings
        };
        Self::with_duplicates(access_conf, settings)
    }

    /// Here what is sent again may be the same packet, as it is with several captures.
    pub(crate) fn with_duplicates(access_conf: &str, settings: Settings) -> Self {
        let now = at(NOW_SECS);
        Self {
            gate: Gate::new(settings, Arc::new(compiled(access_conf, now))),
            replays: MemoryReplayLog::default(),
            now,
            source: ALICE.parse().unwrap(),
            destination: HOST.parse().unwrap(),
        }
    }

    pub(crate) fn send(&mut self, payload: impl AsRef<[u8]>) -> Decision {
        self.send_to(62_201, payload)
    }

    pub(crate) fn send_to(&mut self, port: u16, payload: impl AsRef<[u8]>) -> Decision {
        let datagram = Datagram {
            source: self.source,
            destination: self.destination,
            source_port: 40_000,
            destination_port: port,
            transport: Transport::Udp,
            payload: payload.as_ref(),
        };
        self.gate.admit(&datagram, self.now, &mut self.replays)
    }

    pub(crate) fn send_from(&mut self, source: &str, payload: impl AsRef<[u8]>) -> Decision {
        self.source = source.parse().unwrap();
        let decision = self.send(payload);
        self.source = ALICE.parse().unwrap();
        decision
    }

    #[expect(
        clippy::unwrap_in_result,
        reason = "an address that is none is a fault of the test"
    )]
    /// Shows a packet that was seen on the wire on its way to `destination`.
    pub(crate) fn send_seen(
        &mut self,
        destination: &str,
        payload: impl AsRef<[u8]>,
    ) -> Result<Decision, NotForUs> {
        let datagram = Datagram {
            source: self.source,
            destination: destination.parse().unwrap(),
            source_port: 40_000,
            destination_port: 62_201,
            transport: Transport::Udp,
            payload: payload.as_ref(),
        };
        self.gate.admit_seen(&datagram, self.now, &mut self.replays)
    }

    #[track_caller]
    pub(crate) fn granted(&mut self, payload: impl AsRef<[u8]>) -> Grant {
        crate::rules::granted("packet", self.send(payload))
    }

    #[track_caller]
    pub(crate) fn refused(&mut self, payload: impl AsRef<[u8]>) -> Refusal {
        refusal(self.send(payload))
    }

    pub(crate) fn adopt(&mut self, access_conf: &str) {
        self.gate.replace(Arc::new(compiled(access_conf, self.now)));
    }

    pub(crate) fn later(&mut self, secs: u64) {
        self.now.wall_secs += secs;
        self.now.steady += Duration::from_secs(secs);
    }
}

#[track_caller]
pub(crate) fn refusal(decision: Decision) -> Refusal {
    match decision {
        Decision::Refused(refusal) => refusal,
        Decision::Grant(_) | Decision::Claim(_) | Decision::Duplicate => {
            panic!("not refused: {decision:?}")
        }
    }
}

pub(crate) fn reason(decision: Decision) -> Reason {
    refusal(decision).reason
}

pub(crate) fn check(decision: Decision) -> Check {
    refusal(decision).check
}

#[track_caller]
pub(crate) fn route(decision: Decision) -> Route {
    crate::rules::granted("packet", decision).identity().route()
}

pub(crate) fn at(wall_secs: u64) -> Now {
    Now {
        wall_secs,
        wall_nanos: 0,
        steady: Duration::from_secs(1_000),
    }
}

pub(crate) fn policy(access_conf: &str) -> Arc<Policy> {
    let policy = policy::parse_as(Dialect::Alone, "access.conf", access_conf, &NoIncludes)
        .unwrap_or_else(|invalid| panic!("{invalid}\n{access_conf}"));
    Arc::new(policy)
}

pub(crate) fn compiled(access_conf: &str, now: Now) -> CompiledPolicy {
    CompiledPolicy::new(&policy(access_conf), None, 7, SharedKeys::None, now).unwrap()
}

/// A stanza for the keys that [`keys`] makes of the same word.
pub(crate) fn stanza(word: &str, rest: &str) -> String {
    format!("SOURCE ANY\nKEY {word}-key\nHMAC_KEY {word}-hmac\n{rest}\n")
}

pub(crate) fn keys(word: &str) -> Keys {
    let hmac = HmacKey::new(Secret::from_passphrase(format!("{word}-hmac"))).unwrap();
    Keys::new(
        encryption(word),
        EncryptionMode::Cbc,
        Some((hmac, DigestType::Sha256)),
    )
    .unwrap()
}

/// The same encryption key without an HMAC key.
pub(crate) fn keys_without_hmac(word: &str) -> Keys {
    Keys::new(encryption(word), EncryptionMode::Cbc, None).unwrap()
}

fn encryption(word: &str) -> EncryptionKey {
    EncryptionKey::new(Secret::from_passphrase(format!("{word}-key"))).unwrap()
}

/// A message like no other: `number` makes the random field.
pub(crate) fn message(number: u64, timestamp_secs: u64) -> Message {
    Message {
        random: format!("{number:016}").into_bytes().try_into().unwrap(),
        username: "alice".to_owned(),
        timestamp_secs,
        version: Message::VERSION.to_owned(),
        message_type: MessageType::Access,
        request: Request::Access {
            allow: Allow::Address("10.1.2.3".parse().unwrap()),
            ports: vec!["tcp/22".parse().unwrap()],
        },
        nat_access: None,
        client_timeout_secs: 0,
        digest_type: DigestType::Sha256,
    }
}

/// A packet in fwknop's form, sealed now with the keys of `word`.
pub(crate) fn knock(word: &str, number: u64) -> String {
    seal(&message(number, NOW_SECS), &keys(word))
}

/// The same in our form.
pub(crate) fn tagged_knock(word: &str, number: u64) -> String {
    seal_tagged(&message(number, NOW_SECS), &keys(word))
}

pub(crate) fn seal(message: &Message, keys: &Keys) -> String {
    spa::seal(message, keys, salt(message)).unwrap()
}

pub(crate) fn seal_tagged(message: &Message, keys: &Keys) -> String {
    spa::seal_tagged(message, keys, salt(message)).unwrap()
}

fn salt(message: &Message) -> [u8; 8] {
    *message.random.last_chunk().unwrap()
}
