//! A user's question after her own packets: what became of them, and whether the hosts are there.

use std::collections::BTreeSet;

use fleet::{Event, EventKind, UserIdentity};

use super::directory::directory;
use super::{check, hosts};
use crate::access::caller::Caller;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{EventFilter, LogRow};
use crate::timestamp::Timestamp;

/// How far back is looked when nothing is said: a knock that has just failed.
const RECENT_MS: u64 = 60_000;
/// The farthest that is looked back, whatever is said: no grant is open for longer by much.
const FARTHEST_MS: u64 = 24 * 3_600_000;
/// How far a host's clock may be off without its events being missed: they are found by the host's
/// time, and chosen by the controller's.
const CLOCKS_APART_MS: u64 = 24 * 3_600_000;
/// Rows that are read for one answer, at most.
const ROWS_MAX: usize = 1_000;
const EVENTS_DEFAULT: usize = 20;
const EVENTS_MAX: usize = 200;
const HOST_BYTES_MAX: usize = 253;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    /// Empty for every host that the caller may open.
    pub(crate) host: String,
    /// By the controller's clock; 0 for the last minute.
    pub(crate) since_ms: u64,
    /// 0 for the usual number.
    pub(crate) limit: u32,
}

/// What is answered: of the caller's own packets and of hosts that she may open, and of nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Host and event, the newest first.
    pub(crate) events: Vec<(String, Event)>,
    pub(crate) hosts: Vec<HostState>,
    /// Of the policy in force.
    pub(crate) generation: u64,
}

/// Whether a host is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HostState {
    pub(crate) host: String,
    pub(crate) connected: bool,
    pub(crate) last_seen_ms: u64,
    pub(crate) in_sync: bool,
    pub(crate) clock_offset_ms: Option<i64>,
}

/// Answers the user that calls.
///
/// # Errors
///
/// [`Error::Busy`] when too many such questions are open already.
pub(crate) async fn recent_events(
    context: &Context,
    caller: &Caller,
    question: Question,
    now: Timestamp,
) -> Result<Answer, Error> {
    let Question {
        host,
        since_ms,
        limit,
    } = question;
    check::at_most("host", &host, HOST_BYTES_MAX)?;
    let _open = context.limits.questions.open(caller.id).await?;
    let directory = directory(context, caller, now);
    let entries = directory.entries.into_iter();
    let mut allowed: BTreeSet<String> = entries.map(|entry| entry.host).collect();
    if !host.is_empty() {
        allowed.retain(|name| *name == host);
    }
    let since_ms = match since_ms {
        0 => now.ms().saturating_sub(RECENT_MS),
        since_ms => since_ms.max(now.ms().saturating_sub(FARTHEST_MS)),
    };
    let events = if allowed.is_empty() {
        Vec::new()
    } else {
        events(context, (&caller.name, host), &allowed, since_ms).await?
    };
    let limit = match limit {
        0 => EVENTS_DEFAULT,
        limit => usize::try_from(limit).map_or(EVENTS_MAX, |limit| limit.min(EVENTS_MAX)),
    };
    Ok(Answer {
        events: events.into_iter().take(limit).collect(),
        hosts: states(context, caller, &allowed, now).await?,
        generation: directory.generation,
    })
}

/// The caller's own events of the hosts that she may open, the newest first.
async fn events(
    context: &Context,
    (user, host): (&str, String),
    allowed: &BTreeSet<String>,
    since_ms: u64,
) -> Result<Vec<(String, Event)>, Error> {
    let filter = EventFilter {
        users: vec![user.to_owned()],
        hosts: (!host.is_empty()).then_some(host).into_iter().collect(),
        since_ms: Some(since_ms.saturating_sub(CLOCKS_APART_MS)),
        ..EventFilter::default()
    };
    // What was found before a search was given up is as good as any: it is the newest.
    let page = context.store.newest(filter, ROWS_MAX).await?;
    let rows = page.rows.into_iter();
    let rows = rows.filter(|row| row.stored_at_ms >= since_ms && allowed.contains(&row.host));
    Ok(rows.filter_map(|row| own(row, user)).collect())
}

/// The event, if it is of a packet that nobody but this user can have sent.
fn own(row: LogRow, user: &str) -> Option<(String, Event)> {
    let event = row.event.event().ok()?;
    let is_own = event.user == user && event.user_identity() == UserIdentity::Proven;
    (is_own && is_of_packets(event.kind())).then_some((row.host, event))
}

/// What happens because of packets.
const fn is_of_packets(kind: EventKind) -> bool {
    match kind {
        EventKind::GrantOpened
        | EventKind::GrantClosed
        | EventKind::GrantRevoked
        | EventKind::GrantBlocked
        | EventKind::ConnectionsCut
        | EventKind::Refused
        | EventKind::Replay
        | EventKind::ReplayElsewhere
        | EventKind::CommandRun => true,
        EventKind::Unspecified
        | EventKind::PolicyApplied
        | EventKind::PolicyRejected
        | EventKind::Drift
        | EventKind::AgentStarted
        | EventKind::AgentStopped
        | EventKind::Enrolled
        | EventKind::Banned
        | EventKind::Operator
        | EventKind::Noise
        | EventKind::Locked
        | EventKind::Unlocked
        | EventKind::Removed
        | EventKind::HostSetBack
        | EventKind::HostCloned
        | EventKind::AuditConflict
        | EventKind::AuditGap
        | EventKind::ControllerSetBack
        | EventKind::FloorChanged
        | EventKind::Clock
        | EventKind::Read
        | EventKind::Quota
        | EventKind::Retention
        | EventKind::SignIn
        | EventKind::Sink => false,
    }
}

async fn states(
    context: &Context,
    caller: &Caller,
    allowed: &BTreeSet<String>,
    now: Timestamp,
) -> Result<Vec<HostState>, Error> {
    let views = hosts::list(context, caller, now).await?.into_iter();
    let views = views.filter(|view| allowed.contains(&view.member.name));
    Ok(views
        .map(|view| HostState {
            host: view.member.name,
            connected: view.connected,
            last_seen_ms: view.state.last_seen_ms,
            in_sync: view.in_sync,
            clock_offset_ms: view.state.word.clock_offset_ms,
        })
        .collect())
}

#[cfg(test)]
mod tests;
