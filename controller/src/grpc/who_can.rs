//! Who may open what, and what another text would have done.

use fleet::wire::{
    CanRequest, CanResponse, WhatIfRequest, WhatIfResponse, WhoCanRequest, WhoCanResponse,
};
use tonic::{Request, Response, Status};

use super::caller;
use crate::context::Context;

pub(super) async fn who_can(
    context: &Context,
    request: Request<WhoCanRequest>,
) -> Result<Response<WhoCanResponse>, Status> {
    let _caller = caller(&request)?;
    let _ = (context, request);
    Err(Status::unimplemented("who_can"))
}

pub(super) async fn can(
    context: &Context,
    request: Request<CanRequest>,
) -> Result<Response<CanResponse>, Status> {
    let _caller = caller(&request)?;
    let _ = (context, request);
    Err(Status::unimplemented("can"))
}

pub(super) async fn what_if(
    context: &Context,
    request: Request<WhatIfRequest>,
) -> Result<Response<WhatIfResponse>, Status> {
    let _caller = caller(&request)?;
    let _ = (context, request);
    Err(Status::unimplemented("what_if"))
}
