//! How a record of the fleet's log follows from the one before.
//!
//! Version 1 covers a record's place and its host's chain value, which is over the body only where
//! the host's own chain holds. Version 2 covers the body and what was found wrong with it, too, so
//! that nothing of a record can be changed whatever its host sent.

use sha2::{Digest as _, Sha256};

use crate::wire::{EventRecord, LogRow};

/// How a chain value of the log is computed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogVersion {
    /// Host, epoch, the host's chain value and the time of arrival.
    V1 = 1,
    /// All that a row says.
    #[default]
    V2 = 2,
}

/// A record of the log as its chain value covers it.
#[derive(Clone, Copy, Debug)]
pub struct Linked<'a> {
    /// What the host was called when it was stored.
    pub host: &'a str,
    /// Of its journal.
    pub epoch: &'a str,
    /// In its journal.
    pub seq: u64,
    /// The host's chain value, and how it was computed.
    pub chain: &'a [u8],
    /// See [`ChainVersion`](crate::event::ChainVersion).
    pub chain_version: u32,
    /// SHA-256 of the body.
    pub body_digest: [u8; 32],
    /// Milliseconds since the Unix epoch.
    pub stored_at_ms: u64,
    /// What was found wrong with it; empty for nothing.
    pub flaw: &'a str,
}

/// SHA-256 of a body.
pub fn body_digest(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

// === impl LogVersion ===

impl LogVersion {
    /// As it stands in a row.
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

    /// The log's chain value after one more record.
    pub fn link(self, previous: &[u8; 32], record: &Linked<'_>) -> [u8; 32] {
        match self {
            Self::V1 => version_1(previous, record),
            Self::V2 => version_2(previous, record),
        }
    }
}

// === impl Linked ===

impl<'a> Linked<'a> {
    /// What a row says; `None` where a row that was emptied does not hold a digest.
    pub fn of_row(row: &'a LogRow, record: &'a EventRecord) -> Option<Self> {
        let body_digest = if row.pruned_by == 0 {
            body_digest(&record.body)
        } else {
            record.body.as_slice().try_into().ok()?
        };
        Some(Self {
            host: &row.host,
            epoch: &row.epoch,
            seq: record.seq,
            chain: &record.chain,
            chain_version: record.chain_version,
            body_digest,
            stored_at_ms: row.stored_at_ms,
            flaw: &row.flaw,
        })
    }
}

/// SHA-256 over a label, the value before, host and epoch (each preceded by its length), the host's
/// chain value and the time of arrival.
fn version_1(previous: &[u8; 32], record: &Linked<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"postern fleet log v1\0");
    hash.update(previous);
    for text in [record.host, record.epoch] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    // One of another length was never in the chain.
    hash.update(<[u8; 32]>::try_from(record.chain).unwrap_or([0; 32]));
    hash.update(record.stored_at_ms.to_be_bytes());
    hash.finalize().into()
}

/// SHA-256 over a label, the value before, three numbers (8 bytes each, big endian), the digest of
/// the body, and host, epoch, the host's chain value and the flaw, each preceded by its length.
fn version_2(previous: &[u8; 32], record: &Linked<'_>) -> [u8; 32] {
    let Linked {
        host,
        epoch,
        seq,
        chain,
        chain_version,
        body_digest,
        stored_at_ms,
        flaw,
    } = record;
    let mut hash = Sha256::new();
    hash.update(b"postern fleet log v2\0");
    hash.update(previous);
    for number in [*seq, u64::from(*chain_version), *stored_at_ms] {
        hash.update(number.to_be_bytes());
    }
    hash.update(body_digest);
    for part in [host.as_bytes(), epoch.as_bytes(), chain, flaw.as_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_of_a_record_is_changed_changes_its_chain_value() {
        let record = Linked {
            host: "web-1",
            epoch: "ab",
            seq: 7,
            chain: &[1; 32],
            chain_version: 2,
            body_digest: [2; 32],
            stored_at_ms: 5,
            flaw: "",
        };
        let others = [
            Linked {
                host: "web-",
                epoch: "1ab",
                ..record
            },
            Linked { seq: 8, ..record },
            Linked {
                chain: &[1; 31],
                ..record
            },
            Linked {
                chain_version: 1,
                ..record
            },
            Linked {
                body_digest: [3; 32],
                ..record
            },
            Linked {
                stored_at_ms: 6,
                ..record
            },
            Linked {
                flaw: "late",
                ..record
            },
        ];
        let of = |record: &Linked<'_>| LogVersion::V2.link(&[0; 32], record);
        for other in &others {
            assert_ne!(of(&record), of(other), "{other:?}");
        }
        assert_ne!(of(&record), LogVersion::V2.link(&[1; 32], &record));
        assert_ne!(of(&record), LogVersion::V1.link(&[0; 32], &record));
    }
}
