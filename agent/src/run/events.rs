//! What the audit says about grants and refusals.

use std::sync::Arc;

use fleet::{Event, EventKind, GrantId, Outcome};
use gate::{Claimed, Grant, Identity, Now, Reason, Refusal};
use policy::Permitted;

use super::grants::{Live, Origin};

/// A grant that is about to be opened.
pub(super) fn opened(grant: &Grant, now: Now) -> Event {
    let mut event = of_permit(EventKind::GrantOpened, grant, now);
    event.until_ms = now.wall_ms() + u64::from(grant.permit().timeout_secs()) * 1_000;
    event.grant_id = grant_id(grant).to_string();
    event.reason = claim_note(grant).to_owned();
    event
}

/// A grant whose hole is closed: at its end, by a new policy, or with the agent.
pub(super) fn closed(kind: EventKind, live: &Live, at_ms: u64, reason: &str) -> Event {
    let mut event = match &live.origin {
        Origin::Given(grant) => of_permit(kind, grant, Now::default()),
        Origin::Adopted(opened) => (**opened).clone().with_kind(kind),
    };
    event.seq = 0;
    event.grant_id = live.id.to_string();
    event.at_ms = at_ms;
    event.until_ms = live.until_ms;
    reason.clone_into(&mut event.reason);
    event
}

/// A command that is about to run, or has run.
pub(super) fn command(grant: &Grant, now: Now, reason: String) -> Event {
    let mut event = of_permit(EventKind::CommandRun, grant, now);
    event.reason = reason;
    event
}

/// An authentic packet that was turned away.
pub(super) fn refused(refusal: &Refusal, identity: &Identity, now: Now) -> Event {
    let kind = match &refusal.reason {
        Reason::Replayed => EventKind::Replay,
        Reason::ReplayedElsewhere { .. } => EventKind::ReplayElsewhere,
        Reason::Malformed(_)
        | Reason::NotHttp
        | Reason::NoCandidate
        | Reason::Budget(_)
        | Reason::NotAuthentic
        | Reason::NotOpened(_)
        | Reason::ForeignTag
        | Reason::Stale { .. }
        | Reason::Future { .. }
        | Reason::BeforeFloor { .. }
        | Reason::PolicyExpired
        | Reason::Denied(_)
        | Reason::ClaimUnreachable => EventKind::Refused,
    };
    let mut event = of_identity(kind, identity, now);
    event.source = refusal.source.to_string();
    event.stanza = stanza(identity.stanza_name(), identity.stanza());
    event.reason = refusal.reason.to_string();
    event
}

/// The name of a grant: a message is granted at most once on a host, so its digest names it.
pub(super) fn grant_id(grant: &Grant) -> GrantId {
    let digest = grant.identity().opened().replay_digest().0;
    GrantId(*digest.first_chunk().unwrap_or(&[0; 16]))
}

/// What people call a stanza: its NAME, or its number as fwknop counts.
pub(super) fn stanza(name: Option<&Arc<str>>, number: u32) -> String {
    name.map_or_else(|| format!("#{number}"), |name| name.to_string())
}

fn of_permit(kind: EventKind, grant: &Grant, now: Now) -> Event {
    let permit = grant.permit();
    let mut event = of_identity(kind, grant.identity(), now);
    event.stanza = stanza(permit.name(), permit.stanza());
    event.opened = permit.address().to_string();
    if let Permitted::Ports(ports) = permit.what() {
        event.ports = ports.iter().map(ToString::to_string).collect();
    }
    event
}

fn of_identity(kind: EventKind, identity: &Identity, now: Now) -> Event {
    let mut event = Event::new(kind, now.wall_ms());
    identity.user().clone_into(&mut event.user);
    event.key = identity.key().to_string();
    event.generation = identity.generation();
    event.source = identity.source().to_string();
    event.replay_digest = identity.opened().replay_digest().to_string();
    event.request_id = event.replay_digest.get(..32).unwrap_or_default().to_owned();
    event.set_outcome(match kind {
        EventKind::Refused | EventKind::Replay | EventKind::ReplayElsewhere => Outcome::Denied,
        EventKind::GrantOpened
        | EventKind::GrantClosed
        | EventKind::GrantRevoked
        | EventKind::CommandRun => Outcome::Success,
        EventKind::Unspecified
        | EventKind::AgentStarted
        | EventKind::AgentStopped
        | EventKind::Banned
        | EventKind::Drift
        | EventKind::Enrolled
        | EventKind::Noise
        | EventKind::Operator
        | EventKind::PolicyApplied
        | EventKind::PolicyRejected => Outcome::Unspecified,
    });
    event
}

fn claim_note(grant: &Grant) -> &'static str {
    match grant.claim() {
        Claimed::NotNeeded | Claimed::Won => "",
        Claimed::Unconfirmed => "not claimed: the controller could not be asked",
    }
}
