//! Answers of a controller that was taken over: the commands of `postern` ask one that has the fleet's
//! keys and answers any bytes.
//!
//! Whatever it answers, a command ends, with words or without. What it says of hosts that a user may
//! open is signed by the fleet, as a controller that was taken over can sign it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fs;
use std::future::{Ready, ready};
use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use controller::{NewToken, Running, init};
use fleet::wire::SyncResponse;
use fleet::{Role, Token};
use http_body::Frame;
use member::{JoinOptions, join};
use postern::hostile::run;
use prost::Message as _;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::header::CONTENT_TYPE;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tonic::service::Routes;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tower::Service;
use tower::layer::layer_fn;

use crate::scene::memory;

/// What is asked, by the owner or by the user. `FILE` is a policy.
const COMMANDS: [(Who, &[&str]); 34] = [
    (Who::Owner, &["host", "list"]),
    (Who::Owner, &["host", "list", "--json"]),
    (Who::Owner, &["host", "show", "web-1"]),
    (Who::Owner, &["host", "set", "web-1", "--label", "env=prod"]),
    (Who::Owner, &["host", "rename", "web-1", "web-2"]),
    (Who::Owner, &["host", "ban", "web-1", "--wait", "1s"]),
    (Who::Owner, &["member", "list"]),
    (Who::Owner, &["member", "list", "--json"]),
    (Who::Owner, &["member", "show", "user", "alice"]),
    (
        Who::Owner,
        &["member", "lock", "user", "alice", "--wait", "1s"],
    ),
    (Who::Owner, &["token", "list", "--all"]),
    (Who::Owner, &["token", "list", "--json"]),
    (
        Who::Owner,
        &["token", "create", "--role", "user", "--name", "bob"],
    ),
    (Who::Owner, &["token", "revoke", "0a"]),
    (Who::Owner, &["policy", "show"]),
    (Who::Owner, &["policy", "history"]),
    (Who::Owner, &["policy", "render", "--host", "web-1"]),
    (Who::Owner, &["policy", "diff", FILE]),
    (Who::Owner, &["policy", "diff", FILE, "--json"]),
    (
        Who::Owner,
        &["policy", "apply", FILE, "-m", "why", "--base", "1"],
    ),
    (Who::Owner, &["policy", "rollback", "1"]),
    (Who::Owner, &["policy", "what-if", FILE]),
    (Who::Owner, &["who-can", "web-1"]),
    (Who::Owner, &["can", "alice", "web-1", "tcp/22"]),
    (Who::Owner, &["audit", "list"]),
    (Who::Owner, &["audit", "list", "--json"]),
    (Who::Owner, &["audit", "verify"]),
    (Who::Owner, &["report", "access-review"]),
    (Who::Owner, &["report", "access-review", "--format", "csv"]),
    (Who::Owner, &["sink", "list"]),
    (Who::User, &["sync"]),
    (Who::User, &["list"]),
    (Who::User, &["knock", "web-1", "-A", "tcp/22", "--dry-run"]),
    (Who::Owner, &["member", "rotate", "user", "alice"]),
];
const FILE: &str = "FILE";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Who {
    Owner,
    User,
}

/// What is answered next, frame by frame.
type Answers = Arc<Mutex<Vec<Vec<u8>>>>;

/// A controller that lies, and two who believe it.
struct Scene {
    answers: Answers,
    dir: TempDir,
    /// Where the controller is. A runtime cannot be stopped when its thread ends: it is left to the end
    /// of the process.
    _runtime: ManuallyDrop<Runtime>,
}

thread_local! {
    static SCENE: RefCell<Option<Scene>> = const { RefCell::new(None) };
}

/// Answers every call, whatever is asked.
#[derive(Clone)]
struct Liar {
    answers: Answers,
    /// The fleet's key.
    key: Arc<EcdsaKeyPair>,
}

/// The body of an answer, and that it is all.
struct Whole {
    framed: Option<Bytes>,
    is_over: bool,
}

