//! The log with what proves it, one part after the other, wherever it comes from.

mod file;

use fleet::audit::LogRow;
use fleet::wire::{LogBegin, LogPart, ReadLogRequest};
use tonic::Streaming;

pub(super) use self::file::{Export, ExportReader};
use crate::connection::{Connection, ask};
use crate::error::{CommandError, Result};

/// The log as a controller tells it, or as it stands in an export.
#[derive(Debug)]
pub(super) enum Source {
    /// As it answers.
    Controller(Box<Answer>),
    /// In a file.
    File(Box<ExportReader>),
}

/// A controller's answer.
#[derive(Debug)]
pub(super) struct Answer {
    connection: Connection,
    stream: Streaming<LogPart>,
}

/// What comes next.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) rows: Vec<LogRow>,
    /// Signed notes over what came up to the last row; or, where there is none, over more.
    pub(super) notes: Vec<String>,
    pub(super) is_end: bool,
}

// === impl Source ===

impl Source {
    /// Asks the controller, and presents `kept`, the checkpoint that is kept here; empty for none.
    pub(super) async fn ask(connection: Connection, kept: String) -> Result<(LogBegin, Self)> {
        let question = ReadLogRequest { checkpoint: kept };
        let answer = connection.audit().read_log(ask(question)).await;
        let answer = answer.map_err(|status| connection.refused(status))?;
        let mut stream = answer.into_inner();
        let first = stream.message().await;
        let first = first.map_err(|status| connection.refused(status))?;
        let begin = first.and_then(|part| part.begin).ok_or_else(broken_off)?;
        let answer = Answer { connection, stream };
        Ok((begin, Self::Controller(Box::new(answer))))
    }

    /// The next part.
    ///
    /// # Errors
    ///
    /// Where it breaks off before its end.
    pub(super) async fn next(&mut self) -> Result<Part> {
        match self {
            Self::File(file) => file.next_part(),
            Self::Controller(answer) => {
                let Answer { connection, stream } = &mut **answer;
                let part = stream.message().await;
                let part = part.map_err(|status| connection.refused(status))?;
                let part = part.ok_or_else(broken_off)?;
                Ok(Part {
                    rows: part.rows,
                    notes: part.checkpoints,
                    is_end: part.is_end,
                })
            }
        }
    }
}

fn broken_off() -> CommandError {
    CommandError::unreachable("the controller's answer broke off before the end of the log")
}
