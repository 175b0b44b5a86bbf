//! What the controller answers.

use fleet::export::Record;
use fleet::wire::{AuditRecord, ListEventsRequest};
use fleet::{Capability, Contract, UserIdentity};
use tonic::{Response, Streaming};

use super::filter::unknown_to_older;
use crate::connection::{Connection, ask};
use crate::error::{CommandError, Result};

/// Asks, and refuses what the controller would not see in the question.
pub(super) async fn open(
    connection: &Connection,
    question: ListEventsRequest,
) -> Result<Streaming<AuditRecord>> {
    let unknown = unknown_to_older(&question);
    let answer = connection.audit().list_events(ask(question)).await;
    let answer = answer.map_err(|status| connection.refused(status))?;
    match unknown {
        Some(option) if !knows_filters(&answer) => Err(CommandError::refused(format!(
            "the controller is older than this program, and would answer as if {option} had not been \
             given"
        ))),
        Some(_) | None => Ok(answer.into_inner()),
    }
}

fn knows_filters<T>(answer: &Response<T>) -> bool {
    let said = answer.metadata().get("server");
    let contract = Contract::of_header(said.and_then(|said| said.to_str().ok()));
    contract.can(Capability::AuditFilters)
}

pub(super) fn is_proven(record: &Record) -> bool {
    record.event.user_identity() == UserIdentity::Proven
}
