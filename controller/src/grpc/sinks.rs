//! Where events are sent on to.

use fleet::wire::{ListSinksRequest, ListSinksResponse, Sink};
use tonic::{Request, Response, Status};

use super::caller;
use crate::clock;
use crate::context::Context;
use crate::error::Error;

pub(super) async fn list_sinks(
    context: &Context,
    request: Request<ListSinksRequest>,
) -> Result<Response<ListSinksResponse>, Status> {
    caller(&request)?;
    let newest_id = context.store.newest_record().await.map_err(Error::from)?;
    let now = clock::now();
    let sinks = context.sinks.states().map(|sink| {
        let standing = sink.standing();
        Sink {
            name: sink.name().to_owned(),
            r#type: sink.type_name().to_owned(),
            delivered_id: standing.delivered_id,
            newest_id,
            lag_ms: standing.lag_ms(now),
            delivered_at_ms: standing.delivered_at_ms,
            error: standing.error,
        }
    });
    let sinks = sinks.collect();
    Ok(Response::new(ListSinksResponse { sinks }))
}
