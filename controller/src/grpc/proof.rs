//! The whole log with what proves it, for whoever verifies it.

use std::sync::Arc;
use std::time::Duration;

use fleet::wire::{LogBegin, LogPart, ReadLogRequest};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use crate::access::caller::Caller;
use crate::app::check::at_most;
use crate::audit::Keeper;
use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::store::ProofPage;

/// Rows of one message, and the bytes that their bodies may have.
const ROWS: (u32, usize) = (1_000, 1 << 20);
/// Messages that wait for their reader.
const QUEUE_MAX: usize = 2;
/// How long an answer waits for its reader to take the next message.
const PATIENCE: Duration = Duration::from_secs(60);

/// Parts of the log.
pub(super) type Parts = ReceiverStream<Result<LogPart, Status>>;

/// Compares what the caller keeps with the log, signs the log as it is, and sends it. To whom
/// does not know that its keys follow one another, without what keys of before have signed: the first
/// checkpoint of the one of now covers all of that.
pub(super) async fn read_log(
    context: &Arc<Context>,
    caller: &Caller,
    (request, follows_keys): (ReadLogRequest, bool),
) -> Result<Response<Parts>, Status> {
    let ReadLogRequest { checkpoint } = request;
    at_most("checkpoint", &checkpoint, fleet::audit::NOTE_BYTES_MAX)?;
    if !caller.scope.is_whole() {
        let whole = "the whole log is asked for".to_owned();
        return Err(caller.out_of_scope(whole).into());
    }
    let open = context.limits.questions.open(caller.id).await?;
    let keeper = Keeper {
        name: format!("{} {}", caller.role, caller.name),
        host: None,
        origin: caller.origin(),
    };
    let Context {
        checkpoints, store, ..
    } = &**context;
    let now = clock::now();
    checkpoints
        .present(store, &keeper, &checkpoint, now)
        .await?;
    checkpoints.sign(store, now).await?;
    let begin = LogBegin {
        fleet: context.settings.fleet.clone(),
        audit_key: checkpoints.key(),
        records: checkpoints.size(),
        successions: checkpoints.successions(),
    };
    let (parts, stream) = mpsc::channel(QUEUE_MAX);
    let context = Arc::clone(context);
    let tasks = context.tasks.clone();
    tasks.spawn(async move {
        let _open = open;
        let sent = tokio::select! {
            () = context.stopping.cancelled() => Err(Error::Stopping),
            () = parts.closed() => Ok(()),
            sent = send(&context, (begin, follows_keys), &parts) => sent,
        };
        if let Err(error) = sent {
            // Without it the answer has no end, which tells as much.
            let _ = parts.try_send(Err(error.into()));
        }
    });
    Ok(Response::new(ReceiverStream::new(stream)))
}

async fn send(
    context: &Context,
    (begin, follows_keys): (LogBegin, bool),
    parts: &mpsc::Sender<Result<LogPart, Status>>,
) -> Result<(), Error> {
    let end = begin.records;
    let first = LogPart {
        begin: Some(begin),
        ..LogPart::default()
    };
    send_one(parts, first).await?;
    let mut last = 0;
    loop {
        let ProofPage { rows, mut notes } = context.store.proof_after((last, end), ROWS).await?;
        if !follows_keys {
            notes.retain(|note| context.checkpoints.is_of_newest_key(note));
        }
        let is_end = rows.is_empty();
        last = rows.last().map_or(last, |row| row.id);
        let part = LogPart {
            begin: None,
            rows,
            checkpoints: notes,
            is_end,
        };
        send_one(parts, part).await?;
        if is_end {
            return Ok(());
        }
    }
}

async fn send_one(
    parts: &mpsc::Sender<Result<LogPart, Status>>,
    part: LogPart,
) -> Result<(), Error> {
    match timeout(PATIENCE, parts.send(Ok(part))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Error::Stopping),
        Err(_) => {
            let secs = PATIENCE.as_secs();
            Err(Error::NotRead { secs })
        }
    }
}
