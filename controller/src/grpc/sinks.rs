//! Where events are sent on to.

use fleet::wire::{ListSinksRequest, ListSinksResponse};
use tonic::{Request, Response, Status};

use super::caller;
use crate::context::Context;

pub(super) async fn list_sinks(
    context: &Context,
    request: Request<ListSinksRequest>,
) -> Result<Response<ListSinksResponse>, Status> {
    let _caller = caller(&request)?;
    let _ = (context, request);
    Err(Status::unimplemented("list_sinks"))
}
