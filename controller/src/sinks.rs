//! Events out of the house: every record of the log, to every sink of `controller.toml`.
//!
//! | file | what |
//! |---|---|
//! | `worker` | one task for each sink: reads on where it stands, sends, notes how far it came |
//! | `lag` | when to try again, and when it is an alarm; pure |
//! | `state` | what is known of a sink, for whoever asks |
//! | `destination`, `error` | the types of sinks, and why something was not delivered |
//! | `webhook`, `syslog`, `otlp`, `file` | one type each |
//! | `text` | a record in the format of a sink |
//! | `access` | certificates, keys and secrets of a sink, from their files |
//!
//! Records go out in the order of the log, at least once: where a sink stands is noted only when the
//! receiver has said that it has them, and after a crash the last ones are sent again. Each record
//! has a name that no other has (host, epoch and seq), by which a receiver knows one that it has.
//! Nothing waits for a sink: each reads for itself, on a connection of the store that only sinks use.

mod access;
pub(crate) mod destination;
pub(crate) mod error;
mod file;
mod lag;
mod otlp;
pub(crate) mod state;
mod syslog;
mod text;
mod webhook;
mod worker;

use std::sync::Arc;

use fleet::export::Record;
use fleet::wire::AuditRecord;
use fleet::{Event, EventKind, EventRecord};

use crate::context::Context;
use crate::store::model::{CONTROLLER, LogRow};

/// Starts a task for each sink.
pub(crate) fn spawn(context: &Arc<Context>) {
    for (settings, state) in context.settings.sinks.iter().zip(context.sinks.shared()) {
        if let Some(warning) = settings.warning() {
            tracing::warn!("{warning}");
        }
        let worker = worker::Worker::new(context, settings, Arc::clone(state));
        context.tasks.spawn(worker.run());
    }
}

/// A row of the log as the formats know it.
pub(crate) fn record(row: LogRow) -> Record {
    let called_now = row.other_name_now();
    let LogRow {
        id,
        host,
        called_now: _,
        epoch,
        at_ms: _,
        event,
        stored_at_ms,
        flaw,
    } = row;
    Record::new(AuditRecord {
        id,
        host,
        called_now,
        epoch,
        record: Some(event),
        stored_at_ms,
        flaw,
        ..AuditRecord::default()
    })
}

/// A record that only says that it is a test; it stands in no log.
pub(crate) fn test_record(sink: &str, now_ms: u64) -> Record {
    let mut event = Event::new(EventKind::Sink, now_ms);
    event.actor = CONTROLLER.to_owned();
    event.reason = format!("a test of sink {sink}: this record is in no log");
    Record::new(AuditRecord {
        host: CONTROLLER.to_owned(),
        record: Some(EventRecord::after(0, &[0; 32], event)),
        stored_at_ms: now_ms,
        ..AuditRecord::default()
    })
}
