//! The gRPC server: TLS, layers and services.
//!
//! | file | what |
//! |---|---|
//! | `accept` | from the listening socket to connections that speak, each step with its time limit |
//! | `admission` | who may have a connection: members before strangers |
//! | `connection` | one connection as HTTP/2 sees it, and what ends it |
//! | `tls` | who the server proves to be, and whose certificates it takes |
//! | `listener` | where it listens: both families, or what there is |
//! | `files` | the limit on open files |
//! | `silence` | hosts that vanished without a word |

mod accept;
mod admission;
mod connection;
mod files;
mod listener;
mod silence;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleet::Contract;
use fleet::wire::agent_server::AgentServer;
use fleet::wire::audit_server::AuditServer;
use fleet::wire::directory_server::DirectoryServer;
use fleet::wire::enrollment_server::EnrollmentServer;
use fleet::wire::operator_server::OperatorServer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::header::SERVER;
use tonic::codegen::http::{HeaderValue, Response};
use tonic::service::Routes;
use tonic::transport::Server;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::util::MapResponseLayer;
use tower_http::trace::{DefaultOnFailure, TraceLayer};

use self::accept::{Door, Greeter, Ready};
use self::admission::{Admission, Caps};
use self::connection::Connection;
use self::silence::Silence;
pub(crate) use self::tls::Doorway;
use crate::access::layer::AuthorizeLayer;
use crate::ca::Credentials;
use crate::context::Context;
use crate::grpc::agent::AgentService;
use crate::grpc::audit::AuditService;
use crate::grpc::directory::DirectoryService;
use crate::grpc::enrollment::EnrollmentService;
use crate::grpc::operator::OperatorService;
use crate::grpc::refusals::RecordRefusalsLayer;
use crate::grpc::session_body::WithSessionBody;
use crate::settings::Listen;

/// The answer to a request must begin within this. Streams begin at once and then go on.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests in work at one time, of all peers together; a stream counts until it has begun.
const REQUESTS_MAX: usize = 8_192;
/// And of one connection.
const REQUESTS_PER_CONNECTION_MAX: usize = 1_024;
/// Streams that one connection may have open.
const STREAMS_MAX: u32 = 1_024;
/// Streams that a peer opened and reset before they were looked at; more end its connection.
const PENDING_RESETS_MAX: usize = 32;
/// Streams that had to be reset because the peer broke the rules; more end its connection.
const LOCAL_RESETS_MAX: usize = 128;
/// The headers of one request.
const HEADERS_BYTES_MAX: u32 = 16 * 1024;
/// A message that names something and asks for something: what most are.
const QUESTION_BYTES_MAX: usize = 64 * 1024;
/// Who joins or renews sends keys and a certificate request.
const ENROLLMENT_BYTES_MAX: usize = 16 * 1024;
/// A policy of 10,000 stanzas with keys is about 3 MB.
const POLICY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A push of many events.
const EVENTS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Persons' programs and strangers that vanished without a word are found out by this, clearly before twenty seconds
/// are over; hosts by [`silence`].
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(7);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(7);
/// How long open requests may take to finish when the controller stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken, not this machine's, or not allowed.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate and its key cannot be used.
    #[error("TLS")]
    Tls(#[source] rustls::Error),
}

/// Begins to listen.
pub(crate) fn bind(listen: Listen) -> Result<(SocketAddr, TcpListener), ServerError> {
    listener::bind(listen, listener::open)
}

