//! This database was restored from an older copy: how it is found out, and what is done then.
//!
//! Hosts have seen more than the database knows. Numbers rise above what they have seen, the replay
//! list begins anew behind a floor, and hosts keep the policy that they have until an operator says
//! what is to be in force: what an older copy says may give what was taken away since.

use fleet::EventKind;
use fleet::claims::{floor_of_loss, is_lost};

use super::{alarms, claims, meta, policies};
use crate::store::error::StoreError;
use crate::store::model::{Origin, Pass, Seen};
use crate::store::seal::SealKey;
use crate::store::sql::Connection;

/// How far above its own numbers a controller goes on a host's word alone. A host that an attacker
/// has taken over must not drive them to their end.
const UNPROVEN_MAX: u64 = 1_000;
/// A host's word alone is taken no more often than this.
const UNPROVEN_EVERY_MS: u64 = 3_600_000;
/// How far ahead of our clock a host's word on dates is believed.
const DATES_AHEAD_MAX_SECS: u64 = 24 * 3_600;

/// What a host knows of us.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    /// `Member::id` of the host.
    pub(super) member: u64,
    pub(super) host: &'a str,
    /// A pass of ours that we do not remember.
    pub(super) pass: Option<Pass>,
    /// What it says.
    pub(super) seen: Seen,
}

/// Whether a host, without a pass that we do not remember, says that it has seen what we do not know: a generation, a
/// replay list, or dates of what it has won.
pub(super) fn is_news(seen: Seen, (generation, claim_epoch): (u64, u64), won_secs: u64) -> bool {
    seen.generation > generation
        || seen.claim_epoch > claim_epoch
        || is_lost(seen.newest_claimed_secs, won_secs)
}

/// Whether a pass of ours that we do not remember says nothing but what is known since the loss was found out.
pub(super) fn is_told(pass: Pass, (generation, claim_epoch): (u64, u64)) -> bool {
    pass.claim_epoch < claim_epoch && pass.generation <= generation
}

/// Follows the evidence. Whether the numbers of the fleet have changed, and what was found, in words.
pub(super) fn follow(
    connection: &Connection,
    seal: &SealKey,
    evidence: &Evidence<'_>,
    found: &Origin,
    now_ms: u64,
) -> Result<Option<String>, StoreError> {
    let current = policies::current(connection)?;
    let epoch = meta::claim_epoch(connection)?;
    let trusted = trusted(evidence, current, epoch);
    let is_above = trusted.generation > current || trusted.claim_epoch > epoch;
    if evidence.pass.is_none() {
        let Seen {
            generation,
            claim_epoch,
            newest_claimed_secs: _,
        } = evidence.seen;
        if generation <= current && claim_epoch <= epoch {
            return lost_claims(connection, evidence, found, now_ms);
        }
        let last = alarms::last_ms(connection, evidence.member, EventKind::ControllerSetBack)?;
        if now_ms.abs_diff(last) < UNPROVEN_EVERY_MS {
            return Ok(None);
        }
        if !is_above {
            return overstated(connection, evidence, found, now_ms).map(Some);
        }
    }
    let said = evidence.seen.claim_epoch;
    let is_known = match evidence.pass {
        Some(pass) => pass.claim_epoch < epoch,
        None => said > 0 && said < epoch,
    };
    if is_known {
        // It was away when the loss was found out.
        if trusted.generation > current {
            policies::renumber(connection, seal, trusted.generation + 1, now_ms)?;
            let host = evidence.host;
            return Ok(Some(format!(
                "host {host} has seen generation {}, which was lost: counting goes on above it",
                trusted.generation
            )));
        }
        return Ok(None);
    }
    begin_anew(connection, seal, (evidence, trusted), found, now_ms).map(Some)
}

