//! Today's link at a controller of version 1 of the contract, frozen in tests/contract-1, as strict as
//! that one was about events.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use contract_1::wire::agent_server::{Agent, AgentServer};
use contract_1::wire::directive::Directive as Kind;
use contract_1::wire::{
    AcknowledgeRequest, AcknowledgeResponse, ClaimRequest, ClaimResponse, Directive,
    PolicySnapshot, PushEventsRequest, PushEventsResponse, SessionRequest,
};
use engine::ClaimAnswer;
use fleet::{Event, EventKind, GrantId};
use parking_lot::Mutex;
use tokio_stream::Stream;
use tokio_stream::StreamExt as _;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::{Desk, POLICY, digest, link};

#[derive(Clone, Default)]
struct Old {
    events: Arc<Mutex<BTreeMap<u64, contract_1::Event>>>,
    /// Events whose chain value does not follow from the one before.
    broken: Arc<Mutex<Vec<u64>>>,
}

#[tonic::async_trait]
impl Agent for Old {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<Directive, Status>> + Send>>;

    async fn session(
        &self,
        _: Request<SessionRequest>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let policy = Kind::Policy(PolicySnapshot {
            generation: 3,
            text: POLICY.to_owned(),
            digest: digest(POLICY).to_vec(),
            not_after_secs: 0,
            replay_floor_secs: 0,
        });
        let first = Directive {
            directive: Some(policy),
        };
        let stream = tokio_stream::once(Ok(first)).chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(stream)))
    }

    async fn acknowledge(
        &self,
        _: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        Ok(Response::new(AcknowledgeResponse {}))
    }

    async fn claim(&self, _: Request<ClaimRequest>) -> Result<Response<ClaimResponse>, Status> {
        Ok(Response::new(ClaimResponse {
            won: true,
            held_by: String::new(),
        }))
    }

    async fn push_events(
        &self,
        request: Request<PushEventsRequest>,
    ) -> Result<Response<PushEventsResponse>, Status> {
        let mut before = [0; 32];
        for event in request.into_inner().events {
            let (event, chain) = contract_1::Event::from_wire(event)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            if event.chain(&before) != chain {
                self.broken.lock().push(event.seq);
            }
            before = chain;
            self.events.lock().insert(event.seq, event);
        }
        let acknowledged_seq = self.events.lock().keys().last().copied().unwrap_or(0);
        Ok(Response::new(PushEventsResponse { acknowledged_seq }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_of_version_1_is_obeyed_and_gets_every_event_in_a_chain_that_holds() {
    let old = Old::default();
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = Server::builder().add_service(AgentServer::new(old.clone()));
    tokio::spawn(server.serve_with_incoming(incoming));
    let (mut desk, channels) = Desk::new();
    let _link = link(address, channels);

    assert_eq!(desk.adopt().await, 3);
    let mut opened = Event::new(EventKind::GrantOpened, 1);
    opened.user = "alice".to_owned();
    opened.grant_id = GrantId([7; 16]).to_string();
    opened.clock_offset_ms = Some(5);
    desk.journal.stage(opened);
    desk.journal.stage(Event::new(EventKind::GrantClosed, 2));
    desk.committed.send_replace(desk.journal.commit().unwrap());
    desk.acknowledged(2).await;
    assert_eq!(desk.claim(9).await, ClaimAnswer::Won);

    let events = old.events.lock();
    let kinds: Vec<_> = events.values().map(|event| event.kind).collect();
    let opened = contract_1::EventKind::GrantOpened;
    assert_eq!(kinds, [opened, contract_1::EventKind::GrantClosed]);
    assert_eq!(events[&1].user, "alice");
    assert_eq!(*old.broken.lock(), Vec::<u64>::new());
}
