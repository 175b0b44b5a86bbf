//! A shortcut before the cryptography: exact copies of packets that were authentic a moment ago.
//!
//! A captured packet sent again a hundred thousand times a second must cost next to nothing. So the
//! texts of the last authentic packets are kept, and a copy is refused by comparing bytes. It is a
//! shortcut only: a text is accepted by nobody here, and the same message in another text (tagged,
//! through HTTP, with another HMAC) meets the replay log as always.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use crate::decision::{Identity, Reason};
use crate::fresh::Window;

/// Texts kept, about 1 MB with what is known of them. Whoever has more than these to replay falls
/// back on one HMAC and one look-up for each.
const TEXTS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// The last authentic packets, by the end of their text.
#[derive(Debug)]
pub(crate) struct RecentTexts {
    packets: LruCache<u64, Packet>,
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

    /// Whether `text` is a copy that would be refused anyway. `window` gives the window for a floor.
    pub(crate) fn refuse(
        &mut self,
        text: &[u8],
        window: impl FnOnce(u64) -> Window,
    ) -> Option<KnownCopy> {
        let packet = self.packets.get_mut(&end_of(text))?;
        if *packet.text != *text {
            return None;
        }
        let timestamp_secs = packet.identity.opened.message().timestamp_secs;
        let reason = match window(packet.floor_secs).check(timestamp_secs) {
            Err(reason) => reason,
            Ok(()) if packet.remembered => Reason::Replayed,
            // Dated ahead when it came first, and recent by now.
            Ok(()) => return None,
        };
        packet.copies = packet.copies.saturating_add(1);
        Some(KnownCopy {
            identity: Arc::clone(&packet.identity),
            reason,
            number: packet.copies,
        })
    }

    /// Keeps the text of an authentic packet; `remembered` says whether the replay log has it.
    pub(crate) fn keep(
        &mut self,
        text: &[u8],
        identity: Arc<Identity>,
        floor_secs: u64,
        remembered: bool,
    ) {
        self.packets.put(
            end_of(text),
            Packet {
                text: text.into(),
                identity,
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
