//! The least controller that members can join: a CA, the Enrollment service over real TLS, and one
//! service that tells who called.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signature, VerifyingKey};
use fleet::wire::directory_server::{Directory, DirectoryServer};
use fleet::wire::enrollment_server::{Enrollment, EnrollmentServer};
use fleet::wire::{self, RedeemRequest, RedeemResponse, RenewRequest, RenewResponse};
use fleet::wire::{RotateRequest, RotateResponse};
use fleet::wire::{SyncRequest, SyncResponse};
use fleet::{Role, Token};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, SanType,
};
use sha2::{Digest as _, Sha256};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
use x509_parser::time::ASN1Time;

pub(crate) const HOUR: i64 = 3600;

/// How long before their issue certificates are valid, as the controller's are: seconds. A clock that is set back
/// by less while a test runs changes nothing.
pub(crate) const CLOCK_TOLERANCE: i64 = 300;

#[expect(clippy::disallowed_methods, reason = "certificates are made for today")]
pub(crate) fn now_secs() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs()
}

/// A certificate authority.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
}

/// What a fake controller presents.
pub(crate) struct Chain {
    pub(crate) leaf_pem: String,
    pub(crate) key_pem: String,
    pub(crate) ca_pem: String,
}

/// A running fake controller.
pub(crate) struct Fake {
    pub(crate) address: String,
    pub(crate) state: Arc<State>,
}

pub(crate) struct State {
    pub(crate) ca: Ca,
    /// Life of new certificates, seconds before and after now.
    pub(crate) life_secs: Mutex<(i64, i64)>,
    pub(crate) banned: Mutex<bool>,
    /// Who redeemed a token was given another name since.
    pub(crate) renamed: Mutex<bool>,
    /// The next answer to a redemption is lost on the way.
    pub(crate) lose_answer: Mutex<bool>,
    /// No answer to a redemption gets through.
    pub(crate) deaf: Mutex<bool>,
    /// By secret: the user that it is for.
    users: Mutex<BTreeMap<Vec<u8>, String>>,
    /// By secret: the identity that spent it.
    spent: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// By name: the identity keys that are good.
    pub(crate) identities: Mutex<BTreeMap<String, Vec<VerifyingKey>>>,
    /// Hosts that do not know a new key yet.
    pub(crate) not_heard: Mutex<Vec<String>>,
    pub(crate) renewals: Mutex<u32>,
    /// What it says of its authorities; nothing, as controllers of before.
    pub(crate) trust: Mutex<Option<wire::TrustSet>>,
    /// Where it says that controllers are; nothing, as controllers of before.
    pub(crate) controllers: Mutex<Vec<String>>,
    /// What members said at each renewal that they know.
    pub(crate) known: Mutex<Vec<Vec<Vec<u8>>>>,
}

#[derive(Clone)]
struct Service(Arc<State>);

// === impl Ca ===

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A server certificate for `name`, presented with `ca_pem` behind it.
    pub(crate) fn chain(&self, name: &str, ca_pem: &str) -> Chain {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Chain {
            leaf_pem: leaf.pem(),
            key_pem: key.serialize_pem(),
            ca_pem: ca_pem.to_owned(),
        }
    }

    /// A certificate by which whoever knows this one believes `successor`.
    pub(crate) fn vouch_for(&self, successor: &Self) -> String {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.signed_by(successor.issuer.key(), &self.issuer);
        certificate.unwrap().pem()
    }

    /// A certificate for `uri` over any public key.
    pub(crate) fn member(
        &self,
        uri: &str,
        key: &impl rcgen::PublicKeyData,
        (before, after): (i64, i64),
    ) -> Vec<u8> {
        let now = now_secs().cast_signed();
        let at = |secs| ASN1Time::from_timestamp(secs).unwrap().to_datetime();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(uri).unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = at(now - before);
        params.not_after = at(now + after);
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        certificate.der().to_vec()
    }
}

// === impl Fake ===

impl Fake {
    /// A controller as it should be.
    pub(crate) fn start() -> Self {
        let ca = Ca::new();
        let chain = ca.chain(fleet::SERVER_NAME, &ca.pem);
        Self::start_with(ca, chain)
    }

