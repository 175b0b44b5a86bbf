//! A controller's half of the link, in memory, on a port of its own, that can be taken away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fleet::EventRecord;
use fleet::wire::agent_server::{Agent, AgentServer};
use fleet::wire::{
    AcknowledgeRequest, AcknowledgeResponse, ClaimRequest, ClaimResponse, Directive,
    PushEventsRequest, PushEventsResponse, SessionRequest,
};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// What the controller remembers; it outlives a restart.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) events: BTreeMap<u64, EventRecord>,
    pub(super) epochs: Vec<String>,
    /// Claims by digest: who won.
    pub(super) claims: BTreeMap<Vec<u8>, u64>,
    /// How many calls fail from now on, after having been carried out.
    pub(super) lost_answers: u32,
    /// Claims are never answered.
    pub(super) hang: bool,
    pub(super) claim_calls: u32,
    /// What it says of its clock; 0 for nothing.
    pub(super) controller_time_ms: u64,
    /// Why pushes are refused; empty when they are not.
    pub(super) refuses_events: String,
    /// What sessions are refused with; `None` when they are not.
    pub(super) refuses_sessions: Option<Status>,
    /// The chain value that pushes are acknowledged with.
    pub(super) acknowledges_chain: Vec<u8>,
    directives: Vec<mpsc::UnboundedSender<Result<Directive, Status>>>,
}

/// A running controller. Dropping it cuts every connection.
pub(super) struct Fake {
    runtime: Option<Runtime>,
    pub(super) address: SocketAddr,
    pub(super) state: Arc<Mutex<State>>,
    pub(super) sessions: mpsc::UnboundedReceiver<SessionRequest>,
    pub(super) acknowledged: mpsc::UnboundedReceiver<AcknowledgeRequest>,
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<State>>,
    sessions: mpsc::UnboundedSender<SessionRequest>,
    acknowledged: mpsc::UnboundedSender<AcknowledgeRequest>,
}

// === impl Fake ===

impl Fake {
    pub(super) fn start() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(any, Arc::default())
    }

    /// As after a restart: the same address and memory.
    pub(super) fn start_at(address: SocketAddr, state: Arc<Mutex<State>>) -> Self {
        let (sessions, sessions_seen) = mpsc::unbounded_channel();
        let (acknowledged, acknowledged_seen) = mpsc::unbounded_channel();
        let service = Service {
            state: state.clone(),
            sessions,
            acknowledged,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let entered = runtime.enter();
        let incoming = bind(address);
        let address = incoming.local_addr().unwrap();
        let server = Server::builder().add_service(AgentServer::new(service));
        runtime.spawn(server.serve_with_incoming(incoming));
        drop(entered);
        Self {
            runtime: Some(runtime),
            address,
            state,
            sessions: sessions_seen,
            acknowledged: acknowledged_seen,
        }
    }

    /// Sends a directive in every open session.
    pub(super) fn direct(&self, directive: &Directive) {
        for session in &self.state.lock().directives {
            let _ = session.send(Ok(directive.clone()));
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.state.lock().directives.clear();
    }
}

// === impl Service ===

impl Service {
    fn maybe_lost<T>(&self, answer: T) -> Result<Response<T>, Status> {
        let mut state = self.state.lock();
        if state.lost_answers > 0 {
            state.lost_answers -= 1;
            return Err(Status::unavailable("the answer is lost"));
        }
        Ok(Response::new(answer))
    }
}

#[tonic::async_trait]
impl Agent for Service {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<Directive, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<SessionRequest>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if let Some(status) = self.state.lock().refuses_sessions.clone() {
            return Err(status);
        }
        let (directives, stream) = mpsc::unbounded_channel();
        self.state.lock().directives.push(directives);
        let _ = self.sessions.send(request.into_inner());
        let stream = Box::pin(UnboundedReceiverStream::new(stream));
        let mut response: Response<Self::SessionStream> = Response::new(stream);
        let contract = fleet::Contract::of_this_program().to_string();
        let server = contract.parse().unwrap();
        response.metadata_mut().insert("server", server);
        Ok(response)
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        let _ = self.acknowledged.send(request.into_inner());
        let controller_time_ms = self.state.lock().controller_time_ms;
        Ok(Response::new(AcknowledgeResponse {
            controller_time_ms,
            ..AcknowledgeResponse::default()
        }))
    }

    async fn claim(
        &self,
        request: Request<ClaimRequest>,
    ) -> Result<Response<ClaimResponse>, Status> {
        let ClaimRequest { digest, seq, .. } = request.into_inner();
        self.state.lock().claim_calls += 1;
        if self.state.lock().hang {
            std::future::pending::<()>().await;
        }
        let holder = *self.state.lock().claims.entry(digest).or_insert(seq);
        let won = holder == seq;
        let held_by = if won { "" } else { "web-2" }.to_owned();
        self.maybe_lost(ClaimResponse { won, held_by })
    }

    async fn push_events(
        &self,
        request: Request<PushEventsRequest>,
    ) -> Result<Response<PushEventsResponse>, Status> {
        let refuses = self.state.lock().refuses_events.clone();
        if !refuses.is_empty() {
            return Err(Status::invalid_argument(refuses));
        }
        let PushEventsRequest { epoch, records, .. } = request.into_inner();
        let acknowledged_seq = {
            let mut state = self.state.lock();
            state.epochs.push(epoch);
            for record in records {
                let before = state.events.insert(record.seq, record.clone());
                assert!(before.is_none_or(|before| before == record));
            }
            state.events.keys().last().copied().unwrap_or(0)
        };
        let acknowledged_chain = self.state.lock().acknowledges_chain.clone();
        self.maybe_lost(PushEventsResponse {
            acknowledged_seq,
            acknowledged_chain,
        })
    }
}

/// Binds an address that the server before may not have let go of yet.
fn bind(address: SocketAddr) -> TcpIncoming {
    const TRIES: usize = 200;
    for _ in 1..TRIES {
        if let Ok(incoming) = TcpIncoming::bind(address) {
            return incoming;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    TcpIncoming::bind(address).unwrap()
}
