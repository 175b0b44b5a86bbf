//! What the first packet of a TCP connection shows of the system that sent it.

use std::fmt;

/// The facts of one SYN that signatures are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syn {
    /// Whether it came over IPv6.
    pub is_v6: bool,
    /// Time to live as it arrived.
    pub ttl: u8,
    /// Bytes of IPv4 options.
    pub ip_options_len: u8,
    /// Maximum segment size; 0 without that option.
    pub mss: u16,
    /// Window as it stands in the header.
    pub window: u16,
    /// Window scale; 0 without that option.
    pub scale: u8,
    /// Which options, in their order.
    pub options: OptionKinds,
    /// Bytes behind the end-of-options option.
    pub eol_pad: u8,
    /// What is unusual.
    pub quirks: Quirks,
    /// Whether data comes along.
    pub has_payload: bool,
    /// Whether its own timestamp is there and not 0.
    pub has_timestamp: bool,
    /// Bytes of the headers of IP and TCP.
    pub headers_len: u16,
}

/// Numbers of TCP options in their order, as many as signatures look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionKinds {
    kinds: [u8; Self::MAX],
    len: u8,
}

/// A set of things that are unusual about a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks(u32);

/// Numbers of TCP options (IANA).
pub mod kinds {
    /// End of options.
    pub const EOL: u8 = 0;
    /// No operation.
    pub const NOP: u8 = 1;
    /// Maximum segment size.
    pub const MSS: u8 = 2;
    /// Window scale.
    pub const SCALE: u8 = 3;
    /// Selective acknowledgements permitted.
    pub const SACK_OK: u8 = 4;
    /// Selective acknowledgement.
    pub const SACK: u8 = 5;
    /// Timestamps.
    pub const TIMESTAMP: u8 = 8;
}

/// Kinds by the words that p0f has for them.
pub(super) const KIND_WORDS: [(&str, u8); 7] = [
    ("eol", kinds::EOL),
    ("nop", kinds::NOP),
    ("mss", kinds::MSS),
    ("ws", kinds::SCALE),
    ("sok", kinds::SACK_OK),
    ("sack", kinds::SACK),
    ("ts", kinds::TIMESTAMP),
];

// === impl OptionKinds ===

impl OptionKinds {
    /// How many are kept.
    pub const MAX: usize = 24;

    /// Adds one; reports whether there was room.
    pub fn push(&mut self, kind: u8) -> bool {
        let Some(place) = self.kinds.get_mut(usize::from(self.len)) else {
            return false;
        };
        *place = kind;
        self.len += 1;
        true
    }

    /// Them, in their order.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.kinds.get(..usize::from(self.len)).unwrap_or_default()
    }
}

// === impl Quirks ===

impl Quirks {
    /// Must not be fragmented.
    pub const DF: Self = Self(1);
    /// That, and an IP identification nevertheless.
    pub const ID_PLUS: Self = Self(1 << 1);
    /// May be fragmented, and has no IP identification.
    pub const ID_MINUS: Self = Self(1 << 2);
    /// Explicit congestion notification.
    pub const ECN: Self = Self(1 << 3);
    /// The bit of IPv4 that must be zero is not.
    pub const ZERO_PLUS: Self = Self(1 << 4);
    /// IPv6 flow label.
    pub const FLOW: Self = Self(1 << 5);
    /// Sequence number 0.
    pub const SEQ_MINUS: Self = Self(1 << 6);
    /// An acknowledgement number without ACK, of which the first byte is odd.
    pub const ACK_PLUS: Self = Self(1 << 7);
    /// ACK with the number 0.
    pub const ACK_MINUS: Self = Self(1 << 8);
    /// An urgent pointer without URG.
    pub const UPTR_PLUS: Self = Self(1 << 9);
    /// URG.
    pub const URGF_PLUS: Self = Self(1 << 10);
    /// PSH.
    pub const PUSHF_PLUS: Self = Self(1 << 11);
    /// Its own timestamp is 0.
    pub const TS1_MINUS: Self = Self(1 << 12);
    /// The peer's timestamp is not 0.
    pub const TS2_PLUS: Self = Self(1 << 13);
    /// Other than zeros behind the end of options, before the last byte.
    pub const OPT_PLUS: Self = Self(1 << 14);
    /// A window scale above 14.
    pub const EXWS: Self = Self(1 << 15);
    /// Options that cannot be read.
    pub const BAD: Self = Self(1 << 16);

