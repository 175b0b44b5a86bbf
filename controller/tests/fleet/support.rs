//! A controller in a temporary directory, and members without files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use controller::{NewToken, Running};
use ed25519_dalek::{Signer as _, SigningKey};
use fleet::wire::agent_client::AgentClient;
use fleet::wire::audit_client::AuditClient;
use fleet::wire::directive::Directive as Kind;
use fleet::wire::directory_client::DirectoryClient;
use fleet::wire::enrollment_client::EnrollmentClient;
use fleet::wire::operator_client::OperatorClient;
use fleet::wire::{
    AcknowledgeRequest, ApplyPolicyRequest, ApplyPolicyResponse, AuditRecord, Directive,
    ListEventsRequest, PolicySnapshot, RedeemRequest, RedeemResponse, RenewRequest, RenewResponse,
    SessionRequest,
};
use fleet::{Role, Token};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Status, Streaming};

/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Fleet {
    pub(crate) dir: TempDir,
    pub(crate) running: Running,
    pub(crate) first: Token,
}

/// What a joiner makes for itself.
pub(crate) struct Joiner {
    pub(crate) identity: SigningKey,
    pub(crate) tls: KeyPair,
    pub(crate) exchange: [u8; 32],
}

/// Somebody who belongs to the fleet.
pub(crate) struct Member {
    pub(crate) joiner: Joiner,
    pub(crate) answer: RedeemResponse,
    pub(crate) channel: Channel,
}

// === impl Fleet ===

