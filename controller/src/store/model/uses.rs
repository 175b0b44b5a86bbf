//! How often, and when, something was opened.

use std::collections::BTreeMap;

use super::log::Onward;

/// Whose uses are counted, and when; empty for all.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsesAsked {
    pub(crate) user: String,
    /// Names under which the events of one machine may be stored.
    pub(crate) hosts: Vec<String>,
    /// Inclusive.
    pub(crate) since_ms: u64,
    /// Inclusive.
    pub(crate) until_ms: u64,
}

/// Grants that were opened, of one user with one key, on one host by one stanza.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Use {
    pub(crate) user: String,
    /// Fingerprint.
    pub(crate) key: String,
    pub(crate) host: UsedOn,
    pub(crate) stanza: String,
    pub(crate) count: u64,
    /// The last one.
    pub(crate) last_ms: u64,
}

/// Uses that were counted, each of its own once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counted(BTreeMap<(String, String, UsedOn, String), (u64, u64)>);

/// What one turn has counted.
#[derive(Debug, Default)]
pub(crate) struct UsesCounted {
    pub(crate) uses: Counted,
    /// Where it goes on; `None` when all is counted.
    pub(crate) onward: Option<Onward>,
    /// It cost more than one may and was given up there.
    pub(crate) cut: bool,
}

/// The machine on which something was used.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct UsedOn {
    /// `Member::id` of the host that began the journal; `None` for journals of before that was noted.
    pub(crate) member: Option<u64>,
    /// What it is called now, or was called last.
    pub(crate) called_now: String,
}

/// Where the fleet's log ends.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct LogHead {
    /// 0 for an empty log.
    pub(crate) id: u64,
    /// The chain value over the whole log.
    pub(crate) chain: Vec<u8>,
}

// === impl Counted ===

impl Counted {
    pub(crate) fn add(&mut self, used: Use) {
        let Use {
            user,
            key,
            host,
            stanza,
            count,
            last_ms,
        } = used;
        let (all, last) = self.0.entry((user, key, host, stanza)).or_default();
        *all += count;
        *last = last_ms.max(*last);
    }

    pub(crate) fn extend(&mut self, others: Self) {
        for used in others.into_uses() {
            self.add(used);
        }
    }

    pub(crate) fn into_uses(self) -> Vec<Use> {
        let all = self.0.into_iter();
        all.map(|((user, key, host, stanza), (count, last_ms))| Use {
            user,
            key,
            host,
            stanza,
            count,
            last_ms,
        })
        .collect()
    }
}
