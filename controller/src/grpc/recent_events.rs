//! What became of the caller's own packets.

use fleet::wire::{self, OwnEvent, RecentEventsRequest, RecentEventsResponse};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::caller;
use crate::app::recent_events::{self as app, Answer, HostState, Question};
use crate::clock;
use crate::context::Context;

pub(super) async fn recent_events(
    context: &Context,
    request: Request<RecentEventsRequest>,
) -> Result<Response<RecentEventsResponse>, Status> {
    let caller = caller(&request)?;
    let RecentEventsRequest {
        host,
        since_ms,
        limit,
    } = request.into_inner();
    let question = Question {
        host,
        since_ms,
        limit,
    };
    let now = clock::now();
    let answer = app::recent_events(context, &caller, question, now).await?;
    let Answer {
        events,
        hosts,
        generation,
    } = answer;
    let events = events.into_iter().map(|(host, event)| OwnEvent {
        host,
        body: event.encode_to_vec(),
    });
    Ok(Response::new(RecentEventsResponse {
        events: events.collect(),
        hosts: hosts.into_iter().map(host_state).collect(),
        controller_time_ms: now.ms(),
        generation,
    }))
}

fn host_state(state: HostState) -> wire::HostState {
    let HostState {
        host,
        connected,
        last_seen_ms,
        in_sync,
        clock_offset_ms,
    } = state;
    wire::HostState {
        host,
        connected,
        last_seen_ms,
        in_sync,
        clock_offset_ms,
    }
}
