//! What became of the caller's own packets.

use fleet::wire::{RecentEventsRequest, RecentEventsResponse};
use tonic::{Request, Response, Status};

use super::caller;
use crate::context::Context;

pub(super) async fn recent_events(
    context: &Context,
    request: Request<RecentEventsRequest>,
) -> Result<Response<RecentEventsResponse>, Status> {
    let _caller = caller(&request)?;
    let _ = (context, request);
    Err(Status::unimplemented("recent_events"))
}