    pub(crate) fn start_with(ca: Ca, chain: Chain) -> Self {
        let client_ca = Certificate::from_pem(&ca.pem);
        let state = Arc::new(State {
            ca,
            life_secs: Mutex::new((CLOCK_TOLERANCE, 24 * HOUR)),
            banned: Mutex::default(),
            renamed: Mutex::default(),
            lose_answer: Mutex::default(),
            deaf: Mutex::default(),
            users: Mutex::default(),
            spent: Mutex::default(),
            identities: Mutex::default(),
            not_heard: Mutex::default(),
            renewals: Mutex::default(),
            trust: Mutex::default(),
            controllers: Mutex::default(),
            known: Mutex::default(),
        });
        let identity =
            Identity::from_pem(format!("{}{}", chain.leaf_pem, chain.ca_pem), chain.key_pem);
        let tls = ServerTlsConfig::new()
            .identity(identity)
            .client_ca_root(client_ca)
            .client_auth_optional(true);
        let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = incoming.local_addr().unwrap().to_string();
        let service = Service(state.clone());
        let server = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(EnrollmentServer::new(service.clone()))
            .add_service(DirectoryServer::new(service))
            .serve_with_incoming(incoming);
        tokio::spawn(server);
        Self { address, state }
    }

    /// A token that this controller would take.
    pub(crate) fn token(&self, role: Role, name: &str) -> Token {
        let secret: [u8; 32] = Sha256::digest(name).into();
        if role == Role::User {
            let mut users = self.state.users.lock().unwrap();
            users.insert(secret.to_vec(), name.to_owned());
        }
        Token {
            role,
            secret,
            expires_at_secs: now_secs() + 600,
            address: self.address.clone(),
            ca_fingerprint: Sha256::digest(&self.state.ca.der).into(),
            name: name.to_owned(),
            labels: BTreeMap::new(),
        }
    }

    /// Knows the members of another one, as the same controller would later.
    pub(crate) fn admit_those_of(&self, other: &Self) {
        let theirs = other.state.identities.lock().unwrap().clone();
        self.state.identities.lock().unwrap().extend(theirs);
    }

    pub(crate) fn tokens_spent(&self) -> usize {
        self.state.spent.lock().unwrap().len()
    }
}

// === the services ===

impl Service {
    fn issue(&self, role: Role, name: &str, csr: &[u8]) -> Vec<u8> {
        let csr = CertificateSigningRequestParams::from_der(&csr.to_vec().into()).unwrap();
        let life = *self.0.life_secs.lock().unwrap();
        let uri = fleet::member_uri("test", role, name);
        self.0.ca.member(&uri, &csr.public_key, life)
    }
}

#[tonic::async_trait]
impl Enrollment for Service {
    async fn redeem(
        &self,
        request: Request<RedeemRequest>,
    ) -> Result<Response<RedeemResponse>, Status> {
        let request = request.into_inner();
        let user = self
            .0
            .users
            .lock()
            .unwrap()
            .get(&request.token_secret)
            .cloned();
        let (role, name) = match (&user, request.exchange_key.len()) {
            (Some(user), _) => (Role::User, user.as_str()),
            (None, 32) => (Role::Host, "web-1"),
            (None, _) => (Role::Operator, "ops"),
        };
        let identity = request.identity_key.clone();
        let spent_by = self
            .0
            .spent
            .lock()
            .unwrap()
            .entry(request.token_secret)
            .or_insert_with(|| identity.clone())
            .clone();
        if spent_by != identity {
            return Err(Status::permission_denied("the token is used"));
        }
        let identity = VerifyingKey::try_from(request.identity_key.as_slice()).unwrap();
        self.0
            .identities
            .lock()
            .unwrap()
            .insert(name.to_owned(), vec![identity]);
        if *self.0.deaf.lock().unwrap() {
            return Err(Status::unavailable("the answer is lost"));
        }
        if std::mem::take(&mut *self.0.lose_answer.lock().unwrap()) {
            return Err(Status::unavailable("the answer is lost"));
        }
        let name = match *self.0.renamed.lock().unwrap() {
            true => "web-9",
            false => name,
        };
        Ok(Response::new(RedeemResponse {
            role: wire::Role::from(role).into(),
            name: name.to_owned(),
            fleet: "test".to_owned(),
            certificate_der: self.issue(role, name, &request.csr_der),
            ca_der: self.0.ca.der.clone(),
            key_name: String::new(),
            trust: self.0.trust.lock().unwrap().clone(),
            controllers: self.0.controllers.lock().unwrap().clone(),
        }))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let request = request.into_inner();
        if *self.0.banned.lock().unwrap() {
            return Err(Status::permission_denied("host web-1 is banned"));
        }
        let role = Role::try_from(request.role).unwrap();
        let message = fleet::renewal_message(
            role,
            &request.name,
            &request.csr_der,
            request.signed_at_secs,
        );
        let signature = Signature::from_slice(&request.signature).unwrap();
        self.0
            .identities
            .lock()
            .unwrap()
            .get(&request.name)
            .and_then(|keys| {
                let mut keys = keys.iter();
                keys.find(|key| key.verify_strict(&message, &signature).is_ok())
            })
            .ok_or_else(|| Status::unauthenticated("not the identity key"))?;
        *self.0.renewals.lock().unwrap() += 1;
        self.0
            .known
            .lock()
            .unwrap()
            .push(request.known_authorities.clone());
        Ok(Response::new(RenewResponse {
            certificate_der: self.issue(role, &request.name, &request.csr_der),
            ca_der: self.0.ca.der.clone(),
            trust: self.0.trust.lock().unwrap().clone(),
            controllers: self.0.controllers.lock().unwrap().clone(),
        }))
    }

