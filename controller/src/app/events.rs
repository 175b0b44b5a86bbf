//! What hosts push into the fleet's log.

use fleet::EventRecord;

use crate::access::caller::Caller;
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