pub(crate) fn check(bytes: &[u8]) {
    let Some((&which, mut rest)) = bytes.split_first() else {
        return;
    };
    let mut frames = Vec::new();
    while let Some(([high, low], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        let (frame, behind) = behind.split_at(length);
        frames.push(frame.to_vec());
        rest = behind;
    }
    SCENE.with_borrow_mut(|scene| {
        let scene = scene.get_or_insert_with(Scene::new);
        let answers = scene.answers.lock();
        *answers.unwrap_or_else(PoisonError::into_inner) = frames;
        scene.ask(COMMANDS[usize::from(which) % COMMANDS.len()]);
    });
}

// === impl Scene ===

impl Scene {
    fn new() -> Self {
        let folder = TempDir::new_in(memory()).expect("a folder");
        let dir = folder.path();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let answers = Answers::default();
        runtime.block_on(async {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let address = free.local_addr().expect("its address");
            drop(free);
            let data = dir.join("controller");
            let owner = init(&data, &address.to_string(), "prod").await;
            let running = Running::start(&data, Some(address)).await;
            let running = running.expect("it starts");
            enter(&owner.expect("made"), &dir.join("owner")).await;
            let user = running.invite(user()).await.expect("a token");
            enter(&user, &dir.join("user")).await;
            running.stop().await;
            let _ends_with_us = tokio::spawn(lie(address, data, Arc::clone(&answers)));
        });
        let policy = "HOSTS\nSOURCE ANY\nUSER alice\nOPEN_PORTS tcp/22\n";
        fs::write(dir.join(FILE), policy).expect("our folder");
        Self {
            answers,
            dir: folder,
            _runtime: ManuallyDrop::new(runtime),
        }
    }

    fn ask(&self, (who, words): (Who, &[&str])) {
        let file = self.dir.path().join(FILE).display().to_string();
        let words = words.iter().copied();
        let words = words.map(|word| if word == FILE { file.as_str() } else { word });
        let words: Vec<&str> = words.collect();
        let profile = self.dir.path().join(match who {
            Who::Owner => "owner",
            Who::User => "user",
        });
        if let Some(said) = run(&words, &profile) {
            assert!(!said.is_empty(), "{words:?} fails without a word");
        }
    }
}

async fn enter(token: &Token, dir: &Path) {
    let options = JoinOptions {
        requested_name: Some("owner-1".to_owned()),
        ..JoinOptions::default()
    };
    let joined = join(token, dir, options).await;
    let _ = joined.expect("it joins");
}

fn user() -> NewToken {
    NewToken {
        role: Role::User,
        name: "alice".to_owned(),
        labels: [].into(),
        scope: [].into(),
        ttl: std::time::Duration::ZERO,
        key_name: String::new(),
        replaces: false,
    }
}

/// Serves with the keys of the fleet, once the address is free.
async fn lie(address: SocketAddr, data: PathBuf, answers: Answers) {
    let read = |name: &str| fs::read_to_string(data.join(name)).expect("a controller's file");
    let key = pem(&read("ca-key.pem"));
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key, &random);
    let liar = Liar {
        answers,
        key: Arc::new(key.expect("the fleet's key")),
    };
    let identity = Identity::from_pem(read("server.pem"), read("server-key.pem"));
    let tls = ServerTlsConfig::new().identity(identity);
    let served = Server::builder()
        .tls_config(tls)
        .expect("the controller's certificate")
        .layer(layer_fn(move |_: Routes| liar.clone()))
        .add_routes(Routes::default())
        .serve(address)
        .await;
    served.expect("it serves");
}

/// The bytes of a file in PEM with one part.
fn pem(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    let lines = text.lines().filter(|line| !line.starts_with('-'));
    let decoded = base64::engine::general_purpose::STANDARD.decode(lines.collect::<String>());
    decoded.expect("base64")
}

// === impl Liar ===

impl Liar {
    fn answer(&self, path: &str) -> Vec<u8> {
        let answers = self.answers.lock();
        let frames = answers.unwrap_or_else(PoisonError::into_inner).clone();
        let mut framed = Vec::new();
        for mut frame in frames {
            if path.ends_with("Directory/Sync") {
                let signature = self.key.sign(&SystemRandom::new(), &frame);
                let signed = SyncResponse {
                    signature: signature.expect("a signature").as_ref().to_vec(),
                    body: frame,
                    ..SyncResponse::default()
                };
                frame = signed.encode_to_vec();
            }
            framed.push(0);
            framed.extend(u32::try_from(frame.len()).expect("short").to_be_bytes());
            framed.extend(frame);
        }
        framed
    }
}

impl Service<Request<Body>> for Liar {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let framed = self.answer(request.uri().path());
        let mut answer = Response::new(Body::new(Whole {
            framed: Some(framed.into()),
            is_over: false,
        }));
        let form = HeaderValue::from_static("application/grpc");
        answer.headers_mut().insert(CONTENT_TYPE, form);
        ready(Ok(answer))
    }
}

// === impl Whole ===

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(framed) = self.framed.take() {
            return Poll::Ready(Some(Ok(Frame::data(framed))));
        }
        if std::mem::replace(&mut self.is_over, true) {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}
