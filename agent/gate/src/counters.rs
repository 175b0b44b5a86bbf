//! What happened to packets, in numbers: the only trace that strangers leave.

use crate::budget::Exhausted;
use crate::datagram::NotForUs;
use crate::decision::{Decision, Reason, Refusal, Route};

/// Counts since the gate was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Frames that carry neither IPv4 nor IPv6.
    pub not_ip: u64,
    /// Frames with a header that is cut off or contradicts itself.
    pub damaged: u64,
    /// Fragments of packets that may be for us.
    pub fragments: u64,
    /// Packets that became whole out of fragments.
    pub reassembled: u64,
    /// Packets of which fragments wait now for the others.
    pub fragments_waiting: u64,
    /// Fragments refused: of a packet that is too long, or overlapping others, or contradicting them.
    pub fragments_refused: u64,
    /// Packets given up because the other fragments did not come in time.
    pub fragments_expired: u64,
    /// Packets given up because fragments of too many others came.
    pub fragments_crowded_out: u64,
    /// Frames from an address that no sender can have.
    pub impossible_source: u64,
    /// Frames of a transport that carries no SPA.
    pub other_transport: u64,
    /// Datagrams that were sent to another machine: forwarded, flooded, broadcast.
    pub not_addressed: u64,
    /// SYNs from where a stanza says REQUIRE_OS.
    pub syns: u64,
    /// Datagrams that were put before the gate.
    pub received: u64,
    /// Refused by form: length, alphabet, not an HTTP request.
    pub malformed: u64,
    /// Refused because no key could have sealed a packet of this shape from this source.
    pub no_candidate: u64,
    /// Refused untried because the source had used up its trials.
    pub over_source_budget: u64,
    /// Refused untried because all sources together had used up their trials.
    pub over_total_budget: u64,
    /// Refused because no key verified or decrypted it.
    pub not_authentic: u64,
    /// Keys tried, one HMAC each.
    pub trials: u64,
    /// Authentic packets found by their tag.
    pub by_tag: u64,
    /// Authentic packets found by the key last used from their source.
    pub by_source: u64,
    /// Authentic packets found by trying keys.
    pub by_trial: u64,
    /// Knock sequences that were authentic.
    pub by_sequence: u64,
    /// Knock sequences begun at a port of the minute; strangers hit one now and then.
    pub sequences_begun: u64,
    /// Knock sequences of which all was there, and that were none.
    pub sequences_failed: u64,
    /// Packets that were seen twice within a moment, from one source.
    pub duplicates: u64,
    /// Exact copies of recent authentic packets, refused without any cryptography.
    pub copies: u64,
    /// Authentic but too old, dated ahead, or from before the floor.
    pub stale: u64,
    /// Authentic and recent but seen before, copies not counted.
    pub replayed: u64,
    /// Authentic and fresh, but denied by policy.
    pub denied: u64,
    /// Permitted on condition that a claim is won.
    pub claims: u64,
    /// Permitted.
    pub grants: u64,
}

// === impl Counters ===

impl Counters {
    /// Returns every counter by name, in the order of the checks.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 32] {
        let Self {
            not_ip,
            damaged,
            fragments,
            reassembled,
            fragments_waiting,
            fragments_refused,
            fragments_expired,
            fragments_crowded_out,
            impossible_source,
            other_transport,
            not_addressed,
            syns,
            received,
            malformed,
            no_candidate,
            over_source_budget,
            over_total_budget,
            not_authentic,
            trials,
            by_tag,
            by_source,
            by_trial,
            by_sequence,
            sequences_begun,
            sequences_failed,
            duplicates,
            copies,
            stale,
            replayed,
            denied,
            claims,
            grants,
        } = *self;
        [
            ("not_ip", not_ip),
            ("damaged", damaged),
            ("fragments", fragments),
            ("reassembled", reassembled),
            ("fragments_waiting", fragments_waiting),
            ("fragments_refused", fragments_refused),
            ("fragments_expired", fragments_expired),
            ("fragments_crowded_out", fragments_crowded_out),
            ("impossible_source", impossible_source),
            ("other_transport", other_transport),
            ("not_addressed", not_addressed),
            ("syns", syns),
            ("received", received),
            ("malformed", malformed),
            ("no_candidate", no_candidate),
            ("over_source_budget", over_source_budget),
            ("over_total_budget", over_total_budget),
            ("not_authentic", not_authentic),
            ("trials", trials),
            ("by_tag", by_tag),
            ("by_source", by_source),
            ("by_trial", by_trial),
            ("by_sequence", by_sequence),
            ("sequences_begun", sequences_begun),
            ("sequences_failed", sequences_failed),
            ("duplicates", duplicates),
            ("copies", copies),
            ("stale", stale),
            ("replayed", replayed),
            ("denied", denied),
            ("claims", claims),
            ("granted", grants),
        ]
    }

    pub(crate) fn count(&mut self, decision: &Decision) {
        let counter = match decision {
            Decision::Grant(_) => &mut self.grants,
            Decision::Claim(_) => &mut self.claims,
            Decision::Refused(refusal) => self.of_refusal(refusal),
            Decision::Duplicate => &mut self.duplicates,
        };
        *counter += 1;
    }

    pub(crate) fn count_not_for_us(&mut self, not_for_us: NotForUs) {
        let counter = match not_for_us {
            NotForUs::NotIp => &mut self.not_ip,
            NotForUs::Damaged => &mut self.damaged,
            NotForUs::Fragment => &mut self.fragments,
            NotForUs::Source => &mut self.impossible_source,
            NotForUs::Destination => &mut self.not_addressed,
            NotForUs::Transport => &mut self.other_transport,
        };
        *counter += 1;
    }

    pub(crate) fn count_route(&mut self, route: Route) {
        let counter = match route {
            Route::Tag => &mut self.by_tag,
            Route::Source => &mut self.by_source,
            Route::Trial => &mut self.by_trial,
            Route::Sequence => &mut self.by_sequence,
        };
        *counter += 1;
    }

    fn of_refusal(&mut self, refusal: &Refusal) -> &mut u64 {
        match &refusal.reason {
            Reason::Malformed(_) | Reason::NotHttp => &mut self.malformed,
            Reason::NoCandidate => &mut self.no_candidate,
            Reason::Budget(Exhausted::Source) => &mut self.over_source_budget,
            Reason::Budget(Exhausted::Total) => &mut self.over_total_budget,
            Reason::NotAuthentic | Reason::NotOpened(_) | Reason::ForeignTag => {
                &mut self.not_authentic
            }
            _ if refusal.copies > 0 => &mut self.copies,
            Reason::BeforeFloor { .. } | Reason::Future { .. } | Reason::Stale { .. } => {
                &mut self.stale
            }
            Reason::Replayed => &mut self.replayed,
            Reason::Denied(_)
            | Reason::PolicyExpired
            | Reason::ReplayedElsewhere { .. }
            | Reason::ClaimUnreachable => &mut self.denied,
        }
    }
}