/// The host has won what this list does not know: it was put back to a copy that is younger than the
/// numbers are. A floor is all that is needed.
fn lost_claims(
    connection: &Connection,
    evidence: &Evidence<'_>,
    found: &Origin,
    now_ms: u64,
) -> Result<Option<String>, StoreError> {
    let Evidence {
        member, host, seen, ..
    } = evidence;
    let won_secs = seen.newest_claimed_secs;
    if !is_lost(won_secs, claims::newest_known_secs(connection, host)?) {
        return Ok(None);
    }
    let last_ms = alarms::last_ms(connection, *member, EventKind::ControllerSetBack)?;
    if now_ms.abs_diff(last_ms) < UNPROVEN_EVERY_MS {
        return Ok(None);
    }
    let now_secs = now_ms / 1_000;
    let dates = won_secs.min(now_secs + DATES_AHEAD_MAX_SECS);
    let floor_secs = meta::raise_floor(connection, floor_of_loss(now_secs, dates))?;
    let reason = format!(
        "claims were lost: host {host} has won a message dated {won_secs} that this controller does \
         not know; it was restored from an older copy. Packets of shared keys dated at or before \
         {floor_secs} are refused"
    );
    let alarm = (EventKind::ControllerSetBack, reason.as_str());
    alarms::raise(connection, *member, alarm, found, now_ms)?;
    Ok(Some(reason))
}

/// The numbers that are believed.
fn trusted(evidence: &Evidence<'_>, current: u64, epoch: u64) -> Seen {
    let proven = evidence.pass.unwrap_or_default();
    let bounded = |said: u64, known: u64| {
        let is_near = said <= known.saturating_add(UNPROVEN_MAX);
        if is_near { said.max(known) } else { known }
    };
    Seen {
        generation: bounded(evidence.seen.generation, current.max(proven.generation)),
        claim_epoch: bounded(evidence.seen.claim_epoch, epoch.max(proven.claim_epoch)),
        newest_claimed_secs: evidence
            .seen
            .newest_claimed_secs
            .max(proven.newest_claimed_secs),
    }
}

/// The list of claims begins anew, and an operator is to say what is in force.
fn begin_anew(
    connection: &Connection,
    seal: &SealKey,
    (evidence, trusted): (&Evidence<'_>, Seen),
    found: &Origin,
    now_ms: u64,
) -> Result<String, StoreError> {
    let current = policies::current(connection)?;
    let now_secs = now_ms / 1_000;
    let dates = trusted
        .newest_claimed_secs
        .min(now_secs + DATES_AHEAD_MAX_SECS);
    meta::raise_floor(connection, floor_of_loss(now_secs, dates))?;
    meta::set_claim_epoch(connection, trusted.claim_epoch + 1)?;
    if trusted.generation > current {
        policies::renumber(connection, seal, trusted.generation + 1, now_ms)?;
    }
    let (host, seen) = (evidence.host, trusted.generation);
    let how = match evidence.pass {
        Some(_) => "it presents a session pass that this controller gave and does not remember",
        None => "it says so, and nothing proves it",
    };
    let reason = format!(
        "restored from an older copy: host {host} has seen generation {seen}, this copy ends at \
         {current} ({how}); changes of policy and of membership since are lost"
    );
    meta::set_set_back(connection, Some(&reason))?;
    let alarm = (EventKind::ControllerSetBack, reason.as_str());
    alarms::raise(connection, evidence.member, alarm, found, now_ms)?;
    Ok(reason)
}

/// A host says what cannot be.
fn overstated(
    connection: &Connection,
    evidence: &Evidence<'_>,
    found: &Origin,
    now_ms: u64,
) -> Result<String, StoreError> {
    let Seen {
        generation,
        claim_epoch,
        ..
    } = evidence.seen;
    let reason = format!(
        "host {} says that it has seen generation {generation} and claim epoch {claim_epoch}, far \
         above this controller's, and does not prove it: not believed",
        evidence.host
    );
    let alarm = (EventKind::ControllerSetBack, reason.as_str());
    alarms::raise(connection, evidence.member, alarm, found, now_ms)?;
    Ok(reason)
}
