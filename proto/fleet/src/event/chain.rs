//! How a record follows from the one before, so that changing, removing or inserting one changes
//! all chain values after it. The first record of an epoch follows 32 zero bytes.
//!
//! The version stands in every record: a journal that an older program began, or that is pushed to
//! an older controller for a while, goes on with the version of today, and every part can be checked.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::wire::{Event, EventKind, EventRecord};

/// How the chain value of a record is computed.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum ChainVersion {
    /// Over the fields of version 1 of the contract: for journals that go to a controller of that
    /// version.
    V1 = 1,
    /// Over the bytes of the body.
    #[default]
    V2 = 2,
}

/// Whether a record follows from the one before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Continuity {
    Follows,
    /// The chain value is not the one that it should be.
    Broken,
    /// Chained by a version that this program does not know.
    Unknown,
}

// === impl ChainVersion ===

impl ChainVersion {
    /// As it stands in a record.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The version of this number; `None` for one to come.
    pub const fn of_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }
}

// === impl EventRecord ===

impl EventRecord {
    /// The record of `event` after the one at `last_seq` whose chain value is `previous`.
    pub fn after(last_seq: u64, previous: &[u8; 32], event: Event) -> Self {
        Self::chained(ChainVersion::default(), last_seq, previous, event)
    }

    /// The same, chained in a version that the reader of the journal understands.
    ///
    /// The only place where an event becomes bytes, so the only place where it is made to fit
    /// ([`BODY_BYTES_MAX`](super::BODY_BYTES_MAX)).
    pub fn chained(
        version: ChainVersion,
        last_seq: u64,
        previous: &[u8; 32],
        mut event: Event,
    ) -> Self {
        event.seq = last_seq + 1;
        event.chain.clear();
        event.limit();
        let body = event.encode_to_vec();
        let chain = match version {
            ChainVersion::V1 => version_1(previous, &event),
            ChainVersion::V2 => version_2(previous, &body),
        };
        Self {
            seq: event.seq,
            chain: chain.to_vec(),
            body,
            chain_version: version.number(),
        }
    }

    /// The event with its chain value, for a reader of version 1 of the contract. What that version
    /// does not know is in it too, and is ignored there.
    ///
    /// # Errors
    ///
    /// [`Unreadable`](super::Unreadable)
    pub fn into_version_1(self) -> Result<Event, super::Unreadable> {
        let mut event = self.event()?;
        event.chain = self.chain;
        Ok(event)
    }

    /// The record of an event that came with its chain value, as agents of version 1 of the contract
    /// push it.
    pub fn of_version_1(mut event: Event) -> Self {
        let chain = std::mem::take(&mut event.chain);
        Self {
            seq: event.seq,
            body: event.encode_to_vec(),
            chain,
            chain_version: 1,
        }
    }

    /// Whether this record follows from the one whose chain value is `previous`.
    pub fn follows(&self, previous: &[u8; 32]) -> Continuity {
        let expected = match ChainVersion::of_number(self.chain_version) {
            Some(ChainVersion::V1) => self.event().ok().map(|event| version_1(previous, &event)),
            Some(ChainVersion::V2) => Some(version_2(previous, &self.body)),
            None => return Continuity::Unknown,
        };
        if expected.is_some_and(|expected| self.chain == expected) {
            Continuity::Follows
        } else {
            Continuity::Broken
        }
    }
}

/// SHA-256 over a label, the chain value before, the body's length (8 bytes, big endian) and the
/// body.
fn version_2(previous: &[u8; 32], body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"postern event v2\0");
    hash.update(previous);
    hash.update((body.len() as u64).to_be_bytes());
    hash.update(body);
    hash.finalize().into()
}

/// As version 1 of the contract chained: a label, the chain value before, five numbers (8 bytes, big
/// endian), then every text, each preceded by its length. It covers the fields of that version only.
fn version_1(previous: &[u8; 32], event: &Event) -> [u8; 32] {
    let kind = EventKind::try_from(event.kind).unwrap_or_default().as_str();
    let mut hash = Sha256::new();
    hash.update(b"postern event v1\0");
    hash.update(previous);
    let Event {
        seq,
        at_ms,
        generation,
        until_ms,
        count,
        ..
    } = event;
    for number in [seq, at_ms, generation, until_ms, count] {
        hash.update(number.to_be_bytes());
    }
    let texts = [
        kind,
        &event.user,
        &event.key,
        &event.stanza,
        &event.source,
        &event.opened,
        &event.replay_digest,
        &event.reason,
    ];
    for text in texts
        .into_iter()
        .chain(event.ports.iter().map(String::as_str))
    {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(user: &str, key: &str) -> Event {
        let mut event = Event::new(EventKind::Refused, 5);
        event.user = user.to_owned();
        event.key = key.to_owned();
        event
    }

    fn chain_of(record: &EventRecord) -> [u8; 32] {
        record.chain.as_slice().try_into().unwrap()
    }

    #[test]
    fn moving_a_byte_between_fields_changes_the_chain_in_every_version() {
        let (one, other) = (refused("ab", ""), refused("a", "b"));

        assert_ne!(version_1(&[0; 32], &one), version_1(&[0; 32], &other));
        assert_ne!(version_1(&[0; 32], &one), version_1(&[1; 32], &one));
        let [one, other, later] = [(one.clone(), 0), (other, 0), (one, 1)]
            .map(|(event, previous)| EventRecord::after(0, &[previous; 32], event).chain);
        assert!(one != other && one != later);
    }

    #[test]
    fn a_journal_goes_on_with_the_version_of_today_after_what_an_older_program_wrote() {
        let old = EventRecord::chained(ChainVersion::V1, 0, &[0; 32], refused("alice", ""));
        let old = EventRecord::of_version_1(old.into_version_1().unwrap());

        let new = EventRecord::after(old.seq, &chain_of(&old), refused("bob", ""));

        assert_eq!(old.follows(&[0; 32]), Continuity::Follows);
        assert_eq!(new.follows(&chain_of(&old)), Continuity::Follows);
        assert_eq!(new.follows(&[0; 32]), Continuity::Broken);
    }

    #[test]
    fn every_byte_of_a_body_is_in_the_chain_also_where_nobody_knows_its_meaning() {
        let record = EventRecord::after(0, &[0; 32], refused("alice", "k"));
        for at in 0..record.body.len() {
            let mut changed = record.clone();
            changed.body[at] ^= 1;
            assert_eq!(changed.follows(&[0; 32]), Continuity::Broken, "byte {at}");
        }
        let mut longer = record;
        longer.body.extend([0xc0, 0x3e, 1]);
        assert_eq!(longer.follows(&[0; 32]), Continuity::Broken);
    }

    #[test]
    fn the_chain_of_a_version_to_come_is_not_called_broken() {
        let mut record = EventRecord::after(0, &[0; 32], refused("alice", ""));
        record.chain_version = 3;

        assert_eq!(record.follows(&[0; 32]), Continuity::Unknown);
    }
}
