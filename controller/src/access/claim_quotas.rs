//! How many claims each host may have stored: so that one of them cannot fill the list for the rest.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;

/// Claims of one host that are stored at most. At the usual window each is kept for about nine
/// minutes, so that a host may claim 1,800 packets a second for ever, and a burst of a million.
const STORED_MAX: u64 = 1_000_000;
/// A host that claims what it may not is an event once in this time.
const SAID_EVERY_MS: u64 = 3_600_000;

/// What is stored of each host, and what was said of those that want more than they may.
#[derive(Debug, Default)]
pub(crate) struct ClaimQuotas {
    stored: Mutex<HashMap<String, u64>>,
    refused: Mutex<HashMap<u64, Refused>>,
}

/// Claims of one member that were refused.
#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    /// Since it was said last.
    count: u64,
    said_ms: Option<u64>,
}

// === impl ClaimQuotas ===

impl ClaimQuotas {
    /// With what is stored already.
    pub(crate) fn new(stored: BTreeMap<String, u64>) -> Self {
        Self {
            stored: Mutex::new(stored.into_iter().collect()),
            refused: Mutex::default(),
        }
    }

    /// What is stored by now, by the database's own count: others store and forget, too.
    pub(crate) fn recount(&self, stored: BTreeMap<String, u64>) {
        *self.stored.lock() = stored.into_iter().collect();
    }

    #[cfg(test)]
    pub(crate) fn stored(&self, host: &str) -> u64 {
        self.stored.lock().get(host).copied().unwrap_or(0)
    }

    /// Whether this host may claim more.
    pub(crate) fn has_room(&self, host: &str) -> bool {
        let stored = self.stored.lock();
        stored.get(host).is_none_or(|count| *count < STORED_MAX)
    }

    /// A claim of this host was stored.
    pub(crate) fn note_stored(&self, host: &str) {
        let mut stored = self.stored.lock();
        match stored.get_mut(host) {
            Some(count) => *count += 1,
            None => {
                stored.insert(host.to_owned(), 1);
            }
        }
    }

    /// What `old` has stored is of `new` from now on.
    pub(crate) fn rename(&self, old: &str, new: &str) {
        let mut stored = self.stored.lock();
        if let Some(count) = stored.remove(old) {
            *stored.entry(new.to_owned()).or_default() += count;
        }
    }

    /// These hosts' claims are forgotten, one each time a host is named.
    pub(crate) fn note_forgotten(&self, hosts: &[String]) {
        let mut stored = self.stored.lock();
        for host in hosts {
            if let Some(count) = stored.get_mut(host) {
                *count = count.saturating_sub(1);
            }
        }
        stored.retain(|_, count| *count > 0);
    }

    /// Counts a refused claim. How many there were, when it is time to say so.
    pub(crate) fn note_refused(&self, member: u64, now_ms: u64) -> Option<u64> {
        let mut refused = self.refused.lock();
        let known = refused.entry(member).or_default();
        known.count += 1;
        let is_due = known
            .said_ms
            .is_none_or(|said| now_ms.abs_diff(said) >= SAID_EVERY_MS);
        if !is_due {
            return None;
        }
        known.said_ms = Some(now_ms);
        Some(std::mem::take(&mut known.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_has_stored_its_share_of_claims_is_refused_and_others_are_not() {
        let quotas = ClaimQuotas::new(BTreeMap::from([("web-1".to_owned(), STORED_MAX - 1)]));

        assert!(quotas.has_room("web-1"));
        quotas.note_stored("web-1");
        assert!(!quotas.has_room("web-1"));
        assert!(quotas.has_room("web-2"));
        quotas.note_forgotten(&["web-1", "web-3"].map(str::to_owned));
        assert!(quotas.has_room("web-1"));
    }

    #[test]
    fn what_others_have_stored_and_forgotten_counts_with_the_next_count() {
        let quotas = ClaimQuotas::new(BTreeMap::from([("web-1".to_owned(), STORED_MAX)]));
        assert!(!quotas.has_room("web-1"));

        quotas.recount(BTreeMap::from([("web-2".to_owned(), STORED_MAX)]));

        assert!(quotas.has_room("web-1"), "others have forgotten them");
        assert!(!quotas.has_room("web-2"), "it has claimed elsewhere");
    }

    #[test]
    fn refused_claims_are_said_once_an_hour_with_their_number() {
        let quotas = ClaimQuotas::default();

        assert_eq!(quotas.note_refused(7, 0), Some(1));
        for ms in 1..100 {
            assert_eq!(quotas.note_refused(7, ms), None);
        }
        assert_eq!(quotas.note_refused(8, 100), Some(1));
        assert_eq!(quotas.note_refused(7, SAID_EVERY_MS), Some(100));
    }
}
