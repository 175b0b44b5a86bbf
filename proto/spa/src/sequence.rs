//! A message as a sequence of ports that are knocked at, for networks where not even one packet with a
//! payload gets through (docs/knock-sequences.md).
//!
//! A first packet goes to the port of the minute, by which the host knows the key; sixteen more carry
//! eleven bits each in their port, and four that say which they are. Together they are twenty-two
//! bytes: a MAC over the message, the address that it is for and nothing else, and the message
//! encrypted under that MAC (a synthetic initialisation vector, RFC 5297, of HMAC-SHA256).

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::digest::DigestType;
use crate::hmac::Sha256State;
use crate::keys::Keys;
use crate::message::{Allow, Message, MessageType, Request};
use crate::open::Opened;
use crate::service::{ProtoPort, Protocol, Service};
use crate::tag::bucket;

/// How many packets carry the message, behind the first one.
pub const SEQUENCE_PARTS: usize = 16;
/// The lowest port that is knocked at; the highest is 65535.
pub const SEQUENCE_PORT_MIN: u16 = 0x8000;

/// Bits of the message in one port, below those that number the packets.
const PART_BITS: u16 = 11;
const MAC_LEN: usize = 10;
const BODY_LEN: usize = 12;
const TOKEN_LEN: usize = MAC_LEN + BODY_LEN;
/// For the address that the packets come from, which the MAC covers.
const BOUND: u8 = 1;
/// What is asked for: what the stanza opens, or one port.
const ASKS_DEFAULT: u8 = 0;
const ASKS_TCP: u8 = 1;
const ASKS_UDP: u8 = 2;

/// What makes and reads the sequences of one stanza; derived from its keys.
#[derive(Clone)]
pub struct SequenceKey {
    begin: Sha256State,
    mac: Sha256State,
    encryption: Sha256State,
}

/// What a sequence says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SequenceMessage {
    /// The sender's clock in seconds since the epoch, below 2^32.
    pub timestamp_secs: u64,
    /// The port to open; `None` leaves it to the stanza.
    pub port: Option<ProtoPort>,
    /// The address to open for, which is the one that the packets come from; `None` is wherever that
    /// is, also for whoever repeats them from elsewhere.
    pub address: Option<IpAddr>,
}

/// A sequence whose MAC verified.
///
/// Evidence: only [`SequenceKey::open`] makes it.
#[derive(Debug)]
pub struct OpenedSequence {
    message: SequenceMessage,
    token: [u8; TOKEN_LEN],
    nonce: u32,
}

// === impl SequenceKey ===

impl SequenceKey {
    /// Derives it; `None` without an HMAC key, since packets that prove nothing are not read.
    #[must_use]
    pub fn derive(keys: &Keys) -> Option<Self> {
        let (hmac, _) = keys.hmac()?;
        let salt = Some(b"postern knock sequence v1".as_slice());
        let hkdf = Hkdf::<Sha256>::new(salt, hmac.as_bytes());
        let state = |role: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            hkdf.expand_multi_info(&[role, keys.encryption().as_bytes()], &mut *key)
                .expect("32 bytes are one block of the hash; HKDF gives 255");
            Sha256State::new(&*key)
        };
        Some(Self {
            begin: state(b"begin\0"),
            mac: state(b"mac\0"),
            encryption: state(b"encryption\0"),
        })
    }

    /// Returns the port with which sequences of a minute begin: see [`bucket`].
    #[must_use]
    pub fn begin(&self, bucket: u64) -> u16 {
        let [high, low, ..] = self.begin.mac(&bucket.to_be_bytes());
        SEQUENCE_PORT_MIN | u16::from_be_bytes([high, low])
    }

    /// Returns the ports to knock at for a message, in their order: the first one begins, and is none
    /// of the others. Two calls for the same message with the same `nonce` say the same.
    #[must_use]
    pub fn ports(&self, message: &SequenceMessage, nonce: u32) -> [u16; 1 + SEQUENCE_PARTS] {
        let begin = self.begin(bucket(message.timestamp_secs));
        let mut nonce = nonce;
        loop {
            let parts = parts_of(&self.seal(message, nonce));
            if !parts.contains(&begin) {
                let mut ports = [begin; 1 + SEQUENCE_PARTS];
                ports
                    .iter_mut()
                    .skip(1)
                    .zip(parts)
                    .for_each(|(to, part)| *to = part);
                return ports;
            }
            nonce = nonce.wrapping_add(1);
        }
    }

    /// Opens what the parts of a sequence carry, each in its place, that came from `source` and began
    /// at `begin`; `None` for what was not made with this key.
    #[must_use]
    pub fn open(
        &self,
        parts: &[u16; SEQUENCE_PARTS],
        source: IpAddr,
        begin: u16,
    ) -> Option<OpenedSequence> {
        let token = token_of(parts);
        let (mac, sealed) = token.split_first_chunk::<MAC_LEN>()?;
        let body = self.crypt(mac, sealed.try_into().ok()?);
        let [.., flags] = body;
        let source = source.to_canonical();
        let address = (flags & BOUND != 0).then_some(source);
        let is_authentic: bool = self.mac(&body, address).ct_eq(mac).into();
        if !is_authentic {
            return None;
        }
        let (message, nonce) = read(&body, address)?;
        (self.begin(bucket(message.timestamp_secs)) == begin).then_some(OpenedSequence {
            message,
            token,
            nonce,
        })
    }

    fn seal(&self, message: &SequenceMessage, nonce: u32) -> [u8; TOKEN_LEN] {
        let body = write(message, nonce);
        let mac = self.mac(&body, message.address.map(|address| address.to_canonical()));
        let sealed = self.crypt(&mac, body);
        let mut token = [0; TOKEN_LEN];
        let bytes = mac.iter().chain(&sealed);
        token
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        token
    }

    /// Of the message and the address that it is bound to. The lengths of addresses differ, and that
    /// there is one stands in the body.
    fn mac(&self, body: &[u8; BODY_LEN], address: Option<IpAddr>) -> [u8; MAC_LEN] {
        let mut text = body.to_vec();
        match address {
            None => {}
            Some(IpAddr::V4(v4)) => text.extend(v4.octets()),
            Some(IpAddr::V6(v6)) => text.extend(v6.octets()),
        }
        let mut mac = [0; MAC_LEN];
        let whole = self.mac.mac(&text);
        mac.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        mac
    }

    /// Encrypts, or decrypts: the key stream of a MAC is used for the one body that has that MAC.
    fn crypt(&self, mac: &[u8; MAC_LEN], mut body: [u8; BODY_LEN]) -> [u8; BODY_LEN] {
        let stream = self.encryption.mac(mac);
        body.iter_mut()
            .zip(stream)
            .for_each(|(byte, key)| *byte ^= key);
        body
    }
}