impl Fleet {
    pub(crate) async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap()).await
    }

    pub(crate) async fn start_in(dir: TempDir) -> Self {
        let data = dir.path().join("data");
        let first = controller::init(&data, "controller.example:7443", "prod")
            .await
            .unwrap();
        let running = serve(dir.path()).await;
        Self {
            dir,
            running,
            first,
        }
    }

    pub(crate) async fn restart(self) -> Self {
        let Self {
            dir,
            running,
            first,
        } = self;
        running.stop().await;
        Self::start_again(dir, first).await
    }

    /// The controller that was stopped in this directory.
    pub(crate) async fn start_again(dir: TempDir, first: Token) -> Self {
        let running = serve(dir.path()).await;
        Self {
            dir,
            running,
            first,
        }
    }

    pub(crate) async fn token(&self, role: Role, name: &str, labels: &[(&str, &str)]) -> Token {
        let wanted = NewToken {
            role,
            name: name.to_owned(),
            labels: labels
                .iter()
                .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            scope: BTreeMap::new(),
            ttl: Duration::ZERO,
            key_name: String::new(),
            replaces: false,
        };
        self.running.invite(wanted).await.unwrap()
    }

    pub(crate) async fn join(&self, role: Role, name: &str) -> Member {
        self.join_labelled(role, name, &[]).await
    }

    pub(crate) async fn join_labelled(
        &self,
        role: Role,
        name: &str,
        labels: &[(&str, &str)],
    ) -> Member {
        let token = self.token(role, name, labels).await;
        let joiner = Joiner::new();
        let answer = self.redeem(&token, &joiner).await.unwrap();
        let channel = self.channel(&answer.certificate_der, &joiner).await;
        Member {
            joiner,
            answer,
            channel,
        }
    }

    pub(crate) async fn redeem(
        &self,
        token: &Token,
        joiner: &Joiner,
    ) -> Result<RedeemResponse, Status> {
        let request = RedeemRequest {
            token_secret: token.secret.to_vec(),
            csr_der: joiner.csr(),
            identity_key: joiner.identity.verifying_key().to_bytes().to_vec(),
            exchange_key: joiner.exchange.to_vec(),
            requested_name: "somebody".to_owned(),
            address: "192.0.2.7".to_owned(),
            spa_port: 0,
        };
        EnrollmentClient::new(self.stranger().await)
            .redeem(request)
            .await
            .map(tonic::Response::into_inner)
    }

    pub(crate) async fn renew(
        &self,
        member: &Member,
        signed_at_secs: u64,
    ) -> Result<RenewResponse, Status> {
        let role = Role::try_from(member.answer.role).unwrap();
        let csr_der = member.joiner.csr();
        let name = member.answer.name.clone();
        let signed = fleet::renewal_message(role, &name, &csr_der, signed_at_secs);
        let request = RenewRequest {
            role: member.answer.role,
            name,
            csr_der,
            signed_at_secs,
            signature: member.joiner.identity.sign(&signed).to_bytes().to_vec(),
            identity_key: Vec::new(),
            known_authorities: Vec::new(),
        };
        EnrollmentClient::new(self.stranger().await)
            .renew(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Whether openssl finds that the fleet's CA has signed `body`.
    pub(crate) fn openssl_verifies(&self, body: &[u8], signature: &[u8]) -> bool {
        let dir = self.dir.path();
        std::fs::write(dir.join("body"), body).unwrap();
        std::fs::write(dir.join("signature"), signature).unwrap();
        let script = "openssl x509 -in data/ca.pem -pubkey -noout > key.pem && \
                      openssl dgst -sha256 -verify key.pem -signature signature body";
        let mut openssl = Command::new("sh");
        openssl.args(["-c", script]).current_dir(dir);
        openssl.output().unwrap().status.success()
    }

    /// A verified connection without a client certificate.
    pub(crate) async fn stranger(&self) -> Channel {
        self.connect(self.tls()).await
    }

    pub(crate) async fn channel(&self, certificate_der: &[u8], joiner: &Joiner) -> Channel {
        let identity = Identity::from_pem(pem(certificate_der), joiner.tls.serialize_pem());
        self.connect(self.tls().identity(identity)).await
    }

    pub(crate) fn tls(&self) -> ClientTlsConfig {
        let ca = std::fs::read_to_string(self.dir.path().join("data/ca.pem")).unwrap();
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .domain_name(fleet::SERVER_NAME)
    }

    async fn connect(&self, tls: ClientTlsConfig) -> Channel {
        self.endpoint(tls).connect().await.unwrap()
    }

    fn endpoint(&self, tls: ClientTlsConfig) -> Endpoint {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Endpoint::from_shared(format!("https://{}", self.running.address()))
            .unwrap()
            .tls_config(tls)
            .unwrap()
    }
}

async fn serve(dir: &Path) -> Running {
    let listen = "127.0.0.1:0".parse().unwrap();
    Running::start(&dir.join("data"), Some(listen))
        .await
        .unwrap()
}

// === impl Joiner ===

impl Joiner {
    pub(crate) fn new() -> Self {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes).unwrap();
        Self {
            identity: SigningKey::from_bytes(bytes.first_chunk().unwrap()),
            tls: KeyPair::generate().unwrap(),
            exchange: *bytes.last_chunk().unwrap(),
        }
    }

    pub(crate) fn csr(&self) -> Vec<u8> {
        let request = CertificateParams::default().serialize_request(&self.tls);
        request.unwrap().der().to_vec()
    }
}

// === impl Member ===

impl Member {
    /// The same member, connected to where the fleet serves now, by a program of today.
    pub(crate) async fn again(self, fleet: &Fleet) -> Self {
        let contract = fleet::Contract::of_this_program().to_string();
        self.again_as(fleet, &contract).await
    }

    /// The same by a program that says this of itself.
    pub(crate) async fn again_as(self, fleet: &Fleet, contract: &str) -> Self {
        let certificate = pem(&self.answer.certificate_der);
        let identity = Identity::from_pem(certificate, self.joiner.tls.serialize_pem());
        let endpoint = fleet.endpoint(fleet.tls().identity(identity));
        let endpoint = endpoint
            .user_agent(format!("postern/test {contract}"))
            .unwrap();
        let channel = endpoint.connect().await.unwrap();
        Self { channel, ..self }
    }

    pub(crate) fn operator(&self) -> OperatorClient<Channel> {
        OperatorClient::new(self.channel.clone())
    }

    pub(crate) fn agent(&self) -> AgentClient<Channel> {
        AgentClient::new(self.channel.clone())
    }

