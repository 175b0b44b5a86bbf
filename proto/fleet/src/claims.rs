//! The rules of the shared replay list, pure: the controller's store keeps what they need, and
//! `tests/model` runs them under every order of loss, delay, restore and clock step.
//!
//! Like the memory of a host, the list forgets by the date *inside* a message: of every message that
//! was ever won, either the claim is still there, or its date is spent in its domain.

/// For how long a claim is remembered at most, seconds: longer than a message is recent on any host
/// whose packets age.
pub const KEPT_MAX_SECS: u64 = 3_600;
/// Claims are kept this much longer than their host asked, whose clock may be fast, seconds.
pub const GRACE_SECS: u64 = 300;
/// How far ahead of its clock any host of a fleet takes a message, seconds: a floor that is raised
/// because messages were forgotten lies this far ahead of now.
pub const MAX_FUTURE_SECS: u64 = 120;

/// What a claim comes to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// Nobody holds it: the claimant does from now on.
    Won,
    /// Won before by the same claimant, whose answer may have been lost.
    WonBefore,
    /// Another one holds it.
    Held,
    /// Its date is spent: whoever held it is forgotten.
    Spent,
}

/// Judges a claim of `claimant` (a host, and its own number for the packet) to a message that `holder`
/// holds, dated `dated_secs` (0 when it is not said), where dates up to `spent_secs` are spent.
#[must_use]
pub fn judge(
    holder: Option<(&str, u64)>,
    claimant: (&str, u64),
    dated_secs: u64,
    spent_secs: u64,
) -> Verdict {
    match holder {
        Some(holder) if holder == claimant => Verdict::WonBefore,
        Some(_) => Verdict::Held,
        None if dated_secs > 0 && dated_secs <= spent_secs => Verdict::Spent,
        None => Verdict::Won,
    }
}

/// Until when a claim is remembered whose host asks for `asked_secs` (0 for ever), at most.
#[must_use]
pub fn kept_until(asked_secs: u64, now_secs: u64) -> u64 {
    let asked_secs = if asked_secs == 0 {
        u64::MAX
    } else {
        asked_secs
    };
    asked_secs.min(now_secs.saturating_add(KEPT_MAX_SECS))
}

/// The date under which a claim is kept: what its host says, but never beyond its end, so that no host
/// spends dates that are still to come for the others.
#[must_use]
pub fn kept_date(dated_secs: u64, kept_until_secs: u64) -> u64 {
    dated_secs.min(kept_until_secs)
}

/// Claims that need not be remembered beyond this may be forgotten.
#[must_use]
pub fn forgotten_before(now_secs: u64) -> u64 {
    now_secs.saturating_sub(GRACE_SECS)
}

/// Messages dated at or before this may have been won, when the list is lost at `now_secs`, and hosts
/// claimed no message after `newest_claimed_secs` that is known.
#[must_use]
pub fn floor_of_loss(now_secs: u64, newest_claimed_secs: u64) -> u64 {
    newest_claimed_secs.max(now_secs.saturating_add(MAX_FUTURE_SECS))
}

/// Whether a host has won a message dated `newest_won_secs` that a list does not know, of which all that
/// this host holds or held is dated at or before `known_secs`: then the list was lost.
#[must_use]
pub fn is_lost(newest_won_secs: u64, known_secs: u64) -> bool {
    newest_won_secs > known_secs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimant_that_asks_again_has_won_before_also_when_its_date_is_spent() {
        let one = ("web-1", 7);

        assert_eq!(judge(None, one, 100, 99), Verdict::Won);
        assert_eq!(judge(Some(one), one, 100, 200), Verdict::WonBefore);
        assert_eq!(judge(Some(("web-1", 8)), one, 100, 0), Verdict::Held);
        assert_eq!(judge(Some(("web-2", 7)), one, 100, 0), Verdict::Held);
        assert_eq!(judge(None, one, 100, 100), Verdict::Spent);
        assert_eq!(judge(None, one, 0, 100), Verdict::Won);
    }

    #[test]
    fn no_host_spends_a_date_that_is_to_come_by_a_clock_that_is_right() {
        let now_secs = 1_000_000;
        for (asked_secs, dated_secs) in [(0, u64::MAX), (now_secs + 240, u64::MAX), (1, 7)] {
            let until = kept_until(asked_secs, now_secs);
            let forgotten_at = until + GRACE_SECS + 1;

            assert!(until < forgotten_before(forgotten_at));
            assert!(kept_date(dated_secs, until) + GRACE_SECS < forgotten_at);
        }
    }
}
