//! What is recorded: the only file that makes events.

use std::net::IpAddr;
use std::sync::Arc;

use fleet::{Event, EventKind, GrantId, Outcome, UserIdentity};
use gate::{Claimed, Grant, Identity, Now, Reason, Refusal, UserProof};
use policy::{CommandRule, Permit, Permitted};
use spa::ReplayDigest;

use crate::commands::{CommandEnd, CommandLine, Ended};
use crate::cycles::LiveCycle;
use crate::end::End;
use crate::grants::{LiveGrant, Origin};
use crate::rule::Rule;

/// An event, and what it changes in the table of live grants. Both are written in one transaction,
/// or neither is.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    event: Event,
    change: Change,
}

/// What a record changes in the table of live grants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Nothing.
    None,
    /// This grant is in it from now on.
    Opens {
        /// Its name.
        id: GrantId,
        /// What it opens.
        rules: Vec<Rule>,
    },
    /// This command cycle is in it from now on, and its opening command is about to run.
    CycleOpens {
        /// Its name.
        id: GrantId,
        /// The command that closes it.
        close: String,
    },
    /// The opening command of this cycle, which is in it, has ended.
    CycleStands(GrantId),
    /// The closing command of this cycle, which is in it, is about to run.
    CycleCloses(GrantId),
    /// This grant, which is in it, is open for longer or asked for again.
    Extends(GrantId),
    /// The hole of this grant has closed; it stays in the table, because it lives on in connections.
    LivesOn(GrantId),
    /// This grant is in it no more.
    Ends(GrantId),
}

/// What opens a cycle, and what closes it, in the words of the policy.
pub(crate) const OPEN: &str = "CMD_CYCLE_OPEN";
pub(crate) const CLOSE: &str = "CMD_CYCLE_CLOSE";

// === impl Record ===

impl Record {
    pub(crate) fn new(event: Event) -> Self {
        Self {
            event,
            change: Change::None,
        }
    }

    /// Says how far the host's clock is ahead of the controller's, in milliseconds.
    pub(crate) fn note_clock_offset(&mut self, ms: Option<i64>) {
        self.event.clock_offset_ms = ms;
    }

    /// A grant that is about to be opened.
    pub(crate) fn opens(event: Event, live: &LiveGrant) -> Self {
        let change = Change::Opens {
            id: live.id,
            rules: live.rules.clone(),
        };
        Self { event, change }
    }

    /// A grant that is open, or about to be, and is asked for again.
    pub(crate) fn extends(event: Event, id: GrantId) -> Self {
        let change = Change::Extends(id);
        Self { event, change }
    }

    /// A grant that is open for as long as before, because the firewall did not do what was recorded.
    pub(crate) fn not_extended(live: &LiveGrant, at_ms: u64, reason: &str) -> Self {
        let mut event = closed(EventKind::GrantOpened, live, at_ms, reason);
        event.set_outcome(Outcome::Failure);
        Self::extends(event, live.id)
    }

    /// A grant that is closed: at its end, by a new policy, with the agent, or by the firewall, which
    /// did not open it.
    pub(crate) fn ends(end: End, live: &LiveGrant, at_ms: u64, reason: &str) -> Self {
        let kind = end.kind();
        let outcome = match end {
            End::Closed | End::Revoked | End::Cut | End::ByUser => Outcome::Success,
            End::NotOpened | End::NotExtended => Outcome::Failure,
        };
        let mut event = closed(kind, live, at_ms, reason);
        event.set_outcome(outcome);
        Self {
            event,
            change: Change::Ends(live.id),
        }
    }

    /// Names the packet that caused it, where that is not the one that opened.
    pub(crate) fn note_request(&mut self, request: Option<ReplayDigest>) {
        if let Some(digest) = request {
            self.event.request_id = request_id(digest);
        }
    }

    /// Says how many connections ended with it.
    pub(crate) fn count_connections(&mut self, count: u64) {
        self.event.count = count;
    }

    /// The grant lives on in connections.
    pub(crate) fn lives_on(mut self, live: &LiveGrant) -> Self {
        self.change = Change::LivesOn(live.id);
        self
    }

    /// A cycle whose opening command is about to run.
    pub(crate) fn cycle_opens(event: Event, cycle: &LiveCycle) -> Self {
        let change = Change::CycleOpens {
            id: cycle.id,
            close: cycle.close.clone(),
        };
        Self { event, change }
    }

    /// A cycle whose opening command has ended.
    pub(crate) fn cycle_stands(event: Event, id: GrantId) -> Self {
        let change = Change::CycleStands(id);
        Self { event, change }
    }

