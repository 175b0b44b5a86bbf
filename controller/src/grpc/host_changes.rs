//! Other addresses, labels and names of hosts.

use fleet::wire::{RenameHostRequest, RenameHostResponse, SetHostRequest, SetHostResponse};
use tonic::{Request, Response, Status};

use super::caller;
use crate::context::Context;

pub(super) async fn set_host(
    context: &Context,
    request: Request<SetHostRequest>,
) -> Result<Response<SetHostResponse>, Status> {
    let _caller = caller(&request)?;
    let _ = (context, request);
    Err(Status::unimplemented("set_host"))
}

pub(super) async fn rename_host(
    context: &Context,
    request: Request<RenameHostRequest>,
) -> Result<Response<RenameHostResponse>, Status> {
    let _caller = caller(&request)?;
    let _ = (context, request);
    Err(Status::unimplemented("rename_host"))
}