    /// By the words that p0f has for them.
    pub(super) const WORDS: [(&'static str, Self); 17] = [
        ("df", Self::DF),
        ("id+", Self::ID_PLUS),
        ("id-", Self::ID_MINUS),
        ("ecn", Self::ECN),
        ("0+", Self::ZERO_PLUS),
        ("flow", Self::FLOW),
        ("seq-", Self::SEQ_MINUS),
        ("ack+", Self::ACK_PLUS),
        ("ack-", Self::ACK_MINUS),
        ("uptr+", Self::UPTR_PLUS),
        ("urgf+", Self::URGF_PLUS),
        ("pushf+", Self::PUSHF_PLUS),
        ("ts1-", Self::TS1_MINUS),
        ("ts2+", Self::TS2_PLUS),
        ("opt+", Self::OPT_PLUS),
        ("exws", Self::EXWS),
        ("bad", Self::BAD),
    ];

    /// Those that IPv4 alone can have, but for the bit that must be zero.
    pub(super) const OF_V4: Self = Self::DF.and(Self::ID_PLUS).and(Self::ID_MINUS);

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Adds some where a condition holds.
    pub fn add_if(&mut self, holds: bool, other: Self) {
        if holds {
            self.0 |= other.0;
        }
    }

    /// Those that are not among `other`.
    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

// === impl Syn ===

impl Syn {
    /// How the window comes about, where it is a multiple of what fits into a packet.
    pub(super) fn window_multiple(&self) -> Option<Multiple> {
        let (window, mss) = (u32::from(self.window), u32::from(self.mss));
        if window == 0 || mss < 100 {
            return None;
        }
        self.units(mss).find_map(|(unit, bytes)| {
            let factor = u16::try_from(window / bytes).ok()?;
            (window % bytes == 0).then_some(Multiple { unit, factor })
        })
    }

    /// What a window may be a multiple of, in the order of p0f. Senders subtract the timestamps or do
    /// not, and take the packet size of another interface for that of this one.
    fn units(&self, mss: u32) -> impl Iterator<Item = (Unit, u32)> {
        const ETHERNET: u32 = 1500;
        const HEADERS_V4: u32 = 40;
        const HEADERS_V6: u32 = 60;
        const TIMESTAMPS: u32 = 12;

        let some = |is_one: bool, unit: Unit, bytes: u32| is_one.then_some((unit, bytes));
        let (v6, stamped) = (self.is_v6, self.has_timestamp);
        [
            some(true, Unit::Mss, mss),
            some(stamped, Unit::Mss, mss - TIMESTAMPS),
            some(true, Unit::Mss, ETHERNET - HEADERS_V4),
            some(true, Unit::Mss, ETHERNET - HEADERS_V4 - TIMESTAMPS),
            some(v6, Unit::Mss, ETHERNET - HEADERS_V6),
            some(v6, Unit::Mss, ETHERNET - HEADERS_V6 - TIMESTAMPS),
            some(true, Unit::Mtu, mss + HEADERS_V4),
            some(true, Unit::Mtu, mss + u32::from(self.headers_len)),
            some(v6, Unit::Mtu, mss + HEADERS_V6),
            some(true, Unit::Mtu, ETHERNET),
        ]
        .into_iter()
        .flatten()
    }

    /// How far away the sender is, if its packets begin with the next usual time to live.
    fn distance(&self) -> u8 {
        let usual = [32, 64, 128].into_iter().find(|usual| self.ttl <= *usual);
        usual.unwrap_or(255) - self.ttl
    }
}

/// A window as a multiple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Multiple {
    pub(super) unit: Unit,
    pub(super) factor: u16,
}

/// Of what a window is a multiple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// The segment size.
    Mss,
    /// The packet size.
    Mtu,
}

/// As a signature in p0f's form, ready to be put into a file.
impl fmt::Display for Syn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = if self.is_v6 { 6 } else { 4 };
        write!(f, "{version}:{}+{}:", self.ttl, self.distance())?;
        write!(f, "{}:{}:", self.ip_options_len, self.mss)?;
        match self.window_multiple() {
            Some(Multiple {
                unit: Unit::Mss,
                factor,
            }) => write!(f, "mss*{factor}")?,
            Some(Multiple {
                unit: Unit::Mtu,
                factor,
            }) => write!(f, "mtu*{factor}")?,
            None => write!(f, "{}", self.window)?,
        }
        write!(f, ",{}:", self.scale)?;
        for (at, &kind) in self.options.as_slice().iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match KIND_WORDS.iter().find(|(_, known)| *known == kind) {
                Some((word, kinds::EOL)) => write!(f, "{word}+{}", self.eol_pad)?,
                Some((word, _)) => f.write_str(word)?,
                None => write!(f, "?{kind}")?,
            }
        }
        f.write_str(":")?;
        let quirks = Quirks::WORDS
            .iter()
            .filter(|(_, one)| self.quirks.contains(*one));
        for (at, (word, _)) in quirks.enumerate() {
            write!(f, "{}{word}", if at > 0 { "," } else { "" })?;
        }
        f.write_str(if self.has_payload { ":+" } else { ":0" })
    }
}