    /// A cycle whose closing command is about to run.
    pub(crate) fn cycle_closes(event: Event, id: GrantId) -> Self {
        let change = Change::CycleCloses(id);
        Self { event, change }
    }

    /// A cycle that is over.
    pub(crate) fn cycle_ends(end: End, cycle: &LiveCycle, reason: &str, now: Now) -> Self {
        let event = cycle_event(end.kind(), cycle, reason, now);
        let change = Change::Ends(cycle.id);
        let mut record = Self { event, change };
        record.note_success(end != End::NotOpened);
        record
    }

    /// Says whether it came to what it was to come to.
    pub(crate) fn note_success(&mut self, is_success: bool) {
        self.event.set_outcome(if is_success {
            Outcome::Success
        } else {
            Outcome::Failure
        });
    }

    /// Returns what to write into the audit.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Returns what to change in the table of live grants.
    #[must_use]
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Turns the record of something that was permitted into that of its refusal.
    pub(crate) fn refuse(&mut self, reason: &str) {
        refuse(&mut self.event, reason);
        self.change = Change::None;
    }
}

/// The agent begins its work.
pub(crate) fn agent_started(version: &str, generation: u64, now: Now) -> Event {
    let mut event = Event::new(EventKind::AgentStarted, now.wall_ms());
    event.generation = generation;
    event.reason = format!("version {version}");
    event
}

/// The agent leaves.
pub(crate) fn agent_stopped(generation: u64, now: Now) -> Event {
    let mut event = Event::new(EventKind::AgentStopped, now.wall_ms());
    event.generation = generation;
    event
}

/// A grant that is about to be opened. `blocked` says what of the host's own rules would still drop
/// its packets; empty for nothing.
pub(crate) fn opened(grant: &Grant, id: GrantId, until_ms: u64, blocked: &str, now: Now) -> Event {
    let (kind, outcome) = if blocked.is_empty() {
        (EventKind::GrantOpened, Outcome::Success)
    } else {
        (EventKind::GrantBlocked, Outcome::Failure)
    };
    let mut event = of_grant(kind, grant, Some(id), now);
    event.until_ms = until_ms;
    event.reason = match (claim_note(grant), blocked) {
        (note, "") => note.to_owned(),
        ("", blocked) => format!("dropped by {blocked}"),
        (note, blocked) => format!("dropped by {blocked}; {note}"),
    };
    event.set_outcome(outcome);
    event
}

/// A grant that is open is asked for again by its user.
pub(crate) fn refreshed(
    grant: &Grant,
    id: GrantId,
    until_ms: u64,
    is_longer: bool,
    blocked: &str,
    now: Now,
) -> Event {
    let mut event = opened(grant, id, until_ms, blocked, now);
    let refreshed = if is_longer {
        "refreshed"
    } else {
        "refreshed; it is open for longer already"
    };
    event.reason = match event.reason.as_str() {
        "" => refreshed.to_owned(),
        note => format!("{refreshed}; {note}"),
    };
    event
}

fn closed(kind: EventKind, live: &LiveGrant, at_ms: u64, reason: &str) -> Event {
    let mut event = of_origin(kind, &live.origin, live.id);
    event.at_ms = at_ms;
    event.until_ms = live.until_ms;
    reason.clone_into(&mut event.reason);
    event
}

fn of_origin(kind: EventKind, origin: &Origin, id: GrantId) -> Event {
    match origin {
        Origin::Given(grant) => of_grant(kind, grant, Some(id), Now::default()),
        Origin::Recovered(opened) => Event {
            kind: kind.into(),
            grant_id: id.to_string(),
            seq: 0,
            ..(**opened).clone()
        },
    }
}

/// A cycle whose opening command is about to run.
pub(crate) fn cycle_opened(
    grant: &Grant,
    id: GrantId,
    until_ms: u64,
    command: &str,
    now: Now,
) -> Event {
    let mut event = opened(grant, id, until_ms, "", now);
    let command = format!("{OPEN}: {command}");
    event.reason = match event.reason.as_str() {
        "" => command,
        note => format!("{command}; {note}"),
    };
    event
}

/// A cycle whose closing command is about to run.
pub(crate) fn cycle_closes(cycle: &LiveCycle, now: Now) -> Event {
    let reason = format!("{COMMAND_STARTS}{}", cycle.close);
    let mut event = cycle_event(EventKind::CommandRun, cycle, &reason, now);
    event.set_outcome(Outcome::Success);
    event
}

/// A command of a cycle has run, or could not be run.
pub(crate) fn cycle_command(cycle: &LiveCycle, ended: &Ended, which: &str, now: Now) -> Event {
    let reason = format!("{which}: {ended}");
    let mut event = cycle_event(EventKind::CommandRun, cycle, &reason, now);
    event.set_outcome(if ended.end.is_success() {
        Outcome::Success
    } else {
        Outcome::Failure
    });
    event
}

