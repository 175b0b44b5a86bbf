//! The services behind everything but the network, for tests that call them with any bytes
//! (`tests/fuzz`). Nothing of the controller calls this.
//!
//! A real controller with a member of each role. A call goes through the table of permissions and the
//! conversion of its RPC to the use case and the database, as one that came over TLS would.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use ed25519_dalek::SigningKey;
use fleet::{Role, Token};
use http_body::{Body as _, Frame};
use rcgen::{CertificateParams, KeyPair};
use tokio::runtime::{Builder, Runtime};
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::header::CONTENT_TYPE;
use tonic::codegen::http::{HeaderMap, Request};
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::{Layer as _, Service as _};

use crate::access::caller::{Call, RequestId};
use crate::access::layer::{Authorize, AuthorizeLayer};
use crate::access::peer::{Peer, Presented};
use crate::app::enroll::{self, Joiner};
use crate::app::tokens::NewToken;
use crate::clock;
use crate::context::Context;
use crate::grpc::refusals::{RecordRefusals, RecordRefusalsLayer};
use crate::random::random;
use crate::start::{Running, init};

/// Every RPC of the contract.
pub const RPCS: [&str; 38] = [
    "/postern.v1.Agent/Acknowledge",
    "/postern.v1.Agent/Claim",
    "/postern.v1.Agent/PushEvents",
    "/postern.v1.Agent/Session",
    "/postern.v1.Audit/AccessReview",
    "/postern.v1.Audit/ListEvents",
    "/postern.v1.Audit/ListSinks",
    "/postern.v1.Audit/ReadLog",
    "/postern.v1.Directory/RecentEvents",
    "/postern.v1.Directory/Sync",
    "/postern.v1.Directory/WhoAmI",
    "/postern.v1.Enrollment/Redeem",
    "/postern.v1.Enrollment/Renew",
    "/postern.v1.Operator/ApplyPolicy",
    "/postern.v1.Operator/BanHost",
    "/postern.v1.Operator/Can",
    "/postern.v1.Operator/CreateToken",
    "/postern.v1.Operator/DiffPolicy",
    "/postern.v1.Operator/ListControllers",
    "/postern.v1.Operator/ListHosts",
    "/postern.v1.Operator/ListMembers",
    "/postern.v1.Operator/ListTokens",
    "/postern.v1.Operator/LockMember",
    "/postern.v1.Operator/PolicyHistory",
    "/postern.v1.Operator/RemoveMember",
    "/postern.v1.Operator/RenameHost",
    "/postern.v1.Operator/RenderPolicy",
    "/postern.v1.Operator/RevokeToken",
    "/postern.v1.Operator/RollbackPolicy",
    "/postern.v1.Operator/SetHost",
    "/postern.v1.Operator/ShowHost",
    "/postern.v1.Operator/ShowMember",
    "/postern.v1.Operator/ShowPolicy",
    "/postern.v1.Operator/UnlockMember",
    "/postern.v1.Operator/WhatIf",
    "/postern.v1.Operator/WhoCan",
    // At the end: inputs that were found name the others by their places.
    "/postern.v1.Enrollment/Rotate",
    "/postern.v1.Operator/RotateMember",
];

/// Frames of an answer that are looked at; streams that follow something never end.
const FRAMES_MAX: usize = 64;

/// A controller with a member of each role.
pub struct Fleet {
    runtime: Runtime,
    context: Arc<Context>,
    running: Option<Running>,
    service: RecordRefusals<Authorize<Routes>>,
    members: Vec<Presented>,
}

/// What became of a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answered {
    /// The status with which it ended; `None` while its stream goes on.
    pub code: Option<Code>,
    /// In words.
    pub message: String,
}

/// A message as a call carries it.
struct Whole(Option<Bytes>);

// === impl Fleet ===

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}

