//! What of an event is searched: columns beside its body, filled from it and from nothing else.

use std::net::IpAddr;

use fleet::event::{BODY_BYTES_MAX, Event, EventRecord};
use ipnet::IpNet;
use spa::{PortRange, Protocol};

use crate::store::model::{Port, PortProtocol};
use crate::store::sql::{self, ToSql, ToSqlOutput, Value, ValueRef};

/// An event, and what is wrong with its record.
#[derive(Debug)]
pub(super) struct Columns {
    /// What could be read; of a body that could not, the time of its arrival only.
    pub(super) event: Event,
    /// Why the record is not as it should be.
    pub(super) flaws: Vec<String>,
}

// === impl Columns ===

impl Columns {
    /// Reads the body of `record`, which arrived at `now_ms` (milliseconds since the Unix epoch).
    /// There is nothing that it refuses: an event that is refused would be lost to the auditor,
    /// and would hold up all that follow.
    pub(super) fn of(record: &EventRecord, now_ms: u64) -> Self {
        let mut flaws = Vec::new();
        let event = record.event().unwrap_or_else(|error| {
            flaws.push(error.to_string());
            Event {
                at_ms: now_ms,
                ..Event::default()
            }
        });
        if record.body.len() > BODY_BYTES_MAX {
            flaws.push(format!("longer than {BODY_BYTES_MAX} bytes"));
        }
        if record.chain.len() != 32 {
            let bytes = record.chain.len();
            flaws.push(format!("a chain value of {bytes} bytes instead of 32"));
        }
        Self { event, flaws }
    }
}

/// A text that is NULL instead of empty.
pub(super) fn text_key(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Bytes of a text that are searched: an index of PostgreSQL holds no longer ones, and an event that is
/// refused for one would be lost. The whole is in the body.
const SEARCHED_BYTES_MAX: usize = 1_000;

/// What of a text is searched; NULL instead of empty.
pub(super) fn searched_key(text: &str) -> Option<&str> {
    text_key(searched(text))
}

/// The same, empty where it is.
pub(in crate::store) fn searched(text: &str) -> &str {
    let end = text.floor_char_boundary(SEARCHED_BYTES_MAX);
    text.get(..end).unwrap_or(text)
}

/// Whether a column holds what is searched of a value: whole where a version of before has kept it so, and
/// with the sign that stands for the one that PostgreSQL does not keep.
pub(super) fn is_searched(stored: &Value, expected: &Value) -> bool {
    match (stored, expected) {
        (Value::Text(stored), Value::Text(expected)) => {
            stored == expected
                || searched(stored) == expected
                || *stored == expected.replace('\0', sql::NUL)
        }
        _ => stored == expected,
    }
}

/// A port as one number: protocol * 65536 + port.
pub(super) fn port_key(port: Port) -> i64 {
    let protocol: i64 = match port.protocol {
        PortProtocol::Tcp => 6,
        PortProtocol::Udp => 17,
        PortProtocol::Icmp => 1,
    };
    protocol * 65_536 + i64::from(port.number)
}

/// How blocks of ports begin; those of addresses begin with 4 or 6.
const PORT_BLOCK: u8 = 1;

/// The key of the block of addresses that a network is.
pub(super) fn network_block(network: IpNet) -> Vec<u8> {
    let network = network.trunc();
    [address_bytes(network.addr()), vec![network.prefix_len()]].concat()
}

/// The keys of the blocks that a range of ports is made of: at most 31.
pub(super) fn range_blocks(range: PortRange) -> Vec<Vec<u8>> {
    let (mut next, last) = (
        u32::from(range.first().get()),
        u32::from(range.last().get()),
    );
    let mut blocks = Vec::new();
    while next <= last {
        // The largest block that begins here and does not reach beyond the end.
        let fits = (last - next + 1).ilog2();
        let bits = next.trailing_zeros().min(fits);
        blocks.push(port_block(range.protocol(), next, bits));
        next += 1 << bits;
    }
    blocks
}

/// The keys of all blocks that a port is in.
pub(super) fn blocks_of_port(port: Port) -> Vec<Vec<u8>> {
    let protocol = match port.protocol {
        PortProtocol::Tcp => Protocol::Tcp,
        PortProtocol::Udp => Protocol::Udp,
        PortProtocol::Icmp => return Vec::new(),
    };
    let number = u32::from(port.number);
    let key = |bits| port_block(protocol, number >> bits << bits, bits);
    (0..=16).map(key).collect()
}

/// The keys of all networks that a network lies in, itself included, shortest prefix first.
pub(super) fn blocks_around(network: IpNet) -> Vec<Vec<u8>> {
    let around = |length| IpNet::new(network.addr(), length).ok();
    let lengths = 0..=network.prefix_len();
    lengths.filter_map(around).map(network_block).collect()
}

/// The first and the last key of the networks that lie in a network.
pub(super) fn blocks_within(network: IpNet) -> (Vec<u8>, Vec<u8>) {
    let (low, high) = address_range(network);
    (low, [high, vec![u8::MAX]].concat())
}

fn port_block(protocol: Protocol, first: u32, bits: u32) -> Vec<u8> {
    let protocol = match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    };
    let [_, high, middle, low] = first.to_be_bytes();
    let bits = bits.to_le_bytes();
    [&[PORT_BLOCK, protocol, high, middle, low][..], &bits[..1]].concat()
}