fn cycle_event(kind: EventKind, cycle: &LiveCycle, reason: &str, now: Now) -> Event {
    let mut event = of_origin(kind, &cycle.origin, cycle.id);
    event.at_ms = now.wall_ms();
    event.until_ms = cycle.until_ms;
    reason.clone_into(&mut event.reason);
    event
}

/// Connections that a grant had let begin are ended.
pub(crate) fn connections_cut(live: &LiveGrant, count: u64, at_ms: u64, reason: &str) -> Event {
    let mut event = closed(EventKind::ConnectionsCut, live, at_ms, reason);
    event.count = count;
    event.set_outcome(Outcome::Success);
    event
}

/// The controller has locked this host, or lets it work again.
pub(crate) fn locked(kind: EventKind, reason: &str, generation: u64, now: Now) -> Event {
    let mut event = Event::new(kind, now.wall_ms());
    event.generation = generation;
    reason.clone_into(&mut event.reason);
    "controller".clone_into(&mut event.actor);
    event.set_outcome(Outcome::Success);
    event
}

/// Another date decides which packets are refused.
pub(crate) fn floor_changed(generation: u64, reason: &str, now: Now) -> Event {
    let mut event = Event::new(EventKind::FloorChanged, now.wall_ms());
    event.generation = generation;
    reason.clone_into(&mut event.reason);
    event
}

/// This host's journal was put back to an older copy.
pub(crate) fn set_back(generation: u64, reason: &str, now: Now) -> Event {
    let mut event = Event::new(EventKind::HostSetBack, now.wall_ms());
    event.generation = generation;
    reason.clone_into(&mut event.reason);
    event
}

/// The fleet's log is not what this host was shown of it.
pub(crate) fn log_conflict(generation: u64, reason: &str, now: Now) -> Event {
    let mut event = Event::new(EventKind::AuditConflict, now.wall_ms());
    event.generation = generation;
    reason.clone_into(&mut event.reason);
    "agent".clone_into(&mut event.actor);
    event
}

/// How the record of the start of a command begins.
pub const COMMAND_STARTS: &str = "start: ";

/// A command that is about to run.
pub(crate) fn command_started(grant: &Grant, id: GrantId, line: &CommandLine, now: Now) -> Event {
    let mut event = of_grant(EventKind::CommandRun, grant, Some(id), now);
    // Who runs it stands in front, where it is not root: what follows is of whoever sent the message,
    // and must not be taken for it.
    let says_whom = line.rule != CommandRule::default() || line.text.starts_with("(as ");
    let whom = says_whom.then(|| format!("(as {}) ", line.rule.as_whom()));
    event.reason = format!("{COMMAND_STARTS}{}{}", whom.unwrap_or_default(), line.text);
    event.set_outcome(Outcome::Success);
    event
}

/// A command that has run.
pub(crate) fn command_ended(grant: &Grant, id: GrantId, ended: &Ended, now: Now) -> Event {
    let mut event = of_grant(EventKind::CommandRun, grant, Some(id), now);
    event.reason = ended.to_string();
    event.set_outcome(if ended.end.is_success() {
        Outcome::Success
    } else {
        Outcome::Failure
    });
    event
}

/// A command whose start is recorded, and whose end nobody has heard of.
pub(crate) fn command_lost(started: Event, now: Now) -> Event {
    let end = CommandEnd::Unknown(
        "how it ended is not known: the agent was killed while it ran, and it with it; what it had started may go on".to_owned(),
    );
    let mut event = Event {
        at_ms: now.wall_ms(),
        reason: end.to_string(),
        ..started
    };
    event.set_outcome(Outcome::Failure);
    event
}

/// Something that was permitted, and is not done for a reason of this host's own.
pub(crate) fn grant_refused(grant: &Grant, reason: &str, now: Now) -> Event {
    let mut event = of_grant(EventKind::Refused, grant, None, now);
    refuse(&mut event, reason);
    event
}

/// A message whose claim nobody will answer any more.
pub(crate) fn claim_given_up(identity: &Identity, reason: &str, now: Now) -> Event {
    let mut event = of_identity(EventKind::Refused, identity, now);
    event.stanza = stanza(identity.stanza_name(), identity.stanza());
    refuse(&mut event, reason);
    event
}

/// An authentic packet that was turned away.
pub(crate) fn refused(refusal: &Refusal, identity: &Identity, now: Now) -> Event {
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
    event.set_outcome(Outcome::Denied);
    event
}

