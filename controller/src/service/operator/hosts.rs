//! What operators see of hosts, and how they end a membership.

use fleet::wire::Host;
use fleet::{Event, EventKind, Role};

use crate::authorize::Caller;
use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{BanOutcome, HostState, Member};

/// Every host, banned ones too, by name.
pub(super) async fn list(context: &Context) -> Result<Vec<Host>, Error> {
    let (hosts, states) = context.store.hosts().await?;
    Ok(hosts
        .into_iter()
        .map(|member| {
            let state = states.get(&member.id).cloned().unwrap_or_default();
            shown(context, member, state)
        })
        .collect())
}

/// Ends a host's membership: its certificates are worthless from now on, and its streams end.
pub(super) async fn ban(
    context: &Context,
    operator: &Caller,
    name: &str,
    reason: &str,
) -> Result<(), Error> {
    let now_ms = clock::now_ms();
    let mut event = Event::new(EventKind::Banned, now_ms);
    event.user.clone_from(&operator.name);
    event.reason = format!("host {name} banned");
    if !reason.is_empty() {
        event.reason += ": ";
        event.reason += reason;
    }
    let banned = context
        .store
        .ban(Role::Host, name.to_owned(), event, now_ms)
        .await?;
    match banned {
        BanOutcome::Banned | BanOutcome::BannedBefore => {}
        BanOutcome::Unknown => return Err(unknown(name)),
    }
    // First nobody gets in by its name, then those who are in are sent away.
    context
        .roster
        .refresh(&context.store, Role::Host, name)
        .await?;
    context.publisher.end(name);
    context.publisher.publish(None).await
}

pub(super) fn unknown(name: &str) -> Error {
    Error::not_found(format!("host is called `{name}`"))
}

fn shown(context: &Context, member: Member, state: HostState) -> Host {
    let target = context.publisher.target(&member.name);
    let digest = target.as_ref().map(|target| target.compiled.digest);
    let in_sync = digest.is_none_or(|digest| state.applied_digest == digest)
        && state.rejected.is_empty()
        && state.drift.is_empty();
    let connected = context.publisher.connected(&member.name);
    Host {
        name: member.name,
        address: member.address,
        spa_port: member.spa_port.into(),
        labels: member.labels.into_iter().collect(),
        target_generation: target.as_ref().map_or(0, |target| target.generation),
        applied_generation: state.applied_generation,
        in_sync,
        connected,
        last_seen_ms: if connected {
            clock::now_ms()
        } else {
            state.last_seen_ms
        },
        drift: state.drift,
        rejected: state.rejected,
        banned: member.banned,
        agent_version: state.agent_version,
        stanzas: target.map_or(0, |target| target.compiled.stanzas),
        joined_at_ms: member.joined_at_ms,
    }
}