impl Fleet {
    /// Makes a controller in a directory.
    ///
    /// # Panics
    ///
    /// When it cannot be made, which is no matter of what is tried.
    pub fn begin(dir: &Path) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (running, context, members) = runtime.block_on(async {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let data = dir.join("controller");
            let owner = init(&data, "localhost:7443", "prod").await.expect("made");
            let running = Running::start(&data, Some(address)).await;
            let running = running.expect("it starts");
            let context = running.context();
            let mut members = vec![Presented::Nothing, join(&context, &owner).await];
            for role in Role::ALL {
                let token = running.invite(invitation(role)).await.expect("a token");
                members.push(join(&context, &token).await);
            }
            (running, context, members)
        });
        let authorize = AuthorizeLayer {
            fleet: context.settings.fleet.as_str().into(),
            roster: Arc::clone(&context.roster),
            limits: Arc::clone(&context.limits),
            looks: None,
            tasks: context.tasks.clone(),
        };
        let refusals = RecordRefusalsLayer {
            context: Arc::clone(&context),
        };
        let routes = crate::server::routes(&context);
        Self {
            service: refusals.layer(authorize.layer(routes)),
            runtime,
            context,
            running: Some(running),
            members,
        }
    }

    /// How many can call: nobody in particular, an owner, and a member of each role.
    pub fn callers(&self) -> usize {
        self.members.len()
    }

    /// Has somebody call an RPC.
    ///
    /// # Panics
    ///
    /// When there is no such caller or RPC.
    pub fn call(&mut self, caller: usize, rpc: usize, message: &[u8]) -> Answered {
        let presented = self.members.get(caller).expect("a caller").clone();
        let length = u32::try_from(message.len()).expect("a short message");
        let framed = [&[0][..], &length.to_be_bytes(), message].concat();
        let request = Request::post(*RPCS.get(rpc).expect("an RPC"))
            .header(CONTENT_TYPE, "application/grpc")
            .extension(Peer::new(IpAddr::V4(Ipv4Addr::LOCALHOST), presented))
            .body(Body::new(Whole(Some(framed.into()))));
        let request = request.expect("a request");
        self.runtime.block_on(answered(&mut self.service, request))
    }

    /// Lets what runs beside the calls do what is due.
    pub fn rest(&self) {
        self.runtime.block_on(async {
            tokio::task::yield_now().await;
        });
        self.context.limits.prune();
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}

async fn answered(
    service: &mut RecordRefusals<Authorize<Routes>>,
    request: Request<Body>,
) -> Answered {
    poll_fn(|context| tower::Service::<Request<Body>>::poll_ready(service, context))
        .await
        .expect("a service that never fails");
    let answer = service.call(request).await;
    let answer = answer.expect("a service that never fails");
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return Answered::of(&status);
    }
    let mut body = answer.into_body();
    for _ in 0..FRAMES_MAX {
        let next = poll_fn(|context| match Pin::new(&mut body).poll_frame(context) {
            Poll::Pending => Poll::Ready(None),
            Poll::Ready(next) => Poll::Ready(Some(next)),
        });
        match next.await {
            // Others have their turn, for whoever fills a stream runs beside it.
            None => tokio::task::yield_now().await,
            Some(None) => break,
            Some(Some(Err(status))) => return Answered::of(&status),
            Some(Some(Ok(frame))) => {
                let trailers = frame.into_trailers().ok();
                let status = trailers.and_then(|it: HeaderMap| Status::from_header_map(&it));
                if let Some(status) = status {
                    return Answered::of(&status);
                }
            }
        }
    }
    Answered {
        code: None,
        message: String::new(),
    }
}

/// The certificate of somebody who redeems a token.
async fn join(context: &Context, token: &Token) -> Presented {
    let tls = KeyPair::generate().expect("a key");
    let request = CertificateParams::default().serialize_request(&tls);
    let identity = SigningKey::from_bytes(&random().expect("randomness"));
    let joiner = Joiner {
        token_secret: token.secret.to_vec(),
        csr_der: request.expect("a request").der().to_vec(),
        identity_key: identity.verifying_key().to_bytes(),
        exchange_key: Some([2; 32]),
        requested_name: "first".to_owned(),
        address: "192.0.2.7".to_owned(),
        spa_port: 0,
        keeps_set: true,
    };
    let call = Call {
        id: RequestId::new().expect("randomness"),
        peer: None,
    };
    let enrolled = enroll::redeem(context, call, joiner, clock::now()).await;
    let certificate = enrolled.expect("a member").certified.certificate_der;
    Presented::at(&certificate, clock::now())
}

fn invitation(role: Role) -> NewToken {
    NewToken {
        role,
        name: format!("{role}-1"),
        labels: [].into(),
        scope: [].into(),
        ttl: std::time::Duration::ZERO,
        key_name: String::new(),
        replaces: false,
    }
}

// === impl Answered ===

impl Answered {
    fn of(status: &Status) -> Self {
        Self {
            code: Some(status.code()),
            message: status.message().to_owned(),
        }
    }
}

// === impl Whole ===

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}