    async fn rotate(
        &self,
        request: Request<RotateRequest>,
    ) -> Result<Response<RotateResponse>, Status> {
        let request = request.into_inner();
        let message = fleet::rotation_message(
            Role::try_from(request.role).unwrap(),
            &request.name,
            (&request.identity_key, &request.new_identity_key),
            &request.new_exchange_key,
            (request.signed_at_secs, request.end_old),
        );
        let verified = |key: &[u8], signature: &[u8]| {
            let key = VerifyingKey::from_bytes(key.try_into().unwrap()).unwrap();
            let signature = Signature::from_slice(signature);
            let signature = signature.map_err(|_| Status::unauthenticated("no signature"))?;
            key.verify_strict(&message, &signature)
                .map_err(|_| Status::unauthenticated("not the identity key"))?;
            Ok::<_, Status>(key)
        };
        let new = verified(&request.new_identity_key, &request.new_signature)?;
        let mut identities = self.0.identities.lock().unwrap();
        let keys = identities.get_mut(&request.name).unwrap();
        if !keys.contains(&new) {
            let old = verified(&request.identity_key, &request.signature)?;
            if !keys.contains(&old) {
                return Err(Status::unauthenticated("not the identity key"));
            }
            keys.push(new);
        }
        let waits_for = self.0.not_heard.lock().unwrap().clone();
        if request.end_old && waits_for.is_empty() {
            keys.retain(|key| key.as_bytes()[..] != request.identity_key);
        }
        let mut all = keys.iter();
        Ok(Response::new(RotateResponse {
            old_ended: !all.any(|key| key.as_bytes()[..] == request.identity_key),
            waits_for,
        }))
    }
}

#[tonic::async_trait]
impl Directory for Service {
    async fn who_am_i(
        &self,
        _: Request<wire::WhoAmIRequest>,
    ) -> Result<Response<wire::WhoAmIResponse>, Status> {
        Ok(Response::new(wire::WhoAmIResponse {
            address: "127.0.0.1".to_owned(),
            name: String::new(),
        }))
    }

    async fn recent_events(
        &self,
        _: Request<wire::RecentEventsRequest>,
    ) -> Result<Response<wire::RecentEventsResponse>, Status> {
        Err(Status::unimplemented(
            "of a controller of the version before",
        ))
    }

    /// Answers with the certificate that the caller presented.
    async fn sync(&self, request: Request<SyncRequest>) -> Result<Response<SyncResponse>, Status> {
        let certificates = request
            .peer_certs()
            .ok_or_else(|| Status::unauthenticated("no certificate"))?;
        Ok(Response::new(SyncResponse {
            body: certificates.first().unwrap().to_vec(),
            ..SyncResponse::default()
        }))
    }
}