/// Serves until the context says stop.
pub(crate) fn spawn(
    context: &Arc<Context>,
    identity: &Credentials,
    listener: TcpListener,
) -> Result<(JoinHandle<()>, Arc<Doorway>), ServerError> {
    let authorize = AuthorizeLayer {
        fleet: context.settings.fleet.as_str().into(),
        roster: Arc::clone(&context.roster),
        limits: Arc::clone(&context.limits),
        looks: (context.store.is_shared()).then(|| Arc::clone(&context.looks)),
        tasks: context.tasks.clone(),
    };
    let (hosts, of_hosts) = mpsc::channel(accept::READY_MAX);
    let (others, of_others) = mpsc::channel(accept::READY_MAX);
    let caps = Caps::of_files(files::raise_limit());
    tracing::debug!(?caps, "connections");
    let doorway = Arc::new(Doorway::new(identity, &context.authorities.get())?);
    let silence = Silence::default();
    let door = Door {
        listener,
        admission: Admission::new(caps),
        greeter: Greeter {
            doorway: Arc::clone(&doorway),
            authorize: authorize.clone(),
            silence: silence.clone(),
            ready: Ready { hosts, others },
        },
        stopping: context.stopping.clone(),
    };
    let in_work = GlobalConcurrencyLimitLayer::new(REQUESTS_MAX);
    let serve = |incoming, asked| {
        serve(
            context,
            (authorize.clone(), in_work.clone()),
            incoming,
            asked,
        )
    };
    // A host asks by itself, and is missed when it does not; all others are asked.
    let hosts = serve(of_hosts, None);
    let others = serve(of_others, Some(KEEP_ALIVE_INTERVAL));
    let stopping = context.stopping.clone();
    let drained = async move {
        stopping.cancelled().await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::spawn(door.run());
    tokio::spawn(silence.sweep_until(context.stopping.clone()));
    let server = tokio::spawn(async move {
        tokio::select! {
            served = async { tokio::join!(hosts, others) } => {
                for error in [served.0, served.1].into_iter().filter_map(Result::err) {
                    tracing::error!(error = %program::one_line(&error), "the server ended");
                }
            }
            () = drained => tracing::warn!("requests were cut off"),
        }
    });
    Ok((server, doorway))
}

/// Serves these connections until the context says stop, and asks each so often whether it is there.
fn serve(
    context: &Arc<Context>,
    (authorize, in_work): (AuthorizeLayer, GlobalConcurrencyLimitLayer),
    incoming: mpsc::Receiver<Connection>,
    asked: Option<Duration>,
) -> impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static {
    let router = Server::builder()
        .timeout(REQUEST_TIMEOUT)
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(asked)
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        // Anyone can cause a refusal; what is broken here is logged where it is turned into a
        // status.
        .layer(
            TraceLayer::new_for_grpc()
                .on_failure(DefaultOnFailure::new().level(tracing::Level::DEBUG)),
        )
        .layer(MapResponseLayer::new(name_contract))
        .layer(RecordRefusalsLayer {
            context: Arc::clone(context),
        })
        .layer(authorize)
        .layer(in_work)
        .add_routes(routes(context));
    let incoming = ReceiverStream::new(incoming).map(Ok::<_, Infallible>);
    let stop = context.stopping.clone().cancelled_owned();
    router.serve_with_incoming_shutdown(incoming, stop)
}

/// Says in every answer, a refusal too, which version of the contract this program speaks.
fn name_contract<B>(mut response: Response<B>) -> Response<B> {
    let name = format!(
        "postern/{} {}",
        env!("CARGO_PKG_VERSION"),
        Contract::of_this_program()
    );
    if let Ok(name) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(SERVER, name);
    }
    response
}

/// The five services of the contract, and health.
pub(crate) fn routes(context: &Arc<Context>) -> Routes {
    let context = || Arc::clone(context);
    // Without a name it says that the whole server serves, which is so from the first moment.
    let (_, health) = tonic_health::server::health_reporter();
    let enrollment = EnrollmentService::new(context());
    let agent = AgentService::new(context());
    let operator = OperatorService::new(context());
    let audit = AuditService::new(context());
    let directory = DirectoryService::new(context());
    Routes::new(health)
        .add_service(
            EnrollmentServer::new(enrollment).max_decoding_message_size(ENROLLMENT_BYTES_MAX),
        )
        .add_service(WithSessionBody::new(
            AgentServer::new(agent).max_decoding_message_size(EVENTS_BYTES_MAX),
        ))
        .add_service(OperatorServer::new(operator).max_decoding_message_size(POLICY_BYTES_MAX))
        .add_service(AuditServer::new(audit).max_decoding_message_size(QUESTION_BYTES_MAX))
        .add_service(DirectoryServer::new(directory).max_decoding_message_size(QUESTION_BYTES_MAX))
}
