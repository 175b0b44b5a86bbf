//! A shortcut before the cryptography: exact copies of packets that were authentic a moment ago.
//!
//! A captured packet sent again a hundred thousand times a second must cost next to nothing. So the
//! texts of the last authentic packets are kept, and a copy is refused by comparing bytes. It is a
//! shortcut only: a text is accepted by nobody here, and the same message in another text (tagged,
//! through HTTP, with another HMAC) meets the replay log as always.
//!
//! A copy from the same address and port within a moment is the same packet: a bridge and its port, or `any`,
//! show it twice. It is an attack by nobody, and opens nothing either.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use crate::decision::{Identity, Reason};

/// Texts kept, about 1 MB with what is known of them. Whoever has more than these to replay falls
/// back on one HMAC and one look-up for each.
const TEXTS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// The last authentic packets, by the end of their text.
#[derive(Debug)]
pub(crate) struct RecentTexts {
    packets: LruCache<u64, Packet>,
}

/// What a text is, if it is that of a recent packet.
#[derive(Debug)]
pub(crate) enum Known {
    /// The same packet, seen by another capture.
    Duplicate,
    /// A copy that would be refused anyway.
    Copy(KnownCopy),
}

/// Where and when a text arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    /// Address and port, from the header; anybody can forge them.
    pub(crate) source: (IpAddr, u16),
    pub(crate) steady: Duration,
}

/// A copy of an authentic packet, turned away.
#[derive(Debug)]
pub(crate) struct KnownCopy {
    pub(crate) identity: Arc<Identity>,
    pub(crate) reason: Reason,
    /// The how manieth copy this is, from 1.
    pub(crate) number: u64,
}

#[derive(Debug)]
struct Packet {
    text: Box<[u8]>,
    identity: Arc<Identity>,
    /// When it came first, in this text.
    arrived: Arrived,
    /// Earliest time stamp that its key may have, apart from that of the host.
    floor_secs: u64,
    /// Whether its digest is in the replay log.
    remembered: bool,
    copies: u64,
}

// === impl RecentTexts ===

impl RecentTexts {
    pub(crate) fn new() -> Self {
        Self {
            packets: LruCache::new(TEXTS_MAX),
        }
    }

    /// What `text` is, if it is known and would be refused anyway. `refuses` says why a date is refused
    /// now, given the date and the key's floor.
    pub(crate) fn find(
        &mut self,
        text: &[u8],
        arrived: Arrived,
        duplicate_within: Duration,
        refuses: impl FnOnce(u64, u64) -> Option<Reason>,
    ) -> Option<Known> {
        let packet = self.packets.get_mut(&end_of(text))?;
        if *packet.text != *text {
            return None;
        }
        let since = arrived.steady.saturating_sub(packet.arrived.steady);
        if packet.arrived.source == arrived.source && since < duplicate_within {
            return Some(Known::Duplicate);
        }
        let dated_secs = packet.identity.opened.message().timestamp_secs;
        let reason = match refuses(dated_secs, packet.floor_secs) {
            Some(reason) => reason,
            None if packet.remembered => Reason::Replayed,
            // Dated ahead, or below a floor, when it came first, and recent by now.
            None => return None,
        };
        packet.copies = packet.copies.saturating_add(1);
        Some(Known::Copy(KnownCopy {
            identity: Arc::clone(&packet.identity),
            reason,
            number: packet.copies,
        }))
    }

    /// Keeps the text of an authentic packet; `remembered` says whether the replay log has it.
    pub(crate) fn keep(
        &mut self,
        text: &[u8],
        identity: Arc<Identity>,
        arrived: Arrived,
        floor_secs: u64,
        remembered: bool,
    ) {
        self.packets.put(
            end_of(text),
            Packet {
                text: text.into(),
                identity,
                arrived,
                floor_secs,
                remembered,
                copies: 0,
            },
        );
    }
}

/// The end of the text, which is the end of an HMAC if the key has one. Nobody gains by colliding:
/// only texts that hold a key's HMAC are kept, and they are compared whole.
fn end_of(text: &[u8]) -> u64 {
    text.last_chunk().map_or(0, |end| u64::from_ne_bytes(*end))
}
