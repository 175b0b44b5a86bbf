//! `postern audit list --follow`: goes on where it was, whatever became of the connection.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet::export::Record;
use fleet::wire::{AuditRecord, ListEventsRequest};
use program::{Exit, Failure as _};
use tokio::time::{sleep, timeout};
use tonic::{Code, Streaming};

use super::answer::{is_proven, open};
use super::print::Printer;
use crate::connection::Connection;
use crate::context::Context;
use crate::error::{CommandError, Result};

/// How long nothing may come: the controller says every ten seconds how far it is.
const SILENCE_MAX: Duration = Duration::from_secs(35);
/// Between two attempts to reach the controller again: from the first to the last of these.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LAST: Duration = Duration::from_secs(5);

/// How far the log has been shown. Pure: what makes that nothing is lost or comes twice.
#[derive(Debug, Default)]
struct Place {
    /// Everything up to this record; `None` until the controller has said where it began.
    position: Option<u64>,
    /// Shown before that: they come in the order of their time, and again when it breaks off.
    shown: BTreeSet<u64>,
}

/// Follows until it is interrupted, which is a good end.
pub(super) async fn run(
    context: &Context,
    question: ListEventsRequest,
    after_id: Option<u64>,
    proven: bool,
    printer: Printer<'_>,
) -> Result {
    let question = ListEventsRequest {
        follow: true,
        ..question
    };
    let place = Place {
        position: after_id,
        shown: BTreeSet::new(),
    };
    tokio::select! {
        ended = follow(context, question, place, proven, printer) => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted
            .map_err(|cause| CommandError::failed("cannot wait for an interrupt", cause)),
    }
}

async fn follow(
    context: &Context,
    question: ListEventsRequest,
    mut place: Place,
    proven: bool,
    mut printer: Printer<'_>,
) -> Result {
    let mut connection = Connection::open(&context.profile).await?;
    let mut stream = open(&connection, place.question(&question)).await?;
    printer.begin()?;
    loop {
        let lost = match timeout(SILENCE_MAX, stream.message()).await {
            Ok(Ok(Some(message))) => {
                if let Some(record) = place.take(message)
                    && (!proven || is_proven(&record))
                {
                    printer.line(&record)?;
                }
                continue;
            }
            // So ends what was not read for long: whoever pauses it sees the rest when she goes on.
            Ok(Err(status)) if status.code() == Code::ResourceExhausted => {
                status.message().to_owned()
            }
            Ok(Err(status)) if !may_pass(status.code()) => return Err(connection.refused(status)),
            Ok(Err(status)) => connection.refused(status).to_string(),
            Ok(Ok(None)) => "the answer ended".to_owned(),
            Err(_) => "nothing was heard for a while".to_owned(),
        };
        let note = format!("connection lost, trying again ({lost})");
        context.ui.note(note);
        (connection, stream) = again(context, &place.question(&question)).await?;
        context.ui.note("connected again");
    }
}

/// Tries until the controller answers, or says that it will not.
async fn again(
    context: &Context,
    question: &ListEventsRequest,
) -> Result<(Connection, Streaming<AuditRecord>)> {
    let mut pause = PAUSE_FIRST;
    loop {
        sleep(pause).await;
        pause = PAUSE_LAST.min(pause * 2);
        let attempt = async {
            let connection = Connection::open(&context.profile).await?;
            let stream = open(&connection, question.clone()).await?;
            Ok::<_, CommandError>((connection, stream))
        };
        match attempt.await {
            Ok(again) => return Ok(again),
            Err(error) if error.exit() == Exit::Unreachable => {}
            Err(error) => return Err(error),
        }
    }
}

/// What a restart or a network looks like from here.
const fn may_pass(code: Code) -> bool {
    match code {
        Code::Unavailable
        | Code::Unknown
        | Code::Cancelled
        | Code::Internal
        | Code::DeadlineExceeded => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

// === impl Place ===

impl Place {
    /// The question that goes on here.
    fn question(&self, question: &ListEventsRequest) -> ListEventsRequest {
        ListEventsRequest {
            after_id: self.position.unwrap_or_default(),
            ..question.clone()
        }
    }

    /// The record in a message, when it has not been shown.
    fn take(&mut self, message: AuditRecord) -> Option<Record> {
        let id = message.id;
        match &mut self.position {
            Some(position) if message.is_position => {
                *position = id.max(*position);
                return None;
            }
            None if message.is_position => {
                self.position = Some(id);
                // All of them stand before it.
                self.shown.clear();
                return None;
            }
            Some(position) if id <= *position => return None,
            Some(position) => *position = id,
            None if !self.shown.insert(id) => return None,
            None => {}
        }
        Some(Record::new(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64) -> AuditRecord {
        AuditRecord {
            id,
            ..AuditRecord::default()
        }
    }

    fn position(id: u64) -> AuditRecord {
        AuditRecord {
            is_position: true,
            ..record(id)
        }
    }

    fn shown(place: &mut Place, messages: impl IntoIterator<Item = AuditRecord>) -> Vec<u64> {
        let records = messages
            .into_iter()
            .filter_map(|message| place.take(message));
        records.map(|record| record.id).collect()
    }

    #[test]
    fn what_follows_a_break_begins_after_what_was_shown_or_looked_at() {
        let mut place = Place::default();

        assert_eq!(
            shown(&mut place, [record(7), record(3), position(9), record(11)]),
            [7, 3, 11]
        );
        assert_eq!(place.question(&ListEventsRequest::default()).after_id, 11);
        assert_eq!(shown(&mut place, [position(40)]), [0_u64; 0]);
        assert_eq!(place.question(&ListEventsRequest::default()).after_id, 40);
    }

    #[test]
    fn a_break_before_the_controller_said_where_it_began_repeats_nothing() {
        let mut place = Place::default();
        assert_eq!(shown(&mut place, [record(7), record(3)]), [7, 3]);
        assert_eq!(place.question(&ListEventsRequest::default()).after_id, 0);

        let again = [
            record(7),
            record(3),
            record(12),
            position(12),
            record(12),
            record(13),
        ];

        assert_eq!(shown(&mut place, again), [12, 13]);
    }
}