    pub(crate) fn audit(&self) -> AuditClient<Channel> {
        AuditClient::new(self.channel.clone())
    }

    pub(crate) fn directory(&self) -> DirectoryClient<Channel> {
        DirectoryClient::new(self.channel.clone())
    }

    pub(crate) async fn apply(
        &self,
        base_generation: u64,
        text: &str,
    ) -> Result<ApplyPolicyResponse, Status> {
        let request = ApplyPolicyRequest {
            text: text.to_owned(),
            base_generation,
            message: "because".to_owned(),
            file: "access.conf".to_owned(),
            ..ApplyPolicyRequest::default()
        };
        self.operator()
            .apply_policy(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Opens a session that has nothing yet.
    pub(crate) async fn session(&self) -> Streaming<Directive> {
        self.session_with(0, Vec::new()).await.unwrap()
    }

    pub(crate) async fn session_with(
        &self,
        generation: u64,
        policy_digest: Vec<u8>,
    ) -> Result<Streaming<Directive>, Status> {
        let request = SessionRequest {
            generation,
            policy_digest,
            agent_version: "0.1.0".to_owned(),
            ..SessionRequest::default()
        };
        self.agent()
            .session(request)
            .await
            .map(tonic::Response::into_inner)
    }

    pub(crate) async fn acknowledge(&self, snapshot: &PolicySnapshot, rejected: &[&str]) {
        let request = AcknowledgeRequest {
            generation: snapshot.generation,
            policy_digest: snapshot.digest.clone(),
            rejected: rejected.iter().map(|reason| (*reason).to_owned()).collect(),
            drift: String::new(),
            audit_fault: String::new(),
            ..AcknowledgeRequest::default()
        };
        self.agent().acknowledge(request).await.unwrap();
    }

    pub(crate) async fn events(&self, request: ListEventsRequest) -> Vec<AuditRecord> {
        let mut client = AuditClient::new(self.channel.clone());
        let mut stream = client.list_events(request).await.unwrap().into_inner();
        let mut records = Vec::new();
        while let Some(record) = stream.message().await.unwrap() {
            records.push(record);
        }
        records
    }
}

/// A connection with another fleet's certificate; the handshake may refuse it at once or later.
pub(crate) async fn try_channel(
    fleet: &Fleet,
    stranger: &Member,
) -> Result<Channel, tonic::transport::Error> {
    let certificate = pem(&stranger.answer.certificate_der);
    let identity = Identity::from_pem(certificate, stranger.joiner.tls.serialize_pem());
    Endpoint::from_shared(format!("https://{}", fleet.running.address()))?
        .tls_config(fleet.tls().identity(identity))?
        .connect()
        .await
}

/// Now, as renewals are signed; seconds since the Unix epoch.
pub(crate) fn now_secs() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "renewals are signed now")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The next directive of a session, which must come.
pub(crate) async fn next(session: &mut Streaming<Directive>) -> Kind {
    let message = patiently(session.message()).await.unwrap().unwrap();
    message.directive.unwrap()
}

/// The next directive, which must be a policy.
pub(crate) async fn policy(session: &mut Streaming<Directive>) -> PolicySnapshot {
    match next(session).await {
        Kind::Policy(policy) => policy,
        other @ (Kind::Claimed(_)
        | Kind::Kept(_)
        | Kind::Opened(_)
        | Kind::NewJournal(_)
        | Kind::Locked(_)) => {
            panic!("not a policy: {other:?}")
        }
    }
}

pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("nothing happened")
}

pub(crate) fn pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    text += &base64(der);
    text + "\n-----END CERTIFICATE-----\n"
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// All at once, in order.
pub(crate) async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (future, output) in &mut pending {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if ready {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    pending
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

/// Makes a database of ours that a test has edited one of before rows could be told from those of others: the
/// next start takes its rows as they are.
pub(crate) fn prove_again(data: &Path, database: &rusqlite::Connection) {
    let rows = database.execute("UPDATE meta SET mac = NULL", []).unwrap();
    assert!(rows > 0);
    std::fs::remove_file(data.join("rows-proven")).unwrap();
}