/// Strangers' packets: of one source, or of all the rest.
pub(crate) fn noise(now: Now, source: Option<IpAddr>, count: u64) -> Event {
    let mut event = Event::new(EventKind::Noise, now.wall_ms());
    event.reason = match source {
        Some(_) => "packets of strangers",
        None => "packets of strangers, from many sources",
    }
    .to_owned();
    event.source = source.map(|source| source.to_string()).unwrap_or_default();
    event.count = count;
    event
}

/// Packets that the capture lost.
pub(crate) fn packets_lost(count: u64, now: Now) -> Event {
    let mut event = Event::new(EventKind::Noise, now.wall_ms());
    "packets lost before they could be judged".clone_into(&mut event.reason);
    event.count = count;
    event
}

/// Records that were dropped.
pub(crate) fn records_lost(count: u64, now: Now) -> Event {
    let mut event = Event::new(EventKind::Noise, now.wall_ms());
    "records dropped while the disk took none".clone_into(&mut event.reason);
    event.count = count;
    event
}

/// Another policy is enforced.
pub(crate) fn policy_applied(generation: u64, stanzas: usize, now: Now) -> Event {
    let mut event = Event::new(EventKind::PolicyApplied, now.wall_ms());
    event.generation = generation;
    event.reason = format!("{stanzas} stanzas");
    event.set_outcome(Outcome::Success);
    event
}

/// A policy cannot be enforced.
pub(crate) fn policy_rejected(generation: u64, reasons: &[String], now: Now) -> Event {
    let mut event = Event::new(EventKind::PolicyRejected, now.wall_ms());
    event.generation = generation;
    event.reason = reasons.join("\n");
    event.set_outcome(Outcome::Failure);
    event
}

/// The firewall was found changed.
pub(crate) fn drift(generation: u64, found: &str, now: Now) -> Event {
    let mut event = Event::new(EventKind::Drift, now.wall_ms());
    event.generation = generation;
    found.clone_into(&mut event.reason);
    event
}

fn refuse(event: &mut Event, reason: &str) {
    event.set_kind(EventKind::Refused);
    event.grant_id.clear();
    event.until_ms = 0;
    reason.clone_into(&mut event.reason);
    event.set_outcome(Outcome::Denied);
}

/// What people call a stanza: its NAME, or its number as fwknop counts.
fn stanza(name: Option<&Arc<str>>, number: u32) -> String {
    name.map_or_else(|| format!("#{number}"), |name| name.to_string())
}

fn of_grant(kind: EventKind, grant: &Grant, id: Option<GrantId>, now: Now) -> Event {
    let permit = grant.permit();
    let mut event = of_identity(kind, grant.identity(), now);
    event.stanza = stanza(permit.name(), permit.stanza());
    event.opened = permit.address().to_string();
    match permit.what() {
        Permitted::Ports(ports) => {
            note_opens(&mut event, permit);
            event.ports = ports.iter().map(ToString::to_string).collect();
        }
        Permitted::Forward(forwarding) => {
            note_opens(&mut event, permit);
            event.ports = forwarding.asked_words().collect();
            event.forwarded_to = forwarding.to_string();
        }
        // What it was to close.
        Permitted::Close { ports, cut: _ } => {
            event.ports = ports.iter().map(ToString::to_string).collect();
        }
        Permitted::Cycle(cycle) => event.ports = vec![cycle.port.to_string()],
        Permitted::Command { .. } => {}
    }
    event.grant_id = id.map(|id| id.to_string()).unwrap_or_default();
    event
}

fn note_opens(event: &mut Event, permit: &Permit) {
    let mut opens = permit.opens_words();
    event.opened = opens.next().unwrap_or_default();
    event.also_opened = opens.collect();
}

fn of_identity(kind: EventKind, identity: &Identity, now: Now) -> Event {
    let digest = identity.opened().replay_digest();
    let mut event = Event::new(kind, now.wall_ms());
    identity.user().clone_into(&mut event.user);
    event.set_user_identity(match identity.user_proof() {
        UserProof::Proven => UserIdentity::Proven,
        UserProof::Asserted => UserIdentity::Asserted,
    });
    event.key = identity.key_words();
    event.generation = identity.generation();
    event.source = identity.source().to_string();
    event.replay_digest = digest.to_string();
    event.request_id = request_id(digest);
    event
}

/// Names the packet that caused something: the first half of its replay digest.
fn request_id(digest: ReplayDigest) -> String {
    let mut text = digest.to_string();
    text.truncate(32);
    text
}

fn claim_note(grant: &Grant) -> &'static str {
    match grant.claim() {
        Claimed::NotNeeded | Claimed::Won => "",
        Claimed::Unconfirmed => "not claimed: the controller could not be asked",
    }
}
