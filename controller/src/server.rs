//! The gRPC server: TLS, layers and services.

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
use tokio::task::JoinHandle;
use tonic::codegen::http::header::SERVER;
use tonic::codegen::http::{HeaderValue, Response};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Server, ServerTlsConfig};
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::util::MapResponseLayer;
use tower_http::trace::{DefaultOnFailure, TraceLayer};

use crate::access::layer::AuthorizeLayer;
use crate::ca::Credentials;
use crate::context::Context;
use crate::grpc::agent::AgentService;
use crate::grpc::audit::AuditService;
use crate::grpc::directory::DirectoryService;
use crate::grpc::enrollment::EnrollmentService;
use crate::grpc::operator::OperatorService;

/// The answer to a request must begin within this. Streams begin at once and then go on.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests in work at one time, of all peers together; a stream counts until it has begun.
const REQUESTS_MAX: usize = 8_192;
/// And of one connection.
const REQUESTS_PER_CONNECTION_MAX: usize = 1_024;
/// A policy of 10,000 stanzas with keys is about 3 MB.
const POLICY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A push of many events.
const EVENTS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Peers that vanished without a word are found out by this.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
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
    Tls(#[source] tonic::transport::Error),
}

/// Begins to listen.
pub(crate) fn bind(address: SocketAddr) -> Result<(SocketAddr, TcpIncoming), ServerError> {
    let failed = |source| ServerError::Listen { address, source };
    let incoming = TcpIncoming::bind(address)
        .map_err(failed)?
        .with_nodelay(Some(true));
    let bound = incoming.local_addr().map_err(failed)?;
    Ok((bound, incoming))
}

/// Serves until the context says stop.
pub(crate) fn spawn(
    context: &Arc<Context>,
    identity: &Credentials,
    incoming: TcpIncoming,
) -> Result<JoinHandle<()>, ServerError> {
    let authorize = AuthorizeLayer {
        fleet: context.settings.fleet.as_str().into(),
        roster: Arc::clone(&context.roster),
        limits: Arc::clone(&context.limits),
    };
    let router = Server::builder()
        .tls_config(tls(identity, context.authority.ca_pem()))
        .map_err(ServerError::Tls)?
        .timeout(REQUEST_TIMEOUT)
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        // Anyone can cause a refusal; what is broken here is logged where it is turned into a
        // status.
        .layer(
            TraceLayer::new_for_grpc()
                .on_failure(DefaultOnFailure::new().level(tracing::Level::DEBUG)),
        )
        .layer(MapResponseLayer::new(name_contract))
        .layer(authorize)
        .layer(GlobalConcurrencyLimitLayer::new(REQUESTS_MAX))
        .add_routes(routes(context));
    let stopping = context.stopping.clone();
    let stop = stopping.clone().cancelled_owned();
    let drained = async move {
        stopping.cancelled().await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    Ok(tokio::spawn(async move {
        tokio::select! {
            served = router.serve_with_incoming_shutdown(incoming, stop) => {
                if let Err(error) = served {
                    tracing::error!(error = %program::one_line(&error), "the server ended");
                }
            }
            () = drained => tracing::warn!("requests were cut off"),
        }
    }))
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
fn routes(context: &Arc<Context>) -> Routes {
    let context = || Arc::clone(context);
    // Without a name it says that the whole server serves, which is so from the first moment.
    let (_, health) = tonic_health::server::health_reporter();
    let enrollment = EnrollmentService::new(context());
    let agent = AgentService::new(context());
    let operator = OperatorService::new(context());
    Routes::new(health)
        .add_service(EnrollmentServer::new(enrollment))
        .add_service(AgentServer::new(agent).max_decoding_message_size(EVENTS_BYTES_MAX))
        .add_service(OperatorServer::new(operator).max_decoding_message_size(POLICY_BYTES_MAX))
        .add_service(AuditServer::new(AuditService::new(context())))
        .add_service(DirectoryServer::new(DirectoryService::new(context())))
}

fn tls(identity: &Credentials, ca_pem: &str) -> ServerTlsConfig {
    // Two providers may be linked into one program; the first to say so is the one that is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    ServerTlsConfig::new()
        .identity(tonic::transport::Identity::from_pem(
            &identity.certificate_pem,
            &identity.key_pem,
        ))
        .client_ca_root(Certificate::from_pem(ca_pem))
        .client_auth_optional(true)
        .timeout(HANDSHAKE_TIMEOUT)
}
