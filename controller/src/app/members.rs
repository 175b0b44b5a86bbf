//! Ending a membership.

use fleet::{Event, EventKind, Role};

use super::{check, hosts};
use crate::access::caller::Caller;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::BanOutcome;
use crate::timestamp::Timestamp;

/// Ends a host's membership: its certificates are worthless from now on, and its streams end. A
/// second time changes nothing.
pub(crate) async fn ban_host(
    context: &Context,
    caller: &Caller,
    name: &str,
    reason: &str,
    now: Timestamp,
) -> Result<(), Error> {
    check::at_most("reason", reason, check::MESSAGE_BYTES_MAX)?;
    let event = banned(caller, name, reason, now);
    let outcome = context
        .store
        .ban(Role::Host, name.to_owned(), event, now.ms())
        .await?;
    match outcome {
        BanOutcome::Banned | BanOutcome::BannedBefore => {}
        BanOutcome::Unknown => return Err(hosts::unknown(name)),
    }
    // First nobody gets in by its name, then those who are in are sent away.
    context
        .roster
        .refresh(&context.store, Role::Host, name)
        .await?;
    context.sessions.end(name);
    context.rollout.publish(None).await?;
    tracing::info!(operator = caller.name, host = name, "host banned");
    Ok(())
}

fn banned(caller: &Caller, name: &str, reason: &str, now: Timestamp) -> Event {
    let mut event = caller.origin().done(EventKind::Banned, now.ms());
    event.user.clone_from(&caller.name);
    event.reason = format!("host {name} banned");
    if !reason.is_empty() {
        event.reason += ": ";
        event.reason += reason;
    }
    event
}

#[cfg(test)]
mod tests;