impl fmt::Debug for SequenceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SequenceKey(..)")
    }
}

/// Which packet of a sequence goes to this port, and what it carries; `None` for a port that no
/// sequence goes to.
#[must_use]
pub const fn sequence_part(port: u16) -> Option<(usize, u16)> {
    if port < SEQUENCE_PORT_MIN {
        return None;
    }
    let number = (port & !SEQUENCE_PORT_MIN) >> PART_BITS;
    Some((number as usize, port & ((1 << PART_BITS) - 1)))
}

/// Time, nonce, what is asked for, its port, flags.
fn write(message: &SequenceMessage, nonce: u32) -> [u8; BODY_LEN] {
    let time = u32::try_from(message.timestamp_secs).unwrap_or(u32::MAX);
    let [a, b, c, d] = time.to_be_bytes();
    let [e, f, g, h] = nonce.to_be_bytes();
    let (asks, port) = match message.port {
        None => (ASKS_DEFAULT, 0),
        Some(ProtoPort {
            protocol: Protocol::Tcp,
            port,
        }) => (ASKS_TCP, port.get()),
        Some(ProtoPort {
            protocol: Protocol::Udp,
            port,
        }) => (ASKS_UDP, port.get()),
    };
    let [high, low] = port.to_be_bytes();
    let flags = if message.address.is_some() { BOUND } else { 0 };
    [a, b, c, d, e, f, g, h, asks, high, low, flags]
}

/// Reads a body strictly: there is one way to write each message.
fn read(body: &[u8; BODY_LEN], address: Option<IpAddr>) -> Option<(SequenceMessage, u32)> {
    let [a, b, c, d, e, f, g, h, asks, high, low, flags] = *body;
    let port = NonZeroU16::new(u16::from_be_bytes([high, low]));
    let port = match (asks, port) {
        (ASKS_DEFAULT, None) => None,
        (ASKS_TCP, Some(port)) => Some(ProtoPort {
            protocol: Protocol::Tcp,
            port,
        }),
        (ASKS_UDP, Some(port)) => Some(ProtoPort {
            protocol: Protocol::Udp,
            port,
        }),
        _ => return None,
    };
    let message = SequenceMessage {
        timestamp_secs: u32::from_be_bytes([a, b, c, d]).into(),
        port,
        address,
    };
    (flags & !BOUND == 0).then_some((message, u32::from_be_bytes([e, f, g, h])))
}

/// The bits of a token, eleven at a time, each behind the number of its packet.
fn parts_of(token: &[u8; TOKEN_LEN]) -> [u16; SEQUENCE_PARTS] {
    let mut bits = token
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut number = 0;
    [(); SEQUENCE_PARTS].map(|()| {
        let value = bits.by_ref().take(PART_BITS.into());
        let value = value.fold(0, |value, bit| value << 1 | u16::from(bit));
        let part = SEQUENCE_PORT_MIN | number << PART_BITS | value;
        number += 1;
        part
    })
}

fn token_of(parts: &[u16; SEQUENCE_PARTS]) -> [u8; TOKEN_LEN] {
    let mut bits = parts
        .iter()
        .flat_map(|part| (0..PART_BITS).rev().map(move |bit| part >> bit & 1));
    [(); TOKEN_LEN].map(|()| {
        let byte = bits.by_ref().take(8);
        byte.fold(0, |byte, bit| byte << 1 | u8::from(bit == 1))
    })
}

// === impl OpenedSequence ===

impl OpenedSequence {
    /// Returns what it says.
    #[must_use]
    pub fn message(&self) -> &SequenceMessage {
        &self.message
    }

    /// Makes the message of it that any other way would have carried. A sequence has no room for a
    /// name, so whose it is says the key; `ports` are those that it asks for, in full.
    #[must_use]
    pub fn into_opened(self, username: &str, ports: Vec<Service>) -> Opened {
        let allow = self.message.address.map_or(Allow::Source, Allow::Address);
        let digits = format!("{:016}", self.nonce);
        let mut random = [b'0'; 16];
        random
            .iter_mut()
            .zip(digits.bytes())
            .for_each(|(to, from)| *to = from);
        let message = Message {
            random,
            username: username.to_owned(),
            timestamp_secs: self.message.timestamp_secs,
            version: Message::VERSION.to_owned(),
            message_type: MessageType::Access,
            request: Request::Access { allow, ports },
            nat_access: None,
            client_timeout_secs: 0,
            digest_type: DigestType::Sha256,
        };
        Opened::of_sequence(message, &self.token)
    }
}
