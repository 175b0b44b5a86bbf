//! What hosts push into the fleet's log.

use fleet::{EventKind, EventRecord};

use crate::access::caller::Caller;
use crate::access::event_quotas::{Charged, Push};
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{Origin, Pushed};
use crate::timestamp::Timestamp;

/// Stores what the host that calls has in its journal; all events up to the number that comes back
/// are stored.
pub(crate) async fn push(
    context: &Context,
    caller: &Caller,
    epoch: String,
    records: Vec<EventRecord>,
    now: Timestamp,
) -> Result<Pushed, Error> {
    check_epoch(&epoch)?;
    hold_back(context, caller, &records, now).await?;
    let host = (caller.id, caller.name.clone());
    let found = Origin::controller(caller.request.to_string());
    let pushed = context
        .store
        .push_events(host, epoch.clone(), records, found, now.ms())
        .await?;
    for (_, fault) in pushed.faults((&caller.name, &epoch)) {
        tracing::error!(
            host = caller.name,
            fault,
            "a host's journal does not hold together"
        );
    }
    context.sessions.note_active(&caller.name);
    if let Some(reason) = &pushed.new_journal {
        context.sessions.begin_new_journal(&caller.name, reason);
    }
    Ok(pushed)
}

/// Makes a host wait that fills the log faster than it may; nothing is lost by that.
async fn hold_back(
    context: &Context,
    caller: &Caller,
    records: &[EventRecord],
    now: Timestamp,
) -> Result<(), Error> {
    let kinds = records.iter().filter_map(|record| record.event().ok());
    let push = Push {
        records: records.len(),
        body_bytes: records.iter().map(|record| record.body.len()).sum(),
        matters: kinds.into_iter().any(|event| !event.kind().is_noise()),
    };
    let (wait, is_news) = match context.event_quotas.charge(caller.id, push, now.ms()) {
        Charged::Now => return Ok(()),
        Charged::After(wait, is_news) => (Some(wait), is_news),
        Charged::Again(is_news) => (None, is_news),
    };
    context.metrics.held_back();
    if is_news {
        let reason = format!(
            "host {} sends events faster than its quota: it is made to wait, and nothing is lost",
            caller.name
        );
        tracing::warn!(host = caller.name, "events come faster than the quota");
        let found = Origin::controller(caller.request.to_string());
        let alarm = (EventKind::Quota, reason);
        context
            .store
            .alarm(caller.id, alarm, found, now.ms())
            .await?;
    }
    let wait = wait.ok_or(Error::TooMany)?;
    tokio::time::sleep(wait).await;
    Ok(())
}

pub(crate) fn check_epoch(epoch: &str) -> Result<(), Error> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if epoch.len() != 32 || !epoch.bytes().all(is_digit) {
        let problem = "not 16 bytes in lower-case hexadecimal";
        return Err(Error::invalid("epoch", problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
