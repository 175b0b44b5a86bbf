//! Who had what at a time, who gave it, and when it was last used.

use std::sync::Arc;

use fleet::wire::{AccessReviewRequest, AccessReviewRow};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::caller;
use crate::context::Context;

/// Rows of an answer.
pub(super) type Rows = ReceiverStream<Result<AccessReviewRow, Status>>;

pub(super) async fn access_review(
    context: &Arc<Context>,
    request: Request<AccessReviewRequest>,
) -> Result<Response<Rows>, Status> {
    let _caller = caller(&request)?;
    let _ = (context, request);
    Err(Status::unimplemented("access_review"))
}