/// A value that is short bytes when it has the usual form, and the text itself when not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Compact<'a> {
    Empty,
    Bytes(Vec<u8>),
    Text(&'a str),
}

pub(super) fn address_key(text: &str) -> Compact<'_> {
    match text.parse::<IpAddr>() {
        Ok(address) if address.to_string() == text => Compact::Bytes(address_bytes(address)),
        _ if text.is_empty() => Compact::Empty,
        _ => Compact::Text(searched(text)),
    }
}

/// Lower-case hexadecimal as its bytes.
pub(super) fn hex_key(text: &str) -> Compact<'_> {
    let nibble = |digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return Compact::Text(searched(text));
    };
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| Some(nibble(high)? * 16 + nibble(low)?))
        .collect();
    match bytes {
        Some(bytes) if bytes.is_empty() => Compact::Empty,
        Some(bytes) => Compact::Bytes(bytes),
        None => Compact::Text(searched(text)),
    }
}

/// The first and the last address of a prefix, as [`address_key`] makes them.
pub(super) fn address_range(network: IpNet) -> (Vec<u8>, Vec<u8>) {
    (
        address_bytes(network.network()),
        address_bytes(network.broadcast()),
    )
}

fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => [&[4][..], &address.octets()].concat(),
        IpAddr::V6(address) => [&[6][..], &address.octets()].concat(),
    }
}

impl From<Compact<'_>> for Value {
    fn from(compact: Compact<'_>) -> Self {
        match compact {
            Compact::Empty => Self::Null,
            Compact::Bytes(bytes) => Self::Blob(bytes),
            Compact::Text(text) => Self::Text(text.to_owned()),
        }
    }
}

impl ToSql for Compact<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, sql::EncodeError> {
        Ok(ToSqlOutput::Borrowed(match self {
            Compact::Empty => ValueRef::Null,
            Compact::Bytes(bytes) => ValueRef::Blob(bytes),
            Compact::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use fleet::EventKind;

    use super::*;

    #[test]
    fn a_body_that_cannot_be_read_is_kept_with_the_time_of_its_arrival() {
        let record = EventRecord {
            seq: 1,
            body: vec![0xff; BODY_BYTES_MAX + 1],
            chain: vec![0; 31],
            chain_version: 2,
        };

        let columns = Columns::of(&record, 77);

        assert_eq!(columns.event.at_ms, 77);
        assert_eq!(
            columns.flaws,
            [
                "the body is not a serialized event",
                "longer than 8192 bytes",
                "a chain value of 31 bytes instead of 32"
            ]
        );
    }

    #[test]
    fn an_event_that_is_as_it_should_be_has_no_flaws() {
        let event = Event::new(EventKind::Refused, 5);
        let columns = Columns::of(&EventRecord::after(0, &[0; 32], event), 77);

        assert_eq!((columns.event.at_ms, columns.flaws.len()), (5, 0));
    }
}
