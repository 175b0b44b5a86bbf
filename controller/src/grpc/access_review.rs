//! Who had what at a time, who gave it, and when it was last used.

use std::sync::Arc;

use fleet::UserIdentity;
use fleet::wire::{AccessReviewRequest, AccessReviewRow, ReviewSource};
use policy::Holder;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::caller;
use crate::app::access_review::{Asked, Review, Row, review};
use crate::clock;
use crate::context::Context;
use crate::timestamp::Timestamp;

/// Rows of an answer.
pub(super) type Rows = ReceiverStream<Result<AccessReviewRow, Status>>;

/// Rows that wait for whoever asked.
const ROWS_WAITING: usize = 100;

pub(super) async fn access_review(
    context: &Arc<Context>,
    request: Request<AccessReviewRequest>,
) -> Result<Response<Rows>, Status> {
    let caller = caller(&request)?;
    let AccessReviewRequest {
        as_of_ms,
        user,
        host,
        days,
    } = request.into_inner();
    let asked = Asked {
        user,
        host,
        as_of_ms,
        days,
    };
    // It reads as much as a question of the log does.
    let open = context.limits.questions.open(caller.id).await?;
    let now = clock::now();
    let made = review(context, &caller, asked, now).await?;
    let (sender, rows) = mpsc::channel(ROWS_WAITING);
    context.tasks.spawn(async move {
        let _open = open;
        for row in into_wire(made, now) {
            if sender.send(Ok(row)).await.is_err() {
                return;
            }
        }
    });
    Ok(Response::new(ReceiverStream::new(rows)))
}

/// The rows, and last what they were made from.
fn into_wire(made: Review, now: Timestamp) -> impl Iterator<Item = AccessReviewRow> {
    let Review {
        rows,
        as_of,
        generation,
        days,
        log,
        warnings,
    } = made;
    let made_from = ReviewSource {
        as_of_ms: as_of.ms(),
        made_at_ms: now.ms(),
        generation,
        days,
        newest_id: log.id,
        log_chain: hex::encode(log.chain),
        warnings,
    };
    let last = AccessReviewRow {
        made_from: Some(made_from),
        ..AccessReviewRow::default()
    };
    rows.into_iter()
        .map(move |row| of_row(row, generation))
        .chain([last])
}

fn of_row(row: Row, generation: u64) -> AccessReviewRow {
    let user_identity = if row.is_proven() {
        UserIdentity::Proven
    } else {
        UserIdentity::Asserted
    };
    let Row {
        host,
        right,
        terms,
        given,
        is_earlier,
        last_used_ms,
        uses,
        since_then,
    } = row;
    let (user, key) = match right.holder {
        Holder::User(user) => (user.into(), String::new()),
        Holder::Key(key) => (String::new(), key),
    };
    AccessReviewRow {
        user,
        key,
        host,
        stanza: terms.stanza,
        ports: right.ports.iter().map(|port| port.to_string()).collect(),
        generation,
        since_generation: given.generation,
        since_is_earlier: is_earlier,
        approved_by: given.author,
        approved_message: given.message,
        approved_at_ms: given.at_ms,
        last_used_ms,
        uses,
        expires_at_secs: terms.expires_at_secs,
        user_identity: user_identity.into(),
        since_then,
        made_from: None,
    }
}
